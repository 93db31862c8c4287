/**
 * Rotations of one-sided Jacobi: what `orthogonalizeRows` of src/linalg/svd/jacobi.ts does and says of rows without powers of two
 * of their own, number for number, in code that is fast the first time it runs. Rows follow on one another.
 */
import { at, dot, put, rotate, swap } from './vector'

const MAX_SWEEPS: i32 = 30
const LARGE_ZETA: f64 = 1e8

/**
 * Rotates the n rows of `work` [n, m] until all are orthogonal, and the rows of `rotations` [n, n] along where it isn't 0. `squares`
 * [n] is scratch. Gives whether they have become so.
 */
export function orthogonalize(n: i32, m: i32, work: usize, rotations: usize, squares: usize): bool {
  const tolerance = Math.sqrt(m as f64) * f64.EPSILON
  const rowBytes = (m as usize) << 3
  for (let sweep = 0; sweep < MAX_SWEEPS; sweep++) {
    for (let j = 0; j < n; j++) {
      const row = work + (j as usize) * rowBytes
      put(squares, j, dot(m, row, row))
    }
    let rotated = false
    for (let p = 0; p < n - 1; p++) {
      const longest = indexOfLargest(n, squares, p)
      if (longest !== p) {
        swapRows(m, work, p, longest)
        if (rotations !== 0) swapRows(n, rotations, p, longest)
        swapRows(1, squares, p, longest)
      }
      const rowP = work + (p as usize) * rowBytes
      const ofP = squares + ((p as usize) << 3)
      for (let q = p + 1; q < n; q++) {
        const rowQ = work + (q as usize) * rowBytes
        const ofQ = squares + ((q as usize) << 3)
        const product = dot(m, rowP, rowQ)
        const squareP = load<f64>(ofP)
        const squareQ = load<f64>(ofQ)
        const limit = tolerance * Math.sqrt(squareP) * Math.sqrt(squareQ)
        if (Math.abs(product) <= limit || squareQ === 0) continue
        rotated = true
        const tangent = tangentOf((squareQ - squareP) / (2 * product))
        turn(m, rowP, rowQ, tangent)
        if (rotations !== 0) {
          const side = (n as usize) << 3
          turn(n, rotations + (p as usize) * side, rotations + (q as usize) * side, tangent)
        }
        store<f64>(ofP, Math.max(0, squareP - tangent * product))
        store<f64>(ofQ, Math.max(0, squareQ + tangent * product))
      }
    }
    if (!rotated) return true
  }
  return false
}

function tangentOf(zeta: f64): f64 {
  if (Math.abs(zeta) > LARGE_ZETA) return 1 / (2 * zeta)
  return (zeta < 0 ? -1.0 : 1.0) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta))
}

function indexOfLargest(n: i32, x: usize, from: i32): i32 {
  let best = from
  for (let i = from + 1; i < n; i++) {
    if (at(x, i) > at(x, best)) best = i
  }
  return best
}

function swapRows(width: i32, x: usize, i: i32, j: i32): void {
  swap(width, x + (((i * width) as usize) << 3), x + (((j * width) as usize) << 3))
}

/** Rows ← cos·(x − tan·y) and cos·(y + tan·x). */
function turn(width: i32, x: usize, y: usize, tangent: f64): void {
  const cosine = 1 / Math.sqrt(1 + tangent * tangent)
  rotate(width, y, x, cosine, cosine * tangent)
}
