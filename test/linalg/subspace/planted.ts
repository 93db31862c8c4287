import { jsEngine } from '../../../src/engine/js/js-engine.ts'
import { type Float64Matrix, leadingColumns, matrix } from '../../../src/linalg/matrix/matrix.ts'
import { seedrandomNormals } from '../../../src/random/seedrandom.ts'

/** A matrix of normal numbers. */
export const normal = (rows: number, columns: number, seed: number): Float64Matrix =>
  matrix(rows, columns, seedrandomNormals(seed).normals(rows * columns, 'f64'))

/** Random orthonormal columns. */
export const orthonormal = (rows: number, columns: number, seed: number): Float64Matrix =>
  jsEngine.qr(normal(rows, columns, seed)).Q

export const times = (A: Float64Matrix, B: Float64Matrix): Float64Matrix =>
  jsEngine.multiply(A, B) as Float64Matrix

/**
 * Orthonormal bases P [n, p] and Q [n, angles] of two subspaces with these principal angles in degrees, p at least as many: the
 * directions of Q are those of P, each turned out of their space; then both bases are mixed, which changes no subspace.
 */
export function plantedBases(n: number, p: number, angles: readonly number[], seed: number) {
  const count = angles.length
  const all = orthonormal(n, p + count, seed)
  const data = new Float64Array(n * count)
  for (let i = 0; i < n; i++) {
    for (const [k, degrees] of angles.entries()) {
      const angle = (degrees * Math.PI) / 180
      const row = i * all.columns
      data[i * count + k] = Math.cos(angle) * all.data[row + k] + Math.sin(angle) * all.data[row + p + k]
    }
  }
  return {
    P: times(leadingColumns(all, p), orthonormal(p, p, seed + 1)),
    Q: times(matrix(n, count, data), orthonormal(count, count, seed + 2)),
  }
}
