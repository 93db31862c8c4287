// What each phase could at best take on this machine: its flops at the rate that the engine has for such a call in one thread, or its bytes at
// the rate of memory or of the files' cache, whichever is longer.
import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { createLapackEngine } from '../../dist/lapack-engine.cjs'
import { createWasmEngine } from '../../dist/wasm-engine.cjs'

/** Turns of a measurement, of which the best counts: a limit is what the machine can do. */
const TURNS = 7
const SQUARE = 1024
const COPIED_BYTES = 2 ** 27
/** As delta/sweep.ts reads. */
const PIECE_BYTES = 2 ** 20

const best = (run) => Math.min(...Array.from({ length: TURNS }, () => processorSeconds(run)))

/** Others on the machine change these least. */
function processorSeconds(run) {
  const before = process.cpuUsage()
  run()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1e6
}

function matrix(rows, columns, arithmetic) {
  const data = arithmetic === 'f32' ? new Float32Array(rows * columns) : new Float64Array(rows * columns)
  return { rows, columns, data: data.map(() => Math.random() - 0.5) }
}

/** The rates of this machine, each measured when it is first asked for, on a matrix of this shape. In units a second. */
export function machineRates([rows, columns], file) {
  const known = new Map()
  const once = (key, measure) => {
    if (!known.has(key)) known.set(key, measure())
    return known.get(key)
  }
  const engineOf = (name) => once(`engine ${name}`, () => engines[name]())
  const held = (name) => once(`matrix ${name}`, () => engineOf(name).resident(matrix(rows, columns, 'f32')))
  return {
    /** Bytes that are read and written. */
    memory: () =>
      once('memory', () => {
        const [from, to] = [new Float32Array(COPIED_BYTES / 4).fill(1), new Float32Array(COPIED_BYTES / 4)]
        return (2 * COPIED_BYTES) / best(() => to.set(from))
      }),
    /** Bytes of a file that the system has in its cache. */
    files: () => once('files', () => statSync(file).size / best(() => readWhole(file))),
    /** Bytes by SHA-256. */
    hash: () =>
      once('hash', () => {
        const bytes = new Uint8Array(COPIED_BYTES)
        return COPIED_BYTES / best(() => createHash('sha256').update(bytes).digest())
      }),
    /** Flops of a product of two large square matrices: no call is faster. */
    square: (engine, arithmetic) =>
      once(`square ${engine} ${arithmetic}`, () => {
        const A = matrix(SQUARE, SQUARE, arithmetic)
        return (2 * SQUARE ** 3) / best(() => engineOf(engine).multiply(A, A))
      }),
    /** Flops of a sweep over the matrix with so many columns. */
    sweep: (engine, method, arithmetic, width) =>
      once(`sweep ${engine} ${method} ${arithmetic} ${width}`, () => {
        const flops = (method === 'multiplyNormal' ? 4 : 2) * rows * columns * width
        const A = held(engine)
        if (method === 'residualSquared') {
          const [B, C] = [matrix(rows, width, 'f32'), matrix(width, columns, 'f32')]
          return flops / best(() => A.residualSquared(B, C))
        }
        const X = matrix(method === 'multiplyTransposed' ? rows : columns, width, arithmetic)
        return flops / best(() => A[method](X))
      }),
  }
}

const engines = {
  wasm: () => createWasmEngine({ threads: 1 }),
  lapack: () => createLapackEngine({ threads: 1 }).engine,
}

function readWhole(path) {
  const file = openSync(path)
  const piece = new Uint8Array(PIECE_BYTES)
  while (readSync(file, piece) > 0);
  closeSync(file)
}

const SWEEPS = new Set(['multiply', 'multiplyTransposed', 'multiplyNormal', 'residualSquared'])

/**
 * The limit of each phase, { seconds, says }, by what an engine was asked for (of counted.mjs) and the bytes that are read: `stored` of
 * both checkpoints, `delta` of their difference in float32.
 */
export function limitsOf(counts, { stored, delta }, rates) {
  const limits = new Map()
  for (const phase of new Set(counts.map(({ phase }) => phase))) {
    limits.set(
      phase,
      limitOfCalls(
        counts.filter((count) => count.phase === phase),
        rates,
      ),
    )
  }
  limits.set('read + subtract', {
    seconds: stored / rates.files() + delta / rates.memory(),
    says: `${giga(stored)} GB of files, ${giga(delta)} GB written`,
  })
  if (limits.has('probe')) {
    limits.set('key of the entries', {
      seconds: delta / rates.hash(),
      says: `${giga(delta)} GB by SHA-256; reading them ${short(delta / rates.memory())} s`,
    })
  }
  return limits
}

function limitOfCalls(counts, rates) {
  const computed = counts.filter(({ engine, flops }) => flops > 0 && engine in engines)
  const sum = (of) => computed.reduce((total, one) => total + of(one), 0)
  const flops = sum((one) => one.flops)
  const atWidth = sum((one) => one.flops / rateOf(one, rates))
  const atBest = sum((one) => one.flops / rates.square(one.engine, one.arithmetic))
  const bytes = counts.reduce((total, one) => total + one.bytes, 0)
  const moving = bytes / rates.memory()
  const sweeps = computed.filter(({ kind }) => SWEEPS.has(kind))
  const widths = [...new Set(sweeps.map(({ width }) => width))].sort((a, b) => a - b)
  const calls = sweeps.reduce((total, one) => total + one.calls, 0)
  const swept = calls === 0 ? '' : ` in ${calls} sweeps of ${widths.join(', ')} columns`
  return {
    seconds: Math.max(atWidth, moving),
    says: `${flops === 0 ? '' : `${giga(flops)} GF${swept}, ${short(atBest)} s at the engine's best; `}${giga(bytes)} GB moved`,
  }
}

/** Products of small matrices could be as fast as large ones. */
const rateOf = ({ engine, kind, arithmetic, width }, rates) =>
  SWEEPS.has(kind) ? rates.sweep(engine, kind, arithmetic, width) : rates.square(engine, arithmetic)

const giga = (count) => short(count / 1e9)
const short = (number) => (number >= 9.95 ? number.toFixed(0) : number.toPrecision(2))
