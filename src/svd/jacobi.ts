import type { Svd, Vectors } from '../engine/engine.ts'
import { LoraSvdError } from '../errors.ts'
import { type Matrix, toFloat64, transpose, zeros } from '../matrix/matrix.ts'
import { jsKernels } from './js-kernels.ts'
import { block, rowOf } from './kernels.ts'
import { orthonormalRows, rowQr } from './row-qr.ts'

/** Stand-in for the reference one-sided Jacobi SVD. */
export function jacobiSvd(A: Matrix, vectors: Vectors = 'thin'): Svd {
  if (A.rows < A.columns) {
    const { U, S, V } = jacobiSvd(transpose(A), vectors)
    return { U: V, S, V: U }
  }
  const { rows: m, columns: n } = A
  const W = block(transpose(toFloat64(A)).data.slice(), n, m)
  let max = 0
  for (const x of W.data) max = Math.max(max, Math.abs(x))
  const scale = max > 0 ? max : 1
  for (let i = 0; i < W.data.length; i++) W.data[i] /= scale
  const Vt = block(new Float64Array(n * n), n, n)
  for (let i = 0; i < n; i++) Vt.data[i * n + i] = 1
  const dot = (x: Float64Array, y: Float64Array) => x.reduce((sum, v, i) => sum + v * y[i], 0)
  for (let sweep = 0, rotated = true; rotated; sweep++) {
    if (sweep === 40) throw new LoraSvdError('no-convergence', 'Jacobi')
    rotated = false
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        const x = rowOf(W, p)
        const y = rowOf(W, q)
        const a = dot(x, x)
        const b = dot(y, y)
        const c = dot(x, y)
        if (Math.abs(c) <= Math.sqrt(m) * 2 ** -52 * Math.sqrt(a) * Math.sqrt(b) || c === 0) continue
        rotated = true
        const z = (b - a) / (2 * c)
        const t = (z < 0 ? -1 : 1) / (Math.abs(z) + Math.sqrt(1 + z * z))
        const cs = 1 / Math.sqrt(1 + t * t)
        jsKernels.rotate(x, y, cs, cs * t)
        jsKernels.rotate(rowOf(Vt, p), rowOf(Vt, q), cs, cs * t)
      }
    }
  }
  const norms = Float64Array.from({ length: n }, (_, i) => Math.sqrt(dot(rowOf(W, i), rowOf(W, i))))
  const order = [...norms.keys()].sort((i, j) => norms[j] - norms[i])
  const S = Float64Array.from(order, (i) => norms[i] * scale)
  if (vectors === 'none') return { U: zeros(0, 0), S, V: zeros(0, 0) }
  const Ws = block(new Float64Array(n * m), n, m)
  const Vs = block(new Float64Array(n * n), n, n)
  order.forEach((from, i) => {
    rowOf(Ws, i).set(rowOf(W, from).map((x) => (norms[from] > 0 ? x / norms[from] : 0)))
    rowOf(Vs, i).set(rowOf(Vt, from))
  })
  const qr = rowQr(jsKernels, Ws)
  const Q = orthonormalRows(jsKernels, qr)
  for (let i = 0; i < n; i++)
    if (rowOf(qr.reduced, i)[i] < 0)
      rowOf(Q, i).forEach((x, j, row) => {
        row[j] = -x
      })
  return {
    U: transpose({ rows: n, columns: m, data: Q.data }),
    S,
    V: transpose({ rows: n, columns: n, data: Vs.data }),
  }
}
