import type { HalfDtype } from './half.ts'
import type { FloatArray, HalfMatrix, Matrix } from './matrix.ts'

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
