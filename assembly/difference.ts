/**
 * Sweeps over the two stored matrices that a fine-tune's change is the difference of. Sums are in float64, in strands
 * that are joined in a fixed order.
 */
import { SUM_ENTRIES, Sum, TypeCode } from '../src/engine/wasm/contract'
import { lanes } from './vector'
import { Bf16, F16, loadScalar, loadVector } from './widen'

const F32_FRACTION_BITS: i32 = 23
const F32_BIAS: i32 = 127
const F32_EXPONENT: i32 = 0x7f800000
const F32_MAGNITUDE: i32 = 0x7fffffff

/** The squares of the lower two and of the upper two of four float32, in float64. */
function lowSquares(v: v128): v128 {
  const d = f64x2.promote_low_f32x4(v)
  return f64x2.mul(d, d)
}

function highSquares(v: v128): v128 {
  return lowSquares(v128.shuffle<f64>(v, v, 1, 1))
}

function joined(low: v128, high: v128): f64 {
  return lanes(f64x2.add(low, high))
}

function add(address: usize, value: f64): void {
  store<f64>(address, load<f64>(address) + value)
}

/** delta = tuned − base, rounded once to float32, for up to SUM_ENTRIES entries; adds to `sums`. A NaN differs from everything. */
function subtractChunk<T, B>(count: u32, tuned: usize, base: usize, delta: usize, sums: usize): void {
  let baseLow = f64x2.splat(0)
  let baseHigh = f64x2.splat(0)
  let tunedLow = f64x2.splat(0)
  let tunedHigh = f64x2.splat(0)
  let deltaLow = f64x2.splat(0)
  let deltaHigh = f64x2.splat(0)
  let changed = i32x4.splat(0)
  // without their sign the bits of floats are in the order of the numbers
  let largest = i32x4.splat(0)
  const magnitude = i32x4.splat(F32_MAGNITUDE)
  let i: u32 = 0
  for (; i + 4 <= count; i += 4) {
    const t = loadVector<T, f32>(tuned)
    const b = loadVector<B, f32>(base)
    const d = f32x4.sub(t, b)
    v128.store(delta, d)
    changed = i32x4.sub(changed, f32x4.ne(t, b))
    largest = i32x4.max_s(largest, v128.and(d, magnitude))
    baseLow = f64x2.add(baseLow, lowSquares(b))
    baseHigh = f64x2.add(baseHigh, highSquares(b))
    tunedLow = f64x2.add(tunedLow, lowSquares(t))
    tunedHigh = f64x2.add(tunedHigh, highSquares(t))
    deltaLow = f64x2.add(deltaLow, lowSquares(d))
    deltaHigh = f64x2.add(deltaHigh, highSquares(d))
    tuned += 4 * sizeof<T>()
    base += 4 * sizeof<B>()
    delta += 16
  }
  let ofBase = joined(baseLow, baseHigh)
  let ofTuned = joined(tunedLow, tunedHigh)
  let ofDelta = joined(deltaLow, deltaHigh)
  let different =
    i32x4.extract_lane(changed, 0) +
    i32x4.extract_lane(changed, 1) +
    i32x4.extract_lane(changed, 2) +
    i32x4.extract_lane(changed, 3)
  let most = max(
    max(i32x4.extract_lane(largest, 0), i32x4.extract_lane(largest, 1)),
    max(i32x4.extract_lane(largest, 2), i32x4.extract_lane(largest, 3)),
  )
  for (; i < count; i++) {
    const t = loadScalar<T, f32>(tuned)
    const b = loadScalar<B, f32>(base)
    const d = t - b
    store<f32>(delta, d)
    if (t !== b) different++
    most = max(most, reinterpret<i32>(d) & F32_MAGNITUDE)
    ofBase += (b as f64) * (b as f64)
    ofTuned += (t as f64) * (t as f64)
    ofDelta += (d as f64) * (d as f64)
    tuned += sizeof<T>()
    base += sizeof<B>()
    delta += 4
  }
  add(sums + (Sum.ofBase << 3), ofBase)
  add(sums + (Sum.ofTuned << 3), ofTuned)
  add(sums + (Sum.ofDelta << 3), ofDelta)
  add(sums + (Sum.changed << 3), different as f64)
  const ofLargest = sums + (Sum.largest << 3)
  store<f64>(ofLargest, max(load<f64>(ofLargest), reinterpret<f32>(most) as f64))
}

