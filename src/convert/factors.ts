import { stackedTerms } from '../compress/terms.ts'
import { widened } from '../linalg/matrix/half.ts'
import { type FloatArray, type Matrix, matrix, toFloat64, transpose } from '../linalg/matrix/matrix.ts'
import type { Factors } from '../linalg/svd/svd.ts'
import type { TargetModule } from '../lora/model.ts'
import { stackedFactors } from '../lora/write/encode.ts'
import type { Change, Pair, Part } from './target.ts'

/** The factors of changes. */
export type FactorsOf = (change: Change) => Promise<Factors>

/**
 * B [rows, rank] and A [rank, columns] of a change of a weight, as that lies in the model; the scale and the weight of each term are in B,
 * multiplied in float64. Throws LoraSvdError `not-finite` on NaN, infinity, and numbers out of range.
 */
export async function foldedFactors({ module, terms, expert }: Change): Promise<Factors> {
  const stacked = await stackedTerms(terms, {
    name: module.tensor,
    ...(expert !== undefined && { expert }),
  })
  const { weights } = stacked
  const [B, A] = [widened(stacked.B), widened(stacked.A)]
  if (weights.every((weight) => weight === 1)) return { B, A }
  const scaled = new Float64Array(B.data.length)
  const r = B.columns
  for (let i = 0; i < scaled.length; i++) scaled[i] = B.data[i] * weights[i % r]
  return { B: { rows: B.rows, columns: r, data: scaled }, A }
}

/** The factors of a pair of the result: what its parts add up to, side by side, padded with zeros, and lying as the format has them. */
export async function pairFactors(pair: Pair, factorsOf: FactorsOf): Promise<Factors> {
  const { rows, columns, storedRank, isTransposed, orientation, stack } = pair
  if (stack !== undefined) return stackFactors(stack, pair, factorsOf)
  const found: Factors[] = []
  for (const part of pair.parts) {
    const own = fitted(await factorsOf(part.change), part, isTransposed ? columns : rows)
    found.push(isTransposed ? { B: transpose(own.A), A: transpose(own.B) } : own)
  }
  const B = beside(
    found.map((one) => one.B),
    rows,
    storedRank,
  )
  const A = upon(
    found.map((one) => one.A),
    columns,
    storedRank,
  )
  return orientation === 'plain' ? { B, A } : { B: transpose(B), A: transpose(A) }
}

/** The two tensors of a stack of experts, by rows. */
async function stackFactors(
  stack: TargetModule,
  { parts, storedRank, shapes }: Pair,
  factorsOf: FactorsOf,
): Promise<Factors> {
  const all: Factors[] = []
  for (const { change } of parts) all.push(await factorsOf(change))
  const isNarrow = all.every(({ B, A }) => B.data instanceof Float32Array && A.data instanceof Float32Array)
  const make = (length: number): FloatArray =>
    isNarrow ? new Float32Array(length) : new Float64Array(length)
  const { A, B } = stackedFactors(stack, all, storedRank, make)
  return { A: matrix(shapes.A[0], shapes.A[1], A), B: matrix(shapes.B[0], shapes.B[1], B) }
}

/** The factors of a part as the pair's matrix has them, which has so many rows as the weight lies. */
function fitted({ B, A }: Factors, { fit, order }: Part, height: number): Factors {
  const { rows, moduleRows, swapHalves, isTransposed } = fit
  if (isTransposed) return { B: transpose(A), A: transpose(B) }
  let taken: Matrix = B
  if (rows !== undefined) taken = rowsOf(taken, rows[0], rows[1])
  if (swapHalves) taken = halvesSwapped(taken)
  if (order !== undefined) taken = ordered(taken, order)
  if (moduleRows !== undefined) taken = placed(taken, moduleRows[0], height)
  return { B: taken, A }
}

const rowsOf = ({ columns, data }: Matrix, from: number, to: number): Matrix =>
  matrix(to - from, columns, data.subarray(from * columns, to * columns))

function halvesSwapped({ rows, columns, data }: Matrix): Matrix {
  const half = (rows / 2) * columns
  const swapped = like(data, data.length)
  swapped.set(data.subarray(half), 0)
  swapped.set(data.subarray(0, half), half)
  return matrix(rows, columns, swapped)
}

function ordered({ columns, data }: Matrix, order: Uint32Array): Matrix {
  const taken = like(data, order.length * columns)
  for (const [i, row] of order.entries()) {
    taken.set(data.subarray(row * columns, (row + 1) * columns), i * columns)
  }
  return matrix(order.length, columns, taken)
}

function placed({ columns, data }: Matrix, from: number, height: number): Matrix {
  const all = like(data, height * columns)
  all.set(data, from * columns)
  return matrix(height, columns, all)
}

/** [B₁ | B₂ | … | 0]. */
function beside(all: readonly Matrix[], rows: number, r: number): Matrix {
  if (all.length === 1 && all[0].columns === r) return all[0]
  const data = commonType(all, rows * r)
  let at = 0
  for (const { columns, data: own } of all) {
    for (let i = 0; i < rows; i++) data.set(own.subarray(i * columns, (i + 1) * columns), i * r + at)
    at += columns
  }
  return matrix(rows, r, data)
}

/** [A₁; A₂; …; 0]. */
function upon(all: readonly Matrix[], columns: number, r: number): Matrix {
  if (all.length === 1 && all[0].rows === r) return all[0]
  const data = commonType(all, r * columns)
  let at = 0
  for (const one of all) {
    data.set(one.data, at)
    at += one.data.length
  }
  return matrix(r, columns, data)
}

const like = (data: FloatArray, length: number): FloatArray =>
  data instanceof Float32Array ? new Float32Array(length) : new Float64Array(length)

const commonType = (all: readonly Matrix[], length: number): FloatArray =>
  all.every(({ data }) => data instanceof Float32Array) ? new Float32Array(length) : new Float64Array(length)

/** Remembers what was asked for last: the two tensors of a pair follow each other in most files. */
export function rememberingLast<K, V>(compute: (key: K) => Promise<V>): (key: K) => Promise<V> {
  let last: { readonly key: K; readonly value: Promise<V> } | undefined
  return (key) => {
    if (last?.key !== key) last = { key, value: compute(key) }
    return last.value
  }
}

export const widenedFactors = ({ B, A }: Factors): Factors => ({ B: toFloat64(B), A: toFloat64(A) })
