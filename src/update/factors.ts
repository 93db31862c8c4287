import type { StoredTensor } from '../checkpoint/types.ts'
import { jsEngine } from '../engine/js/js-engine.ts'
import type { Engine } from '../linalg/engine.ts'
import { type FloatArray, type Matrix, matrix } from '../linalg/matrix/matrix.ts'
import { readFactors, readFloats, type WholeReader } from '../lora/factors.ts'
import { type Change, ofMatrix } from './change.ts'

/** Δ = B·A of one matrix: all adapters' factors beside each other, weights and scales in B. */
export interface StackedFactors {
  /** [rows, rank], float64. */
  readonly B: Matrix
  /** [rank, columns]. */
  readonly A: Matrix
}

/** Reads the factors of the matrix of this index. */
export async function stackedFactors(
  change: Change,
  index: number,
  readWhole?: WholeReader,
): Promise<StackedFactors> {
  const { rows, columns } = change
  const read = []
  for (const { module, weight } of change.factors) {
    const { B, A, scale } = await readFactors(
      module,
      module.kind === 'experts' ? index : undefined,
      readWhole,
    )
    read.push({ B, A, scale: weight * scale })
  }
  const rank = read.reduce((sum, { A }) => sum + A.rows, 0)
  const B = new Float64Array(rows * rank)
  let first = 0
  for (const { B: own, scale } of read) {
    for (let i = 0; i < rows; i++) {
      for (let k = 0; k < own.columns; k++) B[i * rank + first + k] = own.data[i * own.columns + k] * scale
    }
    first += own.columns
  }
  if (read.length === 1) return { B: matrix(rows, rank, B), A: read[0].A }
  const A = new Float64Array(rank * columns)
  let at = 0
  for (const { A: own } of read) {
    A.set(own.data, at)
    at += own.data.length
  }
  return { B: matrix(rows, rank, B), A: matrix(rank, columns, A) }
}

/** From so many operations on the embedded engine saves more than it takes to start. */
const KERNELS_PAY_FROM = 2 ** 19

/** Kept by each thread, as a workspace is. */
let embedded: Engine | undefined

async function engineFor(operations: number): Promise<Engine> {
  if (operations < KERNELS_PAY_FROM) return jsEngine
  embedded ??= (await import('../engine/wasm/wasm-engine.ts')).createWasmEngine()
  return embedded
}

/** ‖B·A‖_F² = tr((BᵀB)(AAᵀ)), without the product. */
export async function productSquared({ B, A }: StackedFactors): Promise<number> {
  const engine = await engineFor(A.rows ** 2 * (B.rows + A.columns))
  const [left, right] = [engine.gram(B).data, engine.gram(A, 'rows').data]
  const trace = left.reduce((sum, x, i) => sum + x * right[i], 0)
  return Math.max(0, trace)
}

/** The last factors that this thread has read: the pieces of one matrix come after each other. */
let last: { readonly key: string; readonly factors: Promise<StackedFactors> } | undefined

/** The last tensor that the experts of a stack share. */
let lastWhole: { readonly key: string; readonly numbers: Promise<FloatArray> } | undefined

const keptWhole =
  (run: string): WholeReader =>
  (tensor: StoredTensor) => {
    const key = JSON.stringify([run, tensor])
    if (lastWhole?.key !== key) lastWhole = { key, numbers: readFloats(tensor) }
    return lastWhole.numbers
  }

/** The same, kept until others are asked for; `run` tells one state of the files from another. */
export function keptFactors(run: string, change: Change, index: number): Promise<StackedFactors> {
  const own = ofMatrix(change, index)
  const key = JSON.stringify([run, index, own.name, own.factors])
  if (last?.key !== key) last = { key, factors: stackedFactors(own, index, keptWhole(run)) }
  return last.factors
}
