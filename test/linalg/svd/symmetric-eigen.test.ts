import { describe, expect, test } from 'vitest'
import { type Float64Matrix, fromRows, zeros } from '../../../src/linalg/matrix/matrix.ts'
import { tridiagonalEigen } from '../../../src/linalg/svd/divide-and-conquer.ts'
import type { Kernels } from '../../../src/linalg/svd/kernels.ts'
import { symmetricEigen } from '../../../src/linalg/svd/symmetric-eigen.ts'
import { tridiagonalQl } from '../../../src/linalg/svd/tridiagonal-ql.ts'
import {
  EPS,
  kernelSets,
  orthogonalityError,
  randomMatrix,
  randomOrthogonal,
  toMatrix,
  uniform,
} from './support.ts'

interface Tridiagonal {
  readonly d: number[]
  readonly e: number[]
}

const filled = (n: number, entry: (i: number) => number): number[] =>
  Array.from({ length: n }, (_, i) => entry(i))

const toeplitz = (n: number): Tridiagonal => ({ d: filled(n, () => 2), e: filled(n - 1, () => -1) })

/** W21+: pairs of eigenvalues that agree to 14 digits (Wilkinson 1965). */
const wilkinson = (n: number): Tridiagonal => ({
  d: filled(n, (i) => Math.abs(i - (n - 1) / 2)),
  e: filled(n - 1, () => 1),
})

/** Copies of W21+ glued by small entries: clusters of as many nearly equal eigenvalues as there are copies. */
const gluedWilkinson = (copies: number, glue: number): Tridiagonal => ({
  d: filled(21 * copies, (i) => Math.abs((i % 21) - 10)),
  e: filled(21 * copies - 1, (i) => (i % 21 === 20 ? glue : 1)),
})

const random = (n: number, seed: number): Tridiagonal => {
  const next = uniform(seed)
  return { d: filled(n, next), e: filled(Math.max(0, n - 1), next) }
}

const tridiagonals: [string, Tridiagonal][] = [
  ['zero 70', { d: filled(70, () => 0), e: filled(69, () => 0) }],
  ['identity 70', { d: filled(70, () => 1), e: filled(69, () => 0) }],
  ['all ones 70', { d: filled(70, () => 1), e: filled(69, () => 1) }],
  ['diagonal 70', { d: filled(70, (i) => ((i * 37) % 70) / 70), e: filled(69, () => 0) }],
  ['zero diagonal 66', { d: filled(66, () => 0), e: filled(65, () => 1) }],
  ['Toeplitz 100', toeplitz(100)],
  ['Toeplitz 257', toeplitz(257)],
  ['W21+', wilkinson(21)],
  ['W101+', wilkinson(101)],
  ['glued W21+', gluedWilkinson(8, 1e-8)],
  ['W21+ glued with rounding', gluedWilkinson(5, 1e-14)],
  ['W21+ glued with large entries', gluedWilkinson(5, 10)],
  ['graded down', { d: filled(90, (i) => 2 ** -i), e: filled(89, (i) => 2 ** (-i - 1)) }],
  ['graded up', { d: filled(90, (i) => 2 ** (i - 90)), e: filled(89, (i) => 2 ** (i - 91)) }],
  ['clustered', { d: filled(80, (i) => (i < 40 ? 1 : 1 + 1e-12 * i)), e: filled(79, () => 1e-10) }],
  ['negative couplings', { d: filled(75, (i) => i % 5), e: filled(74, (i) => (i % 2 === 0 ? -0.7 : 0.3)) }],
  ['tiny couplings', { d: filled(75, (i) => i % 3), e: filled(74, () => 1e-300) }],
  ['random 70', random(70, 1)],
  ['random 100', random(100, 2)],
  ['random 257', random(257, 3)],
]

function solve(kernels: Kernels, { d, e }: Tridiagonal) {
  const { values, vectors } = tridiagonalEigen(kernels, Float64Array.from(d), Float64Array.from(e))
  return { values, rows: toMatrix(vectors) }
}

