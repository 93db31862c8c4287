/**
 * Symmetric matrix times vector, as LAPACK's dsytrd needs it: memory-bound, so each entry of the lower
 * triangle is read once and used for both its places.
 */
import { axpy, dot } from './vector'

/** Rows swept together, so that x and y are read and written a quarter as often. */
const ROWS: u32 = 4

/**
 * y += A·x restricted to the stored rows [row0, row1) of the lower triangle and their mirror images.
 * A: float64, row-major at `a` with `stride` entries a row; only entries with column ≤ row are read.
 */
export function symvRows(row0: u32, row1: u32, a: usize, stride: u32, x: usize, y: usize): void {
  const step = (stride as usize) * 8
  let i = row0
  for (; i + ROWS <= row1; i += ROWS) fourRows(i, a + (i as usize) * step, step, x, y)
  for (; i < row1; i++) {
    const row = a + (i as usize) * step
    const xi = load<f64>(x + i * 8)
    const sum = dot(i, row, x) + load<f64>(row + i * 8) * xi
    axpy(i, xi, row, y)
    store<f64>(y + i * 8, load<f64>(y + i * 8) + sum)
  }
}

/** y = A·x for the n × n symmetric A whose lower triangle is at `a`. */
export function symv(n: u32, a: usize, stride: u32, x: usize, y: usize): void {
  memory.fill(y, 0, (n as usize) * 8)
  symvRows(0, n, a, stride, x, y)
}

function laneSum(v: v128): f64 {
  return f64x2.extract_lane(v, 0) + f64x2.extract_lane(v, 1)
}

/** Rows i … i + 3: the columns before i in pairs, then the rest one by one. */
function fourRows(i: u32, row: usize, step: usize, x: usize, y: usize): void {
  const row1 = row + step
  const row2 = row1 + step
  const row3 = row2 + step
  const x0 = v128.load64_splat(x + i * 8)
  const x1 = v128.load64_splat(x + i * 8, 8)
  const x2 = v128.load64_splat(x + i * 8, 16)
  const x3 = v128.load64_splat(x + i * 8, 24)
  let s0 = f64x2.splat(0)
  let s1 = f64x2.splat(0)
  let s2 = f64x2.splat(0)
  let s3 = f64x2.splat(0)
  let j: usize = 0
  const pairs = (i as usize) * 8 - (i & 1) * 8
  for (; j < pairs; j += 16) {
    const a0 = v128.load(row + j)
    const a1 = v128.load(row1 + j)
    const a2 = v128.load(row2 + j)
    const a3 = v128.load(row3 + j)
    const xj = v128.load(x + j)
    s0 = f64x2.add(s0, f64x2.mul(a0, xj))
    s1 = f64x2.add(s1, f64x2.mul(a1, xj))
    s2 = f64x2.add(s2, f64x2.mul(a2, xj))
    s3 = f64x2.add(s3, f64x2.mul(a3, xj))
    const low = f64x2.add(f64x2.mul(a0, x0), f64x2.mul(a1, x1))
    const high = f64x2.add(f64x2.mul(a2, x2), f64x2.mul(a3, x3))
    v128.store(y + j, f64x2.add(v128.load(y + j), f64x2.add(low, high)))
  }
  storeRow(row, i, pairs, s0, x, y)
  storeRow(row1, i + 1, pairs, s1, x, y)
  storeRow(row2, i + 2, pairs, s2, x, y)
  storeRow(row3, i + 3, pairs, s3, x, y)
}

/** Row i from byte `from` of its columns to the diagonal, and its sum so far, into y. */
function storeRow(row: usize, i: u32, from: usize, strands: v128, x: usize, y: usize): void {
  const diagonal = (i as usize) * 8
  const xi = load<f64>(x + diagonal)
  let sum = laneSum(strands)
  for (let j = from; j < diagonal; j += 8) {
    const a = load<f64>(row + j)
    sum += a * load<f64>(x + j)
    store<f64>(y + j, load<f64>(y + j) + a * xi)
  }
  store<f64>(y + diagonal, load<f64>(y + diagonal) + (sum + load<f64>(row + diagonal) * xi))
}
