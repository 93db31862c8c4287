import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { wasmSvdKernels } from '../../../src/engine/wasm/svd-kernels.ts'
import { createWasmRuntime } from '../../../src/engine/wasm/wasm-engine.ts'
import type { Svd } from '../../../src/linalg/engine.ts'
import { type Float64Matrix, matrix, transpose } from '../../../src/linalg/matrix/matrix.ts'
import { gramSvd, gramValues, Span } from '../../../src/linalg/svd/gram-svd.ts'
import { jacobiSvd } from '../../../src/linalg/svd/jacobi.ts'
import { jsKernels } from '../../../src/linalg/svd/js-kernels.ts'
import { preconditionedJacobi } from '../../../src/linalg/svd/preconditioned-jacobi.ts'
import { scaleToOne } from '../../../src/linalg/svd/scaling.ts'
import { fullSvd } from '../../../src/linalg/svd/svd.ts'
import { EPS, kernelSets, orthogonalityError, randomMatrix, toBlock, toMatrix } from './support.ts'

const [, kernels] = kernelSets[1]

/** Matrices with small integers, repeated values, zeros and a few magnitudes: ties and rank deficiency are common. */
const anyMatrix = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 })).chain(([m, n]) =>
  fc
    .array(fc.oneof(fc.integer({ min: -2, max: 2 }), fc.double({ min: -1, max: 1, noNaN: true })), {
      minLength: m * n,
      maxLength: m * n,
    })
    .map((entries) => matrix(m, n, Float64Array.from(entries))),
)

const bytes = (x: Float64Array) => new Uint8Array(x.buffer, x.byteOffset, x.byteLength)
const sameBits = (x: Float64Array, y: Float64Array): boolean => Buffer.compare(bytes(x), bytes(y)) === 0
const partOf = (svd: Svd, part: 'U' | 'S' | 'V') => (part === 'S' ? svd.S : svd[part].data)

const frobenius = (x: Float64Array): number => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0))

describe('gramSvd and preconditionedJacobi', () => {
  test.each([
    ['gramSvd', (Xt: Float64Matrix) => gramSvd(kernels, toBlock(kernels, Xt), Span.float64)],
    ['preconditionedJacobi', (Xt: Float64Matrix) => preconditionedJacobi(kernels, toBlock(kernels, Xt))],
  ])('%s: orthonormal factors, values falling, product restored, for any rank', (_name, decompose) => {
    fc.assert(
      fc.property(anyMatrix, (A) => {
        const Xt = A.rows <= A.columns ? A : transpose(A)
        scaleToOne(Xt.data, jsKernels)
        const { Ut, S, Vt } = decompose(Xt)
        const [U, V] = [Ut, Vt].map((X) => transpose(toMatrix(X)))
        expect(orthogonalityError(U)).toBeLessThan(40 * EPS)
        expect(orthogonalityError(V)).toBeLessThan(40 * EPS)
        S.forEach((s, i) => {
          expect(s >= 0 && (i === 0 || s <= S[i - 1])).toBe(true)
        })
        let worst = 0
        for (let i = 0; i < Xt.columns; i++) {
          for (let j = 0; j < Xt.rows; j++) {
            let sum = 0
            for (let k = 0; k < S.length; k++) {
              sum += U.data[i * U.columns + k] * S[k] * V.data[j * V.columns + k]
            }
            worst = Math.max(worst, Math.abs(sum - Xt.data[j * Xt.columns + i]))
          }
        }
        expect(worst).toBeLessThanOrEqual(60 * EPS * S[0])
        gramValues(kernels, toBlock(kernels, Xt), Span.float64).forEach((s, i) => {
          expect(Math.abs(s - S[i])).toBeLessThanOrEqual(60 * EPS * S[0])
        })
      }),
      { numRuns: 300 },
    )
  })
})

/** Orders beyond Jacobi's, so that the Gram route answers. */
const sizes = fc.tuple(fc.integer({ min: 65, max: 90 }), fc.integer({ min: 65, max: 90 }), fc.nat(1000))

