/**
 * All singular values of a small matrix in one call, by way of a bidiagonal one: what src/linalg/svd/bidiagonal.ts does and says, in
 * code that is fast the first time it runs. Strides are in bytes; entry i of a vector is 8·i bytes after its address.
 */
import { gemvTransposed } from './matrix-vector'
import { at, axpy, dot, lanes, largestAbs, put, reflectorOf, TINY_SQUARE } from './vector'

const MAX_STEPS: i32 = 30
const VANISHING: f64 = f64.EPSILON / 4
/** 2⁻⁴⁸⁰. */
const SMALLEST: f64 = reinterpret<f64>(((1023 - 480) as u64) << 52)

/**
 * The rows of X [n, m], n ≤ m, at x are destroyed; d [n] receives the singular values, of either sign and in no order; e [n], u [n]
 * and w [m] are scratch. Gives the value that did not converge, −1 where all did.
 */
export function singularValues(n: i32, m: i32, x: usize, d: usize, e: usize, u: usize, w: usize): i32 {
  const stride = (m as usize) << 3
  let columns = m
  if (2 * m >= 3 * n) {
    triangularise(n, m, x, stride, w)
    columns = n
  }
  bidiagonalise(n, columns, x, stride, d, e, u, w)
  return bidiagonalQr(n, d, e)
}

/** X ← L with X = L·Q; `zeros` is scratch. */
function triangularise(n: i32, m: i32, x: usize, stride: usize, zeros: usize): void {
  memory.fill(zeros, 0, stride)
  for (let i = 0; i < n; i++) {
    const v = x + ((i as usize) << 3)
    const tau = reflector(m - i, v)
    const diagonal = load<f64>(v)
    store<f64>(v, 1)
    reflectRows(n - i - 1, m - i, v + stride, stride, v, tau)
    memory.fill(v, 0, ((m - i) as usize) << 3)
    store<f64>(v, diagonal)
    x += stride
  }
}

/** Lower bidiagonal: d its diagonal [n], e what is below it [n − 1]. */
function bidiagonalise(
  n: i32,
  m: i32,
  x: usize,
  stride: usize,
  d: usize,
  e: usize,
  u: usize,
  w: usize,
): void {
  let left: f64 = 0
  for (let i = 0; i < n; i++) {
    // x is entry (i, i); u and w are of the reflector of the column before, which these rows have yet to feel
    const length = m - i
    if (left !== 0) axpy(length, -left * load<f64>(u), w, x)
    const right = reflector(length, x)
    put(d, i, load<f64>(x))
    const below = n - i - 1
    if (below === 0) return
    store<f64>(x, 1)
    const next = x + stride
    if (left !== 0) updateRows(below, length, next, stride, left, u + 8, w, x, right)
    else reflectRows(below, length, next, stride, x, right)
    for (let j = 0; j < below; j++) put(u, j, load<f64>(next + (j as usize) * stride))
    left = reflector(below, u)
    put(e, i, load<f64>(u))
    store<f64>(u, 1)
    if (left !== 0) {
      memory.fill(w, 0, ((length - 1) as usize) << 3)
      gemvTransposed(1, below, length - 1, next + 8, stride, u, w)
    }
    x = next + 8
  }
}

/** x becomes [beta, v(1), …], v(0) = 1; gives tau, 0 where all but x(0) is negligible and thus cleared. */
function reflector(n: i32, x: usize): f64 {
  const rest = x + 8
  const tail = squares(n - 1, rest)
  if (tail >= TINY_SQUARE) return reflectorOf(n, x, tail)
  memory.fill(rest, 0, ((n - 1) as usize) << 3)
  return 0
}

/** Σ xᵢ² in four strands. */
function squares(n: i32, x: usize): f64 {
  let s0 = f64x2.splat(0)
  let s1 = f64x2.splat(0)
  let i = 0
  for (; i + 4 <= n; i += 4) {
    const x0 = v128.load(x)
    const x1 = v128.load(x, 16)
    s0 = f64x2.add(s0, f64x2.mul(x0, x0))
    s1 = f64x2.add(s1, f64x2.mul(x1, x1))
    x += 32
  }
  let sum = lanes(f64x2.add(s0, s1))
  for (; i < n; i++) {
    const entry = load<f64>(x)
    sum += entry * entry
    x += 8
  }
  return sum
}

/** Rows y ← y − tau·(y·v)·v. */
export function reflectRows(rows: i32, length: i32, y: usize, stride: usize, v: usize, tau: f64): void {
  if (tau === 0) return
  let j = 0
  for (; j + 4 <= rows; j += 4) {
    reflectFour(length, y, stride, v, tau)
    y += 4 * stride
  }
  for (; j < rows; j++) {
    reflectOne(length, y, v, tau)
    y += stride
  }
}

