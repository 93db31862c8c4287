import { partOf } from '../checkpoint/matrices.ts'
import type { StoredTensor } from '../checkpoint/types.ts'
import type { FloatArray } from '../linalg/matrix/matrix.ts'
import type { Fit, Rows } from './families/types.ts'
import type { AdapterModule, RowRun } from './model.ts'

/**
 * Which of a module's rows are which of a weight's; undefined where all are, in their order. Also undefined where there is nothing
 * to say of a fit that the shapes contradict: `fits` tells that.
 */
export function runsOf(
  { rows, moduleRows, swapHalves }: Fit,
  [ofModule, ofWeight]: readonly [ofModule: number, ofWeight: number],
): readonly RowRun[] | undefined {
  const [module] = moduleRows ?? [0]
  const [weight, end] = rows ?? [0, ofWeight]
  const count = end - weight
  if (swapHalves) {
    const half = count / 2
    return [
      { module: module + half, weight, count: half },
      { module, weight: weight + half, count: half },
    ]
  }
  const isWhole = module === 0 && weight === 0 && count === ofModule && count === ofWeight
  return isWhole ? undefined : [{ module, weight, count }]
}

/** How many rows a module has to have for a fit to a weight of so many: those of the weight, and of a module in parts the last part's end. */
export const rowsWanted = (fits: readonly Fit[], ofWeight: number): number => {
  const ends = fits.flatMap(({ moduleRows }) => (moduleRows === undefined ? [] : [moduleRows[1]]))
  if (ends.length > 0) return Math.max(...ends)
  const [from, to] = fits[0]?.rows ?? [0, ofWeight]
  return to - from
}

/** The rows of a weight that runs reach; all of them without any. */
export function rowsReached(runs: readonly RowRun[] | undefined, ofWeight: number): readonly Rows[] {
  return runs === undefined ? [[0, ofWeight]] : runs.map(({ weight, count }) => [weight, weight + count])
}

/** Whether two sets of rows have some in common. */
export const overlap = (some: readonly Rows[], others: readonly Rows[]): boolean =>
  some.some(([from, to]) => others.some(([start, end]) => from < end && start < to))

/** Runs of two modules of one weight, as runs from the rows of the first to those of the second. */
export function composed(
  first: readonly RowRun[] | undefined,
  second: readonly RowRun[] | undefined,
  ofWeight: number,
): readonly RowRun[] {
  const all: readonly RowRun[] = [{ module: 0, weight: 0, count: ofWeight }]
  return (first ?? all).flatMap((a) =>
    (second ?? all).flatMap((b): RowRun[] => {
      const from = Math.max(a.weight, b.weight)
      const count = Math.min(a.weight + a.count, b.weight + b.count) - from
      if (count <= 0) return []
      return [{ module: a.module + from - a.weight, weight: b.module + from - b.weight, count }]
    }),
  )
}

/** The same runs, those that go on where another ends as one. */
export function joined(runs: readonly RowRun[]): RowRun[] {
  const sorted = [...runs].sort((a, b) => a.weight - b.weight)
  const found: RowRun[] = []
  for (const run of sorted) {
    const last = found.at(-1)
    const goesOn =
      last !== undefined && last.weight + last.count === run.weight && last.module + last.count === run.module
    if (goesOn) found[found.length - 1] = { ...last, count: last.count + run.count }
    else found.push(run)
  }
  return found
}

interface Rowed<T extends FloatArray | Uint16Array> {
  readonly rows: number
  readonly columns: number
  readonly data: T
}

/** The rows of a module's B [out, rank] as a weight has them, zeros where it has others: [rows, rank]. May be the bits of 16-bit floats. */
export function fitted<T extends FloatArray | Uint16Array>(
  B: Rowed<T>,
  runs: readonly RowRun[] | undefined,
  rows: number,
): Rowed<T> {
  if (runs === undefined) return B
  const { columns } = B
  const data = new (B.data.constructor as new (n: number) => T)(rows * columns)
  for (const { module, weight, count } of runs) {
    data.set(B.data.subarray(module * columns, (module + count) * columns), weight * columns)
  }
  return { rows, columns, data }
}

/** Rows [from, from + count) of a tensor, under its name. */
export function rowsOf(tensor: StoredTensor, from: number, count: number): StoredTensor {
  const bytes = (tensor.bytes / tensor.shape[0]) * count
  const begin = (tensor.bytes / tensor.shape[0]) * from
  return {
    ...tensor,
    bytes,
    shape: [count, ...tensor.shape.slice(1)],
    source: partOf(tensor.source, begin, begin + bytes),
  }
}

/** A piece of a tensor, and the row of the weight at which it begins. */
export interface PlacedRows {
  readonly tensor: StoredTensor
  readonly row: number
}

/** A tensor of a module's rows in pieces as they lie in the weight. */
export const placedRows = (tensor: StoredTensor, runs: readonly RowRun[] | undefined): PlacedRows[] =>
  runs === undefined
    ? [{ tensor, row: 0 }]
    : runs.map(({ module, weight, count }) => ({ tensor: rowsOf(tensor, module, count), row: weight }))

/** A module as a change of its own rows of the weight alone, and where these begin there. */
export function inOwnRows(module: AdapterModule): { readonly module: AdapterModule; readonly from: number } {
  const { fit, shape, productShape, ...rest } = module
  if (fit === undefined) return { module, from: 0 }
  const from = Math.min(...fit.map(({ weight }) => weight))
  const rows = Math.max(...fit.map(({ weight, count }) => weight + count)) - from
  const own = joined(fit.map((run) => ({ ...run, weight: run.weight - from })))
  const [{ module: first, count }] = own
  const isWhole = own.length === 1 && first === 0 && count === productShape[0]
  const placed = { ...rest, shape: [rows, ...shape.slice(1)], productShape, rows }
  return { module: isWhole ? placed : { ...placed, fit: own }, from }
}
