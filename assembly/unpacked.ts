/**
 * Micro-kernels that read A where it lies, row-major with `strideA` bytes a row, stored as S; B is packed as [depth][columns]. Packing A
 * takes as long as multiplying it by 8 columns. Tiles are those of micro.ts, whose every entry is the same sum.
 */
import { put32, put64 } from './micro'
import { loadSplat } from './widen'

/** C (+)= A·B, a 4 × 8 float32 tile, A's four rows from `a` on. */
export function rowsF32<S>(
  depth: u32,
  a: usize,
  strideA: usize,
  b: usize,
  c: usize,
  strideC: usize,
  accumulate: bool,
): void {
  let c00 = f32x4.splat(0)
  let c01 = f32x4.splat(0)
  let c10 = f32x4.splat(0)
  let c11 = f32x4.splat(0)
  let c20 = f32x4.splat(0)
  let c21 = f32x4.splat(0)
  let c30 = f32x4.splat(0)
  let c31 = f32x4.splat(0)
  let row1 = a + strideA
  let row2 = row1 + strideA
  let row3 = row2 + strideA
  const end = b + ((depth * 32) as usize)
  while (b !== end) {
    const b0 = v128.load(b)
    const b1 = v128.load(b, 16)
    const a0 = loadSplat<S, f32>(a)
    c00 = f32x4.add(c00, f32x4.mul(a0, b0))
    c01 = f32x4.add(c01, f32x4.mul(a0, b1))
    const a1 = loadSplat<S, f32>(row1)
    c10 = f32x4.add(c10, f32x4.mul(a1, b0))
    c11 = f32x4.add(c11, f32x4.mul(a1, b1))
    const a2 = loadSplat<S, f32>(row2)
    c20 = f32x4.add(c20, f32x4.mul(a2, b0))
    c21 = f32x4.add(c21, f32x4.mul(a2, b1))
    const a3 = loadSplat<S, f32>(row3)
    c30 = f32x4.add(c30, f32x4.mul(a3, b0))
    c31 = f32x4.add(c31, f32x4.mul(a3, b1))
    a += sizeof<S>()
    row1 += sizeof<S>()
    row2 += sizeof<S>()
    row3 += sizeof<S>()
    b += 32
  }
  put32(c, c00, c01, accumulate)
  put32(c + strideC, c10, c11, accumulate)
  put32(c + 2 * strideC, c20, c21, accumulate)
  put32(c + 3 * strideC, c30, c31, accumulate)
}

/** C (+)= A·B, a 2 × 8 float64 tile, A's two rows from `a` on. */
export function rowsF64<S>(
  depth: u32,
  a: usize,
  strideA: usize,
  b: usize,
  c: usize,
  strideC: usize,
  accumulate: bool,
): void {
  let c00 = f64x2.splat(0)
  let c01 = f64x2.splat(0)
  let c02 = f64x2.splat(0)
  let c03 = f64x2.splat(0)
  let c10 = f64x2.splat(0)
  let c11 = f64x2.splat(0)
  let c12 = f64x2.splat(0)
  let c13 = f64x2.splat(0)
  let row1 = a + strideA
  const end = b + ((depth * 64) as usize)
  while (b !== end) {
    const b0 = v128.load(b)
    const b1 = v128.load(b, 16)
    const b2 = v128.load(b, 32)
    const b3 = v128.load(b, 48)
    const a0 = loadSplat<S, f64>(a)
    c00 = f64x2.add(c00, f64x2.mul(a0, b0))
    c01 = f64x2.add(c01, f64x2.mul(a0, b1))
    c02 = f64x2.add(c02, f64x2.mul(a0, b2))
    c03 = f64x2.add(c03, f64x2.mul(a0, b3))
    const a1 = loadSplat<S, f64>(row1)
    c10 = f64x2.add(c10, f64x2.mul(a1, b0))
    c11 = f64x2.add(c11, f64x2.mul(a1, b1))
    c12 = f64x2.add(c12, f64x2.mul(a1, b2))
    c13 = f64x2.add(c13, f64x2.mul(a1, b3))
    a += sizeof<S>()
    row1 += sizeof<S>()
    b += 64
  }
  put64(c, c00, c01, c02, c03, accumulate)
  put64(c + strideC, c10, c11, c12, c13, accumulate)
}

