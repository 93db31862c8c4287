import type { Float64Matrix } from '../matrix/matrix.ts'

/**
 * Replaces the columns `from`… of U [m, n], m ≥ n, in place by an orthonormal basis of a part of the complement of
 * its first `from` columns, which must be orthonormal. A Householder QR of those columns has R = diag(±1), so
 * the further columns of its Q are that basis (Golub & Van Loan, 5.2.2): 4·m·n·from flops.
 */
export function completeBasis(U: Float64Matrix, from: number): void {
  const { rows: m, columns: n, data } = U
  if (from >= n) return
  const reflectors = Array.from({ length: from }, (_, j) => columnOf(U, j))
  for (let j = 0; j < from; j++) {
    for (let earlier = 0; earlier < j; earlier++) reflect(reflectors[earlier], earlier, reflectors[j])
    makeReflector(reflectors[j], j)
  }
  for (let j = from; j < n; j++) {
    const column = new Float64Array(m)
    column[j] = 1
    for (let i = from - 1; i >= 0; i--) reflect(reflectors[i], i, column)
    for (let i = 0; i < m; i++) data[i * n + j] = column[i]
  }
}

function columnOf(U: Float64Matrix, j: number): Float64Array {
  return Float64Array.from({ length: U.rows }, (_, i) => U.data[i * U.columns + j])
}

/** Turns x into the unit vector v, zero above `start`, of the reflection I − 2vvᵀ that maps x[start…] to a multiple of e. */
function makeReflector(x: Float64Array, start: number): void {
  x.fill(0, 0, start)
  x[start] += x[start] < 0 ? -norm(x, start) : norm(x, start)
  const length = norm(x, start)
  for (let i = start; i < x.length; i++) x[i] /= length
}

/** x ← (I − 2vvᵀ)·x, where v is zero above `start`. */
function reflect(v: Float64Array, start: number, x: Float64Array): void {
  let dot = 0
  for (let i = start; i < x.length; i++) dot += v[i] * x[i]
  for (let i = start; i < x.length; i++) x[i] -= 2 * dot * v[i]
}

function norm(x: Float64Array, start: number): number {
  let sum = 0
  for (let i = start; i < x.length; i++) sum += x[i] * x[i]
  return Math.sqrt(sum)
}
