/**
 * W + B·A, rounded once to the type that it is stored in, with the sums that say what rounding left of Δ = B·A.
 *
 * Bits: entry (i, j) is W + (((0 + B_i0·A_0j) + B_i1·A_1j) + …) in float64, W last, rounded to nearest, ties to even. Neither tile nor
 * panel appears in that rule. The sums are of UPDATE_COLUMNS entries of a row at a time, each in strands joined in a fixed order.
 */
import { TypeCode, UPDATE_COLUMNS, UPDATE_ROWS, UpdateSum } from '../src/engine/wasm/contract'
import { isExceptional, magnitudes, roundVector, storeRounded, storeVector } from './narrow'
import { Bf16, F16, loadSingle, loadVector } from './widen'

const PRODUCT_STRIDE: usize = (UPDATE_COLUMNS * 8) as usize

function joined(low: v128, high: v128): f64 {
  const s = f64x2.add(low, high)
  return f64x2.extract_lane(s, 0) + f64x2.extract_lane(s, 1)
}

function add(sums: usize, sum: UpdateSum, value: f64): void {
  const address = sums + ((sum as usize) << 3)
  store<f64>(address, load<f64>(address) + value)
}

/** `finish` one entry after the other, whatever they are; a NaN of W keeps its bits where the type stays. */
function finishSlowly(
  count: u32,
  w: usize,
  typeW: u32,
  product: usize,
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
    const delta = load<f64>(product)
    const sum = before + delta
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
      const residual = moved - delta
      deltaSquared += delta * delta
      kept += moved * delta
      residualSquared += residual * residual
    }
    w += bytesW
    product += 8
    out += bytesOut
  }
  add(sums, UpdateSum.deltaSquared, deltaSquared)
  add(sums, UpdateSum.kept, kept)
  add(sums, UpdateSum.residualSquared, residualSquared)
  add(sums, UpdateSum.changed, changed as f64)
  add(sums, UpdateSum.overflowed, overflowed as f64)
  add(sums, UpdateSum.nonFinite, nonFinite as f64)
}

/**
 * Four entries at a time, `count` a multiple of 4; false, with nothing added to `sums`, where some are exceptions and bits may be
 * wrong. Infinities and NaNs need no test of their own: they show in Σ(stored − W − Δ)².
 */
