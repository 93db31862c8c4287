// One run of a command line under V8's profilers, and what it did when: seconds of each phase, by the clock and of the processor.
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { HELPING, IDLE, NATIVE, START, samplesOf } from './attribute.mjs'

/** Microseconds between samples: half of that takes a fifth more of the processors. */
const INTERVAL = 2000
/** Milliseconds between two looks at what the system has given each thread. */
const BETWEEN_LOOKS = 5

const now = () => Number(process.hrtime.bigint() / 1000n)

/**
 * Runs a program built by build.mjs. Gives { wall, processor, busyAtOnce, threads, phases }, in seconds; `phases` holds for each name its
 * seconds { clock, processor, waits, packing, functions } over all threads, and `processor` is NaN where the system doesn't tell.
 */
export async function profiledRun(program, args) {
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-profile-'))
  try {
    const started = now()
    const given = await ranWith(program, args, folder)
    return analysed(folder, started, given)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Runs it to its end; gives what each thread of the system had of the processors, time after time. */
async function ranWith(program, args, folder) {
  const flags = ['--cpu-prof', `--cpu-prof-dir=${folder}`, `--cpu-prof-interval=${INTERVAL}`]
  const child = spawn(process.execPath, [...flags, program, ...args], {
    env: { ...process.env, PROFILE_FOLDER: folder },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const given = new Map()
  const looks = setInterval(() => lookAt(child.pid, given), BETWEEN_LOOKS)
  let errors = ''
  child.stderr.on('data', (text) => {
    errors += text
  })
  const status = await new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  clearInterval(looks)
  // 1: a check doesn't hold
  if (status !== 0 && status !== 1) throw new Error(`exit ${status}: ${errors.trim()}`)
  return given
}

/** Adds { at, spent } in microseconds for each thread, by Linux's account. */
function lookAt(pid, given) {
  const at = now()
  for (const id of listed(`/proc/${pid}/task`)) {
    const spent = Number(textOf(`/proc/${pid}/task/${id}/schedstat`)?.split(' ')[0]) / 1000
    if (Number.isNaN(spent)) continue
    if (!given.has(Number(id))) given.set(Number(id), [])
    given.get(Number(id)).push({ at, spent })
  }
}

function textOf(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

function listed(path) {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}

function analysed(folder, started, given) {
  const files = readdirSync(folder)
  const registered = new Map(
    files
      .filter((name) => name.startsWith('thread-'))
      .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')))
      .map((thread) => [thread.threadId, thread]),
  )
  const threads = files
    .filter((name) => name.endsWith('.cpuprofile'))
    .map((name) => {
      const threadId = Number(name.split('.')[4])
      const profile = JSON.parse(readFileSync(join(folder, name), 'utf8'))
      const samples = samplesOf(profile)
      // the process starts before its profiler
      if (threadId === 0) {
        const time = profile.startTime - started
        samples.unshift({ at: profile.startTime, time, phase: START, inner: 'node itself' })
      }
      const { id, program = threadId === 0 ? 'main' : 'job' } = registered.get(threadId) ?? {}
      return { threadId, program, samples, ended: profile.endTime, looks: given.get(id) }
    })
    .sort((a, b) => a.threadId - b.threadId)
  const ended = threads[0].ended
  helpedPhases(threads)
  settleWaits(threads)
  for (const thread of threads) addProcessor(thread, started)
  const profiled = new Set([...registered.values()].map(({ id }) => id))
  const others = [...given].filter(([id]) => !profiled.has(id)).map(([, looks]) => looks.at(-1).spent)
  return {
    wall: (ended - started) / 1e6,
    processor: processorOf(threads, others),
    others: sum(others) / 1e6,
    busyAtOnce: busyAtOnce(threads, started, ended),
    threads: threads.map(({ program, samples }) => ({
      program,
      idle: (ended - started - sum(samples.filter(isBusy).map(({ time }) => time))) / 1e6,
    })),
    phases: totals(threads),
  }
}

const isBusy = ({ phase, isWait }) => phase !== IDLE && !isWait
const sum = (numbers) => numbers.reduce((total, one) => total + one, 0)

/** What threads of an engine help with is what the thread that computes at that time does. */
function helpedPhases(threads) {
  const leaders = threads.filter(({ program }) => program !== 'engine')
  for (const { samples } of threads.filter(({ program }) => program === 'engine')) {
    const at = leaders.map(() => 0)
    for (const sample of samples) {
      if (sample.phase !== HELPING) continue
      const phases = leaders.map(({ samples }, i) => {
        while (at[i] < samples.length - 1 && samples[at[i]].at < sample.at) at[i]++
        return samples[at[i]]
      })
      sample.phase = phases.find(isBusy)?.phase ?? HELPING
    }
  }
}

/** An idle thread waits for what it writes where no other thread is busy: else it may wait for that one. */
function settleWaits(threads) {
  for (const { samples } of threads) {
    const others = threads.filter((other) => other.samples !== samples).map((other) => other.samples)
    const at = others.map(() => 0)
    for (const sample of samples) {
      if (sample.mayWait === undefined) continue
      const isAnyBusy = others.some((other, i) => {
        while (at[i] < other.length && other[at[i]].at < sample.at) at[i]++
        return at[i] < other.length && isBusy(other[at[i]])
      })
      if (!isAnyBusy) Object.assign(sample, { phase: sample.mayWait, isWait: true })
    }
  }
}

/** Gives each sample its share of what the system gave its thread of the processors from one look to the next. */
function addProcessor({ samples, looks }, started) {
  if (looks === undefined) return
  let before = { at: started, spent: 0 }
  let i = 0
  for (const look of looks) {
    const within = []
    while (i < samples.length && samples[i].at <= look.at) within.push(samples[i++])
    const busy = within.filter(isBusy)
    const of = busy.length > 0 ? busy : within
    const time = sum(of.map((sample) => sample.time))
    // where no sample is, the next ones take it
    if (time === 0) continue
    for (const sample of of) sample.processor = ((look.spent - before.spent) * sample.time) / time
    before = look
  }
}

const processorOf = (threads, others) =>
  threads.some(({ looks }) => looks === undefined)
    ? Number.NaN
    : (sum(threads.map(({ looks }) => looks.at(-1).spent)) + sum(others)) / 1e6

/** Seconds in which so many threads were busy: [none, one, …], as many as the machine has processors, or more. */
function busyAtOnce(threads, started, ended) {
  const changes = threads
    .flatMap(({ samples }) =>
      samples.filter(isBusy).flatMap(({ at, time }) => [
        { at: at - time, by: 1 },
        { at, by: -1 },
      ]),
    )
    .filter(({ at }) => at <= ended)
    .sort((a, b) => a.at - b.at || a.by - b.by)
  const seconds = new Array(availableParallelism() + 1).fill(0)
  let [last, count] = [started, 0]
  for (const { at, by } of [...changes, { at: ended, by: 0 }]) {
    seconds[Math.min(count, seconds.length - 1)] += (at - last) / 1e6
    last = at
    count += by
  }
  return seconds
}

function totals(threads) {
  const phases = new Map()
  for (const { samples } of threads) {
    for (const { phase, time, inner, processor = 0, isWait, isPacking } of samples) {
      const name = phase === IDLE && processor > 0 ? NATIVE : phase
      if (name === IDLE) continue
      if (!phases.has(name)) phases.set(name, { clock: 0, processor: 0, waits: 0, packing: 0, functions: {} })
      const total = phases.get(name)
      if (isWait) total.waits += time / 1e6
      else if (phase !== IDLE) total.clock += time / 1e6
      total.processor += processor / 1e6
      total.functions[inner] = (total.functions[inner] ?? 0) + processor / 1e6
      if (isPacking) total.packing += processor / 1e6
    }
  }
  return phases
}
