import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Float64Matrix, zeros } from '../../../src/linalg/matrix/matrix.ts'
import { bidiagonalQr, fallingMagnitudes } from '../../../src/linalg/svd/bidiagonal.ts'
import { jacobiSvd } from '../../../src/linalg/svd/jacobi.ts'
import { jsKernels } from '../../../src/linalg/svd/js-kernels.ts'
import type { Kernels } from '../../../src/linalg/svd/kernels.ts'
import { scaleToOne } from '../../../src/linalg/svd/scaling.ts'
import { fullSvd } from '../../../src/linalg/svd/svd.ts'
import { EPS, kernelSets, randomMatrix, toBlock, withSingularValues } from './support.ts'

/** Entries that make rank deficiency, ties and zero diagonals common. */
const entry = fc.oneof(
  fc.integer({ min: -1, max: 1 }),
  fc.integer({ min: -(2 ** 20), max: 2 ** 20 }).map((x) => x / 2 ** 20),
  fc.constantFrom(1e-9, -1e-14, 1e-17, 2 ** -100),
)
const entries = (n: number) => fc.array(entry, { minLength: n, maxLength: n })

/** Of Xt [n, m], n ≤ m. */
const valuesOf = (kernels: Kernels, Xt: Float64Matrix): Float64Array =>
  kernels.scope(() => kernels.singularValues(toBlock(kernels, Xt)))

function expectClose(found: Float64Array, expected: ArrayLike<number>, epsilons: number): void {
  expect(found).toHaveLength(expected.length)
  const scale = Math.max(found[0] ?? 0, expected[0] ?? 0)
  for (let i = 0; i < found.length; i++) {
    expect(Math.abs(found[i] - expected[i]), `S(${i})`).toBeLessThanOrEqual(epsilons * EPS * scale)
    if (i > 0) expect(found[i]).toBeLessThanOrEqual(found[i - 1])
  }
}

describe.each(kernelSets)('singular values alone on %s kernels', (_, kernels) => {
  test('those of Jacobi, whatever the matrix', () => {
    const sizes = fc.tuple(fc.integer({ min: 1, max: 11 }), fc.integer({ min: 0, max: 11 }))
    const any = sizes.chain(([n, more]) =>
      entries(n * (n + more)).map((x) => ({ rows: n, columns: n + more, data: Float64Array.from(x) })),
    )
    fc.assert(
      fc.property(any, (Xt) => {
        scaleToOne(Xt.data, jsKernels)
        const S = valuesOf(kernels, Xt)
        expectClose(S, jacobiSvd(Xt, 'none').S, 60)
        const squares = Xt.data.reduce((sum, x) => sum + x * x, 0)
        expect(Math.abs(S.reduce((sum, s) => sum + s * s, 0) - squares)).toBeLessThanOrEqual(
          100 * EPS * squares,
        )
      }),
      { numRuns: 400 },
    )
  })

  const n = 100
  const spectra: [string, (i: number) => number][] = [
    ['equal', () => 0.75],
    ['zero', () => 0],
    ['rank one', (i) => (i === 0 ? 0.5 : 0)],
    ['rank 40', (i) => (i < 40 ? 0.5 : 0)],
    ['falling evenly over 15 magnitudes', (i) => 0.7 ** i],
    ['in clusters', (i) => 100 ** -Math.floor(i / 20)],
    ['one large', (i) => (i === 0 ? 1 : 1e-6 * (1 - i / (2 * n)))],
  ]
  test.each(spectra)('%s', (_name, value) => {
    const s = Array.from({ length: n }, (_, i) => value(i))
    for (const m of [n, n + 7, 2 * n]) expectClose(valuesOf(kernels, withSingularValues(n, m, s, m)), s, 100)
  })

  test('a diagonal matrix of any order keeps its entries, in order', () => {
    const D = zeros(9, 12)
    const s = [3, -5, 0, 1e-20, 7, -7, 2, 0, 4]
    s.forEach((x, i) => {
      D.data[i * 12 + i] = x / 8
    })
    const expected = s.map((x) => Math.abs(x) / 8).sort((a, b) => b - a)
    expectClose(valuesOf(kernels, D), expected, 1)
  })

  test('a matrix that holds a NaN has no values', () => {
    const A = randomMatrix(6, 6, 1)
    A.data[8] = Number.NaN
    expect(() => valuesOf(kernels, A)).toThrow('did not converge in 180 QR steps')
  })

  test('the full SVD gives the same to rounding, and those of 2^j·A are 2^j times as large, bit for bit', () => {
    for (const [m, k] of [
      [80, 80],
      [70, 110],
      [250, 90],
      [200, 210],
    ]) {
      const A = randomMatrix(m, k, m)
      const { S } = fullSvd(A, 'none', kernels)
      expectClose(S, fullSvd(A, 'thin', kernels).S, 60)
      const scaled = { ...A, data: A.data.map((x) => x * 2 ** 700) }
      expect(fullSvd(scaled, 'none', kernels).S).toEqual(S.map((x) => x * 2 ** 700))
    }
  })
})

test('bidiagonal matrices with zeros anywhere', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 14 }).chain((n) => fc.tuple(entries(n), entries(n - 1))),
      ([d, e]) => {
        const n = d.length
        const B = zeros(n, n)
        for (let i = 0; i < n; i++) B.data[i * n + i] = d[i]
        for (let i = 0; i < n - 1; i++) B.data[i * n + i + 1] = e[i]
        scaleToOne(B.data, jsKernels)
        const values = Float64Array.from(d, (_, i) => B.data[i * n + i])
        const beside = Float64Array.from(e, (_, i) => B.data[i * n + i + 1])
        expect(bidiagonalQr(values, beside)).toBe(-1)
        expectClose(fallingMagnitudes(values), jacobiSvd(B, 'none').S, 40)
      },
    ),
    { numRuns: 500 },
  )
})