describe('fullSvd', () => {
  test('‖A‖ = ‖S‖, and A, −A, Aᵀ and A with rows moved have the same values', () => {
    fc.assert(
      fc.property(sizes, ([m, n, seed]) => {
        const A = randomMatrix(m, n, seed)
        const { S } = fullSvd(A, 'none', kernels)
        const limit = 60 * EPS * S[0]
        expect(Math.abs(frobenius(S) - frobenius(A.data))).toBeLessThan(1e-12 * frobenius(S))
        expect(frobenius(A.data)).toBeLessThanOrEqual(Math.sqrt(S.length) * S[0])
        const moved = { ...A, data: Float64Array.from(A.data) }
        moved.data.copyWithin(0, n)
        moved.data.set(A.data.subarray(0, n), (m - 1) * n)
        for (const B of [transpose(A), { ...A, data: A.data.map((x) => -x) }, moved]) {
          fullSvd(B, 'none', kernels).S.forEach((s, i) => {
            expect(Math.abs(s - S[i])).toBeLessThan(limit)
          })
        }
      }),
      { numRuns: 8 },
    )
  })

  test('values move by no more than the norm of a perturbation (Weyl)', () => {
    fc.assert(
      fc.property(sizes, fc.double({ min: 1e-9, max: 1, noNaN: true }), ([m, n, seed], size) => {
        const A = randomMatrix(m, n, seed)
        const E = randomMatrix(m, n, seed + 1)
        const sum = matrix(
          m,
          n,
          A.data.map((x, i) => x + size * E.data[i]),
        )
        const before = fullSvd(A, 'none', kernels).S
        const norm = size * fullSvd(E, 'none', kernels).S[0]
        fullSvd(sum, 'none', kernels).S.forEach((s, i) => {
          expect(Math.abs(s - before[i])).toBeLessThanOrEqual(norm + 100 * EPS * before[0])
        })
      }),
      { numRuns: 8 },
    )
  })

  test('values interlace when a column is deleted', () => {
    fc.assert(
      fc.property(sizes, ([m, n, seed]) => {
        const A = randomMatrix(m, n, seed)
        const fewer = matrix(
          m,
          n - 1,
          Float64Array.from(
            { length: m * (n - 1) },
            (_, i) => A.data[Math.floor(i / (n - 1)) * n + (i % (n - 1))],
          ),
        )
        const S = fullSvd(A, 'none', kernels).S
        const slack = 100 * EPS * S[0]
        fullSvd(fewer, 'none', kernels).S.forEach((s, i) => {
          expect(s).toBeLessThanOrEqual(S[i] + slack)
          expect(s).toBeGreaterThanOrEqual((S[i + 1] ?? 0) - slack)
        })
      }),
      { numRuns: 8 },
    )
  })

  test('2^k·A has the same vectors, bit for bit, and scaled values', () => {
    for (const [m, n] of [
      [70, 80],
      [90, 66],
    ]) {
      const A = randomMatrix(m, n, 12)
      const { U, S, V } = fullSvd(A, 'thin', kernels)
      for (const k of [-300, -3, 1, 300]) {
        const scaled = fullSvd(
          matrix(
            m,
            n,
            A.data.map((x) => x * 2 ** k),
          ),
          'thin',
          kernels,
        )
        expect(sameBits(scaled.U.data, U.data)).toBe(true)
        expect(sameBits(scaled.V.data, V.data)).toBe(true)
        expect(
          sameBits(
            scaled.S,
            S.map((s) => s * 2 ** k),
          ),
        ).toBe(true)
      }
    }
  })

  test('graded columns keep relative accuracy down to 1e-36', () => {
    // The oracle is Jacobi on the matrix itself, which is known to have that accuracy; here both QRs come first.
    const A = randomMatrix(100, 70, 8)
    const scaled = matrix(
      100,
      70,
      A.data.map((x, i) => x * 2 ** (-120 * ((i % 70) / 69))),
    )
    const { S } = fullSvd(scaled, 'thin', kernels)
    const exact = jacobiSvd(scaled, 'none').S
    const alone = fullSvd(scaled, 'none', kernels).S
    expect(exact[69]).toBeLessThan(1e-34)
    exact.forEach((s, i) => {
      expect(Math.abs(S[i] - s)).toBeLessThan(1e-12 * s)
      expect(Math.abs(alone[i] - s)).toBeLessThan(1e-12 * s)
    })
  })

  test('the same bits for any number of threads', () => {
    const A = randomMatrix(620, 600, 3)
    const results = [1, 2].map((threads) => {
      const runtime = createWasmRuntime({ threads })
      const mine = wasmSvdKernels(runtime)
      // A worker joins when it is up, which a busy machine may delay.
      for (let i = 0; i < 50 && threads > 1 && runtime.joins() === 0; i++) fullSvd(A, 'none', mine)
      const svd = fullSvd(A, 'thin', mine)
      const alone = fullSvd(A, 'none', mine)
      const joins = runtime.joins()
      runtime.close()
      return { svd, alone, joins }
    })
    expect(results[1].joins).toBeGreaterThan(0)
    for (const part of ['U', 'S', 'V'] as const) {
      expect(sameBits(partOf(results[1].svd, part), partOf(results[0].svd, part))).toBe(true)
    }
    expect(sameBits(results[1].alone.S, results[0].alone.S)).toBe(true)
  })

  test('the singular values of a block diagonal matrix are those of its blocks', () => {
    const [A, B] = [randomMatrix(40, 35, 1), randomMatrix(45, 50, 2)]
    const data = new Float64Array(85 * 85)
    for (let i = 0; i < 40; i++) data.set(A.data.subarray(i * 35, (i + 1) * 35), i * 85)
    for (let i = 0; i < 45; i++) data.set(B.data.subarray(i * 50, (i + 1) * 50), (40 + i) * 85 + 35)
    const parts = [A, B].flatMap((X) => [...fullSvd(X, 'none', kernels).S])
    const { S } = fullSvd(matrix(85, 85, data), 'thin', kernels)
    const union = Float64Array.from([...parts, 0, 0, 0, 0, 0])
      .sort()
      .reverse()
    S.forEach((s, i) => {
      expect(Math.abs(s - union[i])).toBeLessThan(60 * EPS * S[0])
    })
  })

  test('the largest entry of each left vector is positive', () => {
    for (const [m, n] of [
      [70, 80],
      [90, 66],
    ]) {
      const { U } = fullSvd(randomMatrix(m, n, 21), 'thin', kernels)
      for (let j = 0; j < U.columns; j++) {
        const column = Array.from({ length: m }, (_, i) => U.data[i * U.columns + j])
        const largest = Math.max(...column.map(Math.abs))
        expect(column.find((x) => Math.abs(x) >= (1 - 1e-10) * largest)).toBeGreaterThan(0)
      }
    }
  })

  test('NaN and infinity are refused, naming the place', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const A = randomMatrix(5, 4, 1)
      A.data[2 * 4 + 3] = bad
      for (const vectors of ['thin', 'none'] as const) {
        expect(() => fullSvd(A, vectors, kernels)).toThrow(`the 5×4 matrix holds ${bad} at row 2, column 3`)
      }
    }
  })
})