const normOf = ({ d, e }: Tridiagonal): number =>
  Math.max(...d.map(Math.abs), ...e.map(Math.abs), Number.MIN_VALUE)

describe.each(kernelSets)('divide and conquer on %s kernels', (_, kernels) => {
  test.each(tridiagonals)('%s: T·z = λ·z, zᵀz = I, values as QL finds them', (_name, T) => {
    const n = T.d.length
    const { values, rows } = solve(kernels, T)
    const limit = 2 * Math.max(8, n) * EPS
    expect(orthogonalityError(transposed(rows))).toBeLessThan(limit)
    let worst = 0
    for (let k = 0; k < n; k++) {
      const z = rows.data.subarray(k * n, (k + 1) * n)
      for (let i = 0; i < n; i++) {
        const left = i > 0 ? T.e[i - 1] * z[i - 1] : 0
        const right = i < n - 1 ? T.e[i] * z[i + 1] : 0
        worst = Math.max(worst, Math.abs(left + T.d[i] * z[i] + right - values[k] * z[i]))
      }
    }
    expect(worst).toBeLessThanOrEqual(limit * normOf(T))
    const byQl = Float64Array.from(T.d)
    tridiagonalQl(byQl, Float64Array.from(T.e))
    byQl.sort().forEach((value, k) => {
      expect(Math.abs(value - values[k])).toBeLessThanOrEqual(limit * normOf(T))
      expect(k === 0 || values[k] >= values[k - 1]).toBe(true)
    })
  })

  test('(−1, 2, −1): eigenvalues 2 − 2·cos(kπ/(n + 1))', () => {
    for (const n of [33, 64, 65, 100, 257]) {
      solve(kernels, toeplitz(n)).values.forEach((value, k) => {
        expect(value).toBeCloseTo(2 - 2 * Math.cos(((k + 1) * Math.PI) / (n + 1)), 13)
      })
    }
  })

  test('W21+: the largest pair as published', () => {
    const values = Float64Array.from(wilkinson(21).d)
    tridiagonalQl(values, Float64Array.from(wilkinson(21).e))
    values.sort()
    expect(values[20]).toBeCloseTo(10.746194182903393, 13)
    expect(values[19]).toBeCloseTo(10.746194182903322, 13)
    const glued = solve(kernels, gluedWilkinson(3, 1e-10)).values
    for (let k = 57; k < 63; k++) expect(glued[k]).toBeCloseTo(10.7461941829034, 9)
  })

  test('vectors of the smallest eigenvalues only are those of the whole problem', () => {
    const T = random(150, 8)
    const all = solve(kernels, T)
    for (const count of [0, 1, 10, 149]) {
      const some = tridiagonalEigen(kernels, Float64Array.from(T.d), Float64Array.from(T.e), count)
      expect(some.vectors.rows).toBe(count)
      expect(some.values).toEqual(all.values)
      const expected = all.rows.data.subarray(0, count * 150)
      expect(toMatrix(some.vectors).data).toEqual(expected)
    }
  })
})

function transposed(A: Float64Matrix): Float64Matrix {
  const B = zeros(A.columns, A.rows)
  for (let i = 0; i < A.rows; i++)
    for (let j = 0; j < A.columns; j++) B.data[j * A.rows + i] = A.data[i * A.columns + j]
  return B
}

function symmetric(n: number, seed: number): Float64Matrix {
  const A = randomMatrix(n, n, seed)
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) A.data[i * n + j] = A.data[j * n + i]
  return A
}

function withEigenvalues(values: number[], seed: number): Float64Matrix {
  const n = values.length
  const Q = randomOrthogonal(n, seed)
  const G = zeros(n, n)
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) {
      let sum = 0
      for (let k = 0; k < n; k++) sum += Q.data[i * n + k] * values[k] * Q.data[j * n + k]
      G.data[i * n + j] = sum
      G.data[j * n + i] = sum
    }
  }
  return G
}

