import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { plainResidual } from '../../src/compress/plain-residual.ts'
import { residualOf } from '../../src/compress/subject.ts'
import { jsEngine } from '../../src/engine/js/js-engine.ts'
import { narrowHalf, widenHalf } from '../../src/linalg/matrix/half.ts'
import { type Matrix, matrix, toFloat32 } from '../../src/linalg/matrix/matrix.ts'
import { frobeniusNorm } from '../../src/linalg/matrix/norms.ts'
import { balancedFactors } from '../../src/linalg/svd/svd.ts'
import { truncatedSvd } from '../../src/linalg/truncation/truncated-svd.ts'
import { wasmEngine } from '../linalg/truncation/engines.ts'
import { gaussian, withSpectrum } from '../linalg/truncation/support.ts'

const STORED = {
  F32: (X: Matrix): Matrix => toFloat32(X),
  F16: (X: Matrix): Matrix => matrix(X.rows, X.columns, widenHalf(narrowHalf(X.data, 'f16'), 'f16')),
  BF16: (X: Matrix): Matrix => matrix(X.rows, X.columns, widenHalf(narrowHalf(X.data, 'bf16'), 'bf16')),
} as const

/** Σ of the squared differences, entry by entry. */
function plainly(X: Matrix, B: Matrix, A: Matrix): number {
  let squares = 0
  for (let i = 0; i < X.rows; i++) {
    for (let j = 0; j < X.columns; j++) {
      let left = X.data[i * X.columns + j]
      for (let k = 0; k < B.columns; k++) left -= B.data[i * B.columns + k] * A.data[k * A.columns + j]
      squares += left * left
    }
  }
  return Math.sqrt(squares)
}

describe('what stored factors leave, from products at hand', () => {
  const stored = fc.constantFrom(...(Object.keys(STORED) as (keyof typeof STORED)[]))
  it('is what the differences have, to eight digits, whatever the shape, the rounding and the method', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 3, max: 60 }),
        fc.integer({ min: 3, max: 60 }),
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 0, max: 1 << 20 }),
        stored,
        fc.constantFrom(0, 2),
        (rows, columns, wanted, seed, dtype, largestShare) => {
          const rank = Math.min(wanted, rows, columns)
          const delta = toFloat32(gaussian(rows, columns, seed))
          const norm = frobeniusNorm(delta.data)
          const found = truncatedSvd(
            delta,
            { kind: 'rank', rank },
            { engine: jsEngine, largestShare, goal: 0.5 },
          )
          const { B, A } = balancedFactors(found, rank)
          const [b, a] = [B, A].map(STORED[dtype])
          const truth = plainly(delta, b, a)
          const known = plainResidual(jsEngine, delta, norm, found, b, a)
          if (known === undefined) expect(truth).toBeLessThan(0.04 * norm)
          else expect(Math.abs(known - truth)).toBeLessThan(1e-8 * truth)
        },
      ),
      { numRuns: 150 },
    )
  })

  it('holds where the iteration stopped far from singular vectors, tall and wide, with fewer columns than were found', () => {
    const S = Float64Array.from({ length: 200 }, (_, i) => 1 / (1 + i / 40))
    for (const [rows, columns] of [
      [300, 200],
      [200, 300],
    ]) {
      const delta = toFloat32(withSpectrum(rows, columns, S, 7))
      const norm = frobeniusNorm(delta.data)
      const options = { engine: wasmEngine, certify: 'none', largestShare: 1 } as const
      const found = truncatedSvd(delta, { kind: 'rank', rank: 12 }, options)
      expect(found.method).toBe('krylov')
      for (const rank of [12, 5]) {
        const { B, A } = balancedFactors(found, rank)
        const [b, a] = [B, A].map(STORED.BF16)
        const known = plainResidual(wasmEngine, delta, norm, found, b, a)
        const truth = plainly(delta, b, a)
        expect(Math.abs(known! - truth)).toBeLessThan(1e-10 * truth)
        expect(residualOf(delta, norm, b, a, wasmEngine)).toBeCloseTo(truth, 9)
      }
    }
  })

  it('leaves to the differences what the terms cancel in', () => {
    const S = Float64Array.from({ length: 20 }, (_, i) => (i < 4 ? 1 : 1e-3))
    const delta = toFloat32(withSpectrum(30, 20, S, 3))
    const norm = frobeniusNorm(delta.data)
    const found = truncatedSvd(delta, { kind: 'rank', rank: 4 }, { engine: jsEngine })
    const { B, A } = balancedFactors(found, 4)
    expect(plainResidual(jsEngine, delta, norm, found, toFloat32(B), toFloat32(A))).toBeUndefined()
  })
})