function finishFast<S, T>(count: u32, w: usize, product: usize, out: usize, sums: usize): bool {
  let deltaLow = f64x2.splat(0)
  let deltaHigh = f64x2.splat(0)
  let keptLow = f64x2.splat(0)
  let keptHigh = f64x2.splat(0)
  let residualLow = f64x2.splat(0)
  let residualHigh = f64x2.splat(0)
  let changed = i32x4.splat(0)
  let largest = i32x4.splat(0)
  let all = i32x4.splat(0)
  const end = product + ((count as usize) << 3)
  while (product !== end) {
    const before = loadVector<S, f32>(w)
    const low = v128.load(product)
    const high = v128.load(product, 16)
    const beforeLow = f64x2.promote_low_f32x4(before)
    const beforeHigh = f64x2.promote_low_f32x4(v128.shuffle<f64>(before, before, 1, 1))
    let storedLow = f64x2.add(beforeLow, low)
    let storedHigh = f64x2.add(beforeHigh, high)
    if (!isFloat<T>()) {
      storedLow = roundVector<T>(storedLow)
      storedHigh = roundVector<T>(storedHigh)
    }
    const singleLow = f32x4.demote_f64x2_zero(storedLow)
    const singleHigh = f32x4.demote_f64x2_zero(storedHigh)
    if (isFloat<T>()) {
      storedLow = f64x2.promote_low_f32x4(singleLow)
      storedHigh = f64x2.promote_low_f32x4(singleHigh)
    }
    const stored = v128.shuffle<f64>(singleLow, singleHigh, 0, 2)
    storeVector<T>(out, stored)
    if (!isFloat<T>()) {
      largest = i32x4.max_u(largest, magnitudes(stored))
      all = v128.or(all, stored)
    }
    changed = i32x4.sub(changed, f32x4.ne(stored, before))
    const movedLow = f64x2.sub(storedLow, beforeLow)
    const movedHigh = f64x2.sub(storedHigh, beforeHigh)
    deltaLow = f64x2.add(deltaLow, f64x2.mul(low, low))
    deltaHigh = f64x2.add(deltaHigh, f64x2.mul(high, high))
    keptLow = f64x2.add(keptLow, f64x2.mul(movedLow, low))
    keptHigh = f64x2.add(keptHigh, f64x2.mul(movedHigh, high))
    const leftLow = f64x2.sub(movedLow, low)
    const leftHigh = f64x2.sub(movedHigh, high)
    residualLow = f64x2.add(residualLow, f64x2.mul(leftLow, leftLow))
    residualHigh = f64x2.add(residualHigh, f64x2.mul(leftHigh, leftHigh))
    product += 32
    w += 4 * sizeof<S>()
    out += 4 * sizeof<T>()
  }
  const residualSquared = joined(residualLow, residualHigh)
  if (!F64.isFinite(residualSquared)) return false
  if (!isFloat<T>() && isExceptional<T>(largest, all)) return false
  const different =
    i32x4.extract_lane(changed, 0) +
    i32x4.extract_lane(changed, 1) +
    i32x4.extract_lane(changed, 2) +
    i32x4.extract_lane(changed, 3)
  add(sums, UpdateSum.deltaSquared, joined(deltaLow, deltaHigh))
  add(sums, UpdateSum.kept, joined(keptLow, keptHigh))
  add(sums, UpdateSum.residualSquared, residualSquared)
  add(sums, UpdateSum.changed, different as f64)
  return true
}

function codeOf<S>(): u32 {
  if (isFloat<S>()) return TypeCode.f32
  return isSigned<S>() ? TypeCode.f16 : TypeCode.bf16
}

/** Rounds W + Δ for up to UPDATE_COLUMNS entries of a row, Δ at `product`, and adds to `sums`. */
function finish<S, T>(count: u32, w: usize, product: usize, out: usize, sums: usize): void {
  const whole = count & ~3
  const done = finishFast<S, T>(whole, w, product, out, sums) ? whole : 0
  if (done === count) return
  w += (done as usize) * sizeof<S>()
  out += (done as usize) * sizeof<T>()
  product += (done as usize) << 3
  finishSlowly(count - done, w, codeOf<S>(), product, out, codeOf<T>(), sums)
}

/**
 * A UPDATE_ROWS × 4 tile of the product, to `c`, from B packed as [rank][UPDATE_ROWS] and A as [rank][REGISTER_COLUMNS], of which
 * it takes half: a tile as high as wide reads the fewest numbers, and A's from a cache further off.
 */
function multiplyTile(rank: u32, b: usize, a: usize, c: usize): void {
  let c00 = f64x2.splat(0)
  let c01 = f64x2.splat(0)
  let c10 = f64x2.splat(0)
  let c11 = f64x2.splat(0)
  let c20 = f64x2.splat(0)
  let c21 = f64x2.splat(0)
  let c30 = f64x2.splat(0)
  let c31 = f64x2.splat(0)
  const end = b + ((rank as usize) << 5)
  while (b !== end) {
    const a0 = v128.load(a)
    const a1 = v128.load(a, 16)
    const b0 = v128.load64_splat(b)
    c00 = f64x2.add(c00, f64x2.mul(b0, a0))
    c01 = f64x2.add(c01, f64x2.mul(b0, a1))
    const b1 = v128.load64_splat(b, 8)
    c10 = f64x2.add(c10, f64x2.mul(b1, a0))
    c11 = f64x2.add(c11, f64x2.mul(b1, a1))
    const b2 = v128.load64_splat(b, 16)
    c20 = f64x2.add(c20, f64x2.mul(b2, a0))
    c21 = f64x2.add(c21, f64x2.mul(b2, a1))
    const b3 = v128.load64_splat(b, 24)
    c30 = f64x2.add(c30, f64x2.mul(b3, a0))
    c31 = f64x2.add(c31, f64x2.mul(b3, a1))
    b += 32
    a += 64
  }
  v128.store(c, c00)
  v128.store(c, c01, 16)
  c += PRODUCT_STRIDE
  v128.store(c, c10)
  v128.store(c, c11, 16)
  c += PRODUCT_STRIDE
  v128.store(c, c20)
  v128.store(c, c21, 16)
  c += PRODUCT_STRIDE
  v128.store(c, c30)
  v128.store(c, c31, 16)
}

