/**
 * Products of a float64 matrix with vectors, the half of a tridiagonal reduction that is bound by memory.
 * Strides are in bytes. Sums run in a fixed order, two lanes side by side.
 */
import { axpy, lanes } from './vector'

/**
 * y = A·x for a symmetric n × n matrix, read in the upper triangle only: each entry is loaded once and used for
 * both its places. Four rows at a time, so that y is loaded and stored once for four.
 */
export function symvUpper(n: u32, a: usize, stride: usize, x: usize, y: usize): void {
  memory.fill(y, 0, (n as usize) << 3)
  let i: u32 = 0
  for (; i + 4 <= n; i += 4) {
    const at = (i as usize) << 3
    corner(4, a + at, stride, x + at, y + at)
    fourRows(n - i - 4, a + at + 32, stride, x + at, y + at)
    a += 4 * stride
  }
  const at = (i as usize) << 3
  corner(n - i, a + at, stride, x + at, y + at)
}

/** y += A·x for the few rows and columns around the diagonal. */
function corner(n: u32, a: usize, stride: usize, x: usize, y: usize): void {
  for (let i: u32 = 0; i < n; i++) {
    for (let j = i; j < n; j++) {
      const entry = load<f64>(a + (i as usize) * stride + ((j as usize) << 3))
      const yi = y + ((i as usize) << 3)
      const yj = y + ((j as usize) << 3)
      store<f64>(yi, load<f64>(yi) + entry * load<f64>(x + ((j as usize) << 3)))
      if (j > i) store<f64>(yj, load<f64>(yj) + entry * load<f64>(x + ((i as usize) << 3)))
    }
  }
}

/** Four rows right of their corner, both as rows of A and as columns. x and y start at the corner. */
function fourRows(count: u32, a: usize, stride: usize, x: usize, y: usize): void {
  const a1 = stride
  const a2 = 2 * stride
  const a3 = 3 * stride
  const x0 = v128.load64_splat(x)
  const x1 = v128.load64_splat(x, 8)
  const x2 = v128.load64_splat(x, 16)
  const x3 = v128.load64_splat(x, 24)
  let s0 = f64x2.splat(0)
  let s1 = f64x2.splat(0)
  let s2 = f64x2.splat(0)
  let s3 = f64x2.splat(0)
  let xj = x + 32
  let yj = y + 32
  const end = a + (((count & ~1) as usize) << 3)
  while (a !== end) {
    const v0 = v128.load(a)
    const v1 = v128.load(a + a1)
    const v2 = v128.load(a + a2)
    const v3 = v128.load(a + a3)
    const vx = v128.load(xj)
    s0 = f64x2.add(s0, f64x2.mul(v0, vx))
    s1 = f64x2.add(s1, f64x2.mul(v1, vx))
    s2 = f64x2.add(s2, f64x2.mul(v2, vx))
    s3 = f64x2.add(s3, f64x2.mul(v3, vx))
    const low = f64x2.add(f64x2.mul(v0, x0), f64x2.mul(v1, x1))
    const high = f64x2.add(f64x2.mul(v2, x2), f64x2.mul(v3, x3))
    v128.store(yj, f64x2.add(v128.load(yj), f64x2.add(low, high)))
    a += 16
    xj += 16
    yj += 16
  }
  let t0 = lanes(s0)
  let t1 = lanes(s1)
  let t2 = lanes(s2)
  let t3 = lanes(s3)
  if (count & 1) {
    const v0 = load<f64>(a)
    const v1 = load<f64>(a + a1)
    const v2 = load<f64>(a + a2)
    const v3 = load<f64>(a + a3)
    const vx = load<f64>(xj)
    t0 += v0 * vx
    t1 += v1 * vx
    t2 += v2 * vx
    t3 += v3 * vx
    const low = v0 * load<f64>(x) + v1 * load<f64>(x, 8)
    const high = v2 * load<f64>(x, 16) + v3 * load<f64>(x, 24)
    store<f64>(yj, load<f64>(yj) + (low + high))
  }
  store<f64>(y, load<f64>(y) + t0)
  store<f64>(y, load<f64>(y, 8) + t1, 8)
  store<f64>(y, load<f64>(y, 16) + t2, 16)
  store<f64>(y, load<f64>(y, 24) + t3, 24)
}

