/**
 * Reading matrix entries in the float type the arithmetic runs in.
 *
 * Storage types are named by an AssemblyScript type each: f32, f64, and the two half formats by the integer
 * type that holds their bits. All widenings are exact; f64 read as f32 is rounded to nearest.
 */
import { TypeCode } from '../src/engine/wasm/contract'

/** The bits of a bfloat16: the upper half of a float32. */
export type Bf16 = u16
/** The bits of an IEEE 754 binary16. */
export type F16 = i16

const F16_MAGNITUDE: i32 = 0x7fff
const F16_SIGN: i32 = 0x8000
/** Magnitudes from here on are infinities and NaNs. */
const F16_INFINITY: i32 = 0x7c00
/** Moves an exponent of bias 15 to bias 127; a multiplication, so that subnormals come out normalised. */
const F16_TO_F32_SCALE: f32 = reinterpret<f32>((127 + 127 - 15) << 23)
const F32_INFINITY_BITS: i32 = 0x7f800000

/** Four binary16 values, one in the low half of each 32-bit lane, as float32. */
function f16ToF32x4(bits: v128): v128 {
  const magnitude = v128.and(bits, i32x4.splat(F16_MAGNITUDE))
  const finite = f32x4.mul(i32x4.shl(magnitude, 13), f32x4.splat(F16_TO_F32_SCALE))
  const special = i32x4.ge_s(magnitude, i32x4.splat(F16_INFINITY))
  const sign = i32x4.shl(v128.and(bits, i32x4.splat(F16_SIGN)), 16)
  return v128.or(v128.or(finite, sign), v128.and(special, i32x4.splat(F32_INFINITY_BITS)))
}

function f16ToF32(bits: i32): f32 {
  const magnitude = bits & F16_MAGNITUDE
  const finite = reinterpret<i32>(reinterpret<f32>(magnitude << 13) * F16_TO_F32_SCALE)
  const special = magnitude >= F16_INFINITY ? F32_INFINITY_BITS : 0
  return reinterpret<f32>(finite | special | ((bits & F16_SIGN) << 16))
}

/** The entry at `address`, stored as S, as a D (f32 or f64). */
export function loadScalar<S, D>(address: usize): D {
  if (isFloat<S>()) return <D>load<S>(address)
  if (isSigned<S>()) return <D>f16ToF32(<i32>load<u16>(address))
  return <D>reinterpret<f32>((<u32>load<u16>(address)) << 16)
}

/** The entry at `address`, stored as float32, bfloat16 or binary16. */
export function loadSingle(address: usize, type: u32): f32 {
  if (type === TypeCode.bf16) return loadScalar<Bf16, f32>(address)
  if (type === TypeCode.f16) return loadScalar<F16, f32>(address)
  return load<f32>(address)
}

/** The entry at `address`, stored as S (not binary16), in every lane of a vector of D. */
export function loadSplat<S, D>(address: usize): v128 {
  if (sizeof<S>() === 8) return v128.load64_splat(address)
  const single = isFloat<S>() ? v128.load32_splat(address) : i32x4.shl(v128.load16_splat(address), 16)
  return sizeof<D>() === 4 ? single : f64x2.promote_low_f32x4(single)
}

/** The vector of 4 (D = f32) or 2 (D = f64) entries stored as S from `address` on. */
export function loadVector<S, D>(address: usize): v128 {
  if (sizeof<D>() === 4) {
    if (sizeof<S>() === 4) return v128.load(address)
    if (sizeof<S>() === 8) {
      const low = f32x4.demote_f64x2_zero(v128.load(address))
      const high = f32x4.demote_f64x2_zero(v128.load(address, 16))
      return v128.shuffle<f32>(low, high, 0, 1, 4, 5)
    }
    if (isSigned<S>()) return f16ToF32x4(v128.load16x4_u(address))
    return i32x4.shl(v128.load16x4_u(address), 16)
  }
  if (sizeof<S>() === 8) return v128.load(address)
  if (sizeof<S>() === 4) return f64x2.promote_low_f32x4(v128.load64_zero(address))
  const bits = i32x4.extend_low_i16x8_u(v128.load32_zero(address))
  if (isSigned<S>()) return f64x2.promote_low_f32x4(f16ToF32x4(bits))
  return f64x2.promote_low_f32x4(i32x4.shl(bits, 16))
}
