/**
 * Eigenvalues of a symmetric tridiagonal matrix by implicit QL: what src/linalg/svd/tridiagonal-ql.ts does and says, number for
 * number, in code that is fast the first time it runs. Entry i of a vector is 8·i bytes after its address.
 */
import { at, put, rotate, swap } from './vector'

const MAX_STEPS: i32 = 30
const VANISHING: f64 = f64.EPSILON / 4
/** 2⁻⁴⁸⁰. */
const SMALLEST: f64 = reinterpret<f64>(((1023 - 480) as u64) << 52)

/**
 * d [n] becomes the eigenvalues, e [n − 1] is destroyed. Where `z` isn't 0, its n rows of `width` entries, `stride` bytes apart, are
 * rotated along. Gives the eigenvalue that did not converge, −1 where all did.
 */
export function tridiagonalQl(n: i32, d: usize, e: usize, z: usize, stride: usize, width: i32): i32 {
  if (n > 0 && Math.abs(at(d, 0)) > Math.abs(at(d, n - 1))) flip(n, d, e, z, stride, width)
  const vanishing = Math.max(SMALLEST, VANISHING * Math.max(largest(n, d), largest(n - 1, e)))
  for (let l = 0; l < n; l++) {
    for (let step = 0; ; step++) {
      const m = endOfBlock(n, d, e, l, vanishing)
      if (m === l) break
      if (step === MAX_STEPS) return l
      qlStep(n, d, e, l, m, z, stride, width)
    }
  }
  return -1
}

function flip(n: i32, d: usize, e: usize, z: usize, stride: usize, width: i32): void {
  reverse(n, d)
  reverse(n - 1, e)
  if (z === 0) return
  for (let i = 0, j = n - 1; i < j; i++, j--)
    swap(width, z + (i as usize) * stride, z + (j as usize) * stride)
}

function reverse(n: i32, x: usize): void {
  for (let i = 0, j = n - 1; i < j; i++, j--) {
    const held = at(x, i)
    put(x, i, at(x, j))
    put(x, j, held)
  }
}

function largest(n: i32, x: usize): f64 {
  let most: f64 = 0
  for (let i = 0; i < n; i++) most = Math.max(most, Math.abs(at(x, i)))
  return most
}

function endOfBlock(n: i32, d: usize, e: usize, l: i32, vanishing: f64): i32 {
  let m = l
  while (m < n - 1) {
    const size = Math.abs(at(e, m))
    if (size <= f64.EPSILON * (Math.abs(at(d, m)) + Math.abs(at(d, m + 1))) || size <= vanishing) break
    m++
  }
  return m
}

function qlStep(n: i32, d: usize, e: usize, l: i32, m: i32, z: usize, stride: usize, width: i32): void {
  const half = (at(d, l + 1) - at(d, l)) / (2 * at(e, l))
  const root = Math.sqrt(half * half + 1)
  let g = at(d, m) - at(d, l) + at(e, l) / (half + (half < 0 ? -root : root))
  let s: f64 = 1
  let c: f64 = 1
  let p: f64 = 0
  if (m < n - 1) put(e, m, 0)
  for (let i = m - 1; i >= l; i--) {
    const f = s * at(e, i)
    const b = c * at(e, i)
    const r = Math.sqrt(f * f + g * g)
    if (i + 1 < m) put(e, i + 1, r)
    if (r === 0) {
      put(d, i + 1, at(d, i + 1) - p)
      return
    }
    s = f / r
    c = g / r
    g = at(d, i + 1) - p
    const t = (at(d, i) - g) * s + 2 * c * b
    p = s * t
    put(d, i + 1, g + p)
    g = c * t - b
    if (z !== 0) {
      const row = z + (i as usize) * stride
      rotate(width, row + stride, row, c, s)
    }
  }
  put(d, l, at(d, l) - p)
  put(e, l, g)
}