/** y += alpha·A·x, A rows × columns. */
export function gemv(alpha: f64, rows: u32, columns: u32, a: usize, stride: usize, x: usize, y: usize): void {
  for (let i: u32 = 0; i < rows; i += 4) {
    // The last rows are taken again and again where fewer than four are left; only their own sums are stored.
    const left = rows - i
    const a1 = left > 1 ? stride : 0
    const a2 = left > 2 ? 2 * stride : 0
    const a3 = left > 3 ? 3 * stride : 0
    let s0 = f64x2.splat(0)
    let s1 = f64x2.splat(0)
    let s2 = f64x2.splat(0)
    let s3 = f64x2.splat(0)
    let p = a
    let xj = x
    const end = a + (((columns & ~1) as usize) << 3)
    while (p !== end) {
      const vx = v128.load(xj)
      s0 = f64x2.add(s0, f64x2.mul(v128.load(p), vx))
      s1 = f64x2.add(s1, f64x2.mul(v128.load(p + a1), vx))
      s2 = f64x2.add(s2, f64x2.mul(v128.load(p + a2), vx))
      s3 = f64x2.add(s3, f64x2.mul(v128.load(p + a3), vx))
      p += 16
      xj += 16
    }
    const vx = columns & 1 ? load<f64>(xj) : 0
    const at = y + ((i as usize) << 3)
    addTo(at, alpha, s0, columns & 1 ? load<f64>(p) * vx : 0)
    if (left > 1) addTo(at + 8, alpha, s1, columns & 1 ? load<f64>(p + a1) * vx : 0)
    if (left > 2) addTo(at + 16, alpha, s2, columns & 1 ? load<f64>(p + a2) * vx : 0)
    if (left > 3) addTo(at + 24, alpha, s3, columns & 1 ? load<f64>(p + a3) * vx : 0)
    a += 4 * stride
  }
}

function addTo(address: usize, alpha: f64, sum: v128, rest: f64): void {
  store<f64>(address, load<f64>(address) + alpha * (lanes(sum) + rest))
}

/** y += alpha·Aᵀ·x, A rows × columns. */
export function gemvTransposed(
  alpha: f64,
  rows: u32,
  columns: u32,
  a: usize,
  stride: usize,
  x: usize,
  y: usize,
): void {
  const pairs = ((columns & ~1) as usize) << 3
  let i: u32 = 0
  for (; i + 4 <= rows; i += 4) {
    const f0 = alpha * load<f64>(x)
    const f1 = alpha * load<f64>(x, 8)
    const f2 = alpha * load<f64>(x, 16)
    const f3 = alpha * load<f64>(x, 24)
    const a1 = a + stride
    const a2 = a1 + stride
    const a3 = a2 + stride
    for (let j: usize = 0; j < pairs; j += 16) {
      const low = f64x2.add(
        f64x2.mul(v128.load(a + j), f64x2.splat(f0)),
        f64x2.mul(v128.load(a1 + j), f64x2.splat(f1)),
      )
      const high = f64x2.add(
        f64x2.mul(v128.load(a2 + j), f64x2.splat(f2)),
        f64x2.mul(v128.load(a3 + j), f64x2.splat(f3)),
      )
      v128.store(y + j, f64x2.add(v128.load(y + j), f64x2.add(low, high)))
    }
    if (columns & 1) {
      const low = load<f64>(a + pairs) * f0 + load<f64>(a1 + pairs) * f1
      const high = load<f64>(a2 + pairs) * f2 + load<f64>(a3 + pairs) * f3
      store<f64>(y + pairs, load<f64>(y + pairs) + (low + high))
    }
    a = a3 + stride
    x += 32
  }
  for (; i < rows; i++) {
    axpy(columns, alpha * load<f64>(x), a, y)
    a += stride
    x += 8
  }
}

/** A += alpha·x·yᵀ, A rows × columns. */
export function ger(alpha: f64, rows: u32, columns: u32, x: usize, y: usize, a: usize, stride: usize): void {
  for (let i: u32 = 0; i < rows; i++) {
    axpy(columns, alpha * load<f64>(x), y, a)
    a += stride
    x += 8
  }
}
