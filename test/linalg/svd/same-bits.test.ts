import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Float64Matrix, transpose } from '../../../src/linalg/matrix/matrix.ts'
import { jacobiSvd } from '../../../src/linalg/svd/jacobi.ts'
import { block, type Kernels, part, rowOf } from '../../../src/linalg/svd/kernels.ts'
import { factorPanel } from '../../../src/linalg/svd/qr.ts'
import { fixSigns, fixSignsOfRows } from '../../../src/linalg/svd/scaling.ts'
import { reducePanel } from '../../../src/linalg/svd/symmetric-eigen.ts'
import { kernelSets, randomMatrix } from './support.ts'

/** Numbers of all sizes that a scaled matrix has, zeros and equal ones among them. */
const number = fc.oneof(
  fc.double({ min: -1, max: 1, noNaN: true }),
  fc.constantFrom(0, -0, 1, -1, 0.5),
  fc
    .tuple(fc.double({ min: -1, max: 1, noNaN: true }), fc.integer({ min: -1020, max: 0 }))
    .map(([x, e]) => x * 2 ** e),
)
const numbers = (n: number) => fc.array(number, { minLength: n, maxLength: n })
const sized = (least: number, most: number) => fc.integer({ min: least, max: most })

/** What `use` leaves with each set of kernels: the same bits. */
function sameOfAll(use: (kernels: Kernels) => readonly (Float64Array | number | string)[]): void {
  const [expected, ...others] = kernelSets.map(([, kernels]) => kernels.scope(() => use(kernels).map(bitsOf)))
  for (const found of others) expect(found).toEqual(expected)
}

const bitsOf = (found: Float64Array | number | string) =>
  typeof found === 'string'
    ? found
    : [...new BigInt64Array(Float64Array.from([found].flat() as number[]).buffer)]

/** An array of `kernels` with these numbers. */
function held(kernels: Kernels, values: readonly number[]): Float64Array {
  const array = kernels.allocate(values.length)
  array.set(values)
  return array
}

const outcomeOf = <T>(work: () => T): T | string => {
  try {
    return work()
  } catch (error) {
    return (error as Error).message
  }
}

test('vectors: largest, scaled, divided, squares, reflectors', () => {
  fc.assert(
    fc.property(sized(1, 20).chain(numbers), number, (x, factor) => {
      sameOfAll((kernels) => {
        const [scaled, divided, reflected] = [1, 2, 3].map(() => held(kernels, x))
        kernels.scale(factor, scaled)
        kernels.divide(divided, factor === 0 ? 1 : factor)
        const tau = kernels.makeReflector(reflected)
        const plain = held(kernels, x)
        return [
          kernels.largestAbs(plain),
          kernels.sumOfSquares(plain),
          tau,
          ...[scaled, divided, reflected].map((a) => a.slice()),
        ]
      })
    }),
    { numRuns: 300 },
  )
})

test('eigenvalues of tridiagonal matrices, and what is rotated along', () => {
  fc.assert(
    fc.property(
      sized(1, 24).chain((n) => fc.tuple(numbers(n), numbers(n - 1))),
      fc.boolean(),
      ([d, e], withVectors) => {
        sameOfAll((kernels) => {
          const [values, rest] = [Float64Array.from(d), Float64Array.from(e)]
          const n = d.length
          const Z = part(block(kernels.allocate(n * (n + 3)).fill(0.25), n, n + 3), 0, 1, n, n)
          for (let i = 0; i < n; i++) rowOf(Z, i)[i] = 1
          const failed = outcomeOf(() => kernels.tridiagonalQl(values, rest, withVectors ? Z : undefined))
          if (failed !== undefined) return [failed]
          return [values, rest, ...Array.from({ length: n }, (_, i) => rowOf(Z, i).slice())]
        })
      },
    ),
    { numRuns: 300 },
  )
})

