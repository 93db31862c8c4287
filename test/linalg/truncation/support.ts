import { expect } from 'vitest'
import type { HalfMatrix, Svd } from '../../../src/linalg/engine.ts'
import {
  type Float64Matrix,
  type Matrix,
  matrix,
  toFloat64,
  transpose,
} from '../../../src/linalg/matrix/matrix.ts'
import { scaleColumns } from '../../../src/linalg/truncation/columns.ts'
import type { TruncatedSvd } from '../../../src/linalg/truncation/truncated-svd.ts'
import { torchNormals } from '../../../src/random/torch.ts'
import { orthogonalityError } from '../svd/support.ts'
import { wasmEngine } from './engines.ts'

/** Gaussian entries of variance 1. */
export function gaussian(m: number, n: number, seed: number): Float64Matrix {
  return matrix(m, n, torchNormals(seed).normals(m * n, 'f64'))
}

/** U·diag(s)·Vᵀ [m, n] with Haar-distributed U and V; s has min(m, n) entries. */
export function withSpectrum(m: number, n: number, s: ArrayLike<number>, seed: number): Float64Matrix {
  if (m < n) return transpose(withSpectrum(n, m, s, seed))
  const U = wasmEngine.qr(gaussian(m, n, seed)).Q
  scaleColumns(U, Float64Array.from(s))
  return toFloat64(wasmEngine.multiply(U, wasmEngine.qr(gaussian(n, n, seed + 1)).Q, { transposeB: true }))
}

/** ‖A − A_r‖_F / ‖A‖_F of the best approximation, from all singular values. */
export function optimum({ S }: Svd, r: number): number {
  let tail = 0
  let total = 0
  for (let i = S.length - 1; i >= 0; i--) {
    if (i >= r) tail += S[i] * S[i]
    total += S[i] * S[i]
  }
  return total === 0 ? 0 : Math.sqrt(tail / total)
}

/** ‖A − U·diag(S)·Vᵀ‖_F / ‖A‖_F by plain loops. */
export function achieved(A: Matrix, { U, S, V }: TruncatedSvd): number {
  let residual = 0
  let total = 0
  for (let i = 0; i < A.rows; i++) {
    for (let j = 0; j < A.columns; j++) {
      let sum = 0
      for (let k = 0; k < S.length; k++) sum += U.data[i * S.length + k] * S[k] * V.data[j * S.length + k]
      residual += (A.data[i * A.columns + j] - sum) ** 2
      total += A.data[i * A.columns + j] ** 2
    }
  }
  return total === 0 ? 0 : Math.sqrt(residual / total)
}

/** What every result owes, whatever the matrix: A itself in float64 for the comparison. */
export function expectSound(A: Matrix, result: TruncatedSvd, full: Svd): void {
  const { U, S, V, rank, optimalError, certificate } = result
  const r = rank
  expect([U.rows, U.columns, V.rows, V.columns, S.length]).toEqual([A.rows, r, A.columns, r, r])
  expect(orthogonalityError(U)).toBeLessThan(1e-13)
  expect(orthogonalityError(V)).toBeLessThan(1e-13)
  for (let i = 1; i < r; i++) expect(S[i]).toBeLessThanOrEqual(S[i - 1])
  const scale = full.S[0] ?? 0
  for (let i = 0; i < r; i++) {
    expect(S[i]).toBeGreaterThanOrEqual(0)
    // θ ≤ σ² (Cauchy's interlacing).
    expect(S[i]).toBeLessThanOrEqual(full.S[i] + 1e-13 * scale)
  }
  const best = optimum(full, r)
  const error = achieved(A, result)
  const rounding = 1e-14
  expect(optimalError.atLeast).toBeLessThanOrEqual(best + rounding)
  expect(optimalError.atMost).toBeGreaterThanOrEqual(best - rounding)
  expect(optimalError.atMost).toBeGreaterThanOrEqual(error - rounding)
  expect(certificate.spectral.atLeast).toBeLessThanOrEqual((full.S[r] ?? 0) + 1e-13 * scale)
  expect(certificate.spectral.atMost).toBeGreaterThanOrEqual((full.S[r] ?? 0) - 1e-13 * scale)
  expect(result.frobenius).toBeCloseTo(Math.hypot(...full.S), 10)
}

/** The 16 upper bits of float32 numbers that are bfloat16 numbers. */
export function asBfloat16(A: Matrix): HalfMatrix {
  const bits = new Uint32Array(Float32Array.from(A.data).buffer)
  return { rows: A.rows, columns: A.columns, dtype: 'bf16', data: Uint16Array.from(bits, (x) => x >>> 16) }
}
