import { stackedTerms } from '../compress/terms.ts'
import { widened } from '../linalg/matrix/half.ts'
import { type FloatArray, type Matrix, matrix, transpose } from '../linalg/matrix/matrix.ts'
import type { Factors } from '../linalg/svd/svd.ts'
import type { TargetModule } from '../lora/model.ts'
import { stackedFactors } from '../lora/write/encode.ts'
import type { Change, Pair } from './target.ts'

/**
 * B [rows, rank] and A [rank, columns] of a change, as its weight lies in the model; the scale and the weight of each term are in B, multiplied
 * in float64. Throws LoraSvdError `not-finite` on NaN, infinity, and numbers out of range.
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
  return { B: matrix(B.rows, r, scaled), A }
}

/** The two tensors of a pair, by rows: its factors, padded with zeros, and lying as the format has them. */
export async function pairFactors(pair: Pair): Promise<Factors> {
  const { changes, rows, columns, storedRank, isTransposed, orientation, stack } = pair
  if (stack !== undefined && changes.length > 0) return stackFactors(stack, pair)
  if (pair.members !== undefined) return expertFactors(pair, pair.members)
  const found = changes.length === 0 ? undefined : await foldedFactors(changes[0])
  const own = found !== undefined && isTransposed ? { B: transpose(found.A), A: transpose(found.B) } : found
  const [B, A] = [padded(own?.B, rows, storedRank), padded(own?.A, storedRank, columns)]
  return orientation === 'plain' ? { B, A } : { B: transpose(B), A: transpose(A) }
}

/** The two tensors of a stack of experts. */
async function stackFactors(stack: TargetModule, { changes, storedRank, shapes }: Pair): Promise<Factors> {
  const all: Factors[] = []
  for (const change of changes) all.push(await foldedFactors(change))
  const isNarrow = all.every(({ B, A }) => B.data instanceof Float32Array && A.data instanceof Float32Array)
  const make = (length: number): FloatArray =>
    isNarrow ? new Float32Array(length) : new Float64Array(length)
  const { A, B } = stackedFactors(stack, all, storedRank, make)
  return { A: matrix(shapes.A[0], shapes.A[1], A), B: matrix(shapes.B[0], shapes.B[1], B) }
}

/** The two tensors of experts one after the other, zeros where one has no change. */
async function expertFactors(
  { changes, rows, columns, storedRank }: Pair,
  { of, numbers }: NonNullable<Pair['members']>,
): Promise<Factors> {
  const all: Factors[] = []
  for (const change of changes) {
    const { B, A } = await foldedFactors(change)
    all.push({ B: padded(B, rows, storedRank), A: padded(A, storedRank, columns) })
  }
  const stacked = (side: 'A' | 'B', height: number, width: number) => {
    const isNarrow = all.every((own) => own[side].data instanceof Float32Array)
    const data = new (isNarrow ? Float32Array : Float64Array)(of * height * width)
    for (const [i, own] of all.entries()) data.set(own[side].data, numbers[i] * height * width)
    return matrix(of * height, width, data)
  }
  return { B: stacked('B', rows, storedRank), A: stacked('A', storedRank, columns) }
}

/** The matrix with zeros below and beside it. */
function padded(X: Matrix | undefined, rows: number, columns: number): Matrix {
  if (X?.rows === rows && X.columns === columns) return X
  const data =
    X?.data instanceof Float64Array ? new Float64Array(rows * columns) : new Float32Array(rows * columns)
  for (let i = 0; X !== undefined && i < X.rows; i++) {
    data.set(X.data.subarray(i * X.columns, (i + 1) * X.columns), i * columns)
  }
  return matrix(rows, columns, data)
}

/** Remembers what was asked for last: the two tensors of a pair follow each other in most files. */
export function rememberingLast<K, V>(compute: (key: K) => Promise<V>): (key: K) => Promise<V> {
  let last: { readonly key: K; readonly value: Promise<V> } | undefined
  return (key) => {
    if (last?.key !== key) last = { key, value: compute(key) }
    return last.value
  }
}