test('roots and vectors of the secular equation', () => {
  const steps = sized(1, 24).chain((n) =>
    fc.array(fc.tuple(sized(0, 50), fc.double({ min: 2 ** -26, max: 1, noNaN: true }), fc.boolean()), {
      minLength: n,
      maxLength: n,
    }),
  )
  fc.assert(
    fc.property(steps, fc.double({ min: 1e-6, max: 4, noNaN: true }), sized(0, 24), (found, rho, most) => {
      const n = found.length
      let pole = 0
      const d = Float64Array.from(found, ([gap]) => (pole += 2 ** -gap))
      const norm = Math.hypot(...found.map(([, z]) => z))
      const z = Float64Array.from(found, ([, z, isNegative]) => ((isNegative ? -1 : 1) * z) / norm)
      const position = Int32Array.from({ length: n }, (_, i) => n - 1 - i)
      sameOfAll((kernels) => {
        const S = block(kernels.allocate(n * n), n, n)
        const roots = outcomeOf(() => kernels.secularRoots({ d, z2: z.map((x) => x * x), rho }, S))
        if (typeof roots === 'string') return [roots]
        const differences = S.data.slice()
        kernels.secularVectors(d, z, S, position, Math.min(n, most))
        return [roots, differences, S.data.slice()]
      })
    }),
    { numRuns: 300 },
  )
})

test.each(kernelSets)('%s: panels of reductions, as row by row by the same kernels', (_, kernels) => {
  const sizes = fc.tuple(sized(1, 40), sized(0, 8), sized(0, 2 ** 31))
  fc.assert(
    fc.property(sizes, ([n, more, seed]) => {
      kernels.scope(() => {
        const X = randomMatrix(n, n + more, seed).data
        const panels = [1, 2].map(() => block(held(kernels, [...X]), n, n + more))
        const taus = [new Float64Array(n), new Float64Array(n)]
        kernels.factorPanel(panels[0], taus[0])
        factorPanel(kernels, panels[1], taus[1])
        expect(panels[0].data).toEqual(panels[1].data)
        expect(taus[0]).toEqual(taus[1])

        const G = randomMatrix(n, n, seed).data
        const [start, least] = [Math.min(more, n - 1), n > 1 ? n - 2 : 0]
        const outputs = [
          kernels.reducePanel,
          (...of: Parameters<Kernels['reducePanel']>) => reducePanel(kernels, ...of),
        ]
        const [own, rowByRow] = outputs.map((reduce) => {
          const matrix = block(held(kernels, [...G]), n, n)
          const [b, width] = [Math.min(32, n - start), n - start]
          const VW = block(kernels.allocate(2 * b * width).fill(0), 2 * b, width)
          const [diagonal, offDiagonal, tau] = [n, n - 1, least].map((length) => new Float64Array(length))
          reduce(matrix, start, VW, { diagonal, offDiagonal, tau })
          return [matrix.data, VW.data, diagonal, offDiagonal, tau]
        })
        expect(own).toEqual(rowByRow)
      })
    }),
    { numRuns: 100 },
  )
})

test('signs of rows, as those of columns', () => {
  const matrix = fc
    .tuple(sized(1, 6), sized(1, 8))
    .chain(([n, m]) => fc.tuple(numbers(n * m), numbers(n * 5), fc.constant([n, m] as const)))
  fc.assert(
    fc.property(matrix, ([u, v, [n, m]]) => {
      const [U, V] = [
        { rows: n, columns: m, data: u },
        { rows: n, columns: 5, data: v },
      ].map((rows) => transpose({ ...rows, data: Float64Array.from(rows.data) }) as Float64Matrix)
      fixSigns(U, V)
      for (const [, kernels] of kernelSets) {
        kernels.scope(() => {
          const [Ut, Vt] = [block(held(kernels, u), n, m), block(held(kernels, v), n, 5)]
          fixSignsOfRows(kernels, Ut, Vt)
          for (const [rows, columns] of [
            [Ut, U],
            [Vt, V],
          ] as const) {
            const data = rows.data.slice()
            expect(transpose({ rows: rows.rows, columns: rows.columns, data })).toEqual(columns)
          }
        })
      }
    }),
    { numRuns: 300 },
  )
})

test('Jacobi rotations, of rows with and without exponents of their own', () => {
  const matrix = fc
    .tuple(sized(1, 12), sized(1, 12))
    .chain(([rows, columns]) =>
      numbers(rows * columns).map((data) => ({ rows, columns, data: Float64Array.from(data) })),
    )
  fc.assert(
    fc.property(matrix, fc.constantFrom('thin' as const, 'none' as const), (A, vectors) => {
      sameOfAll((kernels) => {
        const { U, S, V } = jacobiSvd(A, vectors, kernels)
        return [S, U.data, V.data]
      })
    }),
    { numRuns: 300 },
  )
})