/** Rows y ← y − left·u(j)·w, then as `reflectRows`. */
function updateRows(
  rows: i32,
  length: i32,
  y: usize,
  stride: usize,
  left: f64,
  u: usize,
  w: usize,
  v: usize,
  tau: f64,
): void {
  let j = 0
  for (; j + 4 <= rows; j += 4) {
    updateFour(length, y, stride, left, u, w, v, tau)
    y += 4 * stride
    u += 32
  }
  for (; j < rows; j++) {
    axpy(length, -left * load<f64>(u), w, y)
    reflectOne(length, y, v, tau)
    y += stride
    u += 8
  }
}

function reflectOne(length: i32, y: usize, v: usize, tau: f64): void {
  if (tau !== 0) axpy(length, -tau * dot(length, y, v), v, y)
}

function reflectFour(length: i32, y: usize, stride: usize, v: usize, tau: f64): void {
  const y1 = y + stride
  const y2 = y1 + stride
  const y3 = y2 + stride
  let s0 = f64x2.splat(0)
  let s1 = f64x2.splat(0)
  let s2 = f64x2.splat(0)
  let s3 = f64x2.splat(0)
  const end = ((length & ~1) as usize) << 3
  for (let p: usize = 0; p !== end; p += 16) {
    const x = v128.load(v + p)
    s0 = f64x2.add(s0, f64x2.mul(v128.load(y + p), x))
    s1 = f64x2.add(s1, f64x2.mul(v128.load(y1 + p), x))
    s2 = f64x2.add(s2, f64x2.mul(v128.load(y2 + p), x))
    s3 = f64x2.add(s3, f64x2.mul(v128.load(y3 + p), x))
  }
  finishFour(length, y, stride, v, tau, s0, s1, s2, s3)
}

function updateFour(
  length: i32,
  y: usize,
  stride: usize,
  left: f64,
  u: usize,
  w: usize,
  v: usize,
  tau: f64,
): void {
  const y1 = y + stride
  const y2 = y1 + stride
  const y3 = y2 + stride
  const f0 = left * load<f64>(u)
  const f1 = left * load<f64>(u, 8)
  const f2 = left * load<f64>(u, 16)
  const f3 = left * load<f64>(u, 24)
  const v0 = f64x2.splat(f0)
  const v1 = f64x2.splat(f1)
  const v2 = f64x2.splat(f2)
  const v3 = f64x2.splat(f3)
  let s0 = f64x2.splat(0)
  let s1 = f64x2.splat(0)
  let s2 = f64x2.splat(0)
  let s3 = f64x2.splat(0)
  const end = ((length & ~1) as usize) << 3
  for (let p: usize = 0; p !== end; p += 16) {
    const x = v128.load(v + p)
    const z = v128.load(w + p)
    const r0 = f64x2.sub(v128.load(y + p), f64x2.mul(v0, z))
    const r1 = f64x2.sub(v128.load(y1 + p), f64x2.mul(v1, z))
    const r2 = f64x2.sub(v128.load(y2 + p), f64x2.mul(v2, z))
    const r3 = f64x2.sub(v128.load(y3 + p), f64x2.mul(v3, z))
    v128.store(y + p, r0)
    v128.store(y1 + p, r1)
    v128.store(y2 + p, r2)
    v128.store(y3 + p, r3)
    s0 = f64x2.add(s0, f64x2.mul(r0, x))
    s1 = f64x2.add(s1, f64x2.mul(r1, x))
    s2 = f64x2.add(s2, f64x2.mul(r2, x))
    s3 = f64x2.add(s3, f64x2.mul(r3, x))
  }
  if (length & 1) {
    const z = load<f64>(w + end)
    store<f64>(y + end, load<f64>(y + end) - f0 * z)
    store<f64>(y1 + end, load<f64>(y1 + end) - f1 * z)
    store<f64>(y2 + end, load<f64>(y2 + end) - f2 * z)
    store<f64>(y3 + end, load<f64>(y3 + end) - f3 * z)
  }
  if (tau !== 0) finishFour(length, y, stride, v, tau, s0, s1, s2, s3)
}

/** Four rows y ← y − tau·(y·v)·v, given what all but an odd last entry adds to their products with v. */
function finishFour(
  length: i32,
  y: usize,
  stride: usize,
  v: usize,
  tau: f64,
  s0: v128,
  s1: v128,
  s2: v128,
  s3: v128,
): void {
  const y1 = y + stride
  const y2 = y1 + stride
  const y3 = y2 + stride
  const end = ((length & ~1) as usize) << 3
  const last: f64 = length & 1 ? load<f64>(v + end) : 0
  const f0 = tau * (lanes(s0) + (length & 1 ? load<f64>(y + end) * last : 0))
  const f1 = tau * (lanes(s1) + (length & 1 ? load<f64>(y1 + end) * last : 0))
  const f2 = tau * (lanes(s2) + (length & 1 ? load<f64>(y2 + end) * last : 0))
  const f3 = tau * (lanes(s3) + (length & 1 ? load<f64>(y3 + end) * last : 0))
  const v0 = f64x2.splat(f0)
  const v1 = f64x2.splat(f1)
  const v2 = f64x2.splat(f2)
  const v3 = f64x2.splat(f3)
  for (let p: usize = 0; p !== end; p += 16) {
    const x = v128.load(v + p)
    v128.store(y + p, f64x2.sub(v128.load(y + p), f64x2.mul(v0, x)))
    v128.store(y1 + p, f64x2.sub(v128.load(y1 + p), f64x2.mul(v1, x)))
    v128.store(y2 + p, f64x2.sub(v128.load(y2 + p), f64x2.mul(v2, x)))
    v128.store(y3 + p, f64x2.sub(v128.load(y3 + p), f64x2.mul(v3, x)))
  }
  if (length & 1) {
    store<f64>(y + end, load<f64>(y + end) - f0 * last)
    store<f64>(y1 + end, load<f64>(y1 + end) - f1 * last)
    store<f64>(y2 + end, load<f64>(y2 + end) - f2 * last)
    store<f64>(y3 + end, load<f64>(y3 + end) - f3 * last)
  }
}

