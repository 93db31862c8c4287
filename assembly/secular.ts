/**
 * The secular equation of divide and conquer, its roots and vectors: what src/linalg/svd/secular.ts and divide-and-conquer.ts do and
 * say, number for number, in code that is fast the first time it runs. Entry i of a vector is 8·i bytes after its address.
 */
import { at, put } from './vector'

const MAX_STEPS: i32 = 120
const SUFFICIENT_DECREASE: f64 = 0.1

/** Where the search for a root begins: the pole it is told from, the bracket, and the guess. */
let origin: i32 = 0
let low: f64 = 0
let high: f64 = 0
let tau: f64 = 0
/** What `evaluate` finds. */
let value: f64 = 0
let slopeLeft: f64 = 0
let slopeRight: f64 = 0
let error: f64 = 0

/** All roots [n]; row j of s [n, n] receives d(i) − root(j) over i. Gives the root that did not converge, −1 where all did. */
export function secularRoots(n: i32, d: usize, z2: usize, rho: f64, s: usize, roots: usize): i32 {
  for (let j = 0; j < n; j++) {
    if (!secularRoot(n, d, z2, rho, j, s + (((j * n) as usize) << 3), roots)) return j
  }
  return -1
}

function secularRoot(n: i32, d: usize, z2: usize, rho: f64, j: i32, delta: usize, roots: usize): bool {
  if (n === 1) {
    put(delta, 0, -rho * at(z2, 0))
    put(roots, j, at(d, 0) + rho * at(z2, 0))
    return true
  }
  const isLast = j === n - 1
  if (isLast) startLast(n, d, z2, rho)
  else startInner(n, d, z2, rho, j)
  const base = at(d, origin)
  const left = isLast ? n - 2 : j
  const right = left + 1
  let previous: f64 = Infinity
  let slow = 0
  for (let step = 0; step < MAX_STEPS; step++) {
    evaluate(n, d, z2, rho, left, base)
    const f = value
    if (Math.abs(f) <= f64.EPSILON * error) return finish(n, d, base, delta, roots, j)
    if (f < 0) low = tau
    else high = tau
    slow = Math.abs(f) > SUFFICIENT_DECREASE * previous ? slow + 1 : 0
    previous = Math.abs(f)
    let next = tau
    if (slow < 3) {
      const dl = at(d, left) - base - tau
      const dr = at(d, right) - base - tau
      const weight = origin === left ? at(z2, left) : at(z2, right)
      next = tau + interpolate(dl, dr, isLast, slow % 2 === 0, weight, origin === left)
    }
    if (!(next > low && next < high)) {
      next = low + (high - low) / 2
      if (next === low || next === high) return finish(n, d, base, delta, roots, j)
    }
    if (slow >= 3) slow = 0
    tau = next
  }
  return false
}

function finish(n: i32, d: usize, base: f64, delta: usize, roots: usize, j: i32): bool {
  for (let i = 0; i < n; i++) put(delta, i, at(d, i) - base - tau)
  put(roots, j, base + tau)
  return true
}

function evaluate(n: i32, d: usize, z2: usize, rho: f64, left: i32, base: f64): void {
  let psi: f64 = 0
  let slopePsi: f64 = 0
  let errorPsi: f64 = 0
  for (let i = 0; i <= left; i++) {
    const inverse = 1 / (at(d, i) - base - tau)
    const term = at(z2, i) * inverse
    psi += term
    slopePsi += term * inverse
    errorPsi += psi
  }
  errorPsi = Math.abs(errorPsi)
  let phi: f64 = 0
  let slopePhi: f64 = 0
  let errorPhi: f64 = 0
  for (let i = n - 1; i > left; i--) {
    const inverse = 1 / (at(d, i) - base - tau)
    const term = at(z2, i) * inverse
    phi += term
    slopePhi += term * inverse
    errorPhi += phi
  }
  const constant = 1 / rho
  value = constant + psi + phi
  slopeLeft = slopePsi
  slopeRight = slopePhi
  error =
    errorPsi +
    Math.abs(errorPhi) +
    8 * (Math.abs(psi) + Math.abs(phi)) +
    constant +
    Math.abs(tau) * (slopePsi + slopePhi)
}

