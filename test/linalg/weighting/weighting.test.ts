import { expect, test } from 'vitest'
import { factorsAsStored } from '../../../src/compress/layer-result.ts'
import { plainSubject, weighedSubject } from '../../../src/compress/subject.ts'
import { jsEngine } from '../../../src/engine/js/js-engine.ts'
import { createWasmEngine } from '../../../src/engine/wasm/wasm-engine.ts'
import {
  type Float64Matrix,
  identity,
  type Matrix,
  matrix,
  toFloat64,
  transpose,
  zeros,
} from '../../../src/linalg/matrix/matrix.ts'
import { frobeniusNorm } from '../../../src/linalg/matrix/norms.ts'
import { factorsOf } from '../../../src/linalg/svd/svd.ts'
import { truncatedSvd } from '../../../src/linalg/truncation/truncated-svd.ts'
import { EIGENVALUE_FLOOR, type Root, rootOf } from '../../../src/linalg/weighting/root.ts'
import { formationError, timesRoot, weighedNorm } from '../../../src/linalg/weighting/weigh.ts'

/** Trials of random problems; `npm run torture weighted` has 6,000 of them. */
const PROBLEMS = Number(process.env.WEIGHTED_PROBLEMS ?? 120)

const engine = jsEngine
const product = (A: Float64Matrix, B: Float64Matrix) => engine.multiply(A, B) as Float64Matrix

/** Uniform numbers of a seed (Steele, Lea and Flood's SplitMix, 32 bits of it), and normal ones. */
function randomOf(seed: number) {
  let state = seed >>> 0
  const uniform = () => {
    state = (state + 0x9e3779b9) >>> 0
    let z = state
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
    return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32
  }
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())
  const normals = (rows: number, columns: number) =>
    matrix(rows, columns, Float64Array.from({ length: rows * columns }, normal))
  return {
    uniform,
    normals,
    integer: (least: number, most: number) => least + Math.floor(uniform() * (most - least + 1)),
  }
}

type Random = ReturnType<typeof randomOf>

/** A matrix of moments: of many inputs, of few, with eigenvalues over many decades, rounded to float32, diagonal, or the identity. */
function momentsOf(random: Random, k: number): Float64Matrix {
  const kind = random.integer(0, 5)
  if (kind === 0) return identity(k)
  if (kind === 1) {
    const C = zeros(k, k)
    for (let i = 0; i < k; i++)
      C.data[i * (k + 1)] = random.uniform() < 0.2 ? 0 : 10 ** (-8 * random.uniform())
    C.data[0] = 1
    return C
  }
  const samples = kind === 2 ? 4 * k : random.integer(1, k)
  const X = random.normals(samples, k)
  if (kind >= 4) {
    const Q = engine.qr(random.normals(k, k)).Q
    for (let i = 0; i < k; i++) for (let j = 0; j < k; j++) Q.data[i * k + j] *= 10 ** ((-7 * j) / k)
    return symmetric(product(Q, transpose(Q) as Float64Matrix), kind === 5)
  }
  return symmetric(engine.gram(X), kind === 3 && random.uniform() < 0.5)
}

function symmetric({ rows: k, data }: Float64Matrix, isRounded: boolean): Float64Matrix {
  const C = zeros(k, k)
  for (let i = 0; i < k; i++) {
    for (let j = 0; j <= i; j++) {
      const x = isRounded ? Math.fround(data[i * k + j]) : data[i * k + j]
      C.data[i * k + j] = x
      C.data[j * k + i] = x
    }
  }
  return C
}

/** R·Rᵀ, which is C but for the floor under its eigenvalues, and float32's rounding of them. */
function normOf(root: Root, C: Float64Matrix): Float64Matrix {
  const R = timesRoot(engine, identity(C.rows), root) as Float64Matrix
  const norm = symmetric(product(R, transpose(R) as Float64Matrix), false)
  const trace = Array.from({ length: C.rows }, (_, i) => C.data[i * (C.rows + 1)]).reduce((a, b) => a + b)
  const off = frobeniusNorm(norm.data.map((x, i) => x - C.data[i]))
  expect(off).toBeLessThan((2 ** -22 + EIGENVALUE_FLOOR) * trace)
  return norm
}

/** tr(D·C·Dᵀ). */
const energy = (D: Float64Matrix, C: Float64Matrix) => {
  const DC = product(D, C)
  return D.data.reduce((sum, x, i) => sum + x * DC.data[i], 0)
}