function subtractAs<T, B>(count: u32, tuned: usize, base: usize, delta: usize, sums: usize): void {
  for (let i: u32 = 0; i < count; i += SUM_ENTRIES) {
    const at = i as usize
    subtractChunk<T, B>(
      min<u32>(SUM_ENTRIES, count - i),
      tuned + at * sizeof<T>(),
      base + at * sizeof<B>(),
      delta + at * 4,
      sums,
    )
  }
}

function subtractFrom<T>(
  count: u32,
  tuned: usize,
  base: usize,
  typeBase: u32,
  delta: usize,
  sums: usize,
): void {
  if (typeBase === TypeCode.bf16) subtractAs<T, Bf16>(count, tuned, base, delta, sums)
  else if (typeBase === TypeCode.f16) subtractAs<T, F16>(count, tuned, base, delta, sums)
  else subtractAs<T, f32>(count, tuned, base, delta, sums)
}

/** delta = tuned − base in float32, for `count` entries stored as float32, bfloat16 or binary16; adds to the four `sums`. */
export function subtract(
  count: u32,
  tuned: usize,
  typeTuned: u32,
  base: usize,
  typeBase: u32,
  delta: usize,
  sums: usize,
): void {
  if (typeTuned === TypeCode.bf16) subtractFrom<Bf16>(count, tuned, base, typeBase, delta, sums)
  else if (typeTuned === TypeCode.f16) subtractFrom<F16>(count, tuned, base, typeBase, delta, sums)
  else subtractFrom<f32>(count, tuned, base, typeBase, delta, sums)
}

function isZeroRow(columns: u32, row: usize): bool {
  let j: u32 = 0
  for (; j + 4 <= columns; j += 4) {
    if (v128.any_true(f32x4.ne(v128.load(row + ((j as usize) << 2)), f32x4.splat(0)))) return false
  }
  for (; j < columns; j++) if (load<f32>(row + ((j as usize) << 2)) !== 0) return false
  return true
}

/** 2^e for the exponents e of four float32, but at least 2^least; `floor`: the bits of the latter. */
function powers(v: v128, floor: v128): v128 {
  return i32x4.max_s(v128.and(v, i32x4.splat(F32_EXPONENT)), floor)
}

/** Adds 4^e of each entry of a row to `byColumn`, and returns the sum of those. */
function addRow<S>(columns: u32, row: usize, least: i32, byColumn: usize): f64 {
  const bits = (least + F32_BIAS) << F32_FRACTION_BITS
  const floor = i32x4.splat(bits)
  let low = f64x2.splat(0)
  let high = f64x2.splat(0)
  let j: u32 = 0
  for (; j + 4 <= columns; j += 4) {
    const p = powers(loadVector<S, f32>(row), floor)
    const l = lowSquares(p)
    const h = highSquares(p)
    v128.store(byColumn, f64x2.add(v128.load(byColumn), l))
    v128.store(byColumn, f64x2.add(v128.load(byColumn, 16), h), 16)
    low = f64x2.add(low, l)
    high = f64x2.add(high, h)
    row += 4 * sizeof<S>()
    byColumn += 32
  }
  let sum = joined(low, high)
  for (; j < columns; j++) {
    const entry = reinterpret<i32>(loadScalar<S, f32>(row)) & F32_EXPONENT
    const power = reinterpret<f32>(max(entry, bits)) as f64
    add(byColumn, power * power)
    sum += power * power
    row += sizeof<S>()
    byColumn += 8
  }
  return sum
}

function addRows<S>(
  rows: u32,
  columns: u32,
  a: usize,
  least: i32,
  delta: usize,
  byRow: usize,
  byColumn: usize,
): void {
  for (let i: u32 = 0; i < rows; i++) {
    if (!isZeroRow(columns, delta)) {
      store<f64>(byRow + ((i as usize) << 3), addRow<S>(columns, a, least, byColumn))
    }
    a += (columns as usize) * sizeof<S>()
    delta += (columns as usize) << 2
  }
}

/**
 * Sums 4^e over rows, into `byRow`, and over columns, added to `byColumn`, of the entries of A [rows, columns], e being the
 * exponent of an entry but at least `least`. Leaves out rows in which `delta` is 0.
 */
export function addExponents(
  rows: u32,
  columns: u32,
  a: usize,
  type: u32,
  least: i32,
  delta: usize,
  byRow: usize,
  byColumn: usize,
): void {
  if (type === TypeCode.bf16) addRows<Bf16>(rows, columns, a, least, delta, byRow, byColumn)
  else if (type === TypeCode.f16) addRows<F16>(rows, columns, a, least, delta, byRow, byColumn)
  else addRows<f32>(rows, columns, a, least, delta, byRow, byColumn)
}
