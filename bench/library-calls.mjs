// Ten thousand calls of the library in one process: memory, open files, handles and threads must end where they were after the first thousand.
// Usage: node --expose-gc bench/library-calls.mjs [--calls 10000] [--blocks 10] [--workers 40]; exits with 1 where something grows.
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  check,
  compare,
  convert,
  extract,
  factor,
  inspect,
  LoraSvdError,
  resize,
  verify,
} from '../dist/index.js'
import { headerOf } from './tinyllama-pair.mjs'
import { assert, optionsOf, stream } from './trial-runs.mjs'

const { calls, blocks, workers } = optionsOf({ calls: 10000, blocks: 10, workers: 40 })
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-calls-'))
const at = (name) => join(folder, name)
/** Growth that is none, in MiB a thousand calls: what pages and pools of V8 take one day and give back the next. */
const HEAP_SLACK = 0.25
const RESIDENT_SLACK = 2

/** Of fewer calls the memory isn't judged: while code is compiled and buffers are first needed, it grows. */
const LEAST_TO_JUDGE = 2000

const random = stream(7)
const noise = (count, scale) => Float32Array.from({ length: count }, () => scale * (random() - 0.5))

function model(path, tensors) {
  const header = headerOf(tensors, 'F32')
  writeFileSync(path, Buffer.concat([header, ...tensors.map(({ data }) => Buffer.from(data.buffer))]))
}

const NAMES = ['q', 'k', 'v'].map((letter) => `model.layers.0.self_attn.${letter}_proj.weight`)
const SIZE = 12

function makeInputs(base, tuned, size) {
  const before = NAMES.map((name) => ({ name, shape: [size, size], data: noise(size * size, 1) }))
  const after = before.map((one) => {
    const [u, v] = [noise(size, 1), noise(size, 1)]
    return { ...one, data: one.data.map((value, i) => value + u[Math.floor(i / size)] * v[i % size]) }
  })
  model(base, before)
  model(tuned, after)
}

const [base, tuned, adapter] = ['base.safetensors', 'tuned.safetensors', 'adapter'].map(at)
const [large, largeTuned] = ['large.safetensors', 'large-tuned.safetensors'].map(at)

/** One of each in turn, and calls that fail. */
const CALLS = [
  () => inspect({ path: tuned, base }),
  () => factor({ matrix: base, tensor: NAMES[0], rank: 2, out: at('factors.npz'), force: true }),
  () => extract({ base, tuned, out: at('again'), rank: 1, force: true }),
  () => verify({ adapter, base, tuned }),
  () => resize({ adapter, out: at('resized'), rank: 1, force: true }),
  () => convert({ adapter, out: at('mlx'), format: 'mlx', force: true }),
  () => check({ adapter }),
  () => compare({ adapters: [adapter, adapter] }),
  () => refused(inspect({ path: at('missing') })),
  () => refused(extract({ base, tuned, out: adapter, rank: 1 })),
]

async function refused(call) {
  const error = await call.then(
    () => undefined,
    (thrown) => thrown,
  )
  assert(error instanceof LoraSvdError, `not refused: ${error}`)
}

const openFiles = () => (existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0)
const threadsNow = () => (existsSync('/proc/self/task') ? readdirSync('/proc/self/task').length : 0)

function measured() {
  globalThis.gc()
  globalThis.gc()
  const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage()
  const mib = (bytes) => bytes / 2 ** 20
  return {
    ...{ resident: mib(rss), heap: mib(heapUsed), external: mib(external + arrayBuffers) },
    ...{ handles: process._getActiveHandles().length, files: openFiles(), threads: threadsNow() },
  }
}

const shown = (one) =>
  Object.entries(one)
    .map(([name, value]) => `${name} ${Math.round(value * 10) / 10}`)
    .join(', ')

/** The slope of a straight line through the values, a block. */
function slopeOf(values) {
  const mean = (list) => list.reduce((sum, value) => sum + value, 0) / list.length
  const [x, y] = [mean(values.map((_, i) => i)), mean(values)]
  const [up, down] = [0, 1].map((which) =>
    values.reduce((sum, value, i) => sum + (i - x) * (which === 0 ? value - y : i - x), 0),
  )
  return up / down
}

function assertSteady(first, last, what) {
  for (const key of ['handles', 'files', 'threads']) {
    assert(last[key] <= first[key], `${what}: ${key} grow from ${first[key]} to ${last[key]}`)
  }
}

function assertFlat(blocksOf, perBlock, what) {
  assertSteady(blocksOf[0], blocksOf.at(-1), what)
  if (calls < LEAST_TO_JUDGE) return
  const later = blocksOf.slice(Math.min(2, blocksOf.length - 2))
  const perThousand = (key) => (slopeOf(later.map((one) => one[key])) * 1000) / perBlock
  assert(
    perThousand('heap') < HEAP_SLACK,
    `${what}: the heap grows by ${perThousand('heap')} MiB a thousand calls`,
  )
  assert(
    perThousand('external') < HEAP_SLACK,
    `${what}: buffers grow by ${perThousand('external')} MiB a thousand calls`,
  )
  assert(
    perThousand('resident') < RESIDENT_SLACK,
    `${what}: memory grows by ${perThousand('resident')} MiB a thousand calls`,
  )
}

async function inBlocks(count, parts, call, what) {
  const found = []
  const perBlock = Math.ceil(count / parts)
  for (let block = 0; block < parts; block++) {
    for (let i = 0; i < perBlock; i++) await call(block * perBlock + i)
    found.push(measured())
    console.log(`${what}, after ${(block + 1) * perBlock}: ${shown(found.at(-1))}`)
  }
  return { found, perBlock }
}

try {
  assert(typeof globalThis.gc === 'function', 'run it with node --expose-gc')
  makeInputs(base, tuned, SIZE)
  await extract({ base, tuned, out: adapter, rank: 1 })
  // work for worker threads, which must be gone afterwards
  makeInputs(large, largeTuned, 200)
  const withWorkers = () => inspect({ path: largeTuned, base: large, threads: 2, full: true, engine: 'wasm' })
  const started = await inBlocks(workers, 4, withWorkers, 'with worker threads')
  // the first calls start Node's own pool of threads
  assertSteady(started.found[1], started.found.at(-1), 'with worker threads')
  const { found, perBlock } = await inBlocks(calls, blocks, (i) => CALLS[i % CALLS.length](), 'calls')
  assertFlat(found, perBlock, 'calls')
  console.log(
    `${blocks * perBlock} calls, and ${workers} with worker threads: ${calls < LEAST_TO_JUDGE ? '' : 'memory, '}open files, handles and threads stay what they were`,
  )
} catch (error) {
  console.error(error.stack)
  process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
