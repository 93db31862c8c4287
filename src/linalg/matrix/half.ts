import { type HalfMatrix, type Matrix, matrix, toFloat64 } from './matrix.ts'

/** The two 16-bit float formats: IEEE binary16 (`f16`) and bfloat16 (`bf16`, the upper half of a binary32). */
export type HalfDtype = 'f16' | 'bf16'

/** The binary32 bits of the binary16 number with bits `h`; exact, a NaN keeps its payload. */
function f16ToFloat32Bits(h: number): number {
  const sign = (h & 0x8000) << 16
  const exponent = (h >>> 10) & 31
  const fraction = h & 0x3ff
  if (exponent === 31) return (sign | 0x7f800000 | (fraction << 13)) >>> 0
  if (exponent > 0) return (sign | ((exponent + 112) << 23) | (fraction << 13)) >>> 0
  if (fraction === 0) return sign >>> 0
  // a subnormal: move its leading one to the implicit place
  const shift = Math.clz32(fraction) - 21
  return (sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13)) >>> 0
}

/**
 * The binary32 bits of `x` rounded to odd, by its nearest binary32 number and the bits of that: toward zero, with the last bit set where that was inexact.
 * Rounding such a number to at most 22 bits gives what rounding `x` itself would: no double rounding
 * (Boldo & Melquiond, IEEE Trans. Computers 57, 2008).
 */
function oddFloat32Bits(x: number, nearest: number, bits: number): number {
  if (nearest === x || Number.isNaN(x)) return bits
  const towardZero = Math.abs(nearest) > Math.abs(x) ? bits - 1 : bits
  return (towardZero | 1) >>> 0
}

/** Binary32 bits rounded to nearest, ties to even, to bf16 bits; past the largest finite number to infinity. */
function float32BitsToBf16(u: number): number {
  if ((u & 0x7fffffff) > 0x7f800000) return (u >>> 16) | 0x40
  return (u + 0x7fff + ((u >>> 16) & 1)) >>> 16
}

/** Binary32 bits rounded to nearest, ties to even, to f16 bits; past the largest finite number to infinity. */
function float32BitsToF16(u: number): number {
  const sign = (u >>> 16) & 0x8000
  const magnitude = u & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((u >>> 13) & 0x3ff)
  if (magnitude >= 0x47800000) return sign | 0x7c00
  if (magnitude >= 0x38800000) {
    const rebiased = magnitude - (112 << 23)
    return sign | ((rebiased + 0xfff + ((rebiased >>> 13) & 1)) >>> 13)
  }
  // below 2^-25 every number is nearer to 0 than to the least subnormal 2^-24
  if (magnitude < 0x33000000) return sign
  const significand = (magnitude & 0x7fffff) | 0x800000
  const shift = 126 - (magnitude >>> 23)
  const half = 2 ** (shift - 1)
  return sign | ((significand + half - 1 + ((significand >>> shift) & 1)) >>> shift)
}

let f16Table: Uint32Array | undefined

/** Each number widened to float32, exactly. */
export function widenHalf(bits: Uint16Array, dtype: HalfDtype): Float32Array {
  const wide = new Uint32Array(bits.length)
  widenHalfInto(wide, bits, 0, dtype)
  return new Float32Array(wide.buffer)
}

/** Fills `out` with the binary32 bits of the numbers from `start` on. */
export function widenHalfInto(out: Uint32Array, bits: Uint16Array, start: number, dtype: HalfDtype): void {
  if (dtype === 'bf16') {
    for (let i = 0; i < out.length; i++) out[i] = bits[start + i] << 16
  } else {
    f16Table ??= Uint32Array.from({ length: 65536 }, (_, h) => f16ToFloat32Bits(h))
    for (let i = 0; i < out.length; i++) out[i] = f16Table[bits[start + i]]
  }
}

/** Each number rounded once, to nearest, ties to even, straight from the type it is in. */
export function narrowHalf(values: Float32Array | Float64Array, dtype: HalfDtype): Uint16Array {
  const out = new Uint16Array(values.length)
  // all at once, which is many times as fast as one by one
  const nearest = values instanceof Float32Array ? values : new Float32Array(values)
  const bits = new Int32Array(nearest.buffer, nearest.byteOffset, nearest.length)
  // one loop a pair of types, so that each is compiled for its own
  if (values instanceof Float32Array) {
    if (dtype === 'f16') for (let i = 0; i < out.length; i++) out[i] = float32BitsToF16(bits[i])
    else for (let i = 0; i < out.length; i++) out[i] = float32BitsToBf16(bits[i])
  } else if (dtype === 'f16') {
    for (let i = 0; i < out.length; i++)
      out[i] = float32BitsToF16(oddFloat32Bits(values[i], nearest[i], bits[i]))
  } else {
    for (let i = 0; i < out.length; i++) {
      const u = bits[i]
      // only what binary32 puts in the middle of two bf16 numbers may come from either side of it
      const isTie = (u & 0xffff) === 0x8000
      if (isTie || (u & 0x7fffffff) > 0x7f800000) {
        out[i] = float32BitsToBf16(isTie ? oddFloat32Bits(values[i], nearest[i], u) : u)
      } else out[i] = (u + 0x7fff + ((u >>> 16) & 1)) >>> 16
    }
  }
  return out
}

/** A with its entries as float32, exactly; A itself where it isn't stored in half precision. */
export const widened = (A: Matrix | HalfMatrix): Matrix =>
  'dtype' in A ? matrix(A.rows, A.columns, widenHalf(A.data, A.dtype)) : A

/** Both widened, exactly, for a product in float64 where either is stored in half precision. */
export function widenedOperands(A: Matrix | HalfMatrix, B: Matrix | HalfMatrix): [A: Matrix, B: Matrix] {
  if ('dtype' in A) return [toFloat64(widened(A)), widened(B)]
  return [A, 'dtype' in B ? toFloat64(widened(B)) : B]
}
