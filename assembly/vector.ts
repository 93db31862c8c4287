/** Float64 vector kernels for tridiagonalisation and divide and conquer, named as in BLAS level 1. Vectors are contiguous. */

/** As TINY_SQUARE and ENLARGE of src/linalg/svd/qr.ts: 2⁻⁹⁰⁰ and 2⁶⁰⁰. */
export const TINY_SQUARE: f64 = reinterpret<f64>(((1023 - 900) as u64) << 52)
const ENLARGE: f64 = reinterpret<f64>(((1023 + 600) as u64) << 52)

/** Entry i of x. */
export function at(x: usize, i: i32): f64 {
  return load<f64>(x + ((i as usize) << 3))
}

export function put(x: usize, i: i32, value: f64): void {
  store<f64>(x + ((i as usize) << 3), value)
}

/** The entries of `v` added up. */
export function lanes(v: v128): f64 {
  return f64x2.extract_lane(v, 0) + f64x2.extract_lane(v, 1)
}

/** Σ xᵢ·yᵢ, even and odd entries summed apart. */
export function dot(n: u32, x: usize, y: usize): f64 {
  let sums = f64x2.splat(0)
  let i: u32 = 0
  for (; i + 2 <= n; i += 2) {
    sums = f64x2.add(sums, f64x2.mul(v128.load(x), v128.load(y)))
    x += 16
    y += 16
  }
  return i < n ? lanes(sums) + load<f64>(x) * load<f64>(y) : lanes(sums)
}

/** x ↔ y. */
export function swap(n: u32, x: usize, y: usize): void {
  for (let i: u32 = 0; i < n; i++) {
    const held = load<f64>(x)
    store<f64>(x, load<f64>(y))
    store<f64>(y, held)
    x += 8
    y += 8
  }
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

/** max|xᵢ|, NaN where an entry is NaN. */
export function largestAbs(n: u32, x: usize): f64 {
  let most = f64x2.splat(0)
  let i: u32 = 0
  for (; i + 2 <= n; i += 2) {
    most = f64x2.max(most, f64x2.abs(v128.load(x)))
    x += 16
  }
  const both = Math.max(f64x2.extract_lane(most, 0), f64x2.extract_lane(most, 1))
  return i < n ? Math.max(both, Math.abs(load<f64>(x))) : both
}

/** x ← factor·x. */
export function scale(n: u32, factor: f64, x: usize): void {
  const f = f64x2.splat(factor)
  let i: u32 = 0
  for (; i + 2 <= n; i += 2) {
    v128.store(x, f64x2.mul(v128.load(x), f))
    x += 16
  }
  if (i < n) store<f64>(x, load<f64>(x) * factor)
}

/** x ← x / divisor. */
export function divide(n: u32, divisor: f64, x: usize): void {
  const d = f64x2.splat(divisor)
  let i: u32 = 0
  for (; i + 2 <= n; i += 2) {
    v128.store(x, f64x2.div(v128.load(x), d))
    x += 16
  }
  if (i < n) store<f64>(x, load<f64>(x) / divisor)
}

/** Σ xᵢ², one after the other. */
export function sumOfSquares(n: u32, x: usize): f64 {
  let sum: f64 = 0
  for (let i: u32 = 0; i < n; i++) {
    const entry = load<f64>(x)
    sum += entry * entry
    x += 8
  }
  return sum
}

/** The Householder reflector of x, as `makeReflector` of src/linalg/svd/qr.ts. */
export function makeReflector(n: u32, x: usize): f64 {
  const alpha = load<f64>(x)
  const tail = sumOfSquares(n - 1, x + 8)
  if (alpha * alpha + tail < TINY_SQUARE && largestAbs(n, x) > 0) {
    scale(n, ENLARGE, x)
    const tau = makeReflector(n, x)
    store<f64>(x, load<f64>(x) / ENLARGE)
    return tau
  }
  if (tail === 0) {
    memory.fill(x + 8, 0, ((n - 1) as usize) << 3)
    return 0
  }
  return reflectorOf(n, x, tail)
}

/** The same, given the square of all but x(0), which is not so small that digits are lost. */
export function reflectorOf(n: u32, x: usize, tail: f64): f64 {
  const alpha = load<f64>(x)
  const norm = Math.sqrt(alpha * alpha + tail)
  const beta = alpha > 0 ? -norm : norm
  scale(n - 1, 1 / (alpha - beta), x + 8)
  store<f64>(x, beta)
  return (beta - alpha) / beta
}
