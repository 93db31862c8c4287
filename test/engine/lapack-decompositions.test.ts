import { createRequire } from 'node:module'
import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { multiply as plainMultiply } from '../../src/engine/js/js-engine.ts'
import { svd as lapackSvd } from '../../src/engine/lapack/decompositions.ts'
import type { LapackLibrary } from '../../src/engine/lapack/lapack-engine.ts'
import { bindLapack, type Lapack, type Routine } from '../../src/engine/lapack/symbols.ts'
import { LoraSvdError } from '../../src/errors.ts'
import type { Engine, Svd, Vectors } from '../../src/linalg/engine.ts'
import { fromRows, type Matrix, matrix, toFloat64, transpose, zeros } from '../../src/linalg/matrix/matrix.ts'
import { jacobiSvd } from '../../src/linalg/svd/jacobi.ts'
import { type HardCase, hardCases } from '../linalg/svd/hard-cases.ts'
import { sizes, types } from '../linalg/svd/lapack-matrices.ts'
import { orthogonalityRatio, svdRatios } from '../linalg/svd/lapack-ratios.ts'
import { expectLeading, type LeadingCase, matricesOf, single, values } from '../linalg/svd/leading-support.ts'
import { EPS, withSingularValues } from '../linalg/svd/support.ts'
import { describeLapack } from './lapack-suite.ts'
import { absolute, generator, largestExcess, randomMatrix } from './support.ts'

describeLapack({
  qr: testQr,
  symmetricEigen: testSymmetricEigen,
  svd: testSvd,
  leadingSvd: testLeadingSvd,
  'should dgesdd not converge': (_, library) => testFallback(library),
})

function testLeadingSvd(engine: Engine): void {
  const spectra: LeadingCase[] = [
    ['falling', values.falling, 40],
    ['falling over more than the span', values.spanning, 48],
    ['equal', values.equal, 16],
    ['equal in pairs', values.paired, 15],
    ['rank 16 and noise', values.noisy, 16],
    ['zero', values.zero, 5],
    ['none taken', values.falling, 0],
    ['all taken', values.falling, 120],
  ]
  it.each(spectra)('%s', (_, value, r) => {
    const shapes = [
      [120, 120],
      [310, 120],
      [120, 150],
    ] as const
    for (const A of matricesOf(value, 120, shapes))
      for (const X of [A, single(A)]) expectLeading(X, r, engine.leadingSvd, engine.svd(X, 'thin'))
  })

  it('of small and large numbers, and of none', () => {
    for (const scale of [2 ** -70, 2 ** 60]) {
      const A = single(
        withSingularValues(
          40,
          30,
          Array.from({ length: 30 }, (_, i) => scale / (i + 1)),
          2,
        ),
      )
      expectLeading(A, 9, engine.leadingSvd, engine.svd(A, 'thin'))
    }
    expect(engine.leadingSvd(matrix(0, 3, new Float32Array(0)), () => 0).S).toHaveLength(0)
  })

  it('entries that are not finite are refused', () => {
    const A = single(withSingularValues(40, 30, new Float64Array(30).fill(1), 2))
    A.data[100] = Number.NaN
    expect(() => engine.leadingSvd(A, () => 3)).toThrow(LoraSvdError)
  })
}

function testQr(engine: Engine): void {
  it.each(['f32', 'f64'] as const)('of %s: Q orthonormal, R upper triangular, Q·R = A', (type) => {
    const random = generator(4)
    for (const [m, n] of [
      [0, 0],
      [5, 0],
      [1, 1],
      [7, 7],
      [40, 13],
      [500, 72],
    ]) {
      const A = randomMatrix(m, n, type, random)
      const { Q, R } = engine.qr(A)
      expect([Q.rows, Q.columns, R.rows, R.columns]).toEqual([m, n, n, n])
      expect(orthogonalityRatio(Q)).toBeLessThan(10)
      const bound = plainMultiply(absolute(Q), absolute(R))
      expect(largestExcess(plainMultiply(Q, R), toFloat64(A), bound, 10 * (m + 1) * EPS)).toBeLessThanOrEqual(
        1,
      )
      for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) expect(R.data[i * n + j]).toBe(0)
    }
  })

  it('keeps Q orthonormal when columns depend on each other, and A as it was', () => {
    const A = fromRows([
      [1, 2, 0],
      [1, 2, 0],
      [1, 2, 0],
      [1, 2, 0],
    ])
    const before = A.data.slice()
    const { Q, R } = engine.qr(A)
    expect(orthogonalityRatio(Q)).toBeLessThan(10)
    expect(Math.abs(R.data[4])).toBeLessThan(1e-15)
    expect(A.data).toEqual(before)
  })

  it('refuses a wide matrix', () => {
    expect(() => engine.qr(zeros(2, 3))).toThrow(RangeError)
  })
}

