// One parser of bench/fuzz.mjs, in a process of its own: keeps inputs that reach something new, changes them, and finds what goes wrong.
import { createHash } from 'node:crypto'
import { openSync, writeSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { compared } from './bundle.mjs'

/** The most that an input may take, in milliseconds and in MB. */
const MOST_MILLISECONDS = 1000
const MOST_MB = 200
/** The longest input. Headers of a small model have half of it. */
const LONGEST = 16_384
/** Longer ones are kept more rarely. */
const USUAL = 4096
/** Texts that were compared, at most. */
const MOST_WORDS = 4000
const LONGEST_WORD = 60
/** What a file weighs besides its bytes, when it is chosen. */
const HEADER = 64
/** Tries to make an input smaller. */
const TRIES = { finding: 2000, entry: 24 }
/** Different findings of one parser at most: it goes on no longer then. */
const MOST_FINDINGS = 20
/** The names of two of them, after which it ends: to make such an input smaller would take as long again and again. */
const [SLOW, LARGE] = ['slow', 'large']
/** Milliseconds between signs of life. */
const PULSE = 1000

/** How often a branch was taken, as bits: 1, 2, 3, 4–7, 8–15, 16–31, 32–127, more. */
const BUCKETS = Uint8Array.from({ length: 256 }, (_, n) =>
  n === 0 ? 0 : n < 4 ? 1 << (n - 1) : n < 8 ? 8 : n < 16 ? 16 : n < 32 ? 32 : n < 128 ? 64 : 128,
)

// the trial that it belongs to was ended
process.on('disconnect', () => process.exit(1))
process.once('message', (job) =>
  main(job).catch((error) => {
    console.error(error)
    process.exit(1)
  }),
)

async function main({ name, bundle, current, inputs, seed, corpus, mostBytes, mostFiles }) {
  // whole words, to be looked through eight counters at a time
  const words = new BigUint64Array(Math.ceil(bundle.counters / 8))
  const counters = new Uint8Array(words.buffer)
  const compares = new Set()
  globalThis.loraSvdFuzzing = { counters, Fuzzer: tracing(compares) }
  const {
    TARGETS,
    problemWith,
    chance: chanceOf,
    removeScratch,
  } = await import(pathToFileURL(bundle.path).href)
  process.on('exit', removeScratch)
  const target = TARGETS.find((one) => one.name === name)
  const chance = chanceOf(seed)
  const seen = new Uint8Array(counters.length)
  const fd = openSync(current, 'w')
  const started = performance.now()
  const state = { inputs: 0, added: 0, slowest: 0, peak: 0 }
  const findings = new Map()
  const memory = () => process.resourceUsage().maxRSS / 1024
  let [base, most] = [0, memory()]
  let unhandled
  process.on('unhandledRejection', (reason) => {
    unhandled ??= reason
  })
  let pulse = 0
  const alive = () => {
    const now = performance.now()
    if (now - pulse < PULSE) return
    pulse = now
    process.send({ inputs: state.inputs })
  }

  /** Runs an input; gives what was wrong, the time it took, and the MB of arrays. */
  async function run(input) {
    const head = Buffer.alloc(4)
    head.writeUInt32LE(input.length)
    writeSync(fd, Buffer.concat([head, input]), 0, input.length + 4, 0)
    words.fill(0n)
    state.inputs++
    const before = memory()
    // what a mutator has taken is none of the parser's
    if (base > 0) base += before - most
    const arrays = process.memoryUsage().arrayBuffers
    const processor = process.cpuUsage()
    const start = performance.now()
    let problem = await problemWith(target, input)
    const wall = performance.now() - start
    const { user, system } = process.cpuUsage(processor)
    const busy = (user + system) / 1000
    // a machine on which others work may have been taken away for most of it
    const milliseconds = busy < wall / 2 ? busy : wall
    most = memory()
    // zeros that nothing has touched take no memory yet
    const allocated = (process.memoryUsage().arrayBuffers - arrays) / 2 ** 20
    // what nobody waited for shows now
    await nextTurn()
    if (unhandled !== undefined) {
      problem ??= `a promise that nobody waited for: ${unhandled?.stack?.split('\n').slice(0, 2).join(' ') ?? unhandled}`
      unhandled = undefined
    }
    alive()
    return { problem, milliseconds, allocated }
  }

  /** What the last input reached that none before it did: places in `seen` and the bits that are new there. */
  function reached() {
    const found = []
    for (let word = 0; word < words.length; word++) {
      if (words[word] === 0n) continue
      for (let at = 8 * word; at < 8 * word + 8; at++) {
        const bits = BUCKETS[counters[at]] & ~seen[at]
        if (bits !== 0) found.push([at, bits])
      }
    }
    return found
  }
  const reaches = (wanted) => wanted.every(([at, bits]) => (BUCKETS[counters[at]] & bits) === bits)
  const note = (found) => {
    for (const [at, bits] of found) seen[at] |= bits
  }

  /** A shorter input of which the same can be said. */
  async function shrunk(input, holds, tries) {
    let best = input
    for (let size = best.length >> 1; size >= 1 && tries > 0; size >>= 1) {
      for (let at = 0; at < best.length && tries > 0; ) {
        tries--
        const shorter = Buffer.concat([best.subarray(0, at), best.subarray(at + size)])
        if (shorter.length < best.length && (await holds(shorter))) best = shorter
        else at += size
      }
    }
    return best
  }

  async function find(problem, input) {
    const key = keyOf(problem)
    if (findings.has(key)) return
    findings.set(key, undefined)
    const same = async (one) => {
      const { problem } = await run(one)
      return problem !== undefined && keyOf(problem) === key
    }
    findings.set(key, { problem, input: await shrunk(input, same, TRIES.finding) })
  }

  const entries = []

  /** Runs an input, keeps it where it reaches something new, and looks at what it took. */
  async function judge(input, isGiven = false) {
    const { problem, milliseconds, allocated } = await run(input)
    const found = reached()
    if (problem !== undefined) await find(problem, input)
    let slow = milliseconds
    // another process may have had the processor: what is slow is slow again
    for (let again = 0; again < 2 && slow > MOST_MILLISECONDS; again++)
      slow = Math.min(slow, (await run(input)).milliseconds)
    if (slow > MOST_MILLISECONDS) findings.set(SLOW, { problem: `takes ${Math.round(slow)} ms`, input })
    state.slowest = Math.max(state.slowest, slow)
    if (base > 0) {
      const grown = Math.max(most - base, allocated)
      if (grown > MOST_MB) findings.set(LARGE, { problem: `takes ${Math.round(grown)} MB`, input })
      state.peak = Math.max(state.peak, grown)
    }
    if (found.length === 0) return
    let kept = input
    if (!isGiven && problem === undefined) {
      kept = await shrunk(
        input,
        async (one) => (await run(one)).problem === undefined && reaches(found),
        TRIES.entry,
      )
      state.added++
    }
    note(found)
    if (kept.length <= LONGEST) entries.push(kept)
  }

  for (const input of corpus) await judge(input, true)
  // a parser may have no corpus yet, and nothing that an empty input reaches
  if (entries.length === 0) entries.push(Buffer.alloc(0))
  const known = bundle.sources
    .filter(({ from, to }) => seen.subarray(from, to).some((bits) => bits !== 0))
    .flatMap((source) => source.words)
  globalThis.gc?.()
  base = memory()
  most = base
  const isEnough = () => findings.size >= MOST_FINDINGS || findings.has(SLOW) || findings.has(LARGE)
  while (state.inputs < inputs && !isEnough()) {
    // what was found last leads further more often
    const isNew = chance.oneIn(2)
    const from = isNew ? Math.max(0, entries.length - 30) : 0
    const entry = entries[from + chance.below(entries.length - from)]
    const mutate = chance.of(target.mutators)
    const pool = {
      other: chance.of(entries),
      words: chance.oneIn(2) && compares.size > 0 ? [...compares] : known,
    }
    const input = Buffer.from(mutate(entry, chance, pool))
    await judge(input.subarray(0, chance.oneIn(8) ? LONGEST : USUAL))
  }
  const cover = await covering(entries, async (input) => {
    await run(input)
    return counters
  })
  const taken = (from, to) => seen.subarray(from, to).reduce((sum, bits) => sum + (bits === 0 ? 0 : 1), 0)
  const edges = taken(0, seen.length)
  // of the sources that this parser has a part of
  const of = bundle.sources.reduce((sum, { from, to }) => sum + (taken(from, to) > 0 ? to - from : 0), 0)
  const seconds = (performance.now() - started) / 1000
  const done = { ...state, edges, of, seconds, findings: [...findings.values()], cover }
  process.send({ done }, () => process.exit(0))

  /** Inputs that together reach what all do, as far as there is room: again and again the one that adds the most for its length. */
  async function covering(all, countersOf) {
    const left = []
    for (const input of all) {
      const taken = await countersOf(input)
      left.push({ input, places: [...taken.keys()].filter((at) => taken[at] !== 0) })
    }
    const covered = new Uint8Array(counters.length)
    const chosen = []
    let bytes = 0
    while (chosen.length < mostFiles) {
      const worth = ({ input, places }) =>
        places.reduce((sum, at) => sum + (covered[at] === 0 ? 1 : 0), 0) / (HEADER + input.length)
      const fitting = left.filter(({ input }) => bytes + input.length <= mostBytes)
      const best = fitting.reduce((one, other) => (worth(other) > worth(one) ? other : one), {
        input: '',
        places: [],
      })
      if (worth(best) === 0) break
      for (const at of best.places) covered[at] = 1
      bytes += best.input.length
      chosen.push({
        name: createHash('sha256').update(best.input).digest('hex').slice(0, 12),
        bytes: best.input,
      })
    }
    return chosen
  }
}

/** Findings that differ in numbers and names alone are one. */
const keyOf = (problem) =>
  problem
    .replace(/"[^"]*"/g, '""')
    .replace(/\d+/g, '0')
    .slice(0, 160)

/** The hooks of comparisons: the texts that were compared are those that inputs may need. */
function tracing(texts) {
  const put = (text) => {
    if (typeof text === 'string' && text.length > 0 && text.length <= LONGEST_WORD && texts.size < MOST_WORDS)
      texts.add(text)
  }
  return {
    tracer: {
      traceStrCmp: (a, b, operator) => {
        if (a !== b) {
          put(a)
          put(b)
        }
        return compared(a, b, operator)
      },
      traceNumberCmp: (a, b, operator) => compared(a, b, operator),
      traceAndReturn: (_, target) => {
        put(target)
        return target
      },
    },
  }
}
