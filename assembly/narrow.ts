/**
 * Rounding float64 once, to nearest, ties to even, straight to the type that a matrix is stored in: the inverse of widen.ts, which
 * names the types.
 *
 * (x + 1.5·2⁵²·u) − 1.5·2⁵²·u is the multiple of u nearest to x, the even one on a tie, as the sum's own last place is u (ExtractScalar
 * of Rump, Ogita & Oishi, SIAM J. Sci. Comput. 31, 2008). With u the unit in the last place that x has as a half, the result is one.
 */
import { TypeCode } from '../src/engine/wasm/contract'

const F64_EXPONENT: u64 = 0x7ff0000000000000
const F64_SIGN: u64 = 0x8000000000000000
/** The power of two below |x| times 2⁻⁷ is the unit in a bfloat16's last place, times 2⁻¹⁰ in a binary16's. */
const BF16_ROUNDER: f64 = 1.5 * reinterpret<f64>(((1023 + 52 - 7) as u64) << 52)
const F16_ROUNDER: f64 = 1.5 * reinterpret<f64>(((1023 + 52 - 10) as u64) << 52)
/** The least normal numbers, below which the unit stays the same. */
const BF16_LEAST_NORMAL: f64 = reinterpret<f64>(((1023 - 126) as u64) << 52)
const F16_LEAST_NORMAL: f64 = reinterpret<f64>(((1023 - 14) as u64) << 52)
/** The least magnitudes that round to infinity: half a unit past the largest finite number. */
const BF16_OVERFLOW: f64 = reinterpret<f64>(0x47eff00000000000)
const F16_OVERFLOW: f64 = 65520
/** The square of a quarter of the unit in the last place of the largest numbers, whose units are 2¹²⁰ and 32. */
const BF16_QUARTER_SQUARED: f64 = reinterpret<f64>(((1023 + 2 * 118) as u64) << 52)
const F16_QUARTER_SQUARED: f64 = 64
/** Past all finite binary16 numbers. */
const PAST_F16: f32 = 65536
/** Moves an exponent of bias 127 to bias 15; a multiplication, so that subnormals come out as they are stored. */
const F32_TO_F16_SCALE: f32 = reinterpret<f32>(15 << 23)
/** What a bfloat16 has no bits for. */
const BELOW_BF16: i32 = 0xffff
const F16_INFINITY: u32 = 0x7c00
/** The quiet NaNs without a payload, of float32 (its upper half is bfloat16's) and of binary16. */
const QUIET_NAN: u32 = 0x7fc00000
const F16_QUIET_NAN: u16 = 0x7e00

/** What `roundVector` takes: in memory, as V8 makes constants of code anew in each turn of a loop. */
const CONSTANTS = memory.data<f64>([Infinity, BF16_ROUNDER, F16_ROUNDER, F16_LEAST_NORMAL])

/** A vector of the bits of a float64's exponent. */
export function exponentBits(): v128 {
  return v128.load64_splat(CONSTANTS)
}

/** A vector of what an exponent is multiplied by to round to T. */
export function rounderOf<T>(): v128 {
  return v128.load64_splat(CONSTANTS, isSigned<T>() ? 16 : 8)
}

/** A vector of the least normal number of T. */
export function leastNormalOf<T>(): v128 {
  return isSigned<T>() ? v128.load64_splat(CONSTANTS, 24) : f64x2.splat(0)
}

/**
 * Two float64 rounded to the half type T, as float64, by the three vectors above. Right where they are finite and T has such
 * numbers; a bfloat16 below the least normal keeps bits that T hasn't, which `isBelowNormal` tells. x isn't −0: W + Δ is that
 * only where Δ is, and sums that begin with 0 never are.
 */
export function roundVector<T>(x: v128, exponent: v128, rounder: v128, leastNormal: v128): v128 {
  const power = v128.and(x, exponent)
  if (!isSigned<T>()) {
    const shift = f64x2.mul(power, rounder)
    return f64x2.sub(f64x2.add(x, shift), shift)
  }
  const shift = f64x2.mul(f64x2.pmax(power, leastNormal), rounder)
  const rounded = f64x2.sub(f64x2.add(x, shift), shift)
  // what rounds to zero keeps its sign
  return v128.or(rounded, v128.and(x, i64x2.splat(F64_SIGN)))
}

