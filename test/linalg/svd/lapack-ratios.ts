import type { Svd } from '../../../src/linalg/engine.ts'
import type { Float64Matrix, Matrix } from '../../../src/linalg/matrix/matrix.ts'
import { scaleByPowerOfTwo, scalingExponent } from '../../../src/linalg/svd/scaling.ts'

/** The test ratios of LAPACK's xDRVBD (TESTING/EIG/ddrvbd.f, dbdt01.f, dort01.f); it fails at 50, we at 10. */
export interface Ratios {
  /** |A − U·S·Vᵀ| / (|A|·max(m, n)·ulp) in the 1-norm. */
  readonly t1: number
  /** |I − UᵀU| / (m·ulp). */
  readonly t2: number
  /** |I − VᵀV| / (n·ulp). */
  readonly t3: number
  /** 0 when S ≥ 0 and non-increasing, else 1/ulp. */
  readonly t4: number
}

/** `ulp` is that of the data, 2⁻²³ or 2⁻⁵², for T1; U and V are float64 and measured as such. */
export function svdRatios(A: Matrix, { U, S, V }: Svd, ulp: number): Ratios {
  const exponent = scalingExponent(A.data)
  const data = Float64Array.from(A.data)
  const values = S.slice()
  scaleByPowerOfTwo(data, -exponent)
  scaleByPowerOfTwo(values, -exponent)
  const scaled = { rows: A.rows, columns: A.columns, data }
  const size = Math.max(A.rows, A.columns)
  const norm = oneNorm(scaled)
  const residual = oneNorm(minusProduct(scaled, U, values, V))
  return {
    t1: residual === 0 ? 0 : residual / (norm * size * ulp),
    t2: orthogonalityRatio(U),
    t3: orthogonalityRatio(V),
    t4: S.every((s, i) => s >= 0 && (i === 0 || s <= S[i - 1])) ? 0 : 2 ** 52,
  }
}

/** |I − QᵀQ| / (rows·2⁻⁵²) in the 1-norm. */
export function orthogonalityRatio(Q: Float64Matrix): number {
  const n = Q.columns
  const G = new Float64Array(n * n)
  for (let i = 0; i < n; i++) G[i * n + i] = -1
  for (let k = 0; k < Q.rows; k++) {
    for (let i = 0; i < n; i++) {
      const q = Q.data[k * n + i]
      if (q !== 0) for (let j = 0; j < n; j++) G[i * n + j] += q * Q.data[k * n + j]
    }
  }
  return Q.rows === 0 ? 0 : oneNorm({ rows: n, columns: n, data: G }) / (Q.rows * 2 ** -52)
}

/** The largest sum of magnitudes of a column; NaN wherever an entry is NaN. */
export function oneNorm({ rows, columns, data }: Matrix): number {
  const sums = new Float64Array(columns)
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) sums[j] += Math.abs(data[i * columns + j])
  return sums.reduce((most, sum) => Math.max(most, sum), 0)
}

function minusProduct(A: Float64Matrix, U: Float64Matrix, S: Float64Array, V: Float64Matrix): Float64Matrix {
  const R = A.data.slice()
  const n = S.length
  const scaled = new Float64Array(n)
  for (let i = 0; i < A.rows; i++) {
    for (let k = 0; k < n; k++) scaled[k] = U.data[i * n + k] * S[k]
    for (let j = 0; j < A.columns; j++) {
      let sum = 0
      for (let k = 0; k < n; k++) sum += scaled[k] * V.data[j * n + k]
      R[i * A.columns + j] -= sum
    }
  }
  return { rows: A.rows, columns: A.columns, data: R }
}
