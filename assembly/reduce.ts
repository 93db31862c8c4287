/**
 * Sums of squares in float64. A tile leaves one partial sum, formed in eight strands joined in a fixed order;
 * `sumTree` adds the partial sums pairwise.
 */
import { DEPTH_F64, PACKED_ROWS, RESIDUAL_COLUMNS, SUM_ENTRIES, TypeCode } from '../src/engine/wasm/contract'
import { multiplyPacked, SPARE_BYTES } from './block'
import { F64_COLUMNS, F64_ROWS } from './micro'
import { pack } from './pack'
import { PACKED_A_BYTES } from './sweep'
import { Task } from './task'
import { lanes } from './vector'
import { Bf16, F16, loadScalar, loadVector } from './widen'

const PACKED_RIGHT_BYTES: usize = (RESIDUAL_COLUMNS * DEPTH_F64 * 8) as usize

function joinStrands(s0: v128, s1: v128, s2: v128, s3: v128): f64 {
  return lanes(f64x2.add(f64x2.add(s0, s1), f64x2.add(s2, s3)))
}

function squared<S>(address: usize, minus: usize): v128 {
  let d = loadVector<S, f64>(address)
  if (minus !== 0) d = f64x2.sub(d, v128.load(minus))
  return f64x2.mul(d, d)
}

/** Σ (entry − minus)² over `count` entries stored as S; `minus`: as many float64, or 0 for none. */
function squares<S>(count: u32, address: usize, minus: usize): f64 {
  const step = 2 * sizeof<S>()
  const stepMinus: usize = minus === 0 ? 0 : 16
  let s0 = f64x2.splat(0)
  let s1 = f64x2.splat(0)
  let s2 = f64x2.splat(0)
  let s3 = f64x2.splat(0)
  let i: u32 = 0
  for (; i + 8 <= count; i += 8) {
    s0 = f64x2.add(s0, squared<S>(address, minus))
    s1 = f64x2.add(s1, squared<S>(address + step, minus + stepMinus))
    s2 = f64x2.add(s2, squared<S>(address + 2 * step, minus + 2 * stepMinus))
    s3 = f64x2.add(s3, squared<S>(address + 3 * step, minus + 3 * stepMinus))
    address += 4 * step
    minus += 4 * stepMinus
  }
  let sum = joinStrands(s0, s1, s2, s3)
  for (; i < count; i++) {
    const d = loadScalar<S, f64>(address) - (minus === 0 ? 0 : load<f64>(minus))
    sum += d * d
    address += sizeof<S>()
    if (minus !== 0) minus += 8
  }
  return sum
}

function squaresOf(type: u32, count: u32, base: usize, index: usize, minus: usize): f64 {
  if (type === TypeCode.f64) return squares<f64>(count, base + index * 8, minus)
  if (type === TypeCode.bf16) return squares<Bf16>(count, base + index * 2, minus)
  if (type === TypeCode.f16) return squares<F16>(count, base + index * 2, minus)
  return squares<f32>(count, base + index * 4, minus)
}

/** m: entries at `a`. Tile t sums the squares of the t-th SUM_ENTRIES of them. */
export function frobeniusTile(task: Task, tile: u32): void {
  const first = tile * SUM_ENTRIES
  const sum = squaresOf(task.typeA, min<u32>(SUM_ENTRIES, task.m - first), task.a, first as usize, 0)
  store<f64>(task.partials + tile * 8, sum)
}

/** A m × n at `a`, B m × k at `b`, C k × n at `c` stored as `arithmetic`. Tile t: its share of ‖A − B·C‖². */
export function residualTile(task: Task, tile: u32, scratch: usize): void {
  const tilesAcross = (task.n + RESIDUAL_COLUMNS - 1) / RESIDUAL_COLUMNS
  const row0 = (tile / tilesAcross) * PACKED_ROWS
  const column0 = (tile % tilesAcross) * RESIDUAL_COLUMNS
  const rows = min<u32>(PACKED_ROWS, task.m - row0)
  const columns = min<u32>(RESIDUAL_COLUMNS, task.n - column0)
  const spare = scratch
  const packedLeft = spare + SPARE_BYTES
  const packedRight = packedLeft + PACKED_A_BYTES
  const product = packedRight + PACKED_RIGHT_BYTES
  const stride = (columns as usize) * 8
  for (let p: u32 = 0; p < task.k; p += DEPTH_F64) {
    const depth = min<u32>(DEPTH_F64, task.k - p)
    pack<f64>(packedLeft, task.b, task.typeB, task.strideB, false, row0, rows, p, depth, F64_ROWS)
    pack<f64>(
      packedRight,
      task.c,
      task.arithmetic,
      task.strideC,
      true,
      column0,
      columns,
      p,
      depth,
      F64_COLUMNS,
    )
    multiplyPacked<f64>(packedLeft, packedRight, rows, columns, depth, product, stride, p > 0, spare)
  }
  let sum: f64 = 0
  for (let r: u32 = 0; r < rows; r++) {
    const index = ((row0 + r) as usize) * task.strideA + column0
    sum += squaresOf(task.typeA, columns, task.a, index, product + r * stride)
  }
  store<f64>(task.partials + tile * 8, sum)
}

/** The sum of `count` float64 at `partials`, pairwise: neighbours at distance 1, 2, 4, … Overwrites them. */
export function sumTree(partials: usize, count: u32): f64 {
  for (let distance: u32 = 1; distance < count; distance *= 2) {
    for (let i: u32 = 0; i + distance < count; i += 2 * distance) {
      const address = partials + i * 8
      store<f64>(address, load<f64>(address) + load<f64>(address + distance * 8))
    }
  }
  return load<f64>(partials)
}

/** `sumTree` for `count` matrices of `length` numbers, float32 or float64, into the first of them. */
export function sumMatrices(partials: usize, count: u32, length: u32, arithmetic: u32): void {
  const bytes = (length as usize) * (arithmetic === TypeCode.f64 ? 8 : 4)
  for (let distance: u32 = 1; distance < count; distance *= 2) {
    for (let i: u32 = 0; i + distance < count; i += 2 * distance) {
      const target = partials + (i as usize) * bytes
      const source = target + (distance as usize) * bytes
      if (arithmetic === TypeCode.f64) addInto<f64>(target, source, length)
      else addInto<f32>(target, source, length)
    }
  }
}

function addInto<D>(target: usize, source: usize, length: u32): void {
  const lanes: u32 = 16 / sizeof<D>()
  let i: u32 = 0
  for (; i + lanes <= length; i += lanes) {
    v128.store(target, v128.add<D>(v128.load(target), v128.load(source)))
    target += 16
    source += 16
  }
  for (; i < length; i++) {
    store<D>(target, load<D>(target) + load<D>(source))
    target += sizeof<D>()
    source += sizeof<D>()
  }
}
