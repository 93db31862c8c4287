import { bytesPerEntry, elementCount, numbersOf, withBytes } from '../checkpoint/read.ts'
import type { StoredTensor } from '../checkpoint/types.ts'
import { decodeFloats, encodeFloats, type FloatDtype } from '../formats/dtype.ts'
import type { FloatArray } from '../linalg/matrix/matrix.ts'
import { rowRange } from '../linalg/matrix/matrix.ts'
import type { Change, Replacement, Rescale } from './change.ts'
import type { StackedFactors } from './factors.ts'
import { accountOf, product, type Rounded } from './plain.ts'

/** What becomes of rows of a tensor, in float64 by plain loops: for all that is no plain sum of products. */

/** Rows [first, first + count) of the matrix of this index. */
export interface RowRange {
  readonly matrix: number
  readonly first: number
  readonly count: number
}

/** What was there, and what is added to it. */
export interface PanelSum {
  readonly before: FloatArray
  readonly delta: Float64Array
  /** What it then is, where before + delta is that but for rounding alone. */
  readonly after?: FloatArray
}

/** Rows of a tensor, and of what is added or put in its place; `columnFactors` are those of a rescaling of columns. */
export async function panelSum(
  change: Change,
  range: RowRange,
  factors: StackedFactors | undefined,
  columnFactors?: Float64Array,
): Promise<PanelSum> {
  const { columns, rows, replacement, rescale } = change
  const start = (range.matrix * rows + range.first) * columns
  const end = start + range.count * columns
  const before = await entries(change.base, start, end)
  if (replacement !== undefined) {
    const after = await replaced(replacement, before, range, columns)
    return { before, delta: Float64Array.from(after, (x, i) => x - before[i]), after }
  }
  const delta =
    factors === undefined
      ? new Float64Array(end - start)
      : product(rowRange(factors.B, range.first, range.first + range.count), factors.A)
  for (const { tensor, factor, first } of change.dense) {
    const added = await entries(tensor, start - first, end - first)
    for (let i = 0; i < delta.length; i++) delta[i] += factor * added[i]
  }
  if (rescale === undefined) return { before, delta }
  const byRow = rescale.axis === 'rows'
  const ofRows = byRow ? await rowFactors(rescale, range, before, delta, columns) : undefined
  const after = new Float64Array(delta.length)
  for (let i = 0; i < delta.length; i++) {
    const row = Math.floor(i / columns)
    const g = ofRows === undefined ? columnFactors![Math.floor((i % columns) / rescale.group)] : ofRows[row]
    after[i] = g * (before[i] + delta[i])
    // after − before, without their cancellation
    delta[i] = g * delta[i] + (g - 1) * before[i]
  }
  return { before, delta, after }
}

/** The rows of a range with a tensor in their place, or in the place of some of them. */
async function replaced(
  { tensor, rows }: Replacement,
  before: FloatArray,
  { first, count }: RowRange,
  columns: number,
): Promise<FloatArray> {
  if (rows === undefined) return entries(tensor, first * columns, (first + count) * columns)
  const after = before.slice()
  for (const [i, row] of rows.entries()) {
    if (row < first || row >= first + count) continue
    after.set(await entries(tensor, i * columns, (i + 1) * columns), (row - first) * columns)
  }
  return after
}

async function rowFactors(
  rescale: Rescale,
  { first, count }: RowRange,
  before: FloatArray,
  delta: Float64Array,
  columns: number,
): Promise<Float64Array> {
  const squares = new Float64Array(count)
  for (let i = 0; i < delta.length; i++) squares[Math.floor(i / columns)] += (before[i] + delta[i]) ** 2
  const all = new Float64Array(count).fill(1)
  for (const { tensor, row } of rescale.magnitudes) {
    const [from, to] = [Math.max(first, row), Math.min(first + count, row + elementCount(tensor))]
    if (from >= to) continue
    const magnitude = await entries(tensor, from - row, to - row)
    all.set(factorsOf(rescale, magnitude, squares.subarray(from - first, to - first)), from - first)
  }
  return all
}

/** 1 + share·(m/(‖v‖ + epsilon) − 1), by squared norms. */
export const factorsOf = (
  { share, epsilon }: Rescale,
  magnitude: ArrayLike<number>,
  squares: Float64Array,
): Float64Array => squares.map((square, i) => 1 + share * (magnitude[i] / (Math.sqrt(square) + epsilon) - 1))

/** Rows whose squares are summed together, so that the sums don't depend on how the work is dealt out. */
const NORM_ROWS = 512

/** All rows of a change that rescales columns, as their squares are summed. */
export const normRanges = ({ rows }: Change): RowRange[] =>
  Array.from({ length: Math.ceil(rows / NORM_ROWS) }, (_, i) => {
    const first = i * NORM_ROWS
    return { matrix: 0, first, count: Math.min(NORM_ROWS, rows - first) }
  })

export const isOfColumns = (change: Change): change is Change & { readonly rescale: Rescale } =>
  change.rescale?.axis === 'columns'

/** The sums of squares of the columns of W + Δ over these rows, those of a group together. */
export async function columnSquares(
  change: Change & { readonly rescale: Rescale },
  range: RowRange,
  factors: StackedFactors | undefined,
): Promise<Float64Array> {
  const { rescale, columns } = change
  const { rescale: _, ...sum } = change
  const { before, delta } = await panelSum(sum, range, factors)
  const squares = new Float64Array(columns / rescale.group)
  for (let i = 0; i < delta.length; i++) {
    squares[Math.floor((i % columns) / rescale.group)] += (before[i] + delta[i]) ** 2
  }
  return squares
}

/** All entries of the magnitude of a rescaling of columns. */
export const magnitudeOf = ({ magnitudes: [{ tensor }] }: Rescale): Promise<FloatArray> =>
  entries(tensor, 0, elementCount(tensor))

/** What is stored of it, with the account of that. */
export function stored({ before, delta, after }: PanelSum, dtype: FloatDtype): Rounded {
  const sum = after ?? delta.map((x, i) => before[i] + x)
  // of the same type it would be stored in the memory of `sum` itself
  const bytes = encodeFloats(sum, dtype).slice()
  return { bytes, account: accountOf(before, delta, decodeFloats(bytes, dtype)) }
}

/** Entries of a tensor in row-major order: zeros before its first and past its end, and of none. */
async function entries(tensor: StoredTensor | undefined, start: number, end: number): Promise<FloatArray> {
  const count = tensor === undefined ? 0 : elementCount(tensor)
  const [from, to] = [Math.max(0, start), Math.min(end, count)]
  if (tensor === undefined || from >= to) return new Float64Array(end - start)
  const size = bytesPerEntry(tensor)
  const bytes = await withBytes(tensor.source, tensor.name, (read) => read(from * size, to * size))
  const numbers = numbersOf(bytes, tensor.dtype)
  if (numbers === undefined) throw new RangeError(`${tensor.name}: ${tensor.dtype} is no float`)
  if (numbers.length === end - start) return numbers
  const padded = new Float64Array(end - start)
  padded.set(numbers, from - start)
  return padded
}
