/**
 * Float64 vector kernels for one-sided Jacobi and tridiagonalisation, named as in BLAS level 1 and 2.
 *
 * Vectors are contiguous. Sums run in eight interleaved strands, joined in a fixed order, with the tail after.
 */

/** Numbers a strand round takes: 4 vectors of 2. */
const STRANDS: u32 = 8

// the sum of eight strands, kept in four vectors
function join(s0: v128, s1: v128, s2: v128, s3: v128): f64 {
  const s = f64x2.add(f64x2.add(s0, s1), f64x2.add(s2, s3))
  return f64x2.extract_lane(s, 0) + f64x2.extract_lane(s, 1)
}

function product(x: usize, y: usize): v128 {
  return f64x2.mul(v128.load(x), v128.load(y))
}

/** xᵀ·y. */
export function dot(n: u32, x: usize, y: usize): f64 {
  let s0 = f64x2.splat(0)
  let s1 = f64x2.splat(0)
  let s2 = f64x2.splat(0)
  let s3 = f64x2.splat(0)
  let i: u32 = 0
  for (; i + STRANDS <= n; i += STRANDS) {
    s0 = f64x2.add(s0, product(x, y))
    s1 = f64x2.add(s1, product(x + 16, y + 16))
    s2 = f64x2.add(s2, product(x + 32, y + 32))
    s3 = f64x2.add(s3, product(x + 48, y + 48))
    x += 64
    y += 64
  }
  let sum = join(s0, s1, s2, s3)
  for (; i < n; i++) {
    sum += load<f64>(x) * load<f64>(y)
    x += 8
    y += 8
  }
  return sum
}

/** y += alpha·x. */
export function axpy(n: u32, alpha: f64, x: usize, y: usize): void {
  const a = f64x2.splat(alpha)
  let i: u32 = 0
  for (; i + 4 <= n; i += 4) {
    const y0 = f64x2.add(v128.load(y), f64x2.mul(a, v128.load(x)))
    const y1 = f64x2.add(v128.load(y, 16), f64x2.mul(a, v128.load(x, 16)))
    v128.store(y, y0)
    v128.store(y, y1, 16)
    x += 32
    y += 32
  }
  for (; i < n; i++) {
    store<f64>(y, load<f64>(y) + alpha * load<f64>(x))
    x += 8
    y += 8
  }
}

/** The plane rotation of BLAS drot: x ← c·x + s·y, y ← c·y − s·x. */
export function rotate(n: u32, x: usize, y: usize, c: f64, s: f64): void {
  const cc = f64x2.splat(c)
  const ss = f64x2.splat(s)
  let i: u32 = 0
  for (; i + 2 <= n; i += 2) {
    const xi = v128.load(x)
    const yi = v128.load(y)
    v128.store(x, f64x2.add(f64x2.mul(cc, xi), f64x2.mul(ss, yi)))
    v128.store(y, f64x2.sub(f64x2.mul(cc, yi), f64x2.mul(ss, xi)))
    x += 16
    y += 16
  }
  if (i < n) {
    const xi = load<f64>(x)
    const yi = load<f64>(y)
    store<f64>(x, c * xi + s * yi)
    store<f64>(y, c * yi - s * xi)
  }
}

/** out[0] = xᵀ·x, out[1] = yᵀ·y, out[2] = xᵀ·y, reading both vectors once. */
export function threeDots(n: u32, x: usize, y: usize, out: usize): void {
  let xx = f64x2.splat(0)
  let yy = f64x2.splat(0)
  let xy = f64x2.splat(0)
  let xx1 = f64x2.splat(0)
  let yy1 = f64x2.splat(0)
  let xy1 = f64x2.splat(0)
  let i: u32 = 0
  for (; i + 4 <= n; i += 4) {
    const x0 = v128.load(x)
    const y0 = v128.load(y)
    xx = f64x2.add(xx, f64x2.mul(x0, x0))
    yy = f64x2.add(yy, f64x2.mul(y0, y0))
    xy = f64x2.add(xy, f64x2.mul(x0, y0))
    const x1 = v128.load(x, 16)
    const y1 = v128.load(y, 16)
    xx1 = f64x2.add(xx1, f64x2.mul(x1, x1))
    yy1 = f64x2.add(yy1, f64x2.mul(y1, y1))
    xy1 = f64x2.add(xy1, f64x2.mul(x1, y1))
    x += 32
    y += 32
  }
  const zero = f64x2.splat(0)
  let sumXX = join(xx, xx1, zero, zero)
  let sumYY = join(yy, yy1, zero, zero)
  let sumXY = join(xy, xy1, zero, zero)
  for (; i < n; i++) {
    const xi = load<f64>(x)
    const yi = load<f64>(y)
    sumXX += xi * xi
    sumYY += yi * yi
    sumXY += xi * yi
    x += 8
    y += 8
  }
  store<f64>(out, sumXX)
  store<f64>(out, sumYY, 8)
  store<f64>(out, sumXY, 16)
}
