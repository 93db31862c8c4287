import { describe, expect, test } from 'vitest'
import { gram, multiply } from '../../../src/engine/js/js-engine.ts'
import { type Float64Matrix, identity, toFloat64, zeros } from '../../../src/linalg/matrix/matrix.ts'
import { decompositions } from '../../../src/linalg/svd/decompositions.ts'
import { gramQr } from '../../../src/linalg/svd/gram-qr.ts'
import { jsKernels } from '../../../src/linalg/svd/js-kernels.ts'
import { EPS, orthogonalityError, randomMatrix } from './support.ts'

const householder = (X: Float64Matrix) => decompositions(jsKernels).qr(X).R
const LIMIT = 1000

/** Column j times `of(j)`. */
const timesColumns = (X: Float64Matrix, of: (j: number) => number): Float64Matrix => ({
  ...X,
  data: X.data.map((x, at) => x * of(at % X.columns)),
})

/** Columns that are parallel but for `distance`: their condition is about 1/distance. */
function nearlyParallel(m: number, n: number, distance: number): Float64Matrix {
  const X = randomMatrix(m, n, 5)
  for (let at = 0; at < X.data.length; at++) {
    const first = X.data[at - (at % n)]
    if (at % n > 0) X.data[at] = first + distance * X.data[at]
  }
  return X
}

const lengthsOf = (X: Float64Matrix) =>
  Array.from({ length: X.columns }, (_, j) =>
    Math.hypot(...Array.from({ length: X.rows }, (_, i) => X.data[i * X.columns + j])),
  )

describe('gramQr', () => {
  test.each([
    [1, 1],
    [9, 1],
    [40, 7],
    [90, 33],
    [300, 70],
  ])('%i×%i: the R of Householder’s QR, its inverse, and an orthonormal basis', (m, n) => {
    const X = randomMatrix(m, n, m + n)
    const { R, inverse } = gramQr(gram(X), LIMIT)!
    const H = householder(X)
    const lengths = lengthsOf(X)
    for (let i = 0; i < n; i++) {
      expect(R.data[i * n + i]).toBeGreaterThan(0)
      // Householder's diagonal has either sign
      const sign = Math.sign(H.data[i * n + i])
      for (let j = 0; j < n; j++) {
        if (j < i) expect([R.data[i * n + j], inverse.data[i * n + j]]).toEqual([0, 0])
        expect(Math.abs(R.data[i * n + j] - sign * H.data[i * n + j])).toBeLessThan(100 * EPS * lengths[j])
      }
    }
    const unit = multiply(R, inverse)
    unit.data.forEach((x, at) => {
      expect(Math.abs(x - identity(n).data[at])).toBeLessThan(100 * EPS)
    })
    expect(orthogonalityError(toFloat64(multiply(X, inverse)))).toBeLessThan(200 * EPS)
  })

  test('the lengths of columns don’t count, however unlike', () => {
    const X = timesColumns(randomMatrix(60, 20, 1), (j) => 2 ** (40 * (j - 10)))
    const { R } = gramQr(gram(X), LIMIT)!
    const plain = gramQr(gram(randomMatrix(60, 20, 1)), LIMIT)!
    const scaled = timesColumns(plain.R, (j) => 2 ** (40 * (j - 10)))
    // by powers of two, so that every rounding is the same
    expect(R).toEqual(scaled)
  })

  test('is off by no more than the limit says: condition 10 to 10⁴', () => {
    for (const distance of [1e-1, 1e-2, 1e-3, 1e-4]) {
      const X = nearlyParallel(200, 8, distance)
      const limit = 30 / distance
      const { R } = gramQr(gram(X), limit)!
      const H = householder(X)
      const lengths = lengthsOf(X)
      for (let i = 0; i < 8; i++) {
        const sign = Math.sign(H.data[i * 8 + i])
        for (let j = 0; j < 8; j++) {
          const off = Math.abs(R.data[i * 8 + j] - sign * H.data[i * 8 + j])
          expect(off).toBeLessThan(10 * EPS * limit * lengths[j])
        }
      }
    }
  })

  test('columns of zeros have none in the basis', () => {
    const X = timesColumns(randomMatrix(50, 12, 2), (j) => (j % 3 === 1 ? 0 : 1))
    const { R, inverse } = gramQr(gram(X), LIMIT)!
    const Q = multiply(X, inverse)
    const product = multiply(Q, R)
    X.data.forEach((x, at) => {
      expect(Math.abs(x - product.data[at])).toBeLessThan(50 * EPS)
    })
    for (let j = 1; j < 12; j += 3) {
      for (let i = 0; i < 12; i++) expect([R.data[i * 12 + j], R.data[j * 12 + i]]).toEqual([0, 0])
    }
    expect(gramQr(zeros(3, 3), LIMIT)).toEqual({ R: zeros(3, 3), inverse: zeros(3, 3) })
    expect(gramQr(zeros(0, 0), LIMIT)).toEqual({ R: zeros(0, 0), inverse: zeros(0, 0) })
  })

  test('refuses what a Gram matrix can’t tell', () => {
    expect(gramQr(gram(nearlyParallel(90, 6, 1e-5)), LIMIT)).toBeUndefined()
    expect(gramQr(gram(nearlyParallel(90, 6, 0)), LIMIT)).toBeUndefined()
    const X = randomMatrix(30, 4, 3)
    for (const scale of [1e160, 1e-160, 1e-170, Number.NaN, Number.POSITIVE_INFINITY]) {
      const scaled = timesColumns(X, (j) => (j === 2 ? scale : 1))
      // squares that are all lost look like zeros
      if (scale === 1e-170) scaled.data[2] = 1e-150
      expect(gramQr(gram(scaled), LIMIT)).toBeUndefined()
    }
  })
})
