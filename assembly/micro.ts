/**
 * Micro-kernels: C (+)= A·B for one register tile, A packed as [depth][rows], B as [depth][columns].
 *
 * Tile shapes are the best measured on Node 20: V8 has 15 vector registers to give and issues all loads of a
 * loop body before its arithmetic, so accumulators + B vectors + A splats + 1 must not pass 15. Larger tiles
 * and unrolled loops spill. No fused multiply-add: relaxed SIMD would not give the same bits everywhere.
 */
import { REGISTER_COLUMNS } from '../src/engine/wasm/contract'

export const F32_ROWS: u32 = 4
export const F32_COLUMNS: u32 = REGISTER_COLUMNS
export const F64_ROWS: u32 = 2
export const F64_COLUMNS: u32 = REGISTER_COLUMNS

/** Stores a row of a tile, or adds it to what is there. */
export function put32(c: usize, low: v128, high: v128, accumulate: bool): void {
  if (accumulate) {
    v128.store(c, f32x4.add(v128.load(c), low))
    v128.store(c, f32x4.add(v128.load(c, 16), high), 16)
  } else {
    v128.store(c, low)
    v128.store(c, high, 16)
  }
}

/** 4 × 8 float32 tile; `strideC` in bytes. */
export function microF32(depth: u32, a: usize, b: usize, c: usize, strideC: usize, accumulate: bool): void {
  let c00 = f32x4.splat(0)
  let c01 = f32x4.splat(0)
  let c10 = f32x4.splat(0)
  let c11 = f32x4.splat(0)
  let c20 = f32x4.splat(0)
  let c21 = f32x4.splat(0)
  let c30 = f32x4.splat(0)
  let c31 = f32x4.splat(0)
  const end = b + ((depth * 32) as usize)
  while (b !== end) {
    const b0 = v128.load(b)
    const b1 = v128.load(b, 16)
    const a0 = v128.load32_splat(a)
    c00 = f32x4.add(c00, f32x4.mul(a0, b0))
    c01 = f32x4.add(c01, f32x4.mul(a0, b1))
    const a1 = v128.load32_splat(a, 4)
    c10 = f32x4.add(c10, f32x4.mul(a1, b0))
    c11 = f32x4.add(c11, f32x4.mul(a1, b1))
    const a2 = v128.load32_splat(a, 8)
    c20 = f32x4.add(c20, f32x4.mul(a2, b0))
    c21 = f32x4.add(c21, f32x4.mul(a2, b1))
    const a3 = v128.load32_splat(a, 12)
    c30 = f32x4.add(c30, f32x4.mul(a3, b0))
    c31 = f32x4.add(c31, f32x4.mul(a3, b1))
    a += 16
    b += 32
  }
  put32(c, c00, c01, accumulate)
  put32(c + strideC, c10, c11, accumulate)
  put32(c + 2 * strideC, c20, c21, accumulate)
  put32(c + 3 * strideC, c30, c31, accumulate)
}

/** Stores a row of a tile, or adds it to what is there. */
export function put64(c: usize, v0: v128, v1: v128, v2: v128, v3: v128, accumulate: bool): void {
  if (accumulate) {
    v128.store(c, f64x2.add(v128.load(c), v0))
    v128.store(c, f64x2.add(v128.load(c, 16), v1), 16)
    v128.store(c, f64x2.add(v128.load(c, 32), v2), 32)
    v128.store(c, f64x2.add(v128.load(c, 48), v3), 48)
  } else {
    v128.store(c, v0)
    v128.store(c, v1, 16)
    v128.store(c, v2, 32)
    v128.store(c, v3, 48)
  }
}

/** 2 × 8 float64 tile; `strideC` in bytes. */
export function microF64(depth: u32, a: usize, b: usize, c: usize, strideC: usize, accumulate: bool): void {
  let c00 = f64x2.splat(0)
  let c01 = f64x2.splat(0)
  let c02 = f64x2.splat(0)
  let c03 = f64x2.splat(0)
  let c10 = f64x2.splat(0)
  let c11 = f64x2.splat(0)
  let c12 = f64x2.splat(0)
  let c13 = f64x2.splat(0)
  const end = b + ((depth * 64) as usize)
  while (b !== end) {
    const b0 = v128.load(b)
    const b1 = v128.load(b, 16)
    const b2 = v128.load(b, 32)
    const b3 = v128.load(b, 48)
    const a0 = v128.load64_splat(a)
    c00 = f64x2.add(c00, f64x2.mul(a0, b0))
    c01 = f64x2.add(c01, f64x2.mul(a0, b1))
    c02 = f64x2.add(c02, f64x2.mul(a0, b2))
    c03 = f64x2.add(c03, f64x2.mul(a0, b3))
    const a1 = v128.load64_splat(a, 8)
    c10 = f64x2.add(c10, f64x2.mul(a1, b0))
    c11 = f64x2.add(c11, f64x2.mul(a1, b1))
    c12 = f64x2.add(c12, f64x2.mul(a1, b2))
    c13 = f64x2.add(c13, f64x2.mul(a1, b3))
    a += 16
    b += 64
  }
  put64(c, c00, c01, c02, c03, accumulate)
  put64(c + strideC, c10, c11, c12, c13, accumulate)
}