function testSymmetricEigen(engine: Engine): void {
  it('of random matrices: ascending, orthonormal, G·Q = Q·diag', () => {
    const random = generator(5)
    for (const n of [0, 1, 2, 25, 26, 90]) {
      const B = toFloat64(randomMatrix(n, n, 'f64', random))
      const Bt = transpose(B)
      const G = matrix(
        n,
        n,
        B.data.map((b, i) => b + Bt.data[i]),
      )
      const before = G.data.slice()
      const { values, vectors } = engine.symmetricEigen(G, 'thin')
      expect(G.data).toEqual(before)
      expect(values).toEqual(values.slice().sort())
      expect(orthogonalityRatio(vectors)).toBeLessThan(10)
      const scaled = { ...vectors, data: vectors.data.map((q, i) => q * values[i % n]) }
      const size = matrix(n, n, new Float64Array(n * n).fill(Math.max(0, ...values.map(Math.abs))))
      const product = plainMultiply(G, vectors)
      expect(largestExcess(product, scaled, size, 10 * n * EPS)).toBeLessThanOrEqual(1)
      const alone = engine.symmetricEigen(G, 'none')
      expect(alone.vectors.data).toHaveLength(0)
      const difference = largestExcess(matrix(n, 1, alone.values), matrix(n, 1, values), size, 10 * n * EPS)
      expect(difference).toBeLessThanOrEqual(1)
    }
  })

  it('finds eigenvalues known in closed form, negative ones too', () => {
    // of the path graph: 2·cos(kπ/(n + 1))
    const n = 60
    const G = zeros(n, n)
    for (let i = 0; i + 1 < n; i++) G.data[i * n + i + 1] = G.data[(i + 1) * n + i] = 1
    const { values } = engine.symmetricEigen(G, 'none')
    values.forEach((value, i) => {
      expect(Math.abs(value - 2 * Math.cos(((n - i) * Math.PI) / (n + 1)))).toBeLessThan(60 * EPS)
    })
  })

  it('refuses what is not square or not finite', () => {
    expect(() => engine.symmetricEigen(zeros(2, 3), 'none')).toThrow(RangeError)
    expect(() => engine.symmetricEigen(fromRows([[Number.NaN]]), 'thin')).toThrow(/NaN at row 0, column 0/)
  })
}

function expectValues(S: Float64Array, hard: HardCase, ulp: number): void {
  if (hard.S.length > 0) expect(S).toHaveLength(hard.S.length)
  hard.S.forEach((expected, i) => {
    if (expected === null) return
    const error = Math.abs(S[i] - expected)
    expect(error, `S(${i}) = ${S[i]}, not ${expected}`).toBeLessThanOrEqual(hard.absolute * ulp * S[0])
  })
}

function expectGoodSvd(A: Matrix, svd: Svd, ulp = EPS): void {
  const n = Math.min(A.rows, A.columns)
  expect([svd.U.rows, svd.U.columns, svd.S.length]).toEqual([A.rows, n, n])
  expect([svd.V.rows, svd.V.columns]).toEqual([A.columns, n])
  const { t1, t2, t3, t4 } = svdRatios(A, svd, ulp)
  expect(t1, `T1 ${A.rows}×${A.columns}`).toBeLessThan(10)
  expect(t2, `T2 ${A.rows}×${A.columns}`).toBeLessThan(10)
  expect(t3, `T3 ${A.rows}×${A.columns}`).toBeLessThan(10)
  expect(t4).toBe(0)
}

