import { createRequire } from 'node:module'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Engine, HalfMatrix, Svd, Vectors } from '../../src/engine/engine.ts'
import { jsEngine } from '../../src/engine/js/js-engine.ts'
import { multiply as plainMultiply } from '../../src/engine/js/multiply.ts'
import { svd as lapackSvd } from '../../src/engine/lapack/decompositions.ts'
import { createLapackEngine, type LapackLibrary } from '../../src/engine/lapack/lapack-engine.ts'
import { selfCheck } from '../../src/engine/lapack/self-check.ts'
import { bindLapack, type Lapack, type Routine } from '../../src/engine/lapack/symbols.ts'
import { LoraSvdError } from '../../src/errors.ts'
import { narrowHalf, widenHalf } from '../../src/matrix/half.ts'
import {
  type Float64Matrix,
  type FloatArray,
  fromRows,
  identity,
  type Matrix,
  matrix,
  toFloat64,
  transpose,
  zeros,
} from '../../src/matrix/matrix.ts'
import { jacobiSvd } from '../../src/svd/jacobi.ts'
import { type HardCase, hardCases } from '../svd/hard-cases.ts'
import { sizes, types } from '../svd/lapack-matrices.ts'
import { orthogonalityRatio, svdRatios } from '../svd/lapack-ratios.ts'
import { EPS, withSingularValues } from '../svd/support.ts'
import { absolute, generator, largestExcess, randomMatrix, sameBits } from './support.ts'

const result = createLapackEngine()

if ('reason' in result) {
  it(`is left out: ${result.reason}`, () => {
    expect(result.reason).toMatch(/^.+$/)
  })
} else {
  const { engine, library } = result
  describe(`LAPACK engine over ${library.path}`, () => {
    describe('library', () => testLibrary(engine, library))
    describe('self-check', () => testSelfCheck(engine))
    describe('multiply', () => testMultiply(engine))
    describe('gram', () => testGram(engine))
    describe('qr', () => testQr(engine))
    describe('symmetricEigen', () => testSymmetricEigen(engine))
    describe('svd', () => testSvd(engine))
    describe('should dgesdd not converge', () => testFallback(library))
    describe('resident', () => testResident(engine))
    describe('memory', () => testMemory(engine))
  })
}

function testLibrary(engine: Engine, library: LapackLibrary): void {
  it('describes itself', () => {
    expect(engine.name).toBe('lapack')
    expect(engine.threads).toBe(library.threads)
    expect(library.version).toMatch(/\d+\.\d+/)
    expect(['lp64', 'ilp64']).toContain(library.integers)
  })

  it('uses as many threads as it is told to, where the library can be told', () => {
    const one = createLapackEngine({ threads: 1, library: library.path })
    expect('library' in one && one.library.threads).toBe(1)
    const again = createLapackEngine({ threads: library.threads, library: library.path })
    expect('library' in again && again.library.threads).toBe(library.threads)
  })

  it('refuses a real library that is no LAPACK', () => {
    const mathLibrary = { linux: 'libm.so.6', darwin: '/usr/lib/libSystem.B.dylib', win32: 'kernel32.dll' }
    const name = mathLibrary[process.platform as keyof typeof mathLibrary] ?? 'libm.so'
    const refused = createLapackEngine({ library: name })
    expect('reason' in refused && refused.reason).toBe(`${name} lacks routines of BLAS or LAPACK`)
  })

  it('refuses a path where there is nothing', () => {
    const refused = createLapackEngine({ library: '/no/such/liblapack.so' })
    expect('reason' in refused && refused.reason).toMatch(/^\/no\/such\/liblapack\.so: .+$/)
  })
}

function testSelfCheck(engine: Engine): void {
  const nudge = (A: Float64Matrix): Float64Matrix => ({
    ...A,
    data: A.data.map((a, i) => (i === 1 ? a + 1e-9 : a)),
  })
  const sabotaged: [string, Partial<Engine>][] = [
    ['float64 product', { multiply: (A, B, how) => nudge(toFloat64(engine.multiply(A, B, how))) }],
    ['Gram product', { gram: (A) => nudge(engine.gram(A)) }],
    ['QR', { qr: (A) => ({ ...engine.qr(A), Q: nudge(engine.qr(A).Q) }) }],
    [
      'eigenvalue decomposition',
      {
        symmetricEigen: (G, vectors) => ({
          ...engine.symmetricEigen(G, vectors),
          vectors: transpose(engine.symmetricEigen(G, vectors).vectors),
        }),
      },
    ],
    ['SVD', { svd: (A, vectors) => ({ ...engine.svd(A, vectors), U: nudge(engine.svd(A, vectors).U) }) }],
    ['SVD', { svd: (A, vectors) => ({ ...engine.svd(A, vectors), S: new Float64Array(A.columns) }) }],
  ]
  it('passes', () => {
    expect(selfCheck(engine)).toBeNull()
  })

  it.each(sabotaged.map(([what, change], i) => [i, what, change] as const))(
    'notices sabotage %i, of the %s',
    (_, what, change) => {
      expect(selfCheck({ ...engine, ...change })).toBe(`gets the ${what} of a small known matrix wrong`)
    },
  )
}

