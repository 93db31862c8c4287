import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { type Matrix, matrix, toFloat32 } from '../../../src/linalg/matrix/matrix.ts'
import { truncatedSvd } from '../../../src/linalg/truncation/truncated-svd.ts'
import { uniform } from '../svd/support.ts'
import { wasmEngine } from './engines.ts'

/** Truncations against the singular values that NumPy, which asks LAPACK, has of the same bits. */

interface Golden {
  readonly kind: 'uniform' | 'graded' | 'noisy'
  readonly rows: number
  readonly columns: number
  readonly dtype: 'f32' | 'f64'
  readonly seed: number
  readonly frobenius: number
  /** The leading ones. */
  readonly S: readonly number[]
  /** ‖A − A_r‖_F / ‖A‖_F by rank. */
  readonly errors: Readonly<Record<string, number>>
  readonly energyRanks: Readonly<Record<string, number>>
  readonly errorRanks: Readonly<Record<string, number>>
}

const file = new URL('../../fixtures/truncated-goldens.json', import.meta.url)
const { cases }: { cases: readonly Golden[] } = JSON.parse(readFileSync(file, 'utf8'))

/** As `make` in scripts/golden-truncated.py: every product and sum is exact. */
function made({ kind, rows, columns, dtype, seed }: Golden): Matrix {
  const next = uniform(seed)
  const data = Float64Array.from({ length: rows * columns }, (_, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns]
    let x = next()
    if (kind === 'graded') return x * 2 ** -(Math.floor(i / 12) + Math.floor(j / 15))
    if (kind === 'noisy') {
      for (let k = 0; k < 8; k++) x += (((i * (k + 3)) % 7) - 3) * (((j * (2 * k + 5)) % 11) - 5) * 2 ** -k
    }
    return x
  })
  const A = matrix(rows, columns, data)
  return dtype === 'f32' ? toFloat32(A) : A
}

/** What NumPy's own rounding may be off by, relative to the largest singular value. */
const ROUNDING = 1e-13
const named = cases.map((golden) => [
  `${golden.kind} ${golden.rows} × ${golden.columns} ${golden.dtype}`,
  golden,
]) as [string, Golden][]

test.each(named)('%s: leading values and errors', (_, golden) => {
  const A = made(golden)
  const [largest] = golden.S
  for (const [key, error] of Object.entries(golden.errors)) {
    const rank = Number(key)
    const { optimalError, certificate, S, frobenius, method, ...result } = truncatedSvd(
      A,
      { kind: 'rank', rank },
      { engine: wasmEngine },
    )
    expect([result.rank, certificate.closed]).toEqual([rank, true])
    // a few values of a spectrum that falls are never left to the full SVD
    if (golden.kind === 'graded' && rank <= 6) expect(method).toBe('krylov')
    expect(Math.abs(frobenius / golden.frobenius - 1)).toBeLessThan(ROUNDING)
    expect(optimalError.atLeast).toBeLessThanOrEqual(error + ROUNDING)
    expect(optimalError.atMost).toBeGreaterThanOrEqual(error - ROUNDING)
    expect(optimalError.atMost).toBeLessThan(1.0101 * error)
    const next = golden.S[rank]
    expect(certificate.spectral.atLeast).toBeLessThanOrEqual(next + ROUNDING * largest)
    expect(certificate.spectral.atMost).toBeGreaterThanOrEqual(next - ROUNDING * largest)
    // values found are never above the true ones, and together they lack no more than the interval says
    let lacking = 0
    for (let i = 0; i < rank; i++) {
      expect(S[i]).toBeLessThanOrEqual(golden.S[i] + ROUNDING * largest)
      lacking += golden.S[i] ** 2 - S[i] ** 2
    }
    const allowed = (optimalError.atMost ** 2 - optimalError.atLeast ** 2) * frobenius ** 2
    expect(lacking).toBeLessThanOrEqual(allowed + ROUNDING * frobenius ** 2)
  }
})

test.each(named)('%s: the ranks that rules choose', (_, golden) => {
  const A = made(golden)
  for (const [value, rank] of Object.entries(golden.energyRanks)) {
    const rule = { kind: 'energy', energy: Number(value) } as const
    expect([rule, truncatedSvd(A, rule, { engine: wasmEngine }).rank]).toEqual([rule, rank])
  }
  for (const [value, rank] of Object.entries(golden.errorRanks)) {
    const rule = { kind: 'error', error: Number(value) } as const
    expect([rule, truncatedSvd(A, rule, { engine: wasmEngine }).rank]).toEqual([rule, rank])
  }
})
