import { describe, expect, test } from 'vitest'
import { createLapackEngine } from '../../../src/engine/lapack/lapack-engine.ts'
import { createWasmEngine } from '../../../src/engine/wasm/wasm-engine.ts'
import {
  type Float64Matrix,
  leadingColumns,
  type Matrix,
  matrix,
  toFloat32,
  toFloat64,
  transpose,
} from '../../../src/linalg/matrix/matrix.ts'
import { frobeniusNorm } from '../../../src/linalg/matrix/norms.ts'
import { factorBasis } from '../../../src/linalg/truncation/factor-basis.ts'
import { productSvd } from '../../../src/linalg/truncation/product-svd.ts'
import { sameBits } from '../../engine/support.ts'
import { orthogonalityRatio } from '../svd/lapack-ratios.ts'
import { engines as alwaysThere, jsEngine } from './engines.ts'
import { gaussian, withSpectrum } from './support.ts'

const lapack = createLapackEngine({ threads: 1 })
const engines = 'engine' in lapack ? [...alwaysThere, ['lapack', lapack.engine] as const] : alwaysThere

const EPS = 2 ** -52

/** Entry (i, j) times `of(i, j)`. */
const scaled = (X: Float64Matrix, of: (i: number, j: number) => number): Float64Matrix =>
  matrix(
    X.rows,
    X.columns,
    X.data.map((x, at) => x * of(Math.floor(at / X.columns), at % X.columns)),
  )

/** Columns that depend on each other up to `distance`. */
const nearlyParallel = (m: number, n: number, distance: number): Float64Matrix => {
  const X = gaussian(m, n, 7)
  return matrix(
    m,
    n,
    X.data.map((x, at) => X.data[at - (at % n)] + (at % n === 0 ? 0 : distance * x)),
  )
}

/** Each column a mixture of all, by a discrete cosine transform: lengths don't tell that directions are weak. */
const mixedColumns = (X: Float64Matrix): Float64Matrix => {
  const n = X.columns
  const cosine = (i: number, j: number) =>
    Math.sqrt((i === 0 ? 1 : 2) / n) * Math.cos((Math.PI * i * (j + 0.5)) / n)
  const C = matrix(
    n,
    n,
    Float64Array.from({ length: n * n }, (_, at) => cosine(Math.floor(at / n), at % n)),
  )
  return toFloat64(jsEngine.multiply(X, C))
}

interface Product {
  readonly B: Matrix
  readonly A: Matrix
  readonly D?: Float64Array
}

const products: readonly (readonly [string, Product])[] = [
  ['plain factors', { B: gaussian(90, 12, 1), A: gaussian(12, 70, 2) }],
  ['rank 70, more than the engines do by Jacobi', { B: gaussian(130, 70, 1), A: gaussian(70, 150, 2) }],
  ['float32', { B: toFloat32(gaussian(90, 12, 1)), A: toFloat32(gaussian(12, 70, 2)) }],
  ['more directions than rows', { B: gaussian(9, 20, 1), A: gaussian(20, 70, 2) }],
  ['more directions than rows and columns', { B: gaussian(9, 20, 1), A: gaussian(20, 15, 2) }],
  ['one direction', { B: gaussian(40, 1, 1), A: gaussian(1, 30, 2) }],
  ['weights', { B: gaussian(90, 5, 1), A: gaussian(5, 70, 2), D: Float64Array.of(0.5, -2, 0, 1e3, -1e-3) }],
  [
    'condition 100',
    {
      B: withSpectrum(
        120,
        10,
        Float64Array.from({ length: 10 }, (_, i) => 10 ** (-i / 4.5)),
        3,
      ),
      A: gaussian(10, 90, 2),
    },
  ],
  [
    'condition 3000, of small parts of columns',
    {
      B: mixedColumns(
        withSpectrum(
          4000,
          9,
          Float64Array.from({ length: 9 }, (_, i) => 3000 ** (-i / 8)),
          3,
        ),
      ),
      A: gaussian(9, 90, 2),
    },
  ],
  ['condition 1e9', { B: nearlyParallel(90, 6, 1e-9), A: gaussian(6, 70, 2) }],
  ['equal columns', { B: nearlyParallel(90, 6, 0), A: transpose(nearlyParallel(70, 6, 0)) }],
  [
    'columns of zeros',
    {
      B: scaled(gaussian(90, 8, 1), (_, j) => (j < 3 ? 0 : 1)),
      A: scaled(gaussian(8, 70, 2), (i) => (i > 5 ? 0 : 1)),
    },
  ],
  ['zero', { B: scaled(gaussian(30, 4, 1), () => 0), A: gaussian(4, 20, 2) }],
  [
    'lengths that cancel',
    {
      B: scaled(gaussian(90, 8, 1), (_, j) => 10 ** (20 * j)),
      A: scaled(gaussian(8, 70, 2), (i) => 10 ** (-20 * i)),
    },
  ],
  [
    'lengths whose squares are lost',
    {
      B: scaled(gaussian(90, 4, 1), (_, j) => 10 ** (-180 * j)),
      A: scaled(gaussian(4, 70, 2), (i) => [1, 1e180, 0, 0][i]),
    },
  ],
]

/** B·D·A by plain loops. */
function formed({ B, A, D }: Product): Float64Matrix {
  const weighted = D === undefined ? toFloat64(B) : scaled(toFloat64(B), (_, j) => D[j])
  return toFloat64(jsEngine.multiply(weighted, toFloat64(A)))
}

const difference = (X: Matrix, Y: Matrix): number =>
  frobeniusNorm(X.data.map((x, i) => x - Y.data[i]) as Float64Array)