function testMultiply(engine: Engine): void {
  const shapes = [
    [0, 3, 2],
    [3, 0, 2],
    [3, 2, 0],
    [1, 1, 1],
    [2, 3, 4],
    [17, 33, 9],
    [64, 130, 71],
    [5, 700, 3],
  ]
  it.each([
    ['f32', 'f32', 2 ** -23],
    ['f64', 'f64', EPS],
    ['f32', 'f64', EPS],
    ['f64', 'f32', EPS],
  ] as const)('%s by %s, all ways of transposing', (left, right, eps) => {
    const random = generator(1)
    for (const [m, k, n] of shapes) {
      const A = randomMatrix(m, k, left, random)
      const B = randomMatrix(k, n, right, random)
      const truth = plainMultiply(toFloat64(A), toFloat64(B))
      const bound = plainMultiply(absolute(A), absolute(B))
      for (const transposeA of [false, true]) {
        for (const transposeB of [false, true]) {
          const C = engine.multiply(transposeA ? transpose(A) : A, transposeB ? transpose(B) : B, {
            transposeA,
            transposeB,
          })
          expect(C.data.constructor).toBe(eps === EPS ? Float64Array : Float32Array)
          expect(largestExcess(C, truth, bound, (k + 1) * eps)).toBeLessThanOrEqual(1)
        }
      }
    }
  })

  it('reads views that begin inside a buffer, and writes nothing but its result', () => {
    const random = generator(2)
    const around = randomMatrix(1, 3 + 6 * 5 + 4, 'f64', random).data
    const before = around.slice()
    const A = matrix(6, 5, around.subarray(3, 33))
    const B = randomMatrix(5, 4, 'f64', random)
    expect(sameBits(engine.multiply(A, B), engine.multiply(matrix(6, 5, A.data.slice()), B))).toBe(true)
    expect(around).toEqual(before)
  })

  it('refuses operands that don’t fit', () => {
    expect(() => engine.multiply(zeros(2, 3), zeros(2, 3))).toThrow(RangeError)
    expect(() => engine.multiply(zeros(2, 3), zeros(3, 2), { transposeA: true })).toThrow(RangeError)
    expect(() => engine.multiply(zeros(2, 3), zeros(3, 2), { transposeB: true })).toThrow(RangeError)
  })
}

