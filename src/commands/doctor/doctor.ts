import { availableParallelism } from 'node:os'
import type { LapackLibrary } from '../../engine/lapack/lapack-engine.ts'
import { createWasmEngine } from '../../engine/wasm/wasm-engine.ts'
import { ExitCode } from '../../errors.ts'
import type { Engine } from '../../linalg/engine.ts'
import {
  type Float64Matrix,
  type FloatArray,
  type Matrix,
  matrix,
  zeros,
} from '../../linalg/matrix/matrix.ts'
import { largestAbs } from '../../linalg/matrix/norms.ts'
import { seedrandomNormals } from '../../random/seedrandom.ts'
import { jsonDocument } from '../../report/json.ts'
import { table } from '../../report/table.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { wrap } from '../../text/width.ts'
import { type OutputFlags, print } from '../print.ts'

/** Order of the test matrix: above it every route of the SVD is taken, and it takes a fraction of a second. */
const TEST_ORDER = 200
/** LAPACK's own tests pass below 50 units of rounding; ours ask for 10. */
const PASSING_RATIO = 10

export interface SelfTest {
  readonly passed: boolean
  /** max |σᵢ − σ̂ᵢ| / (n·eps·σ₁) against singular values that are known. */
  readonly valuesRatio: number
  /** max |A − U·diag(S)·Vᵀ| / (n·eps·σ₁). */
  readonly residualRatio: number
}

/** Decomposes a matrix of known singular values 1, 0.9, 0.9² … with `engine` and says how far off it is. */
function selfTest(engine: Engine): SelfTest {
  const S = Float64Array.from({ length: TEST_ORDER }, (_, i) => 0.9 ** i)
  const A = reflected(S)
  const { U, S: found, V } = engine.svd(A, 'thin')
  const unit = TEST_ORDER * Number.EPSILON
  const valuesRatio = largestAbs(found.map((s, i) => s - S[i])) / unit
  const US = matrix(
    TEST_ORDER,
    TEST_ORDER,
    U.data.map((u, at) => u * found[at % TEST_ORDER]),
  )
  const product = engine.multiply(US, V, { transposeB: true })
  const residualRatio = largestAbs(A.data.map((a, at) => a - product.data[at])) / unit
  return { passed: valuesRatio < PASSING_RATIO && residualRatio < PASSING_RATIO, valuesRatio, residualRatio }
}

/** H₁ · diag(S) · H₂ with two Householder reflections of random vectors: singular values S, and no entry zero. */
function reflected(S: Float64Array): Float64Matrix {
  const n = S.length
  const stream = seedrandomNormals('doctor')
  const [u, v] = [unitVector(stream.normals(n, 'f64')), unitVector(stream.normals(n, 'f64'))]
  const uSv = S.reduce((sum, s, i) => sum + s * u[i] * v[i], 0)
  const A = zeros(n, n)
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const diagonal = i === j ? S[i] : 0
      A.data[i * n + j] = diagonal - 2 * u[i] * u[j] * S[j] - 2 * S[i] * v[i] * v[j] + 4 * u[i] * uSv * v[j]
    }
  }
  return A
}

function unitVector(x: Float64Array): Float64Array {
  const length = Math.sqrt(x.reduce((sum, xi) => sum + xi * xi, 0))
  return x.map((xi) => xi / length)
}

/** Large enough for a product to be all arithmetic, small enough to be done in a blink. */
const SPEED_ORDER = 768
/** The first run also starts threads; the best of a few is what the machine can do. */
const RUNS = 5

export interface Speed {
  /** 10⁹ floating-point operations a second in a matrix product, over all threads. */
  readonly f32: number
  readonly f64: number
}

function speedOf(engine: Engine): Speed {
  const stream = seedrandomNormals('doctor')
  const square = (data: FloatArray) => matrix(SPEED_ORDER, SPEED_ORDER, data)
  return {
    f32: bestOf(engine, square(stream.normals(SPEED_ORDER * SPEED_ORDER, 'f32'))),
    f64: bestOf(engine, square(stream.normals(SPEED_ORDER * SPEED_ORDER, 'f64'))),
  }
}

