import { describe, expect, it, test } from 'vitest'
import { fittedFactors } from '../../src/compress/fitted-factors.ts'
import { factorsAsStored, factorsFor } from '../../src/compress/layer-result.ts'
import { jsEngine } from '../../src/engine/js/js-engine.ts'
import { type Matrix, matrix, toFloat32, toFloat64, transpose } from '../../src/linalg/matrix/matrix.ts'
import { frobeniusNorm } from '../../src/linalg/matrix/norms.ts'
import type { RankRule } from '../../src/linalg/spectrum/rules.ts'
import { scaleColumns } from '../../src/linalg/truncation/columns.ts'
import { type TruncationOptions, truncatedSvd } from '../../src/linalg/truncation/truncated-svd.ts'
import { orthogonalityError } from '../linalg/svd/support.ts'
import { wasmEngine } from '../linalg/truncation/engines.ts'
import { optimum, withSpectrum } from '../linalg/truncation/support.ts'

const RANK = 12
const rank = (rank: number): RankRule => ({ kind: 'rank', rank })
const falling = (n: number) => Float64Array.from({ length: n }, (_, i) => 1 / (1 + i / 8))
const SHORT_SIDE = { engine: wasmEngine, largestShare: 1, vectors: 'short side' } as const

const deltaOf = (rows: number, columns: number, seed = 7, S = falling(Math.min(rows, columns))): Matrix =>
  toFloat32(withSpectrum(rows, columns, S, seed))

/** Δ − B·A in float64, by plain loops of the oracle. */
function left(delta: Matrix, B: Matrix, A: Matrix): Matrix {
  const product = toFloat64(jsEngine.multiply(toFloat64(B), toFloat64(A)))
  return matrix(
    delta.rows,
    delta.columns,
    product.data.map((x, at) => delta.data[at] - x),
  )
}

/** U·diag(S) and Vᵀ: the factors before the long one is rounded. */
function unrounded({ U, S, V }: { U: Matrix; S: Float64Array; V: Matrix }): [Matrix, Matrix] {
  const B = { ...U, data: U.data.slice() }
  scaleColumns(B, S)
  return [B, transpose(V)]
}

describe('factors of which the long one is fitted to the stored short one', () => {
  const shapes: [number, number][] = [
    [300, 200],
    [200, 300],
  ]
  const cases = shapes.flatMap(([rows, columns]) =>
    (['f32', 'bf16', 'f16'] as const).flatMap((dtype) =>
      [true, false].map((distributeScale) => ({ rows, columns, dtype, distributeScale })),
    ),
  )

  test.each(cases)('$rows × $columns, $dtype, √S on both: $distributeScale', ({ rows, columns, ...form }) => {
    const delta = deltaOf(rows, columns)
    const norm = frobeniusNorm(delta.data)
    const found = truncatedSvd(delta, rank(RANK), SHORT_SIDE)
    expect(found.isRough).toBe(true)
    const fitted = fittedFactors(wasmEngine, delta, norm, found, form)!
    const { U, S, V } = fitted
    const { B, A } = factorsAsStored(fitted, RANK, form)

    // the short factor is stored as the very numbers that the long one was fitted to
    const [best, row] = unrounded(fitted)
    const wide = factorsFor(fitted, RANK, form.distributeScale)
    const [meant, stored] = rows < columns ? [wide.B, B] : [wide.A, A]
    meant.data.forEach((x, at) => {
      expect(Math.abs(stored.data[at] - x)).toBeLessThanOrEqual(2 ** -51 * Math.abs(x))
    })

    // nothing of what is left can be had with the short factor: the normal equations
    const rest = left(delta, best, row)
    const felt =
      rows < columns ? jsEngine.multiply(U, rest, { transposeA: true }) : jsEngine.multiply(rest, V)
    expect(frobeniusNorm(felt.data)).toBeLessThan(1e-12 * norm)
    const squares = S.reduce((sum, s) => sum + s * s, 0)
    expect(Math.abs(frobeniusNorm(rest.data) / Math.sqrt(norm * norm - squares) - 1)).toBeLessThan(1e-12)

    // what is said to be left is what is left
    const truth = frobeniusNorm(left(delta, B, A).data)
    expect(Math.abs(fitted.residual(B, A)! / truth - 1)).toBeLessThan(1e-11)
    const fewer = factorsAsStored(fitted, 5, form)
    const more = frobeniusNorm(left(delta, fewer.B, fewer.A).data)
    expect(Math.abs(fitted.residual(fewer.B, fewer.A)! / more - 1)).toBeLessThan(1e-11)

    // and no more than singular vectors leave that are rounded on both sides
    const both = truncatedSvd(delta, rank(RANK), { ...SHORT_SIDE, vectors: 'both' })
    const usual = factorsAsStored(both, RANK, form)
    expect(truth).toBeLessThan((1 + 1e-7) * frobeniusNorm(left(delta, usual.B, usual.A).data))
    if (form.dtype === 'bf16') expect(truth).toBeLessThan(frobeniusNorm(left(delta, usual.B, usual.A).data))

    // values are at most the true ones, and as near as the stored short factor is to singular vectors
    const full = wasmEngine.svd(delta, 'none')
    for (const [i, s] of S.entries()) {
      expect(s).toBeLessThanOrEqual((1 + 1e-12) * full.S[i])
      expect(Math.abs(s / both.S[i] - 1)).toBeLessThan(1e-5)
    }
    for (const column of U.columns === RANK ? Array.from({ length: RANK }, (_, j) => j) : []) {
      const entries = Array.from({ length: rows }, (_, i) => U.data[i * RANK + column])
      expect(Math.max(...entries)).toBeGreaterThanOrEqual((1 - 1e-9) * Math.max(...entries.map(Math.abs)))
    }
  })

  it('is not to be had where float16 has no such numbers', () => {
    for (const scale of [2 ** 40, 2 ** -60]) {
      const delta = deltaOf(300, 200)
      const scaled = matrix(300, 200, delta.data.map((x) => x * scale) as Float32Array)
      const norm = frobeniusNorm(scaled.data)
      const found = truncatedSvd(scaled, rank(RANK), { ...SHORT_SIDE, frobenius: norm })
      expect(found.isRough).toBe(true)
      const form = { distributeScale: true, dtype: 'f16' } as const
      expect(fittedFactors(wasmEngine, scaled, norm, found, form)).toBeUndefined()
    }
  })
})

