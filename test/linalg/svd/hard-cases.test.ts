import { describe, expect, test } from 'vitest'
import type { Matrix } from '../../../src/linalg/matrix/matrix.ts'
import { gramSvd, gramValues, Span } from '../../../src/linalg/svd/gram-svd.ts'
import type { Kernels } from '../../../src/linalg/svd/kernels.ts'
import {
  preconditionedJacobi,
  preconditionedJacobiValues,
} from '../../../src/linalg/svd/preconditioned-jacobi.ts'
import { fullSvd } from '../../../src/linalg/svd/svd.ts'
import { type HardCase, hardCases } from './hard-cases.ts'
import { svdRatios } from './lapack-ratios.ts'
import { kernelSets, onMatrices, valuesOnMatrices } from './support.ts'

const methods = [
  {
    name: 'full SVD',
    relative: false,
    svd: (A: Matrix, kernels: Kernels) => fullSvd(A, 'thin', kernels),
    values: (A: Matrix, kernels: Kernels) => fullSvd(A, 'none', kernels).S,
  },
  {
    name: 'Gram route',
    relative: false,
    svd: onMatrices((kernels, Xt) => gramSvd(kernels, Xt, Span.float64)),
    values: valuesOnMatrices((kernels, Xt) => gramValues(kernels, Xt, Span.float64)),
  },
  {
    name: 'preconditioned Jacobi',
    relative: true,
    svd: onMatrices(preconditionedJacobi),
    values: valuesOnMatrices(preconditionedJacobiValues),
  },
]

function expectValues(S: Float64Array, hard: HardCase, ulp: number, relative: boolean): void {
  if (hard.S.length > 0) expect(S).toHaveLength(hard.S.length)
  hard.S.forEach((expected, i) => {
    if (expected === null) return
    const error = Math.abs(S[i] - expected)
    expect(error, `S(${i}) = ${S[i]}, not ${expected}`).toBeLessThanOrEqual(hard.absolute * ulp * S[0])
    if (relative && hard.relative) expect(error).toBeLessThanOrEqual(hard.relative * expected)
  })
}

describe.each(kernelSets)('hard cases on %s kernels', (_, kernels) => {
  describe.each(methods)('$name', ({ svd, values, relative }) => {
    test.each(hardCases.map((hard) => [`${hard.number}: ${hard.name}`, hard] as const))(
      '%s',
      (_name, hard) => {
        const ulp = hard.A.data instanceof Float32Array ? 2 ** -23 : 2 ** -52
        const result = svd(hard.A, kernels)
        expectValues(result.S, hard, ulp, relative)
        const n = Math.min(hard.A.rows, hard.A.columns)
        expect([result.U.rows, result.U.columns]).toEqual([hard.A.rows, n])
        expect([result.V.rows, result.V.columns]).toEqual([hard.A.columns, n])
        const { t1, t2, t3, t4 } = svdRatios(hard.A, result, ulp)
        expect(t1).toBeLessThan(10)
        expect(t2).toBeLessThan(10)
        expect(t3).toBeLessThan(10)
        expect(t4).toBe(0)
        expectValues(values(hard.A, kernels), hard, ulp, relative)
      },
    )
  })
})