describe.each(engines)('productSvd by %s', (_, engine) => {
  describe.each(products)('%s', (_, product) => {
    const { B, A, D } = product
    const W = formed(product)
    const norm = frobeniusNorm(W.data)
    const svd = productSvd(engine, B, A, D)
    const dense = jsEngine.svd(W, 'thin')

    test('has the singular values of the product', () => {
      expect(svd.S.length).toBe(Math.min(B.rows, B.columns, A.columns))
      for (const [i, s] of svd.S.entries()) {
        expect(Math.abs(s - dense.S[i])).toBeLessThanOrEqual(1e-12 * norm)
        expect(Math.abs(s - dense.S[i])).toBeLessThanOrEqual(svd.rounding + 100 * EPS * norm)
      }
      expect(Math.abs(svd.frobenius - norm)).toBeLessThanOrEqual(1e-12 * norm)
      for (let r = 0; r <= svd.S.length; r++) {
        const [found, best] = [svd.S, dense.S].map((S) => frobeniusNorm(S.subarray(r)))
        expect(Math.abs(found - best)).toBeLessThanOrEqual(1e-12 * norm)
      }
    })

    test('has the best factors of each rank', () => {
      for (const r of new Set([0, 1, Math.ceil(svd.S.length / 2), svd.S.length])) {
        const best = svd.factors(r)
        expect([best.B.rows, best.B.columns, best.A.rows, best.A.columns]).toEqual([B.rows, r, r, A.columns])
        const left = difference(W, formed(best))
        expect(Math.abs(left - frobeniusNorm(dense.S.subarray(r)))).toBeLessThanOrEqual(1e-12 * norm)
      }
    })

    test('measures how far other factors are', () => {
      const best = svd.factors(Math.ceil(svd.S.length / 2))
      const own = [best, { B: toFloat32(best.B), A: toFloat32(best.A) }]
      const others = [
        ...own,
        { B: gaussian(B.rows, 3, 8), A: gaussian(3, A.columns, 9) },
        { B: best.B, A: gaussian(best.A.rows, A.columns, 9) },
        { B: gaussian(B.rows, A.columns + 2, 8), A: gaussian(A.columns + 2, A.columns, 9) },
        { B: gaussian(B.rows, 0, 8), A: gaussian(0, A.columns, 9) },
      ]
      for (const other of others) {
        const P = formed(other)
        const exact = difference(W, P)
        const size = norm + frobeniusNorm(P.data)
        const allowed = own.includes(other) ? 1e-13 : 1e-9
        expect(Math.abs(svd.distance(other) - exact)).toBeLessThanOrEqual(allowed * size)
      }
    })
  })

  test('takes orthonormal bases of what is well-conditioned, by the Gram matrix, and of all else', () => {
    for (const X of [gaussian(300, 40, 1), nearlyParallel(300, 5, 1e-12)]) {
      for (const [F, side] of [
        [X, 'columns'],
        [transpose(X), 'rows'],
      ] as const) {
        const basis = factorBasis(engine, F, side)
        const R = toFloat64(basis.R)
        const lying = basis.expand(R)
        const limit = 10 * EPS * frobeniusNorm(X.data)
        expect(difference(F, lying)).toBeLessThan(limit)
        const identity = gaussian(X.columns, X.columns, 2)
        identity.data.forEach((_, at) => {
          identity.data[at] = at % (X.columns + 1) === 0 ? 1 : 0
        })
        const Q = basis.expand(identity)
        expect(orthogonalityRatio(side === 'columns' ? Q : transpose(Q))).toBeLessThan(10)
        const inside = basis.split(lying)
        expect(difference(inside.along, R)).toBeLessThan(limit)
        expect(frobeniusNorm(inside.across!.data)).toBeLessThan(limit)
      }
    }
  })

  test('refuses what is not finite, and shapes that don’t fit', () => {
    const A = gaussian(4, 20, 2)
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const B = gaussian(30, 4, 1)
      B.data[5] = bad
      expect(() => productSvd(engine, B, A)).toThrow(/NaN|Infinity/)
    }
    expect(() => productSvd(engine, gaussian(30, 5, 1), A)).toThrow(RangeError)
  })

  test('gives the inner products of the factors', () => {
    const [B, A] = [gaussian(50, 6, 1), gaussian(6, 40, 2)]
    const grams = productSvd(engine, B, A).grams()
    expect(difference(grams.B, jsEngine.multiply(B, B, { transposeA: true }))).toBeLessThan(1e-12)
    expect(difference(grams.A, jsEngine.multiply(A, A, { transposeB: true }))).toBeLessThan(1e-12)
  })
})

test('threads of the embedded engine change no bit', () => {
  const [B, A] = [toFloat32(gaussian(700, 90, 1)), toFloat32(gaussian(90, 600, 2))]
  const all = [1, 2, 3].map((threads) => {
    const engine = createWasmEngine({ threads })
    const svd = productSvd(engine, B, A)
    const factors = svd.factors(20)
    const distance = svd.distance({ B: leadingColumns(factors.B, 20), A: toFloat32(factors.A) })
    engine.close()
    return { factors, distance, S: matrix(1, 90, svd.S) }
  })
  for (const one of all) {
    expect(one.distance).toBe(all[0].distance)
    expect(sameBits(one.S, all[0].S)).toBe(true)
    expect(sameBits(one.factors.B, all[0].factors.B)).toBe(true)
    expect(sameBits(one.factors.A, all[0].factors.A)).toBe(true)
  }
})