describe('triplets of the short side alone', () => {
  const options = (more: Partial<TruncationOptions> = {}) => ({ ...SHORT_SIDE, ...more })

  test.each([
    [300, 200],
    [200, 300],
  ])('come from the iteration, with an interval that holds the optimum: %i × %i', (rows, columns) => {
    for (let seed = 1; seed <= 5; seed++) {
      const delta = deltaOf(rows, columns, seed)
      const full = wasmEngine.svd(delta, 'none')
      for (const r of [3, RANK, 30]) {
        const found = truncatedSvd(delta, rank(r), options())
        const [short, long] = rows < columns ? [found.U, found.V] : [found.V, found.U]
        expect([found.isRough, found.rank, short.columns, long.columns]).toEqual([true, r, r, 0])
        expect(orthogonalityError(short)).toBeLessThan(1e-5)
        const { atLeast, atMost } = found.optimalError
        const best = optimum(full, r)
        expect(atLeast).toBeLessThanOrEqual(best)
        expect(atMost).toBeGreaterThanOrEqual(best)
        expect(atMost).toBeLessThan(1.01 * atLeast)
        for (let i = 0; i < r; i++) expect(Math.abs(found.S[i] / full.S[i] - 1)).toBeLessThan(0.02)
      }
    }
  })

  it('come with both sides, in float64, where something asks for more', () => {
    const delta = deltaOf(300, 200)
    const low = deltaOf(
      300,
      200,
      7,
      Float64Array.from({ length: 200 }, (_, i) => (i < 8 ? 1 : 1e-3)),
    )
    const { isRough, U } = truncatedSvd(delta, rank(RANK), options())
    expect([isRough, U.columns]).toEqual([true, 0])
    const precise = [
      truncatedSvd(low, rank(8), options()),
      truncatedSvd(toFloat64(delta), rank(RANK), options()),
      truncatedSvd(delta, rank(RANK), options({ certify: 'strict' })),
      truncatedSvd(delta, { kind: 'energy', energy: 0.6 }, options()),
      truncatedSvd(delta, rank(RANK), options({ vectors: 'both' })),
      truncatedSvd(delta, rank(RANK), options({ largestShare: 0 })),
    ]
    for (const { isRough, U, V, rank } of precise)
      expect([isRough, U.columns, V.columns]).toEqual([undefined, rank, rank])
  })
})