function testSvd(engine: Engine): void {
  it.each(types)("of LAPACK's test matrices: %s", (_, make) => {
    for (const [m, n] of sizes) {
      const A = make(m, n)
      const svd = engine.svd(A, 'thin')
      expectGoodSvd(A, svd)
      const alone = engine.svd(A, 'none')
      expect([alone.U.data.length, alone.V.data.length]).toEqual([0, 0])
      // T7: values with and without vectors
      const limit = 10 * Math.min(m, n) * EPS * (svd.S[0] ?? 0)
      alone.S.forEach((s, i) => {
        expect(Math.abs(s - svd.S[i])).toBeLessThanOrEqual(limit)
      })
    }
  })

  it.each(hardCases.map((hard) => [`${hard.number}: ${hard.name}`, hard] as const))(
    'hard case %s',
    (_, hard) => {
      const ulp = hard.A.data instanceof Float32Array ? 2 ** -23 : EPS
      const before = hard.A.data.slice()
      const svd = engine.svd(hard.A, 'thin')
      expectValues(svd.S, hard, ulp)
      expectGoodSvd(hard.A, svd, ulp)
      expectValues(engine.svd(hard.A, 'none').S, hard, ulp)
      expect(hard.A.data).toEqual(before)
    },
  )

  it.each(['f32', 'f64'] as const)('agrees with one-sided Jacobi on %s, vectors and signs', (type) => {
    for (const [m, n] of [
      [30, 20],
      [20, 30],
      [60, 60],
    ]) {
      // well separated, so that vectors are determined
      const s = Float64Array.from({ length: Math.min(m, n) }, (_, i) => 0.8 ** i)
      const exact = withSingularValues(m, n, s, 7)
      const A = matrix(m, n, type === 'f32' ? Float32Array.from(exact.data) : exact.data)
      const ours = engine.svd(A, 'thin')
      const oracle = jacobiSvd(A)
      // rounding times the largest value over the least gap
      const limit = (100 * EPS) / (0.2 * s[s.length - 1])
      for (const [X, Y] of [
        [ours.U, oracle.U],
        [ours.V, oracle.V],
        [matrix(s.length, 1, ours.S), matrix(s.length, 1, oracle.S)],
      ]) {
        X.data.forEach((x, i) => {
          expect(Math.abs(x - Y.data[i])).toBeLessThan(limit)
        })
      }
    }
  })

  it('has the norm of A, and the same values for Aᵀ and −A', () => {
    const entries = fc
      .integer({ min: 1, max: 12 })
      .chain((m) =>
        fc
          .integer({ min: 1, max: 12 })
          .chain((n) =>
            fc
              .array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: m * n, maxLength: m * n })
              .map((data) => matrix(m, n, Float64Array.from(data))),
          ),
      )
    fc.assert(
      fc.property(entries, (A) => {
        const { S } = engine.svd(A, 'none')
        const squares = A.data.reduce((sum, a) => sum + a * a, 0)
        const sum = S.reduce((total, s) => total + s * s, 0)
        expect(Math.abs(sum - squares)).toBeLessThanOrEqual(1e-12 * squares)
        const negative = { ...A, data: A.data.map((a) => -a) }
        for (const other of [transpose(A), negative]) {
          engine.svd(other, 'none').S.forEach((s, i) => {
            expect(Math.abs(s - S[i])).toBeLessThanOrEqual(40 * EPS * S[0])
          })
        }
      }),
    )
  })

  it('refuses what is not finite, naming the entry', () => {
    for (const bad of [Number.NaN, Infinity, -Infinity]) {
      const A = zeros(3, 4)
      A.data[6] = bad
      expect(() => engine.svd(A, 'thin')).toThrow(new RegExp(`holds ${bad} at row 1, column 2`))
    }
  })
}

/** The library's routines, of which those named report that they did not converge. */
function failing(library: LapackLibrary, routines: readonly Routine[]): Lapack {
  const koffi = createRequire(import.meta.url)('koffi')
  const bound = bindLapack(koffi.load(library.path))
  if (bound === null) throw new Error('bound before')
  return {
    ...bound.lapack,
    info: (routine, ...args) => {
      const info = bound.lapack.info(routine, ...args)
      const isQuery = args.includes(-1)
      return routines.includes(routine) && !isQuery ? 3 : info
    },
  }
}

function testFallback(library: LapackLibrary): void {
  const A = toFloat64(randomMatrix(40, 31, 'f64', generator(8)))
  it.each(['thin', 'none'] as const)('dgesvd does it: %s', (vectors: Vectors) => {
    const svd = lapackSvd(failing(library, ['dgesdd']), A, vectors)
    if (vectors === 'thin') expectGoodSvd(A, svd)
    jacobiSvd(A, 'none').S.forEach((s, i) => {
      expect(Math.abs(s - svd.S[i])).toBeLessThan(100 * EPS * svd.S[0])
    })
  })

  it('and should that not converge either, says so', () => {
    const broken = failing(library, ['dgesdd', 'dgesvd'])
    const error = (() => {
      try {
        return lapackSvd(broken, A, 'thin')
      } catch (thrown) {
        return thrown
      }
    })()
    expect(error).toBeInstanceOf(LoraSvdError)
    expect(error).toMatchObject({
      code: 'no-convergence',
      message: expect.stringMatching(/40×31.*dgesdd and dgesvd/),
    })
  })
}