const rootFor = (C: Float64Matrix): Root => {
  const root = rootOf(engine, C)
  if (root.kind === 'negative') throw new Error(`an eigenvalue of ${root.eigenvalue}`)
  return root
}

test('the interval holds the best in the norm of the inputs, and the factors are bounded, whatever C is', () => {
  const kinds = new Set<string>()
  for (let seed = 0; seed < PROBLEMS; seed++) {
    const random = randomOf(seed)
    const [m, k] = [random.integer(1, 24), random.integer(2, 24)]
    const C = momentsOf(random, k)
    const inner = random.integer(1, Math.min(m, k))
    const low = product(random.normals(m, inner), random.normals(inner, k))
    const noise = random.normals(m, k)
    const D = matrix(
      m,
      k,
      low.data.map((x, i) => x + 0.1 * noise.data[i]),
    )
    const root = rootFor(C)
    kinds.add(root.kind)
    const isOfRows = random.uniform() < 0.3
    const own = isOfRows ? (transpose(D) as Float64Matrix) : D
    const subject =
      root.kind === 'unit'
        ? plainSubject(own, frobeniusNorm(own.data), engine)
        : weighedSubject({ matrix: own, frobenius: frobeniusNorm(own.data) }, root, isOfRows, engine)
    const rank = random.integer(1, Math.min(m, k))
    const found = truncatedSvd(
      subject.matrix,
      { kind: 'rank', rank },
      {
        ...{ engine, seed, name: 'trial' },
        // the iteration with its certificate as well, which small matrices don't need
        ...(random.uniform() < 0.5 && { largestShare: 2 }),
      },
    )
    const { U, V, lengths } = subject.directions(found)
    const factors = factorsOf(
      { U, S: lengths === undefined ? found.S : Float64Array.from(lengths), V },
      found.rank,
    )
    expect([...factors.A.data, ...factors.B.data].every(Number.isFinite)).toBe(true)
    const stored = product(factors.B as Float64Matrix, factors.A as Float64Matrix)
    const BA = isOfRows ? (transpose(stored) as Float64Matrix) : stored
    expect(frobeniusNorm(BA.data)).toBeLessThanOrEqual(frobeniusNorm(D.data) * (1 + 1e-9))

    // by another way: σ² of Δ·C^½ are the eigenvalues of Δ·C·Δᵀ
    const norm = root.kind === 'unit' ? C : normOf(root, C)
    const G = symmetric(product(product(D, norm), transpose(D) as Float64Matrix), false)
    const squares = [...engine.symmetricEigen(G, 'none').values].reverse().map((x) => Math.max(0, x))
    const total = squares.reduce((a, b) => a + b)
    const best = squares.slice(found.rank).reduce((a, b) => a + b, 0) / total
    const rest = matrix(
      m,
      k,
      D.data.map((x, i) => x - BA.data[i]),
    )
    const achieved = energy(rest, norm) / total
    // eigenvalues of a Gram matrix are off by its rounding, and norms by that of the floor of C
    const slack = 1e-7
    const { atLeast, atMost } = found.optimalError
    expect(atLeast ** 2, `seed ${seed}`).toBeLessThanOrEqual(best + slack)
    expect(atMost ** 2, `seed ${seed}`).toBeGreaterThanOrEqual(best - slack)
    // the projection on U is at least as near as the triplets of an iteration, and as near where they are all of the SVD
    expect(achieved, `seed ${seed}`).toBeLessThanOrEqual(atMost ** 2 + slack)
    expect(achieved, `seed ${seed}`).toBeGreaterThanOrEqual(best - slack)
    // of factors that were rounded: in both norms what their differences have
    const coarse = (X: Matrix) => ({
      ...X,
      data: X.data.map((x) => x * (1 + 2 ** -9 * (2 * random.uniform() - 1))),
    })
    const [B, A] = [coarse(factors.B), coarse(factors.A)] as [Float64Matrix, Float64Matrix]
    const remains = own.data.map((x, i) => x - product(B, A).data[i])
    const { residual, plainResidual } = subject.residuals(found, B, A)
    const felt = isOfRows
      ? (transpose({ ...own, data: remains }) as Float64Matrix)
      : { ...own, data: remains }
    expect(Math.abs(residual ** 2 - energy(felt, norm)) / total, `seed ${seed}`).toBeLessThan(slack)
    if (plainResidual !== undefined)
      expect(plainResidual / frobeniusNorm(remains), `seed ${seed}`).toBeCloseTo(1, 9)
    if (found.method === 'full') expect(Math.abs(achieved - best), `seed ${seed}`).toBeLessThan(slack)
    expect(subject.frobenius ** 2 / total, `seed ${seed}`).toBeCloseTo(1, 6)
  }
  expect([...kinds].sort()).toEqual(['diagonal', 'eigen', 'triangular', 'unit'])
})