/** T += Aᵀ·B, a 4 × 8 float32 tile whose rows follow each other, A's four columns from `a` on. The sums in T are carried on. */
export function columnsF32<S>(depth: u32, a: usize, strideA: usize, b: usize, t: usize): void {
  let t00 = v128.load(t)
  let t01 = v128.load(t, 16)
  let t10 = v128.load(t, 32)
  let t11 = v128.load(t, 48)
  let t20 = v128.load(t, 64)
  let t21 = v128.load(t, 80)
  let t30 = v128.load(t, 96)
  let t31 = v128.load(t, 112)
  const end = b + ((depth * 32) as usize)
  while (b !== end) {
    const b0 = v128.load(b)
    const b1 = v128.load(b, 16)
    const a0 = loadSplat<S, f32>(a)
    t00 = f32x4.add(t00, f32x4.mul(a0, b0))
    t01 = f32x4.add(t01, f32x4.mul(a0, b1))
    const a1 = loadSplat<S, f32>(a + sizeof<S>())
    t10 = f32x4.add(t10, f32x4.mul(a1, b0))
    t11 = f32x4.add(t11, f32x4.mul(a1, b1))
    const a2 = loadSplat<S, f32>(a + 2 * sizeof<S>())
    t20 = f32x4.add(t20, f32x4.mul(a2, b0))
    t21 = f32x4.add(t21, f32x4.mul(a2, b1))
    const a3 = loadSplat<S, f32>(a + 3 * sizeof<S>())
    t30 = f32x4.add(t30, f32x4.mul(a3, b0))
    t31 = f32x4.add(t31, f32x4.mul(a3, b1))
    a += strideA
    b += 32
  }
  put32(t, t00, t01, false)
  put32(t + 32, t10, t11, false)
  put32(t + 64, t20, t21, false)
  put32(t + 96, t30, t31, false)
}

/** T += Aᵀ·B, a 2 × 8 float64 tile whose rows follow each other, A's two columns from `a` on. The sums in T are carried on. */
export function columnsF64<S>(depth: u32, a: usize, strideA: usize, b: usize, t: usize): void {
  let t00 = v128.load(t)
  let t01 = v128.load(t, 16)
  let t02 = v128.load(t, 32)
  let t03 = v128.load(t, 48)
  let t10 = v128.load(t, 64)
  let t11 = v128.load(t, 80)
  let t12 = v128.load(t, 96)
  let t13 = v128.load(t, 112)
  const end = b + ((depth * 64) as usize)
  while (b !== end) {
    const b0 = v128.load(b)
    const b1 = v128.load(b, 16)
    const b2 = v128.load(b, 32)
    const b3 = v128.load(b, 48)
    const a0 = loadSplat<S, f64>(a)
    t00 = f64x2.add(t00, f64x2.mul(a0, b0))
    t01 = f64x2.add(t01, f64x2.mul(a0, b1))
    t02 = f64x2.add(t02, f64x2.mul(a0, b2))
    t03 = f64x2.add(t03, f64x2.mul(a0, b3))
    const a1 = loadSplat<S, f64>(a + sizeof<S>())
    t10 = f64x2.add(t10, f64x2.mul(a1, b0))
    t11 = f64x2.add(t11, f64x2.mul(a1, b1))
    t12 = f64x2.add(t12, f64x2.mul(a1, b2))
    t13 = f64x2.add(t13, f64x2.mul(a1, b3))
    a += strideA
    b += 64
  }
  put64(t, t00, t01, t02, t03, false)
  put64(t + 64, t10, t11, t12, t13, false)
}