/** max |G·Q − Q·Λ|. */
function residual(G: Float64Matrix, values: Float64Array, Q: Float64Matrix): number {
  const n = G.rows
  let worst = 0
  const row = new Float64Array(n)
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) row[j] = -Q.data[i * n + j] * values[j]
    for (let k = 0; k < n; k++) {
      const g = G.data[i * n + k]
      for (let j = 0; j < n; j++) row[j] += g * Q.data[k * n + j]
    }
    for (const r of row) worst = Math.max(worst, Math.abs(r))
  }
  return worst
}

describe.each(kernelSets)('symmetric eigenproblems on %s kernels', (_, kernels) => {
  test('every order to 70, then 100 and 257: G·Q = Q·Λ and QᵀQ = I to n·eps', () => {
    for (const n of [...Array(71).keys(), 100, 257]) {
      const G = symmetric(n, n + 1)
      const { values, vectors } = symmetricEigen(kernels, G, 'thin')
      const limit = Math.max(8, n) * EPS
      // The spectral norm of such a matrix is about √n/√3.
      expect(residual(G, values, vectors), `order ${n}`).toBeLessThanOrEqual(
        limit * Math.max(1, Math.sqrt(n)),
      )
      expect(orthogonalityError(vectors), `order ${n}`).toBeLessThanOrEqual(limit)
      const alone = symmetricEigen(kernels, G, 'none')
      expect(alone.vectors.data).toHaveLength(0)
      alone.values.forEach((value, k) => {
        expect(Math.abs(value - values[k])).toBeLessThanOrEqual(limit * Math.max(1, Math.sqrt(n)))
      })
    }
  })

  const spectra: [string, number[]][] = [
    ['all equal', filled(70, () => -3)],
    ['rank one', filled(70, (i) => (i === 0 ? 5 : 0))],
    ['two clusters', filled(80, (i) => (i < 40 ? 1 : 1e-3))],
    ['signs mixed', filled(75, (i) => (-1) ** i / (i + 1))],
    ['graded', filled(90, (i) => 3 ** -i)],
    ['huge', filled(66, (i) => (i + 1) * 1e290)],
    ['tiny', filled(66, (i) => (i + 1) * 1e-300)],
  ]
  test.each(spectra)('%s', (_name, spectrum) => {
    const n = spectrum.length
    const G = withEigenvalues(spectrum, 77)
    const { values, vectors } = symmetricEigen(kernels, G, 'thin')
    const norm = Math.max(...spectrum.map(Math.abs))
    const limit = n * EPS
    expect(orthogonalityError(vectors)).toBeLessThan(limit)
    expect(residual(G, values, vectors) / norm).toBeLessThan(limit)
    Float64Array.from(spectrum)
      .sort()
      .forEach((expected, k) => {
        expect(Math.abs(values[k] - expected) / norm).toBeLessThan(limit)
      })
  })

  test('only the upper triangle is read, and G is kept', () => {
    const G = symmetric(80, 4)
    const spoiled = { ...G, data: G.data.slice() }
    for (let i = 0; i < 80; i++) for (let j = 0; j < i; j++) spoiled.data[i * 80 + j] = 7
    const before = spoiled.data.slice()
    expect(symmetricEigen(kernels, spoiled, 'thin')).toEqual(symmetricEigen(kernels, G, 'thin'))
    expect(spoiled.data).toEqual(before)
  })

  test('refuses what is not square or not finite', () => {
    expect(() => symmetricEigen(kernels, zeros(3, 4), 'thin')).toThrow(
      /a symmetric matrix must be square, got 3×4/,
    )
    const G = fromRows([
      [1, Number.NaN],
      [Number.NaN, 1],
    ])
    expect(() => symmetricEigen(kernels, G, 'none')).toThrow(/holds NaN at row 0, column 1/)
  })
})

test('QL gives up with a clear error instead of looping', () => {
  expect(() => tridiagonalQl(Float64Array.of(1, 2, 3), Float64Array.of(Number.NaN, 1))).toThrow(
    /did not converge in 30 QL steps/,
  )
})
