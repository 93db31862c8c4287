import type { StoredTensor } from '../checkpoint/types.ts'
import { type FloatArray, type Matrix, matrix } from '../linalg/matrix/matrix.ts'
import { readFactors, readFloats, type WholeReader } from '../lora/factors.ts'
import type { Change } from './change.ts'

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

/** ‖B·A‖_F² = tr((BᵀB)(AAᵀ)), without the product. */
export function productSquared({ B, A }: StackedFactors): number {
  const rank = A.rows
  const [left, right] = [new Float64Array(rank * rank), new Float64Array(rank * rank)]
  for (let i = 0; i < B.rows; i++) {
    const row = B.data.subarray(i * rank, (i + 1) * rank)
    for (let k = 0; k < rank; k++) for (let l = 0; l <= k; l++) left[k * rank + l] += row[k] * row[l]
  }
  for (let k = 0; k < rank; k++) {
    const row = A.data.subarray(k * A.columns, (k + 1) * A.columns)
    for (let l = 0; l <= k; l++) {
      const other = A.data.subarray(l * A.columns, (l + 1) * A.columns)
      for (let j = 0; j < row.length; j++) right[k * rank + l] += row[j] * other[j]
    }
  }
  let sum = 0
  for (let k = 0; k < rank; k++) {
    for (let l = 0; l <= k; l++) sum += (k === l ? 1 : 2) * left[k * rank + l] * right[k * rank + l]
  }
  return Math.max(0, sum)
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
  const key = JSON.stringify([run, index, change.name, change.factors])
  if (last?.key !== key) last = { key, factors: stackedFactors(change, index, keptWhole(run)) }
  return last.factors
}
