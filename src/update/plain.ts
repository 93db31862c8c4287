import { bytesPerElement, decodeFloats, encodeFloats, type FloatDtype } from '../formats/dtype.ts'
import type { FloatArray, Matrix } from '../linalg/matrix/matrix.ts'
import type { RoundingAccount } from './account.ts'

/** W + B·A by plain loops: for float64, which no kernel takes, and as the truth that the kernel is tested against. */

/** Rows of a matrix as they are stored: row-major, little-endian. */
export interface StoredRows {
  readonly bytes: Uint8Array
  readonly dtype: FloatDtype
  readonly rows: number
  readonly columns: number
}

/** Rows of W + B·A as they are stored, and what that rounding did. */
export interface Rounded {
  readonly bytes: Uint8Array
  readonly account: RoundingAccount
}

type Sums = { -readonly [key in keyof RoundingAccount]: RoundingAccount[key] }

/** The quiet NaN without a payload, little-endian. */
const QUIET_NAN: Record<FloatDtype, readonly number[]> = {
  f64: [0, 0, 0, 0, 0, 0, 0xf8, 0x7f],
  f32: [0, 0, 0xc0, 0x7f],
  f16: [0, 0x7e],
  bf16: [0xc0, 0x7f],
}

/**
 * W + B·A stored as `out`, for B [rows, rank] and A [rank, columns]. Entry (i, j) is W + (((0 + B_i0·A_0j) + B_i1·A_1j) + …) in float64,
 * rounded once to nearest, ties to even. A NaN of W keeps its bits where the type stays; any other is stored as the quiet one.
 * Throws RangeError where shapes don't fit.
 */
export function addRoundedPlainly(W: StoredRows, B: Matrix, A: Matrix, out: FloatDtype): Rounded {
  checkShapes(W, B, A)
  const before = decodeFloats(W.bytes, W.dtype)
  const delta = product(B, A)
  const sum = delta.map((x, i) => before[i] + x)
  // f64 would be stored in the memory of `sum` itself
  const bytes = encodeFloats(sum, out).slice()
  const after = decodeFloats(bytes, out).slice()
  storeNaNs(bytes, after, W, out)
  return { bytes, account: accountOf(before, delta, after) }
}

/** Throws RangeError unless W has the shape of B·A and as many bytes as that takes. */
export function checkShapes({ bytes, dtype, rows, columns }: StoredRows, B: Matrix, A: Matrix): void {
  if (B.rows !== rows || A.columns !== columns || B.columns !== A.rows) {
    const factors = `${B.rows}×${B.columns} times ${A.rows}×${A.columns}`
    throw new RangeError(`${factors} cannot be added to ${rows}×${columns}`)
  }
  const expected = rows * columns * bytesPerElement(dtype)
  if (bytes.length !== expected) {
    throw new RangeError(`${rows}×${columns} ${dtype} are ${expected} bytes, got ${bytes.length}`)
  }
}

/** B·A in float64: each entry a sum in the order of the ranks. */
export function product(B: Matrix, A: Matrix): Float64Array {
  const { columns } = A
  const out = new Float64Array(B.rows * columns)
  for (let i = 0; i < B.rows; i++) {
    const row = out.subarray(i * columns, (i + 1) * columns)
    for (let k = 0; k < A.rows; k++) {
      const b = B.data[i * A.rows + k]
      for (let j = 0; j < columns; j++) row[j] += b * A.data[k * columns + j]
    }
  }
  return out
}

/** Writes the NaNs, whose bits conversions leave open. */
function storeNaNs(bytes: Uint8Array, after: FloatArray, W: StoredRows, out: FloatDtype): void {
  const size = bytesPerElement(out)
  const before = decodeFloats(W.bytes, W.dtype)
  for (let i = 0; i < after.length; i++) {
    if (!Number.isNaN(after[i])) continue
    const at = i * size
    const isKept = W.dtype === out && Number.isNaN(before[i])
    bytes.set(isKept ? W.bytes.subarray(at, at + size) : QUIET_NAN[out], at)
  }
}

/** What became of W + Δ. */
export function accountOf(before: FloatArray, delta: Float64Array, after: FloatArray): RoundingAccount {
  const sums: Sums = {
    deltaSquared: 0,
    kept: 0,
    residualSquared: 0,
    entries: delta.length,
    changed: 0,
    overflowed: 0,
    nonFinite: 0,
  }
  for (let i = 0; i < delta.length; i++) {
    const isNaNStill = Number.isNaN(before[i]) && Number.isNaN(after[i])
    if (after[i] !== before[i] && !isNaNStill) sums.changed++
    if (!Number.isFinite(before[i] + delta[i])) sums.nonFinite++
    else if (!Number.isFinite(after[i])) sums.overflowed++
    else {
      const moved = after[i] - before[i]
      sums.deltaSquared += delta[i] ** 2
      sums.kept += moved * delta[i]
      sums.residualSquared += (moved - delta[i]) ** 2
    }
  }
  return sums
}
