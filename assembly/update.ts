/**
 * W + B·A, rounded once to the type that it is stored in, with the sums that say what rounding left of Δ = B·A.
 *
 * Bits: entry (i, j) is W + (((0 + B_i0·A_0j) + B_i1·A_1j) + …) in float64, W last, rounded to nearest, ties to even. Neither tile nor
 * panel appears in that rule. The sums are of UPDATE_COLUMNS entries of a row at a time, each in strands joined in a fixed order.
 */
import { TypeCode, UPDATE_COLUMNS, UPDATE_ROWS } from '../src/engine/wasm/contract'
import { finish } from './finish'
import { Bf16, F16 } from './widen'

/** Bytes of a row of a tile: four columns. */
const TILE_BYTES: usize = 32
const PRODUCT_STRIDE: usize = (UPDATE_COLUMNS * 8) as usize

/**
 * UPDATE_ROWS × `columns` of the product, to `c`, from B packed as [rank][UPDATE_ROWS] and A as [rank][REGISTER_COLUMNS] for each
 * panel of columns. A tile takes half of such a panel: as high as wide it reads the fewest numbers.
 */
function multiplyRows(rank: u32, columns: u32, b: usize, a: usize, c: usize): void {
  const endB = b + (rank as usize) * (UPDATE_ROWS * 8)
  const endC = c + ((columns as usize) << 3)
  let nextA = a + TILE_BYTES
  while (c < endC) {
    let c00 = f64x2.splat(0)
    let c01 = f64x2.splat(0)
    let c10 = f64x2.splat(0)
    let c11 = f64x2.splat(0)
    let c20 = f64x2.splat(0)
    let c21 = f64x2.splat(0)
    let c30 = f64x2.splat(0)
    let c31 = f64x2.splat(0)
    let p = b
    while (p !== endB) {
      const a0 = v128.load(a)
      const a1 = v128.load(a, 16)
      const b0 = v128.load64_splat(p)
      c00 = f64x2.add(c00, f64x2.mul(b0, a0))
      c01 = f64x2.add(c01, f64x2.mul(b0, a1))
      const b1 = v128.load64_splat(p, 8)
      c10 = f64x2.add(c10, f64x2.mul(b1, a0))
      c11 = f64x2.add(c11, f64x2.mul(b1, a1))
      const b2 = v128.load64_splat(p, 16)
      c20 = f64x2.add(c20, f64x2.mul(b2, a0))
      c21 = f64x2.add(c21, f64x2.mul(b2, a1))
      const b3 = v128.load64_splat(p, 24)
      c30 = f64x2.add(c30, f64x2.mul(b3, a0))
      c31 = f64x2.add(c31, f64x2.mul(b3, a1))
      p += UPDATE_ROWS * 8
      a += 2 * TILE_BYTES
    }
    v128.store(c, c00)
    v128.store(c, c01, 16)
    v128.store(c + PRODUCT_STRIDE, c10)
    v128.store(c + PRODUCT_STRIDE, c11, 16)
    v128.store(c + 2 * PRODUCT_STRIDE, c20)
    v128.store(c + 2 * PRODUCT_STRIDE, c21, 16)
    v128.store(c + 3 * PRODUCT_STRIDE, c30)
    v128.store(c + 3 * PRODUCT_STRIDE, c31, 16)
    c += TILE_BYTES
    // the other half of the panel, and then the next one, which begins where the first half ended
    const other = nextA
    nextA = a
    a = other
  }
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
      multiplyRows(rank, count, packedB, a, product)
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