function bestOf(engine: Engine, A: Matrix): number {
  let best = Number.POSITIVE_INFINITY
  for (let run = 0; run < RUNS; run++) {
    const start = performance.now()
    engine.multiply(A, A)
    best = Math.min(best, performance.now() - start)
  }
  return (2 * SPEED_ORDER ** 3) / (best * 1e6)
}

export interface Machine {
  readonly node: string
  readonly platform: string
  readonly threads: number
}

/** One engine as it is found here: what it computes with, whether it is right, how fast; or why it can't be used. */
export type EngineReport =
  | {
      readonly name: 'wasm' | 'lapack'
      readonly available: true
      readonly threads: number
      readonly library?: LapackLibrary
      readonly selfTest: SelfTest
      readonly gflops: Speed
    }
  | { readonly name: 'wasm' | 'lapack'; readonly available: false; readonly reason: string }

export interface DoctorFlags extends OutputFlags {
  readonly threads?: number
}

/** Looks at every engine and prints what it found. The exit code is 1 where an engine that is here fails its self-test. */
export async function printDoctor(flags: DoctorFlags, terminal: Terminal): Promise<number> {
  const { threads = availableParallelism() } = flags
  const machine: Machine = {
    node: process.versions.node,
    platform: `${process.platform} ${process.arch}`,
    threads: availableParallelism(),
  }
  const engines = [examineWasm(threads), await examineLapack(threads)]
  await print(
    terminal,
    flags,
    () => jsonDocument('doctor', 1, { machine, engines }),
    () => doctorTables(machine, engines, terminal),
  )
  const holds = engines.every((engine) => !engine.available || engine.selfTest.passed)
  return holds ? ExitCode.ok : ExitCode.checkFailed
}

function examineWasm(threads: number): EngineReport {
  try {
    const engine = createWasmEngine({ threads })
    return { name: 'wasm', available: true, threads: engine.threads, ...examined(engine) }
  } catch (error) {
    return { name: 'wasm', available: false, reason: error instanceof Error ? error.message : String(error) }
  }
}

async function examineLapack(threads: number): Promise<EngineReport> {
  // a bundle of its own, so that a library that crashes does so in another process
  const { createLapackEngine } = await import('../../engine/lapack/lapack-engine.ts')
  const found = createLapackEngine({ threads })
  if (!('engine' in found)) return { name: 'lapack', available: false, reason: found.reason }
  const { engine, library } = found
  return { name: 'lapack', available: true, threads: engine.threads, library, ...examined(engine) }
}

const examined = (engine: Engine) => ({ selfTest: selfTest(engine), gflops: speedOf(engine) })

/** The report of `doctor`: one row an engine, then what is missing and how to get it. */
function doctorTables(
  machine: Machine,
  engines: readonly EngineReport[],
  { paint, columns }: Pick<Terminal, 'paint' | 'columns'>,
): string {
  const rows = engines.map((engine) =>
    engine.available
      ? [
          engine.name,
          engine.selfTest.passed ? paint.green('passed') : paint.red('failed'),
          String(engine.threads),
          engine.gflops.f32.toFixed(0),
          engine.gflops.f64.toFixed(0),
        ]
      : [engine.name, paint.yellow('not here'), '', '', ''],
  )
  const head = ['engine', 'self-test', 'threads', 'GF/s f32', 'GF/s f64'].map((text) => paint.bold(text))
  const notes = engines.flatMap((engine) => {
    if (!engine.available) return [`${engine.name}: ${engine.reason}`]
    if (engine.library === undefined) return []
    const { path, version, integers } = engine.library
    return [`${engine.name}: ${path} (${version}, ${integers})`]
  })
  return [
    `node ${machine.node} · ${machine.platform} · ${machine.threads} threads`,
    table(rows, columns, head, [2, 3, 4]),
    ...notes.map((note) => wrap(note, columns)),
    '',
  ].join('\n')
}
