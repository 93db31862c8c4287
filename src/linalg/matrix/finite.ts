import { type ErrorPlace, LoraSvdError } from '../../errors.ts'
import { quoted } from '../../text/quote.ts'
import type { HalfDtype } from './half.ts'
import type { FloatArray, HalfMatrix, Matrix } from './matrix.ts'
import { firstNonFinite, isAllFinite } from './norms.ts'

/** Entries that are NaN or infinite; `first` counts rows and columns from 0. */
export interface NonFiniteEntries {
  readonly count: number
  readonly first: { readonly row: number; readonly column: number; readonly value: number }
}

/** The exponent bits, all of which are set in infinities and NaN alone. */
const EXPONENT: Record<HalfDtype, number> = { bf16: 0x7f80, f16: 0x7c00 }
const FRACTION: Record<HalfDtype, number> = { bf16: 0x7f, f16: 0x3ff }

/** The NaN and infinite entries of a matrix, undefined where there are none. */
export function nonFiniteEntries(A: Matrix | HalfMatrix): NonFiniteEntries | undefined {
  const isHalf = 'dtype' in A
  const { count, first } = isHalf ? inHalf(A.data, A.dtype) : inFloats(A.data)
  if (count === 0) return undefined
  const value = isHalf ? specialValue(A.data[first], A.dtype) : A.data[first]
  return { count, first: { row: Math.floor(first / A.columns), column: first % A.columns, value } }
}

function inFloats(data: FloatArray) {
  let [count, first] = [0, -1]
  if (isAllFinite(data)) return { count, first }
  for (let i = 0; i < data.length; i++) {
    // x − x is 0 for finite x only
    if (data[i] - data[i] !== 0 && count++ === 0) first = i
  }
  return { count, first }
}

function inHalf(bits: Uint16Array, dtype: HalfDtype) {
  const mask = EXPONENT[dtype]
  let [count, first] = [0, -1]
  for (let i = 0; i < bits.length; i++) if ((bits[i] & mask) === mask && count++ === 0) first = i
  return { count, first }
}

function specialValue(bits: number, dtype: HalfDtype): number {
  if ((bits & FRACTION[dtype]) !== 0) return Number.NaN
  return bits & 0x8000 ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
}

/** Throws LoraSvdError 'not-finite' naming the first entry that is NaN or infinite. */
export function requireFinite(A: Matrix): void {
  const at = firstNonFinite(A.data)
  if (at < 0) return
  const row = Math.floor(at / A.columns)
  throw new LoraSvdError(
    'not-finite',
    `the ${A.rows}×${A.columns} matrix holds ${A.data[at]} at row ${row}, column ${at % A.columns}; remove or replace what is not finite`,
  )
}

/**
 * Throws LoraSvdError `not-finite` when the matrix holds NaN or infinity: no decomposition of it means anything. Names
 * the first one by row and column, counted from 1, and says how many there are.
 */
export function assertFinite(A: Matrix, place: ErrorPlace): void {
  const found = nonFiniteEntries(A)
  if (found === undefined) return
  const { row, column, value } = found.first
  throw new LoraSvdError(
    'not-finite',
    `${prefixOf(place)}NaN or infinite entries: ${found.count} of ${A.data.length}, the first (${value}) at row ${row + 1}, column ${column + 1}; remove or replace them`,
    place,
  )
}

/**
 * Throws LoraSvdError `not-finite` where one of the figures that follow from finite entries, such as singular values and norms,
 * isn't finite: nothing that is made of them means anything.
 */
export function assertInRange(figures: readonly (ArrayLike<number> | undefined)[], place: ErrorPlace): void {
  for (const numbers of figures) {
    for (let i = 0; i < (numbers?.length ?? 0); i++) {
      if (Number.isFinite(numbers![i])) continue
      throw new LoraSvdError(
        'not-finite',
        `${prefixOf(place)}its entries are finite, but its singular values or norms pass 1.8e308, the largest float64; divide it by a power of ten first`,
        place,
      )
    }
  }
}

/** The place as messages begin with it. */
function prefixOf({ file, tensor }: ErrorPlace): string {
  const where = [file, tensor === undefined ? undefined : `tensor ${quoted(tensor)}`]
  return where.map((part) => (part === undefined ? '' : `${part}: `)).join('')
}
