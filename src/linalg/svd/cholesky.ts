import type { Engine } from '../engine.ts'
import { type Float64Matrix, toFloat64, zeros } from '../matrix/matrix.ts'

/** Order of the diagonal blocks: products do most of the work, plain loops the blocks. */
const BLOCK = 128

/**
 * Lᵀ with K = L·Lᵀ, zeros below its diagonal, block by block; undefined where a pivot is not above `least`, 0 unless it is given: K is not
 * positive definite then, or nearly so. K is destroyed, and only its upper triangle read.
 */
export function choleskyTransposed(
  engine: Pick<Engine, 'multiply' | 'gram'>,
  K: Float64Matrix,
  least = 0,
): Float64Matrix | undefined {
  const n = K.rows
  const R = zeros(n, n)
  for (let k = 0; k < n; k += BLOCK) {
    const b = Math.min(BLOCK, n - k)
    const inverse = factorBlock(K, R, k, b, least)
    if (inverse === undefined) return undefined
    const rest = n - k - b
    if (rest === 0) break
    const right = part(K, k, k + b, b, rest)
    const panel = toFloat64(engine.multiply(inverse, right, { transposeA: true }))
    for (let i = 0; i < b; i++) R.data.set(panel.data.subarray(i * rest, (i + 1) * rest), (k + i) * n + k + b)
    const update = engine.gram(panel)
    for (let i = 0; i < rest; i++) {
      const row = (k + b + i) * n + k + b
      for (let j = i; j < rest; j++) K.data[row + j] -= update.data[i * rest + j]
    }
  }
  return R
}

/** Rₖₖ [b, b] with RᵀR the block of K at k (upper triangle), written to R, and its inverse; undefined on a pivot that is too small. */
function factorBlock(
  K: Float64Matrix,
  R: Float64Matrix,
  k: number,
  b: number,
  least: number,
): Float64Matrix | undefined {
  const n = K.columns
  for (let i = k; i < k + b; i++) {
    for (let j = i; j < k + b; j++) {
      let sum = K.data[i * n + j]
      for (let c = k; c < i; c++) sum -= R.data[c * n + i] * R.data[c * n + j]
      if (i === j) {
        if (!(sum > least)) return undefined
        R.data[i * n + i] = Math.sqrt(sum)
      } else R.data[i * n + j] = sum / R.data[i * n + i]
    }
  }
  const inverse = zeros(b, b)
  for (let j = 0; j < b; j++) {
    inverse.data[j * b + j] = 1 / R.data[(k + j) * n + k + j]
    for (let i = j - 1; i >= 0; i--) {
      let sum = 0
      for (let c = i + 1; c <= j; c++) sum += R.data[(k + i) * n + k + c] * inverse.data[c * b + j]
      inverse.data[i * b + j] = -sum / R.data[(k + i) * n + k + i]
    }
  }
  return inverse
}

export function part(A: Float64Matrix, i: number, j: number, rows: number, columns: number): Float64Matrix {
  const out = zeros(rows, columns)
  for (let row = 0; row < rows; row++) {
    const start = (i + row) * A.columns + j
    out.data.set(A.data.subarray(start, start + columns), row * columns)
  }
  return out
}