function interpolate(dl: f64, dr: f64, last: bool, fixedWeight: bool, weight: f64, originLeft: bool): f64 {
  const f = value
  const slope = slopeLeft + slopeRight
  let c: f64
  if (last || !fixedWeight) c = f - dl * slopeLeft - dr * slopeRight
  else if (originLeft) c = f - dr * slope - ((dl - dr) * weight) / (dl * dl)
  else c = f - dl * slope - ((dr - dl) * weight) / (dr * dr)
  const a = (dl + dr) * f - dl * dr * slope
  const b = dl * dr * f
  const root = Math.sqrt(Math.abs(a * a - 4 * b * c))
  let step: f64
  if (c === 0) step = b / a
  else if (last) step = a >= 0 ? (a + root) / (2 * c) : (2 * b) / (a - root)
  else step = a <= 0 ? (a - root) / (2 * c) : (2 * b) / (a + root)
  return f * step < 0 ? step : -f / slope
}

function start(pole: i32, from: f64, to: f64, guess: f64): void {
  origin = pole
  low = from
  high = to
  tau = guess > from && guess < to ? guess : from + (to - from) / 2
}

function startInner(n: i32, d: usize, z2: usize, rho: f64, j: i32): void {
  const dj = at(d, j)
  const zj = at(z2, j)
  const zk = at(z2, j + 1)
  const gap = at(d, j + 1) - dj
  const middle = gap / 2
  let rest = 1 / rho
  for (let i = 0; i < n; i++) {
    if (i !== j && i !== j + 1) rest += at(z2, i) / (at(d, i) - dj - middle)
  }
  const f = rest - zj / middle + zk / middle
  if (f >= 0) {
    const a = rest * gap + zj + zk
    const b = zj * gap
    const root = Math.sqrt(Math.abs(a * a - 4 * b * rest))
    start(j, 0, middle, a > 0 ? (2 * b) / (a + root) : (a - root) / (2 * rest))
    return
  }
  const a = rest * gap - zj - zk
  const b = zk * gap
  const root = Math.sqrt(Math.abs(a * a + 4 * b * rest))
  start(j + 1, -middle, 0, a < 0 ? (2 * b) / (a - root) : -(a + root) / (2 * rest))
}

function startLast(n: i32, d: usize, z2: usize, rho: f64): void {
  const last = n - 1
  const end = at(d, last)
  const gap = end - at(d, last - 1)
  const middle = rho / 2
  let rest = 1 / rho
  for (let i = 0; i < last - 1; i++) rest += at(z2, i) / (at(d, i) - end - middle)
  const f = rest + at(z2, last - 1) / (-gap - middle) - at(z2, last) / middle
  const a = -rest * gap + at(z2, last - 1) + at(z2, last)
  const b = at(z2, last) * gap
  const root = Math.sqrt(Math.max(0, a * a + 4 * b * rest))
  const guess = a < 0 ? (2 * b) / (root - a) : (a + root) / (2 * rest)
  if (f <= 0) start(last, middle, 2 * rho, guess)
  else start(last, 0, middle, guess)
}

/**
 * Overwrites the first `needed` rows of s [n, n], as `secularRoots` leaves it, by the unit eigenvectors, entry i at column
 * position(i), a word each. z [n]; `exact` and `vector` [n] are scratch.
 */
export function secularVectors(
  n: i32,
  d: usize,
  z: usize,
  s: usize,
  position: usize,
  needed: i32,
  exact: usize,
  vector: usize,
): void {
  const rowBytes = (n as usize) << 3
  for (let i = 0; i < n; i++) put(exact, i, -at(s + (i as usize) * rowBytes, i))
  for (let j = 0; j < n; j++) {
    const row = s + (j as usize) * rowBytes
    const dj = at(d, j)
    for (let i = 0; i < j; i++) put(exact, i, at(exact, i) * (at(row, i) / (at(d, i) - dj)))
    for (let i = j + 1; i < n; i++) put(exact, i, at(exact, i) * (at(row, i) / (at(d, i) - dj)))
  }
  for (let i = 0; i < n; i++) {
    const root = Math.sqrt(Math.abs(at(exact, i)))
    put(exact, i, at(z, i) < 0 ? -root : root)
  }
  for (let j = 0; j < needed; j++) {
    const row = s + (j as usize) * rowBytes
    let sum: f64 = 0
    for (let i = 0; i < n; i++) {
      const entry = at(exact, i) / at(row, i)
      put(vector, i, entry)
      sum += entry * entry
    }
    const scale = 1 / Math.sqrt(sum)
    for (let i = 0; i < n; i++) {
      const to = load<i32>(position + ((i as usize) << 2))
      put(row, to, at(vector, i) * scale)
    }
  }
}