test('float32: Δ·R as float64 forms it but for a rounding that is told, and residuals of stored factors in both norms as their differences have', () => {
  const wasm = createWasmEngine({ threads: 1 })
  const random = randomOf(11)
  const [m, k] = [600, 512]
  const low = wasm.multiply(random.normals(m, 8), random.normals(8, k))
  const noise = random.normals(m, k)
  const delta = matrix(
    m,
    k,
    Float32Array.from(low.data, (x, i) => x + 0.3 * noise.data[i]),
  )
  const X = random.normals(2 * k, k)
  for (let i = 0; i < X.data.length; i++) X.data[i] *= 10 ** (-2 * ((i % k) / k))
  const root = rootFor(wasm.gram(X))
  const frobenius = frobeniusNorm(delta.data)
  const [wide, quick] = (['wide', 'float32'] as const).map((formed) =>
    weighedSubject({ matrix: delta, frobenius }, root, false, wasm, formed),
  )
  const truth = wasm.multiply(delta, timesRoot(wasm, identity(k), root))
  const off = frobeniusNorm(truth.data.map((x, i) => x - quick.matrix.data[i])) / frobeniusNorm(truth.data)
  const told = formationError(wasm, delta, root, quick.matrix, quick.frobenius)
  expect(off).toBeLessThan(told)
  expect(told).toBeLessThan(1e-6)
  expect(Math.abs(quick.frobenius / wide.frobenius - 1)).toBeLessThan(told)
  const found = truncatedSvd(quick.matrix, { kind: 'rank', rank: 6 }, { engine: wasm })
  const { U, V, lengths } = quick.directions(found)
  const { B, A } = factorsAsStored({ U, S: Float64Array.from(lengths!), V }, 6, {
    ...{ distributeScale: true, dtype: 'bf16' },
  })
  const product = wasm.multiply(toFloat64(B), toFloat64(A))
  const rest = matrix(
    m,
    k,
    Float64Array.from(delta.data, (x, i) => x - product.data[i]),
  )
  for (const subject of [wide, quick]) {
    const { residual, plainResidual } = subject.residuals(found, B, A)
    // half a millionth is what float32 may make of an error
    expect(residual / weighedNorm(wasm, rest, root)).toBeCloseTo(1, 6)
    expect(plainResidual! / frobeniusNorm(rest.data)).toBeCloseTo(1, 8)
  }
  wasm.close()
})

test('a root is one: R·Rᵀ = C, by Cholesky where C has no direction below the floor, else by eigenvalues', () => {
  const random = randomOf(7)
  const full = symmetric(engine.gram(random.normals(40, 9)), false)
  const few = symmetric(engine.gram(random.normals(3, 9)), false)
  for (const [C, kind, count] of [
    [full, 'triangular', 0],
    [few, 'eigen', 6],
  ] as const) {
    const root = rootFor(C)
    expect([root.kind, root.kind !== 'unit' && root.floored]).toEqual([kind, count])
    const R = timesRoot(engine, identity(9), root) as Float64Matrix
    const back = product(R, transpose(R) as Float64Matrix)
    const off = back.data.reduce((most, x, i) => Math.max(most, Math.abs(x - C.data[i])), 0)
    expect(off).toBeLessThan(1e-6 * frobeniusNorm(C.data))
  }
  expect(rootFor(identity(5))).toEqual({ kind: 'unit' })
})

test('a diagonal C scales columns, and what it never saw counts as the floor', () => {
  const C = zeros(3, 3)
  C.data[0] = 9
  C.data[4] = 4
  const mean = 13 / 3
  expect(rootFor(C)).toEqual({
    kind: 'diagonal',
    scale: Float64Array.of(3, 2, Math.sqrt(EIGENVALUE_FLOOR * mean)),
    floored: 1,
  })
})

test('a matrix with a negative eigenvalue is no matrix of moments, but for float32’s rounding', () => {
  expect(rootOf(engine, matrix(2, 2, Float64Array.of(1, 2, 2, 1)))).toEqual({
    kind: 'negative',
    eigenvalue: expect.closeTo(-1, 12),
  })
  const ones = matrix(3, 3, new Float64Array(9).fill(1))
  ones.data[1] += 1e-7
  ones.data[3] += 1e-7
  expect(rootFor(ones).kind).toBe('eigen')
})