function addRoundedAs<S, T>(
  rows: u32,
  columns: u32,
  rank: u32,
  w: usize,
  b: usize,
  a: usize,
  out: usize,
  product: usize,
  sums: usize,
): void {
  const stepB = (rank as usize) * (UPDATE_ROWS * 8)
  const stepA = (rank as usize) * 64
  for (let j: u32 = 0; j < columns; j += UPDATE_COLUMNS) {
    const count = min<u32>(UPDATE_COLUMNS, columns - j)
    let packedB = b
    for (let i: u32 = 0; i < rows; i += UPDATE_ROWS) {
      let panel = a
      for (let s: u32 = 0; s < count; s += 8) {
        const c = product + ((s as usize) << 3)
        multiplyTile(rank, packedB, panel, c)
        multiplyTile(rank, packedB, panel + 32, c + 32)
        panel += stepA
      }
      for (let r: u32 = 0; r < min<u32>(UPDATE_ROWS, rows - i); r++) {
        const at = ((i + r) as usize) * columns + j
        finish<S, T>(count, w + at * sizeof<S>(), product + r * PRODUCT_STRIDE, out + at * sizeof<T>(), sums)
      }
      packedB += stepB
    }
    a += (UPDATE_COLUMNS / 8) * stepA
  }
}

function addRoundedTo<S>(
  rows: u32,
  columns: u32,
  rank: u32,
  w: usize,
  b: usize,
  a: usize,
  out: usize,
  typeOut: u32,
  product: usize,
  sums: usize,
): void {
  if (typeOut === TypeCode.bf16) addRoundedAs<S, Bf16>(rows, columns, rank, w, b, a, out, product, sums)
  else if (typeOut === TypeCode.f16) addRoundedAs<S, F16>(rows, columns, rank, w, b, a, out, product, sums)
  else addRoundedAs<S, f32>(rows, columns, rank, w, b, a, out, product, sums)
}

/**
 * out = W + B·A, rows × columns, each stored as float32, bfloat16 or binary16; adds to the UPDATE_SUMS `sums`. B at `b` is packed as
 * [rows / UPDATE_ROWS][rank][UPDATE_ROWS] float64, A at `a` as [columns / REGISTER_COLUMNS][rank][REGISTER_COLUMNS], both with zeros
 * beyond their ends. `product`: room for UPDATE_ROWS × UPDATE_COLUMNS float64.
 */
export function addRounded(
  rows: u32,
  columns: u32,
  rank: u32,
  w: usize,
  typeW: u32,
  b: usize,
  a: usize,
  out: usize,
  typeOut: u32,
  product: usize,
  sums: usize,
): void {
  if (typeW === TypeCode.bf16) addRoundedTo<Bf16>(rows, columns, rank, w, b, a, out, typeOut, product, sums)
  else if (typeW === TypeCode.f16)
    addRoundedTo<F16>(rows, columns, rank, w, b, a, out, typeOut, product, sums)
  else addRoundedTo<f32>(rows, columns, rank, w, b, a, out, typeOut, product, sums)
}
