import { badInput } from '../../errors.ts'
import { encodeFloats, type FloatDtype, findOverflow, isPlainlyHeld, vanishes } from '../../formats/dtype.ts'
import { type FloatArray, transpose } from '../../linalg/matrix/matrix.ts'
import type { Factors } from '../../linalg/svd/svd.ts'
import { quoted } from '../../text/quote.ts'
import type { TargetModule } from '../model.ts'

/** The bytes of a module's two tensors, little-endian, in the shapes of `factorShapes`. */
export interface EncodedFactors {
  readonly A: Uint8Array
  readonly B: Uint8Array
  /** Entries that aren't 0 but too small for a normal number of the dtype: they lost digits, or all. */
  readonly subnormal: number
}

/** The least positive number stored with all its digits. */
const LEAST_NORMAL: Record<FloatDtype, number> = {
  f64: 2 ** -1022,
  f32: 2 ** -126,
  bf16: 2 ** -126,
  f16: 2 ** -14,
}

/**
 * Factors as PEFT stores them: B [rows, rᵢ] and A [rᵢ, columns] of the delta in the stored tensor's 2-D view (one pair for
 * each expert), padded with zeros to rank r, transposed where PEFT's in and out are the other way round, and rounded once.
 * Nothing is clamped: throws `bad-input` where an entry is too large for the dtype. Throws RangeError on other shapes.
 */
export function encodeFactors(
  module: TargetModule,
  factors: readonly Factors[],
  r: number,
  dtype: FloatDtype,
): EncodedFactors {
  const { data } = factors[0]?.B ?? { data: new Float64Array(0) }
  const { A, B } = stackedFactors(module, factors, r, (n) => arrayLike(data, n))
  const subnormal = lossOf(module, 'A', A, dtype) + lossOf(module, 'B', B, dtype)
  return { A: encodeFloats(A, dtype), B: encodeFloats(B, dtype), subnormal }
}

/** Numbers as floats, or as the bits of 16-bit ones. */
type Numbers = FloatArray | Uint16Array

/** A matrix of any of them. */
interface Stacked<T extends Numbers> {
  readonly rows: number
  readonly columns: number
  readonly data: T
}

/** The numbers of a module's two tensors in the order that they are stored in. `make` gives room for so many. */
export function stackedFactors<T extends Numbers>(
  module: TargetModule,
  factors: readonly { readonly B: Stacked<T>; readonly A: Stacked<T> }[],
  r: number,
  make: (length: number) => T,
): { readonly A: T; readonly B: T } {
  if (factors.length !== module.experts) {
    throw new RangeError(
      `${module.tensor}: ${factors.length} pairs of factors for ${module.experts} matrices`,
    )
  }
  for (const { B, A } of factors) {
    if (B.rows !== module.rows || A.columns !== module.columns || B.columns !== A.rows || A.rows > r) {
      throw new RangeError(
        `${module.tensor}: factors [${B.rows}, ${B.columns}] · [${A.rows}, ${A.columns}] for [${module.rows}, ${module.columns}] at rank ${r}`,
      )
    }
  }
  const sides = factors.map(({ B, A }) =>
    module.isTransposed ? { B: transpose(A), A: transpose(B) } : { B, A },
  )
  return {
    A: stackRows(
      sides.map(({ A }) => A),
      r,
      make,
    ),
    B: interleaveColumns(
      sides.map(({ B }) => B),
      r,
      make,
    ),
  }
}

/** The tensors of a module that only completes a group. */
export function zeroFactors(module: TargetModule): Factors[] {
  const { rows, columns, experts } = module
  const none = new Float64Array(0)
  return Array.from({ length: experts }, () => ({
    B: { rows, columns: 0, data: none },
    A: { rows: 0, columns, data: none },
  }))
}

/** lora_A [experts·r, in]: each expert's rows together. */
function stackRows<T extends Numbers>(
  parts: readonly Stacked<T>[],
  r: number,
  make: (length: number) => T,
): T {
  const { columns, data } = parts[0]
  if (parts.length === 1 && parts[0].rows === r) return data
  const out = make(parts.length * r * columns)
  parts.forEach((A, e) => {
    out.set(A.data, e * r * columns)
  })
  return out
}

/** lora_B [out, r·experts]: the expert is the fastest index of a row. */
function interleaveColumns<T extends Numbers>(
  parts: readonly Stacked<T>[],
  r: number,
  make: (length: number) => T,
): T {
  const { rows, data } = parts[0]
  if (parts.length === 1 && parts[0].columns === r) return data
  const width = r * parts.length
  const out = make(rows * width)
  parts.forEach((B, e) => {
    for (let i = 0; i < rows; i++) {
      for (let k = 0; k < B.columns; k++) {
        out[i * width + k * parts.length + e] = B.data[i * B.columns + k]
      }
    }
  })
  return out
}

const arrayLike = (data: FloatArray, length: number): FloatArray =>
  data instanceof Float32Array ? new Float32Array(length) : new Float64Array(length)

/** How many entries lose digits; throws as `assertHeld` does. Most factors are far from all that, which one look tells. */
function lossOf({ tensor }: TargetModule, side: 'A' | 'B', values: FloatArray, dtype: FloatDtype): number {
  const { least, most } = magnitudes(values)
  // 2^15 is far below what any of the dtypes takes for infinity
  if (least >= LEAST_NORMAL[dtype] && most <= 2 ** 15) return 0
  assertHeld(tensor, side, values, dtype, 'leave the tensor out with --exclude')
  return countBelow(values, LEAST_NORMAL[dtype])
}

/** The least magnitude that isn't 0, and the largest; NaN counts as neither. */
function magnitudes(values: FloatArray): { least: number; most: number } {
  let [least, most] = [Number.POSITIVE_INFINITY, 0]
  for (let i = 0; i < values.length; i++) {
    const magnitude = Math.abs(values[i])
    if (magnitude > most) most = magnitude
    if (magnitude < least && magnitude > 0) least = magnitude
  }
  return { least, most }
}

/**
 * Throws `bad-input` where the dtype can't hold an entry, or where nothing would be left of the factor; `otherwise` is what to do where
 * no dtype can.
 */
export function assertHeld(
  tensor: string,
  side: 'A' | 'B',
  values: FloatArray,
  dtype: FloatDtype,
  otherwise: string,
): void {
  if (isPlainlyHeld(values, dtype)) return
  const isTooSmall = vanishes(values, dtype)
  if (!isTooSmall && findOverflow(values, dtype) < 0) return
  const largest = (values as Float64Array)
    .reduce((most, x) => (Math.abs(x) > Math.abs(most) ? x : most), 0)
    .toPrecision(3)
  const problem = isTooSmall
    ? `no entry beyond ${largest}, and all are zero in ${dtype}`
    : `an entry of ${largest}, too large for ${dtype}`
  const advice = dtype === 'f16' ? 'use --dtype bf16 or f32' : otherwise
  throw badInput(`tensor ${quoted(tensor)}: its factor ${side} has ${problem}; ${advice}`, { tensor })
}

function countBelow(values: FloatArray, limit: number): number {
  let count = 0
  for (let i = 0; i < values.length; i++) {
    const magnitude = Math.abs(values[i])
    if (magnitude < limit && magnitude > 0) count++
  }
  return count
}
