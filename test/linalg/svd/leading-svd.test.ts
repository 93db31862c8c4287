import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Matrix, toFloat64, transpose, zeros } from '../../../src/linalg/matrix/matrix.ts'
import { gramLeading } from '../../../src/linalg/svd/gram-svd.ts'
import { block } from '../../../src/linalg/svd/kernels.ts'
import { leadingSvd } from '../../../src/linalg/svd/leading-svd.ts'
import { fullSvd } from '../../../src/linalg/svd/svd.ts'
import { reducedValues, reducedVectors, reduceSymmetric } from '../../../src/linalg/svd/symmetric-eigen.ts'
import {
  expectLeading as expectSound,
  type LeadingCase,
  matricesOf,
  residual,
  single,
  values,
} from './leading-support.ts'
import { EPS, kernelSets, orthogonalityError, randomMatrix, toBlock, toMatrix } from './support.ts'

describe.each(kernelSets)('leading triplets on %s kernels', (_, kernels) => {
  const expectLeading = (A: Matrix, r: number) =>
    expectSound(A, r, (A, count) => leadingSvd(A, count, kernels), fullSvd(A, 'thin', kernels))

  const n = 96
  const spectra: LeadingCase[] = [
    ['falling', values.falling, 16],
    ['falling over the whole span', values.spanning, 48],
    ['equal', values.equal, 16],
    ['equal in pairs', values.paired, 15],
    ['the last taken as large as the next', (i) => (i < 20 ? 1 : 0.1), 8],
    ['rank one', (i) => (i === 0 ? 3 : 0), 1],
    ['rank one and more asked for', (i) => (i === 0 ? 3 : 0), 4],
    ['rank 16 and noise', values.noisy, 16],
    ['zero', values.zero, 5],
    ['none taken', values.falling, 0],
    ['all taken', values.falling, 96],
  ]
  test.each(spectra)('%s', (_name, value, r) => {
    const shapes = [
      [n, n],
      [150, n],
      [n, 110],
    ] as const
    for (const A of matricesOf(value, n, shapes)) expectLeading(single(A), r)
  })

  const larger: LeadingCase[] = [
    ['falling', values.falling, 64],
    ['falling over the whole span', values.spanning, 48],
    ['equal in pairs', values.paired, 33],
    ['rank 16 and noise', values.noisy, 16],
    ['most taken', values.falling, 150],
  ]
  test.each(larger)('of order 200: %s', (_name, value, r) => {
    const shapes = [
      [310, 200],
      [200, 203],
    ] as const
    for (const A of matricesOf(value, 200, shapes)) expectLeading(single(A), r)
  })

  test('any sizes, the small and the large ones too, and float64', () => {
    const size = fc.integer({ min: 1, max: 135 })
    fc.assert(
      fc.property(
        size,
        size,
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.boolean(),
        (m, k, share, wide) => {
          const A = randomMatrix(m, k, m)
          expectLeading(wide ? A : single(A), Math.round(share * Math.min(m, k, 40)))
        },
      ),
      { numRuns: 12 },
    )
  })

  test('2^j·A has the vectors of A, bit for bit', () => {
    const A = single(randomMatrix(80, 100, 5))
    const larger: Matrix = { ...A, data: A.data.map((x) => x * 2 ** 40) }
    const [one, other] = [A, larger].map((X) => leadingSvd(X, () => 7, kernels))
    expect([other.U, other.V]).toEqual([one.U, one.V])
    expect(other.S).toEqual(one.S.map((s) => s * 2 ** 40))
  })

  test('entries that are not finite are refused', () => {
    for (const x of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const A = single(randomMatrix(80, 80, 1))
      A.data[100] = x
      expect(() => leadingSvd(A, () => 3, kernels)).toThrow(/not finite|NaN|infinit/i)
    }
  })

  test('the Gram matrix is enough for ordinary matrices', () => {
    kernels.scope(() => {
      const found = gramLeading(kernels, toBlock(kernels, randomMatrix(70, 90, 2)), () => 10)
      expect(found?.Vt.rows).toBe(10)
    })
  })

  test('eigenvectors of a few values, where blocks of the matrix are apart and have the same ones', () => {
    const entry = fc.constantFrom(0, 0, 1, -1, 0.5, 1e-9, 0.25)
    const sized = fc
      .integer({ min: 1, max: 12 })
      .chain((order) =>
        fc.tuple(
          fc.array(entry, { minLength: order, maxLength: order }),
          fc.array(entry, { minLength: order - 1, maxLength: order - 1 }),
          fc.integer({ min: 1, max: order }),
        ),
      )
    fc.assert(
      fc.property(sized, ([d, e, r]) => {
        kernels.scope(() => {
          const order = d.length
          const T = zeros(order, order)
          d.forEach((x, i) => {
            T.data[i * order + i] = x
          })
          e.forEach((x, i) => {
            T.data[i * order + i + 1] = x
            T.data[(i + 1) * order + i] = x
          })
          const reduced = reduceSymmetric(kernels, toBlock(kernels, T))
          const values = reducedValues(kernels, reduced)
          const Z = toMatrix(reducedVectors(kernels, reduced, values, r))
          expect(orthogonalityError(transpose(Z))).toBeLessThan(40 * EPS)
          const Q = transpose(Z)
          const scale = Math.max(Math.abs(values[0]), Math.abs(values[order - 1]))
          expect(residual(T, Q, values, Q)).toBeLessThanOrEqual(60 * EPS * scale)
        })
      }),
      { numRuns: 300 },
    )
  })

  test('inverse iteration finds those of ordinary matrices, and says where it does not', () => {
    kernels.scope(() => {
      const X = randomMatrix(60, 90, 4)
      const G = block(kernels.allocate(60 * 60), 60, 60)
      kernels.syrk(toBlock(kernels, toFloat64(X)), G)
      const { reduction, exponent } = reduceSymmetric(kernels, G)
      const values = reducedValues(kernels, { reduction, exponent })
      const scaled = values.slice(0, 20).map((x) => x * 2 ** -exponent)
      const Z = block(kernels.allocate(20 * 60), 20, 60)
      expect(kernels.inverseIteration(reduction, scaled, Z)).toBe(true)
      expect(orthogonalityError(transpose(toMatrix(Z)))).toBeLessThan(40 * EPS)
      scaled[3] = Number.NaN
      expect(kernels.inverseIteration(reduction, scaled, Z)).toBe(false)
    })
  })
})