function testGram(engine: Engine): void {
  it.each(['f32', 'f64'] as const)('of %s in float64, exactly symmetric', (type) => {
    const random = generator(3)
    for (const [m, n] of [
      [0, 3],
      [3, 0],
      [1, 1],
      [9, 4],
      [4, 9],
      [300, 70],
      // several panels of rows
      [9000, 40],
    ]) {
      const A = randomMatrix(m, n, type, random)
      const G = engine.gram(A)
      expect(
        largestExcess(G, jsEngine.gram(A), jsEngine.gram(absolute(A)), (m + 1) * EPS),
      ).toBeLessThanOrEqual(1)
      expect(sameBits(G, transpose(G))).toBe(true)
    }
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

function testResident(engine: Engine): void {
  const storages = ['f32', 'f64', 'bf16', 'f16'] as const
  const stored = (m: number, n: number, type: (typeof storages)[number], random: () => number) => {
    if (type === 'f32' || type === 'f64') {
      const A = randomMatrix(m, n, type, random)
      return { A, values: toFloat64(A) }
    }
    const data = narrowHalf(randomMatrix(m, n, 'f64', random).data, type)
    const A: HalfMatrix = { rows: m, columns: n, dtype: type, data }
    return { A, values: toFloat64(matrix(m, n, widenHalf(data, type))) }
  }
  const transposed = (A: Matrix, B: Matrix) => plainMultiply(A, B, { transposeA: true })

  for (const type of storages) {
    it.each(['f32', 'f64'] as const)(`multiplies, stored as ${type}, by %s`, (operand) => {
      const random = generator(11)
      for (const [m, n, b] of [
        [0, 3, 2],
        [3, 0, 2],
        [3, 2, 0],
        [1, 1, 1],
        [7, 5, 3],
        [130, 67, 9],
        // several panels of rows
        [70, 9000, 2],
      ]) {
        const { A, values } = stored(m, n, type, random)
        const X = randomMatrix(n, b, operand, random)
        const Y = randomMatrix(m, b, operand, random)
        const [absA, absX, absY] = [values, X, Y].map(absolute)
        const eps = operand === 'f32' ? 2 ** -23 : EPS
        const held = engine.resident(A)
        expect([held.rows, held.columns]).toEqual([m, n])
        const AX = held.multiply(X)
        const truth = plainMultiply(values, toFloat64(X))
        const bound = plainMultiply(absA, absX)
        expect(largestExcess(AX, truth, bound, (n + 2) * eps)).toBeLessThanOrEqual(1)
        const AtY = held.multiplyTransposed(Y)
        const boundT = transposed(absA, absY)
        expect(
          largestExcess(AtY, transposed(values, toFloat64(Y)), boundT, (m + 2) * eps),
        ).toBeLessThanOrEqual(1)
        const normal = held.multiplyNormal(X)
        const boundN = transposed(absA, bound)
        expect(
          largestExcess(normal, transposed(values, truth), boundN, (m + n + 4) * eps),
        ).toBeLessThanOrEqual(1)
        for (const product of [AX, AtY, normal]) expect(product.data.constructor).toBe(X.data.constructor)
      }
    })

    it(`sums squares in float64, stored as ${type}`, () => {
      const random = generator(12)
      for (const [m, n, r] of [
        [0, 4, 1],
        [1, 1, 1],
        [129, 260, 5],
        [33, 515, 0],
        [70, 9000, 3],
      ]) {
        const { A, values } = stored(m, n, type, random)
        const B = randomMatrix(m, r, 'f64', random)
        const C = randomMatrix(r, n, 'f32', random)
        const held = engine.resident(A)
        const oracle = jsEngine.resident(values)
        const exact = oracle.frobeniusSquared()
        expect(Math.abs(held.frobeniusSquared() - exact)).toBeLessThanOrEqual(m * n * EPS * exact)
        const error = Math.abs(held.residualSquared(B, C) - oracle.residualSquared(B, C))
        // relative to the sizes that cancel
        const scale = exact + jsEngine.resident(plainMultiply(absolute(B), absolute(C))).frobeniusSquared()
        expect(error).toBeLessThanOrEqual((m * n + r) * EPS * scale)
      }
    })
  }

  it('finds the distance of nearly equal matrices without cancellation, and leaves A as it was', () => {
    const random = generator(13)
    const B = toFloat64(randomMatrix(200, 3, 'f64', random))
    const C = toFloat64(randomMatrix(3, 150, 'f64', random))
    const A = plainMultiply(B, C)
    A.data[77] += 2 ** -30
    const before = A.data.slice()
    const held = engine.resident(A)
    expect(held.residualSquared(B, C) / 2 ** -60).toBeCloseTo(1, 5)
    expect(A.data).toEqual(before)
  })

  it('keeps float arrays without a copy, and gives results that are its own', () => {
    const A = { rows: 2, columns: 2, data: identity(2).data }
    const held = engine.resident(A)
    const X = fromRows([[1], [2]])
    const first = held.multiply(X)
    A.data[0] = 5
    expect(Array.from(held.multiply(X).data)).toEqual([5, 2])
    expect(Array.from(first.data)).toEqual([1, 2])
    expect(Array.from(X.data)).toEqual([1, 2])
  })

  it('refuses shapes that don’t fit, and any use after release', () => {
    const held = engine.resident(zeros(3, 2))
    expect(() => held.multiply(zeros(3, 1))).toThrow(RangeError)
    expect(() => held.multiplyTransposed(zeros(2, 1))).toThrow(RangeError)
    expect(() => held.multiplyNormal(zeros(3, 1))).toThrow(RangeError)
    expect(() => held.residualSquared(zeros(3, 1), zeros(2, 2))).toThrow(RangeError)
    expect(() => held.residualSquared(zeros(2, 1), zeros(1, 2))).toThrow(RangeError)
    held.release()
    const uses = [
      () => held.multiply(zeros(2, 1)),
      () => held.multiplyTransposed(zeros(3, 1)),
      () => held.multiplyNormal(zeros(2, 1)),
      () => held.frobeniusSquared(),
      () => held.residualSquared(zeros(3, 1), zeros(1, 2)),
    ]
    for (const use of uses) expect(use).toThrow('this resident matrix has been released')
    expect(() => held.release()).not.toThrow()
  })
}

function testMemory(engine: Engine): void {
  it('does not grow over 10,000 small calls', () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const A = randomMatrix(40, 40, 'f64', generator(14)) as Matrix<FloatArray>
    const small = matrix(4, 3, A.data.slice(0, 12))
    const calls = (count: number) => {
      for (let i = 0; i < count; i++) {
        engine.multiply(A, A)
        engine.svd(small, 'thin')
      }
      collect()
      return process.memoryUsage().rss
    }
    const before = calls(2000)
    // Results alone are 128 MB, so a leak of any part of a call shows.
    expect(calls(10_000) - before).toBeLessThan(32 * 2 ** 20)
  })
}