/** The magnitudes of four float32, as integers in the same order. */
export function magnitudes(v: v128): v128 {
  return i32x4.shl(v, 1)
}

/** Whether a finite number became infinite, by the `largest` of the magnitudes of what `roundVector` left, as float32. */
export function hasOverflowed<T>(largest: v128): bool {
  const limit = isSigned<T>() ? PAST_F16 : Infinity
  return v128.any_true(i32x4.ge_u(largest, magnitudes(f32x4.splat(limit as f32))))
}

/**
 * Whether a number of T plus Δ may be infinite, by ΣΔ²: not where no Δ is half a unit in the last place of T's largest number. The
 * limit is a quarter's square, past all rounding.
 */
export function mayOverflow<T>(deltaSquared: f64): bool {
  return deltaSquared >= (isSigned<T>() ? F16_QUARTER_SQUARED : BF16_QUARTER_SQUARED)
}

/** Whether some bfloat16 has bits that bfloat16 hasn't, by all that `roundVector` left, as float32, or-ed. */
export function isBelowNormal(all: v128): bool {
  return v128.any_true(v128.and(all, i32x4.splat(BELOW_BF16)))
}

/** Stores four float32 that are numbers of type T. */
export function storeVector<T>(address: usize, v: v128): void {
  if (isFloat<T>()) {
    v128.store(address, v)
    return
  }
  let bits = i32x4.shr_u(v, 16)
  if (isSigned<T>()) {
    const scaled = i32x4.shr_u(f32x4.mul(v, f32x4.splat(F32_TO_F16_SCALE)), 13)
    bits = v128.or(v128.and(scaled, i32x4.splat(0x7fff)), v128.and(bits, i32x4.splat(0x8000)))
  }
  v128.store64_lane(address, i16x8.narrow_i32x4_u(bits, bits), 0)
}

/** x rounded to bfloat16 or binary16, infinity past the largest number; NaN for NaN. */
function roundHalf(x: f64, type: u32): f64 {
  const isF16 = type === TypeCode.f16
  if (abs(x) >= (isF16 ? F16_OVERFLOW : BF16_OVERFLOW)) return copysign<f64>(Infinity, x)
  const power = reinterpret<f64>(reinterpret<u64>(x) & F64_EXPONENT)
  const rounder = isF16
    ? max(power, F16_LEAST_NORMAL) * F16_ROUNDER
    : max(power, BF16_LEAST_NORMAL) * BF16_ROUNDER
  return copysign<f64>(x + rounder - rounder, x)
}

/** The bits of a float32 that is a binary16 number, or infinite. */
function f16Bits(v: f32): u32 {
  const sign = (reinterpret<u32>(v) >> 16) & 0x8000
  const magnitude = abs(v) >= PAST_F16 ? F16_INFINITY : reinterpret<u32>(abs(v) * F32_TO_F16_SCALE) >> 13
  return sign | magnitude
}

/** Stores x rounded once to f32, bf16 or f16, whatever x is, and gives what is stored; any NaN as the quiet one without a payload. */
export function storeRounded(address: usize, type: u32, x: f64): f64 {
  if (type === TypeCode.f32) {
    const rounded = x as f32
    store<u32>(address, F64.isNaN(x) ? QUIET_NAN : reinterpret<u32>(rounded))
    return rounded as f64
  }
  const rounded = roundHalf(x, type)
  if (F64.isNaN(x)) store<u16>(address, type === TypeCode.f16 ? F16_QUIET_NAN : QUIET_NAN >> 16)
  else if (type === TypeCode.f16) store<u16>(address, f16Bits(rounded as f32))
  else store<u16>(address, reinterpret<u32>(rounded as f32) >> 16)
  return rounded
}
