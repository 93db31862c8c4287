/**
 * Rotations of one-sided Jacobi: what `orthogonalizeRows` of src/linalg/svd/jacobi.ts does and says of rows without powers of two
 * of their own, number for number, in code that is fast the first time it runs. Rows follow on one another.
 */

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
      store<f64>(squares + ((j as usize) << 3), dot(m, row, row))
    }
    let rotated = false
    for (let p = 0; p < n - 1; p++) {
      const longest = indexOfLargest(n, squares, p)
      if (longest !== p) {
        swap(m, work, p, longest)
        if (rotations !== 0) swap(n, rotations, p, longest)
        swap(1, squares, p, longest)
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
        rotate(m, rowP, rowQ, tangent)
        if (rotations !== 0) {
          const side = (n as usize) << 3
          rotate(n, rotations + (p as usize) * side, rotations + (q as usize) * side, tangent)
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
    if (load<f64>(x + ((i as usize) << 3)) > load<f64>(x + ((best as usize) << 3))) best = i
  }
  return best
}

function swap(width: i32, x: usize, i: i32, j: i32): void {
  let a = x + (((i * width) as usize) << 3)
  let b = x + (((j * width) as usize) << 3)
  for (let k = 0; k < width; k++) {
    const held = load<f64>(a)
    store<f64>(a, load<f64>(b))
    store<f64>(b, held)
    a += 8
    b += 8
  }
}

/** Even and odd entries summed apart. */
function dot(m: i32, x: usize, y: usize): f64 {
  let sums = f64x2.splat(0)
  let i = 0
  for (; i < m - 1; i += 2) {
    sums = f64x2.add(sums, f64x2.mul(v128.load(x), v128.load(y)))
    x += 16
    y += 16
  }
  const both = f64x2.extract_lane(sums, 0) + f64x2.extract_lane(sums, 1)
  return i < m ? both + load<f64>(x) * load<f64>(y) : both
}

/** Rows ← cos·(x − tan·y) and cos·(y + tan·x). */
function rotate(width: i32, x: usize, y: usize, tangent: f64): void {
  const cosine = 1 / Math.sqrt(1 + tangent * tangent)
  const sine = cosine * tangent
  const cc = f64x2.splat(cosine)
  const ss = f64x2.splat(sine)
  let i = 0
  for (; i + 2 <= width; i += 2) {
    const xi = v128.load(x)
    const yi = v128.load(y)
    v128.store(x, f64x2.sub(f64x2.mul(cc, xi), f64x2.mul(ss, yi)))
    v128.store(y, f64x2.add(f64x2.mul(ss, xi), f64x2.mul(cc, yi)))
    x += 16
    y += 16
  }
  if (i < width) {
    const xi = load<f64>(x)
    const yi = load<f64>(y)
    store<f64>(x, cosine * xi - sine * yi)
    store<f64>(y, sine * xi + cosine * yi)
  }
}
