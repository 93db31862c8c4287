import { wasmSvdKernels } from '../../../src/engine/wasm/svd-kernels.ts'
import { createWasmRuntime } from '../../../src/engine/wasm/wasm-engine.ts'
import type { Svd } from '../../../src/linalg/engine.ts'
import {
  type Float64Matrix,
  type Matrix,
  toFloat64,
  transpose,
  zeros,
} from '../../../src/linalg/matrix/matrix.ts'
import type { RowSvd } from '../../../src/linalg/svd/gram-svd.ts'
import { jsKernels } from '../../../src/linalg/svd/js-kernels.ts'
import { type Block, block, type Kernels } from '../../../src/linalg/svd/kernels.ts'
import { scaleByPowerOfTwo, scaleToOne } from '../../../src/linalg/svd/scaling.ts'

/** Every implementation of the kernels; each test of a decomposition runs on all. */
export const kernelSets: readonly (readonly [string, Kernels])[] = [
  ['js', jsKernels],
  ['wasm', wasmSvdKernels(createWasmRuntime())],
]

export const EPS = 2 ** -52

/** Uniform numbers in [−1/2, 1/2): multiples of 2⁻³², the same in scripts/golden-svd.py. */
export function uniform(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32 - 0.5
  }
}

export function randomMatrix(rows: number, columns: number, seed: number): Float64Matrix {
  const next = uniform(seed)
  return { rows, columns, data: Float64Array.from({ length: rows * columns }, next) }
}

/** A product of `count` random reflectors: orthogonal to rounding, made without the code under test. */
export function randomOrthogonal(n: number, seed: number, count = n): Float64Matrix {
  const next = uniform(seed)
  const Q = zeros(n, n)
  for (let i = 0; i < n; i++) Q.data[i * n + i] = 1
  const v = new Float64Array(n)
  for (let k = 0; k < count; k++) {
    let squares = 0
    for (let j = 0; j < n; j++) {
      v[j] = next() + next()
      squares += v[j] * v[j]
    }
    for (let i = 0; i < n; i++) {
      const row = Q.data.subarray(i * n, (i + 1) * n)
      let dot = 0
      for (let j = 0; j < n; j++) dot += row[j] * v[j]
      const factor = (2 * dot) / squares
      for (let j = 0; j < n; j++) row[j] -= factor * v[j]
    }
  }
  return Q
}

/** U·diag(s)·Vᵀ [m, n] with random orthogonal U and V. */
export function withSingularValues(m: number, n: number, s: ArrayLike<number>, seed: number): Float64Matrix {
  const U = randomOrthogonal(m, seed)
  const V = randomOrthogonal(n, seed + 1)
  const A = zeros(m, n)
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0
      for (let k = 0; k < s.length; k++) sum += U.data[i * m + k] * s[k] * V.data[j * n + k]
      A.data[i * n + j] = sum
    }
  }
  return A
}

/** A copied into an array the kernels can use. */
export function toBlock(kernels: Kernels, A: Matrix): Block {
  const copy = kernels.allocate(A.rows * A.columns)
  copy.set(A.data)
  return block(copy, A.rows, A.columns)
}

/** The block as a matrix of its own. */
export function toMatrix(X: Block): Float64Matrix {
  const A = zeros(X.rows, X.columns)
  for (let i = 0; i < X.rows; i++) {
    for (let j = 0; j < X.columns; j++) A.data[i * X.columns + j] = X.data[X.offset + i * X.stride + j]
  }
  return A
}

/** max |QᵀQ − I| over the columns of Q. */
export function orthogonalityError(Q: Matrix): number {
  const n = Q.columns
  const G = new Float64Array(n * n)
  for (let k = 0; k < Q.rows; k++) {
    for (let i = 0; i < n; i++) {
      const q = Q.data[k * n + i]
      if (q !== 0) for (let j = 0; j < n; j++) G[i * n + j] += q * Q.data[k * n + j]
    }
  }
  let worst = 0
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) worst = Math.max(worst, Math.abs(G[i * n + j] - (i === j ? 1 : 0)))
  }
  return worst
}

/** A method on rows, made into one on matrices: small cases would otherwise all go to the Jacobi route. */
export const onMatrices =
  (decompose: (kernels: Kernels, Xt: Block) => RowSvd) =>
  (A: Matrix, kernels: Kernels): Svd => {
    const wide = A.rows < A.columns
    const Xt = toBlock(kernels, toFloat64(wide ? A : transpose(A)))
    const exponent = scaleToOne(Xt.data, kernels)
    const { Ut, S, Vt } = decompose(kernels, Xt)
    scaleByPowerOfTwo(S, exponent)
    const [left, right] = [Ut, Vt].map((X) => transpose(toMatrix(X)))
    return wide ? { U: right, S, V: left } : { U: left, S, V: right }
  }

/** The same for methods that give singular values alone. */
export const valuesOnMatrices =
  (values: (kernels: Kernels, Xt: Block) => Float64Array) =>
  (A: Matrix, kernels: Kernels): Float64Array => {
    const Xt = toBlock(kernels, toFloat64(A.rows < A.columns ? A : transpose(A)))
    const exponent = scaleToOne(Xt.data, kernels)
    const S = values(kernels, Xt)
    scaleByPowerOfTwo(S, exponent)
    return S
  }
