/**
 * A few eigenvectors of a symmetric matrix that has been made tridiagonal: what src/linalg/svd/inverse-iteration.ts does and says, in code
 * that is fast the first time it runs. Strides are in bytes; entry i of a vector is 8·i bytes after its address.
 */
import { reflectRows } from './bidiagonal'
import { at, axpy, dot, largestAbs, put, scale } from './vector'

const MOST_SOLVES: i32 = 5
const RESIDUAL: f64 = 16
const DISTANCE: f64 = 64

/**
 * `count` rows at z [n each, one after the other] ← eigenvectors for the `count` values. The reflectors are in the rows at `reflectors`,
 * right of the off-diagonal, and tau [n − 2]. `scratch` has 5·n numbers. Gives whether every vector is one to rounding.
 */
export function inverseIteration(
  n: i32,
  d: usize,
  e: usize,
  reflectors: usize,
  stride: usize,
  tau: usize,
  count: i32,
  values: usize,
  z: usize,
  scratch: usize,
): bool {
  const rowBytes = (n as usize) << 3
  let norm: f64 = 0
  for (let i = 0; i < n; i++) {
    const before: f64 = i > 0 ? Math.abs(at(e, i - 1)) : 0
    const after: f64 = i < n - 1 ? Math.abs(at(e, i)) : 0
    norm = Math.max(norm, Math.abs(at(d, i)) + before + after)
  }
  const ulp = f64.EPSILON * norm
  for (let j = 0; j < count; j++) {
    if (!findVector(n, d, e, at(values, j), ulp, z, j, scratch)) return false
  }
  for (let i = n - 3; i >= 0; i--) {
    const length = n - i - 1
    const offset = ((i + 1) as usize) << 3
    memory.copy(scratch, reflectors + (i as usize) * stride + offset, (length as usize) << 3)
    store<f64>(scratch, 1)
    reflectRows(count, length, z + offset, rowBytes, scratch, at(tau, i))
  }
  return true
}

function findVector(n: i32, d: usize, e: usize, lambda: f64, ulp: f64, rows: usize, j: i32, lu: usize): bool {
  const rowBytes = (n as usize) << 3
  const z = rows + (j as usize) * rowBytes
  factor(n, d, e, lambda, ulp, lu)
  start(n, z, j)
  for (let solves = 1; solves <= MOST_SOLVES; solves++) {
    solve(n, lu, z)
    scale(n, 1 / largestAbs(n, z), z)
    for (let times = 0; times < 2; times++) {
      for (let before = rows; before !== z; before += rowBytes) axpy(n, -dot(n, z, before), before, z)
      scale(n, 1 / Math.sqrt(dot(n, z, z)), z)
    }
    if (solves > 1 && isEigenvector(n, d, e, lambda, ulp, z)) return true
  }
  return false
}

function start(n: i32, z: usize, j: i32): void {
  let state: u32 = j + 1
  for (let i = 0; i < n; i++) {
    state = state * 1664525 + 1013904223
    put(z, i, (state as f64) / 4294967296 - 0.5)
  }
}

/** Entry i of T·z. */
function product(n: i32, d: usize, e: usize, z: usize, i: i32): f64 {
  let sum = at(d, i) * at(z, i)
  if (i > 0) sum += at(e, i - 1) * at(z, i - 1)
  if (i < n - 1) sum += at(e, i) * at(z, i + 1)
  return sum
}

function isEigenvector(n: i32, d: usize, e: usize, lambda: f64, ulp: f64, z: usize): bool {
  let quotient: f64 = 0
  for (let i = 0; i < n; i++) quotient += at(z, i) * product(n, d, e, z, i)
  let squares: f64 = 0
  for (let i = 0; i < n; i++) {
    const left = product(n, d, e, z, i) - quotient * at(z, i)
    squares += left * left
  }
  return Math.sqrt(squares) <= RESIDUAL * ulp && Math.abs(quotient - lambda) <= DISTANCE * ulp
}

function atLeast(ulp: f64, x: f64): f64 {
  if (Math.abs(x) >= ulp) return x
  return x < 0 ? -ulp : ulp
}

/** At lu, n numbers each: U's three diagonals, the multipliers, and 1 where a row was exchanged with the next. */
function factor(n: i32, d: usize, e: usize, lambda: f64, ulp: f64, lu: usize): void {
  const rowBytes = (n as usize) << 3
  const u1 = lu + rowBytes
  const u2 = u1 + rowBytes
  const multipliers = u2 + rowBytes
  const swapped = multipliers + rowBytes
  let diagonal = at(d, 0) - lambda
  let beside: f64 = n > 1 ? at(e, 0) : 0
  for (let i = 0; i < n - 1; i++) {
    const below = at(e, i)
    const next = at(d, i + 1) - lambda
    const nextBeside: f64 = i + 2 < n ? at(e, i + 1) : 0
    if (Math.abs(below) > Math.abs(diagonal)) {
      const multiplier = diagonal / below
      put(swapped, i, 1)
      put(multipliers, i, multiplier)
      put(lu, i, below)
      put(u1, i, next)
      put(u2, i, nextBeside)
      diagonal = beside - multiplier * next
      beside = -multiplier * nextBeside
    } else {
      const pivot = atLeast(ulp, diagonal)
      const multiplier = below / pivot
      put(swapped, i, 0)
      put(multipliers, i, multiplier)
      put(lu, i, pivot)
      put(u1, i, beside)
      put(u2, i, 0)
      diagonal = next - multiplier * beside
      beside = nextBeside
    }
  }
  put(lu, n - 1, atLeast(ulp, diagonal))
}

function solve(n: i32, lu: usize, z: usize): void {
  const rowBytes = (n as usize) << 3
  const u1 = lu + rowBytes
  const u2 = u1 + rowBytes
  const multipliers = u2 + rowBytes
  const swapped = multipliers + rowBytes
  for (let i = 0; i < n - 1; i++) {
    const own = at(z, i)
    const next = at(z, i + 1)
    if (at(swapped, i) !== 0) {
      put(z, i, next)
      put(z, i + 1, own - at(multipliers, i) * next)
    } else put(z, i + 1, next - at(multipliers, i) * own)
  }
  for (let i = n - 1; i >= 0; i--) {
    let sum = at(z, i)
    if (i + 1 < n) sum -= at(u1, i) * at(z, i + 1)
    if (i + 2 < n) sum -= at(u2, i) * at(z, i + 2)
    put(z, i, sum / at(lu, i))
  }
}
