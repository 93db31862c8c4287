import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { Matrix } from '../../../src/linalg/matrix/matrix.ts'
import { fullSvd } from '../../../src/linalg/svd/svd.ts'
import { symmetricEigen } from '../../../src/linalg/svd/symmetric-eigen.ts'
import { EPS, kernelSets, randomMatrix } from './support.ts'

interface Golden {
  readonly kind: 'uniform' | 'float32' | 'graded columns' | 'small integers'
  readonly rows: number
  readonly columns: number
  readonly seed: number
  readonly S: number[]
  readonly u0: number[]
  readonly v0: number[]
}

interface Goldens {
  readonly svd: Golden[]
  readonly eigen: { order: number; seed: number; values: number[] }[]
}

const goldens: Goldens = JSON.parse(
  readFileSync(new URL('../../fixtures/svd-goldens.json', import.meta.url), 'utf8'),
)

function make({ kind, rows, columns, seed }: Golden): Matrix {
  const A = randomMatrix(rows, columns, seed)
  if (kind === 'float32') return { ...A, data: Float32Array.from(A.data) }
  if (kind === 'graded columns') return { ...A, data: A.data.map((x, i) => x * 2 ** -((i % columns) % 24)) }
  if (kind === 'small integers') return { ...A, data: A.data.map((x) => Math.floor(x * 7)) }
  return A
}

const column = (A: Matrix, j: number) => Array.from({ length: A.rows }, (_, i) => A.data[i * A.columns + j])

const farthest = (x: ArrayLike<number>, y: ArrayLike<number>): number =>
  Array.from(x).reduce((worst, v, i) => Math.max(worst, Math.abs(v - y[i])), 0)

describe.each(kernelSets)('NumPy on %s kernels', (_, kernels) => {
  test.each(goldens.svd.map((g) => [`${g.kind} ${g.rows}×${g.columns}`, g] as const))(
    'SVD of %s',
    (_name, golden) => {
      const A = make(golden)
      const { U, S, V } = fullSvd(A, 'thin', kernels)
      const n = Math.min(A.rows, A.columns)
      // float32 data are decomposed in float64, but through one pass: errors up to 2⁻³³ are part of the promise.
      const limit = A.data instanceof Float32Array && n > 64 ? 1e-11 : 2 * Math.max(8, n) * EPS
      expect(farthest(golden.S, S)).toBeLessThanOrEqual(limit * golden.S[0])
      expect(farthest(golden.S, fullSvd(A, 'none', kernels).S)).toBeLessThanOrEqual(limit * golden.S[0])
      const gap = n > 1 ? (golden.S[0] - golden.S[1]) / golden.S[0] : 1
      expect(farthest(golden.u0, column(U, 0))).toBeLessThanOrEqual((20 * limit) / gap)
      expect(farthest(golden.v0, column(V, 0))).toBeLessThanOrEqual((20 * limit) / gap)
    },
  )

  test.each(goldens.eigen.map((g) => [g.order, g] as const))('eigenvalues of order %i', (n, golden) => {
    const { data } = randomMatrix(n, n, golden.seed)
    for (const vectors of ['thin', 'none'] as const) {
      const { values } = symmetricEigen(kernels, { rows: n, columns: n, data }, vectors)
      expect(farthest(golden.values, values)).toBeLessThanOrEqual(2 * Math.max(8, n) * EPS * Math.sqrt(n))
    }
  })
})
