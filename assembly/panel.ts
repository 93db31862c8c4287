/**
 * The panels of a QR and of a tridiagonal reduction, row by row: what `factorPanel` of src/linalg/svd/qr.ts and `reducePanel` of
 * symmetric-eigen.ts there do and say, by the same kernels in the same order. Strides are in bytes.
 */
import { gemv, gemvTransposed, ger, symvUpper } from './matrix-vector'
import { makeReflector } from './vector'

/** The rows [rows, columns] at x become reflectors; tau [rows], and `products` [rows], which is scratch. */
export function factorPanel(
  rows: u32,
  columns: u32,
  x: usize,
  stride: usize,
  tau: usize,
  products: usize,
): void {
  for (let i: u32 = 0; i < rows; i++) {
    const v = x + (i as usize) * stride + ((i as usize) << 3)
    const t = makeReflector(columns - i, v)
    store<f64>(tau + ((i as usize) << 3), t)
    const left = rows - i - 1
    if (t === 0 || left === 0) continue
    const diagonal = load<f64>(v)
    store<f64>(v, 1)
    memory.fill(products, 0, (left as usize) << 3)
    gemv(1, left, columns - i, v + stride, stride, v, products)
    ger(-t, left, columns - i, products, v, v + stride, stride)
    store<f64>(v, diagonal)
  }
}

/**
 * `b` rows of the symmetric matrix [n, n] at g from row `start` on. `vw` [2b, n − start] is zero and receives the reflectors and their
 * products; diagonal, offDiagonal and tau [b] are of these rows; `scratch` has 2b numbers.
 */
export function reducePanel(
  n: u32,
  g: usize,
  stride: usize,
  start: u32,
  b: u32,
  vw: usize,
  diagonal: usize,
  offDiagonal: usize,
  tau: usize,
  scratch: usize,
): void {
  const rowBytes = ((n - start) as usize) << 3
  const second = vw + (b as usize) * rowBytes
  for (let i: u32 = 0; i < b; i++) {
    const k = start + i
    const own = (i as usize) << 3
    const row = g + (k as usize) * stride + ((k as usize) << 3)
    updateRow(vw, second, rowBytes, i, n - k, row, scratch)
    store<f64>(diagonal + own, load<f64>(row))
    if (k >= n - 1) continue
    const tail = row + 8
    const length = n - k - 1
    const t = length > 1 ? makeReflector(length, tail) : 0
    store<f64>(tau + own, t)
    store<f64>(offDiagonal + own, load<f64>(tail))
    const place = (i as usize) * rowBytes + own + 8
    const v = vw + place
    memory.copy(v, tail, (length as usize) << 3)
    store<f64>(v, 1)
    if (t !== 0)
      productRow(tail + stride, stride, vw, second, rowBytes, i, length, t, v, second + place, scratch)
  }
}

function updateRow(
  vw: usize,
  second: usize,
  rowBytes: usize,
  i: u32,
  length: u32,
  row: usize,
  scratch: usize,
): void {
  if (i === 0) return
  const column = (i as usize) << 3
  const fromW = scratch + column
  for (let j: u32 = 0; j < i; j++) {
    const at = (j as usize) * rowBytes + column
    store<f64>(scratch + ((j as usize) << 3), load<f64>(vw + at))
    store<f64>(fromW + ((j as usize) << 3), load<f64>(second + at))
  }
  gemvTransposed(-1, i, length, second + column, rowBytes, scratch, row)
  gemvTransposed(-1, i, length, vw + column, rowBytes, fromW, row)
}

function productRow(
  trailing: usize,
  stride: usize,
  vw: usize,
  second: usize,
  rowBytes: usize,
  i: u32,
  length: u32,
  tau: f64,
  v: usize,
  w: usize,
  c: usize,
): void {
  symvUpper(length, trailing, stride, v, w)
  if (i > 0) {
    const column = ((i as usize) << 3) + 8
    memory.fill(c, 0, (i as usize) << 3)
    gemv(1, i, length, second + column, rowBytes, v, c)
    gemvTransposed(-1, i, length, vw + column, rowBytes, c, w)
    memory.fill(c, 0, (i as usize) << 3)
    gemv(1, i, length, vw + column, rowBytes, v, c)
    gemvTransposed(-1, i, length, second + column, rowBytes, c, w)
  }
  let dot: f64 = 0
  for (let j: u32 = 0; j < length; j++) {
    const at = (j as usize) << 3
    dot += load<f64>(w + at) * load<f64>(v + at)
  }
  const shift = 0.5 * tau * tau * dot
  for (let j: u32 = 0; j < length; j++) {
    const at = (j as usize) << 3
    store<f64>(w + at, tau * load<f64>(w + at) - shift * load<f64>(v + at))
  }
}
