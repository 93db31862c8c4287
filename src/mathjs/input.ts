import { type FloatType, fromRows, type Matrix, toFloat32, toFloat64 } from '../linalg/matrix/matrix.ts'
import { firstNonFinite } from '../linalg/matrix/norms.ts'

/** The option `rank` of the function `name`. Throws TypeError unless a matrix with `most` singular values can have it. */
export function checkRank(name: string, rank: number, most: number): number {
  if (Number.isInteger(rank) && rank >= 1 && rank <= most) return rank
  if (most === 0) throw new TypeError(`${name} option rank: a matrix without entries has no singular values`)
  throw new TypeError(`${name} option rank is an integer from 1 to ${most}, not ${rank}`)
}

/** Throws TypeError, as mathjs functions do, naming the first entry that is NaN or infinite. */
export function requireFiniteEntries(name: string, A: Matrix): void {
  const bad = firstNonFinite(A.data)
  if (bad < 0) return
  throw new TypeError(`${name} needs finite numbers, but the entry at ${placeOf(A, bad)} is ${A.data[bad]}`)
}

/**
 * Throws RangeError where a result is too large for its float type; `what` names it, and the matrix scaled `direction` would
 * have one that isn't.
 */
export function requireFiniteResult(
  name: string,
  what: string,
  data: ArrayLike<number>,
  direction: 'up' | 'down' = 'down',
): void {
  if (Array.prototype.every.call(data, Number.isFinite)) return
  const most =
    data instanceof Float32Array
      ? "3.4e38, the most that 'f32' holds"
      : '1.8e308, the most that a number holds'
  throw new RangeError(`${name}: ${what} would exceed ${most}; scale the matrix ${direction} first`)
}

export type Nested = number[][]

/** A mathjs matrix of any kind. */
export interface Rows {
  toArray(): Nested
}

/**
 * The rows of a mathjs array or matrix as a flat matrix, for the function `name`. Throws TypeError where there aren't two
 * dimensions, and for the first entry that is no number; RangeError for rows of different lengths, and for a finite number
 * that float32 can't hold.
 */
export function flatten(name: string, rows: Nested, type: FloatType = 'f64'): Matrix {
  for (const [i, row] of rows.entries()) {
    if (!Array.isArray(row)) throw new TypeError(`${name} needs a matrix with two dimensions, not a vector`)
    for (const [j, entry] of row.entries()) {
      if (typeof entry === 'number') continue
      if (Array.isArray(entry)) throw new TypeError(`${name} needs a matrix with two dimensions, not more`)
      throw new TypeError(
        `${name} needs numbers, but the entry at ${place(i, j)} is a ${typeName(entry)}: ${cureFor(entry)}`,
      )
    }
  }
  const flat = fromRows(rows)
  return type === 'f32' ? narrowed(name, flat) : toFloat64(flat)
}

function narrowed(name: string, A: Matrix): Matrix {
  const B = toFloat32(A)
  const lost = B.data.findIndex((x, at) => !Number.isFinite(x) && Number.isFinite(A.data[at]))
  if (lost < 0) return B
  const where = placeOf(A, lost)
  throw new RangeError(`${name}: the entry at ${where} is ${A.data[lost]}, which 'f32' can't hold: use 'f64'`)
}

/** An entry as JavaScript and as expressions count it. */
const place = (i: number, j: number) => `[${i}, ${j}] (row ${i + 1}, column ${j + 1})`

/** The place of the entry at this index of the data. */
export const placeOf = ({ columns }: Matrix, at: number) => place(Math.floor(at / columns), at % columns)

/** What mathjs calls the type of an entry: its classes have it on their prototypes. */
function typeName(entry: unknown): string {
  if (entry === null || typeof entry !== 'object') return entry === null ? 'null' : typeof entry
  return String((entry as { type?: unknown }).type ?? entry.constructor?.name ?? 'object')
}

const CURES: Record<string, string> = {
  Complex: 'give its real form [re, -im; im, re], which has each singular value twice',
  Unit: 'take the number in a unit of it first',
  null: 'put a number in its place',
  undefined: 'put a number in its place',
}

const cureFor = (entry: unknown) => CURES[typeName(entry)] ?? 'convert the matrix first, with number(A)'
