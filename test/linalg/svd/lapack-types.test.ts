import { describe, expect, test } from 'vitest'
import { gramSvd, gramValues, Span } from '../../../src/linalg/svd/gram-svd.ts'
import { fullSvd } from '../../../src/linalg/svd/svd.ts'
import { geometric, sizes, types } from './lapack-matrices.ts'
import { svdRatios } from './lapack-ratios.ts'
import { EPS, kernelSets, onMatrices, valuesOnMatrices, withSingularValues } from './support.ts'

const matrices = types.map(([name, make]) => [name, sizes.map(([m, n]) => make(m, n))] as const)

describe.each(kernelSets)("LAPACK's test matrices on %s kernels", (_, kernels) => {
  test.each(matrices)('%s', (_name, all) => {
    for (const A of all) {
      const { rows: m, columns: n } = A
      const svd = fullSvd(A, 'thin', kernels)
      const { t1, t2, t3, t4 } = svdRatios(A, svd, EPS)
      const where = `${m}×${n}`
      expect(t1, `T1 ${where}`).toBeLessThan(10)
      expect(t2, `T2 ${where}`).toBeLessThan(10)
      expect(t3, `T3 ${where}`).toBeLessThan(10)
      expect(t4, `T4 ${where}`).toBe(0)
      const alone = fullSvd(A, 'none', kernels)
      expect([alone.U.data.length, alone.V.data.length]).toEqual([0, 0])
      // T7: values with and without vectors.
      const limit = 10 * Math.min(m, n) * EPS * (svd.S[0] ?? 0)
      alone.S.forEach((s, i) => {
        expect(Math.abs(s - svd.S[i]), `S(${i}) ${where}`).toBeLessThanOrEqual(limit)
      })
    }
  })
})

describe('large spans, by the Gram route', () => {
  const gram = onMatrices((K, Xt) => gramSvd(K, Xt, Span.float64))
  const gramAlone = valuesOnMatrices((K, Xt) => gramValues(K, Xt, Span.float64))
  const [, kernels] = kernelSets[1]
  const n = 140
  const cases: [string, Float64Array][] = [
    ['geometric', geometric(n)],
    [
      'one large value over a bulk',
      Float64Array.from({ length: n }, (_, i) => (i === 0 ? 1 : 1e-6 * (1 - i / (2 * n)))),
    ],
    ['steps of 100', Float64Array.from({ length: n }, (_, i) => 100 ** -Math.floor(i / 28))],
    ['rank 8 and rounding', Float64Array.from({ length: n }, (_, i) => (i < 8 ? 1 / (i + 1) : 1e-17))],
    ['rank 70 exactly', Float64Array.from({ length: n }, (_, i) => (i < 70 ? 1 : 0))],
  ]
  test.each(cases)('%s: values to rounding, factors orthonormal', (_name, s) => {
    for (const m of [n, 150]) {
      const A = withSingularValues(m, n, s, m)
      const svd = gram(A, kernels)
      const { t1, t2, t3, t4 } = svdRatios(A, svd, EPS)
      for (const ratio of [t1, t2, t3, t4]) expect(ratio).toBeLessThan(10)
      const alone = gramAlone(A, kernels)
      s.forEach((expected, i) => {
        expect(Math.abs(svd.S[i] - expected)).toBeLessThan(100 * EPS)
        expect(Math.abs(alone[i] - expected)).toBeLessThan(100 * EPS)
      })
    }
  })

  test('float32 data take one pass, and that leaves less than their own rounding', () => {
    const s = Float64Array.from({ length: 120 }, (_, i) => 10 ** (-i / 24))
    const A = withSingularValues(120, 120, s, 9)
    const single = { ...A, data: Float32Array.from(A.data) }
    const svd = fullSvd(single, 'thin', kernels)
    const { t1, t2, t3 } = svdRatios(single, svd, 2 ** -23)
    expect(t1).toBeLessThan(0.01)
    expect(t2).toBeLessThan(10)
    expect(t3).toBeLessThan(10)
    const exact = fullSvd({ ...A, data: Float64Array.from(single.data) }, 'thin', kernels).S
    svd.S.forEach((value, i) => {
      expect(Math.abs(value - exact[i])).toBeLessThan(1e-12)
    })
  })
})
