/**
 * W + Δ for a piece of a row, rounded once to the type that it is stored in, with the sums that say what rounding left of Δ. There are
 * vectors for what is usual, and a loop over entries for pieces with exceptions in them, to the same bits.
 */
import { TypeCode, UpdateSum } from '../src/engine/wasm/contract'
import {
  exponentBits,
  hasOverflowed,
  isBelowNormal,
  leastNormalOf,
  magnitudes,
  mayOverflow,
  rounderOf,
  roundVector,
  storeRounded,
  storeVector,
} from './narrow'
import { lanes } from './vector'
import { loadSingle, loadVector } from './widen'

function add(sums: usize, sum: UpdateSum, value: f64): void {
  const address = sums + ((sum as usize) << 3)
  store<f64>(address, load<f64>(address) + value)
}

/** `finish` one entry after the other, whatever they are; a NaN of W keeps its bits where the type stays. */
function finishSlowly(
  count: u32,
  w: usize,
  typeW: u32,
  delta: usize,
  out: usize,
  typeOut: u32,
  sums: usize,
): void {
  const bytesW: usize = typeW === TypeCode.f32 ? 4 : 2
  const bytesOut: usize = typeOut === TypeCode.f32 ? 4 : 2
  let deltaSquared: f64 = 0
  let kept: f64 = 0
  let residualSquared: f64 = 0
  let changed: u32 = 0
  let overflowed: u32 = 0
  let nonFinite: u32 = 0
  for (let i: u32 = 0; i < count; i++) {
    const before = loadSingle(w, typeW) as f64
    const added = load<f64>(delta)
    const sum = before + added
    const stored = storeRounded(out, typeOut, sum)
    if (F64.isNaN(before)) {
      if (typeW === typeOut) memory.copy(out, w, bytesW)
    } else if (stored !== before) {
      changed++
    }
    if (!F64.isFinite(sum)) {
      nonFinite++
    } else if (!F64.isFinite(stored)) {
      overflowed++
    } else {
      const moved = stored - before
      const residual = moved - added
      deltaSquared += added * added
      kept += moved * added
      residualSquared += residual * residual
    }
    w += bytesW
    delta += 8
    out += bytesOut
  }
  add(sums, UpdateSum.deltaSquared, deltaSquared)
  add(sums, UpdateSum.kept, kept)
  add(sums, UpdateSum.residualSquared, residualSquared)
  add(sums, UpdateSum.changed, changed as f64)
  add(sums, UpdateSum.overflowed, overflowed as f64)
  add(sums, UpdateSum.nonFinite, nonFinite as f64)
}

function isBf16<T>(): bool {
  return !isFloat<T>() && !isSigned<T>()
}

/** Whether overflow of a half T takes looking at what is stored: where W is of another type, its numbers may be past T's. */
function needsLargest<S, T>(): bool {
  return !isFloat<T>() && !(sizeof<S>() === sizeof<T>() && isSigned<S>() === isSigned<T>())
}

/**
 * Four entries at a time, `count` a multiple of 4; false, with nothing added to `sums`, where some are exceptions and bits may be
 * wrong. Infinities and NaNs need no test of their own: they show in Σ(stored − W − Δ)².
 */
function finishFast<S, T>(count: u32, w: usize, delta: usize, out: usize, sums: usize): bool {
  let deltaSquared = f64x2.splat(0)
  let kept = f64x2.splat(0)
  let residualSquared = f64x2.splat(0)
  let changed = i32x4.splat(0)
  let largest = i32x4.splat(0)
  let all = i32x4.splat(0)
  const exponent = exponentBits()
  const rounder = rounderOf<T>()
  const leastNormal = leastNormalOf<T>()
  const end = delta + ((count as usize) << 3)
  while (delta !== end) {
    const before = loadVector<S, f32>(w)
    const low = v128.load(delta)
    const high = v128.load(delta, 16)
    const beforeLow = f64x2.promote_low_f32x4(before)
    const beforeHigh = f64x2.promote_low_f32x4(v128.shuffle<f64>(before, before, 1, 1))
    let storedLow = f64x2.add(beforeLow, low)
    let storedHigh = f64x2.add(beforeHigh, high)
    if (!isFloat<T>()) {
      storedLow = roundVector<T>(storedLow, exponent, rounder, leastNormal)
      storedHigh = roundVector<T>(storedHigh, exponent, rounder, leastNormal)
    }
    const singleLow = f32x4.demote_f64x2_zero(storedLow)
    const singleHigh = f32x4.demote_f64x2_zero(storedHigh)
    if (isFloat<T>()) {
      storedLow = f64x2.promote_low_f32x4(singleLow)
      storedHigh = f64x2.promote_low_f32x4(singleHigh)
    }
    const stored = v128.shuffle<f64>(singleLow, singleHigh, 0, 2)
    storeVector<T>(out, stored)
    if (needsLargest<S, T>()) largest = i32x4.max_u(largest, magnitudes(stored))
    if (isBf16<T>()) all = v128.or(all, stored)
    changed = i32x4.sub(changed, f32x4.ne(stored, before))
    const movedLow = f64x2.sub(storedLow, beforeLow)
    const movedHigh = f64x2.sub(storedHigh, beforeHigh)
    deltaSquared = f64x2.add(deltaSquared, f64x2.add(f64x2.mul(low, low), f64x2.mul(high, high)))
    kept = f64x2.add(kept, f64x2.add(f64x2.mul(movedLow, low), f64x2.mul(movedHigh, high)))
    const leftLow = f64x2.sub(movedLow, low)
    const leftHigh = f64x2.sub(movedHigh, high)
    residualSquared = f64x2.add(
      residualSquared,
      f64x2.add(f64x2.mul(leftLow, leftLow), f64x2.mul(leftHigh, leftHigh)),
    )
    delta += 32
    w += 4 * sizeof<S>()
    out += 4 * sizeof<T>()
  }
  const left = lanes(residualSquared)
  const added = lanes(deltaSquared)
  if (!F64.isFinite(left)) return false
  if (isBf16<T>() && isBelowNormal(all)) return false
  if (!isFloat<T>() && (needsLargest<S, T>() ? hasOverflowed<T>(largest) : mayOverflow<T>(added)))
    return false
  const different =
    i32x4.extract_lane(changed, 0) +
    i32x4.extract_lane(changed, 1) +
    i32x4.extract_lane(changed, 2) +
    i32x4.extract_lane(changed, 3)
  add(sums, UpdateSum.deltaSquared, added)
  add(sums, UpdateSum.kept, lanes(kept))
  add(sums, UpdateSum.residualSquared, left)
  add(sums, UpdateSum.changed, different as f64)
  return true
}

function codeOf<S>(): u32 {
  if (isFloat<S>()) return TypeCode.f32
  return isSigned<S>() ? TypeCode.f16 : TypeCode.bf16
}

/** Stores W + Δ for `count` entries, W stored as S and Δ float64 at `delta`, rounded once to T; adds to `sums`. */
export function finish<S, T>(count: u32, w: usize, delta: usize, out: usize, sums: usize): void {
  const whole = count & ~3
  const done = finishFast<S, T>(whole, w, delta, out, sums) ? whole : 0
  if (done === count) return
  w += (done as usize) * sizeof<S>()
  out += (done as usize) * sizeof<T>()
  delta += (done as usize) << 3
  finishSlowly(count - done, w, codeOf<S>(), delta, out, codeOf<T>(), sums)
}
