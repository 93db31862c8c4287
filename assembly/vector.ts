/** Float64 vector kernels for tridiagonalisation and divide and conquer, named as in BLAS level 1. Vectors are contiguous. */

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