/** d [n] becomes the singular values of the bidiagonal matrix, e [n − 1] is destroyed. */
function bidiagonalQr(n: i32, d: usize, e: usize): i32 {
  if (Math.abs(at(d, 0)) < Math.abs(at(d, n - 1))) {
    reverse(n, d)
    reverse(n - 1, e)
  }
  const vanishing = Math.max(SMALLEST, VANISHING * Math.max(largestAbs(n, d), largestAbs(n - 1, e)))
  let steps = MAX_STEPS * n
  for (let last = n - 1; last > 0; last--) {
    for (;;) {
      const first = startOfBlock(d, e, last, vanishing)
      if (first === last) break
      if (--steps < 0) return last
      qrStep(d, e, first, last)
    }
  }
  return -1
}

function reverse(n: i32, x: usize): void {
  for (let i = 0, j = n - 1; i < j; i++, j--) {
    const held = at(x, i)
    put(x, i, at(x, j))
    put(x, j, held)
  }
}

function startOfBlock(d: usize, e: usize, last: i32, vanishing: f64): i32 {
  if (Math.abs(at(d, last)) <= vanishing) clearColumn(d, e, last, vanishing)
  let first = last
  while (first > 0) {
    const size = Math.abs(at(e, first - 1))
    const beside = Math.abs(at(d, first - 1)) + Math.abs(at(d, first))
    if (size <= f64.EPSILON * beside || size <= vanishing) break
    if (Math.abs(at(d, first - 1)) <= vanishing) {
      clearRow(d, e, first - 1, last, vanishing)
      break
    }
    first--
  }
  return first
}

function clearRow(d: usize, e: usize, row: i32, last: i32, vanishing: f64): void {
  let f = at(e, row)
  put(d, row, 0)
  put(e, row, 0)
  for (let j = row + 1; j <= last && Math.abs(f) > vanishing; j++) {
    const g = at(d, j)
    const r = Math.sqrt(f * f + g * g)
    put(d, j, r)
    if (j === last) return
    f = (-f / r) * at(e, j)
    put(e, j, (g / r) * at(e, j))
  }
}

function clearColumn(d: usize, e: usize, last: i32, vanishing: f64): void {
  put(d, last, 0)
  let f = at(e, last - 1)
  put(e, last - 1, 0)
  for (let j = last - 1; j >= 0 && Math.abs(f) > vanishing; j--) {
    const g = at(d, j)
    const r = Math.sqrt(f * f + g * g)
    put(d, j, r)
    if (j === 0) return
    f = (-f / r) * at(e, j - 1)
    put(e, j - 1, (g / r) * at(e, j - 1))
  }
}

function qrStep(d: usize, e: usize, first: i32, last: i32): void {
  const dn = at(d, last)
  const dm = at(d, last - 1)
  const em = at(e, last - 1)
  const b = ((dm + dn) * (dm - dn) + em * em) / 2
  const c = dn * em * (dn * em)
  const root = Math.sqrt(b * b + c)
  const shift = root === 0 ? 0 : c / (b < 0 ? b - root : b + root)
  const d0 = at(d, first)
  let f = (d0 + dn) * (d0 - dn) + shift
  let g = d0 * at(e, first)
  let dj = d0
  for (let j = first; j < last; j++) {
    let r = Math.sqrt(f * f + g * g)
    let cosine: f64 = 1
    let sine: f64 = 0
    if (r !== 0) {
      cosine = f / r
      sine = g / r
    }
    if (j > first) put(e, j - 1, r)
    const ej = at(e, j)
    const dk = at(d, j + 1)
    f = cosine * dj + sine * ej
    const e1 = cosine * ej - sine * dj
    g = sine * dk
    const d1 = cosine * dk
    r = Math.sqrt(f * f + g * g)
    cosine = 1
    sine = 0
    if (r !== 0) {
      cosine = f / r
      sine = g / r
    }
    put(d, j, r)
    f = cosine * e1 + sine * d1
    dj = cosine * d1 - sine * e1
    if (j + 1 < last) {
      const ek = at(e, j + 1)
      g = sine * ek
      put(e, j + 1, cosine * ek)
    }
  }
  put(d, last, dj)
  put(e, last - 1, f)
}
