import fc from 'fast-check'
import { all, create, type MathJsInstance } from 'mathjs'
import { describe, expect, it } from 'vitest'
import { loraSvd } from '../../src/mathjs.ts'

const math = create(all) as MathJsInstance
math.import(loraSvd)
const plain = create(all) as MathJsInstance

type Rows = number[][]

/** Eighths: sums and products are exact, also in float32. */
const entry = fc.integer({ min: -80, max: 80 }).map((x) => x / 8)
const rowsOf = (rows: number, columns: number) =>
  fc.array(fc.array(entry, { minLength: columns, maxLength: columns }), {
    minLength: rows,
    maxLength: rows,
  })
const size = fc.integer({ min: 1, max: 3 })

/** What stands on the other side of an operator, made by an instance from numbers. */
const OTHERS: Record<string, (of: MathJsInstance, B: Rows) => unknown> = {
  'a FloatMatrix': (of, B) => (of === math ? math.floatMatrix(B) : of.matrix(B)),
  'a float32 FloatMatrix': (of, B) => {
    const rounded = B.map((row) => row.map(Math.fround))
    return of === math ? math.floatMatrix(rounded, 'f32') : of.matrix(rounded)
  },
  'an array': (_, B) => B,
  'a DenseMatrix': (of, B) => of.matrix(B),
  'a DenseMatrix of a datatype': (of, B) => of.matrix(B, 'dense', 'number'),
  'a SparseMatrix': (of, B) => of.sparse(B),
  'a vector': (of, B) => of.matrix(B[0]),
  'a complex matrix': (of, B) => of.matrix(B.map((row) => row.map((x) => of.complex(x, 1)))),
  'a number': (_, B) => B[0][0],
  'a complex number': (of, B) => of.complex(B[0][0], 2),
  'a fraction': (of, B) => of.fraction(Math.round(B[0][0]), 7),
  'a BigNumber': (of, B) => of.bignumber(Math.round(B[0][0])),
  'a boolean': (_, B) => B[0][0] > 0,
  'a unit': (of, B) => of.unit(B[0][0], 'm'),
}

const OPERATORS = [
  'add',
  'subtract',
  'multiply',
  'dotMultiply',
  'dotDivide',
  'deepEqual',
  'smaller',
  'kron',
] as const

type Function = (...args: unknown[]) => unknown
type Outcome = { numbers: unknown[]; shape: unknown } | 'thrown'

/** What an operation gives, as plain numbers in a line with a shape, or that it throws. */
function outcome(of: MathJsInstance, name: string, args: unknown[]): Outcome {
  try {
    const result = (of[name as keyof MathJsInstance] as Function)(...args)
    const rows = (result as { toArray?(): unknown }).toArray?.() ?? result
    const flat = [rows].flat(Number.POSITIVE_INFINITY)
    return { shape: of.size(rows as never), numbers: flat.flatMap(parts) }
  } catch {
    return 'thrown'
  }
}

function parts(x: unknown): unknown[] {
  // + 0 makes −0 and 0 one
  if (typeof x === 'number') return [x + 0]
  if (typeof x === 'boolean') return [x]
  const { re, im } = x as { re?: number; im?: number }
  return re === undefined || im === undefined ? [String(x)] : [re + 0, im + 0]
}

describe.each(Object.entries(OTHERS))('a FloatMatrix and %s', (_, make) => {
  it.each(OPERATORS)('%s as a DenseMatrix does, from both sides and in any shapes', (operator) => {
    const shapes = fc.tuple(size, size, size, size)
    const pair = shapes.chain(([m, k, p, q]) => fc.tuple(rowsOf(m, k), rowsOf(p, q)))
    fc.assert(
      fc.property(pair, ([A, B]) => {
        const [ours, theirs] = [math, plain].map((of) => {
          const left = of === math ? math.floatMatrix(A) : of.matrix(A)
          const right = make(of, B)
          return [outcome(of, operator, [left, right]), outcome(of, operator, [right, left])]
        })
        expect(ours).toEqual(theirs)
      }),
      { numRuns: 40 },
    )
  })
})

it('transposes as a DenseMatrix does', () => {
  const any = fc.tuple(size, size).chain(([m, k]) => rowsOf(m, k))
  fc.assert(
    fc.property(any, (A) => {
      expect(math.transpose(math.floatMatrix(A)).toArray()).toEqual(plain.transpose(A))
    }),
  )
})

it('goes on as any matrix does after a program has put other things into it', () => {
  const F = math.floatMatrix([
    [1, 2],
    [3, 4],
  ])
  F.set([0, 0], math.complex(1, 2))
  expect(math.format(math.add(F, F))).toBe('[[2 + 4i, 4], [6, 8]]')
  expect(math.format(math.multiply(F, F))).toBe('[[3 + 4i, 10 + 4i], [15 + 6i, 22]]')
  expect(math.format(math.transpose(F))).toBe('[[1 + 2i, 3], [2, 4]]')
  expect(math.evaluate('F.getDataType()', { F })).toBe('mixed')
  expect(() => math.svd(F)).toThrow('the entry at [0, 0] (row 1, column 1) is a Complex')
  const G = math.map(math.floatMatrix([[1, 2]]), (x: number) => math.complex(x, 1))
  expect(math.format(math.add(G, math.complex(0, 1)))).toBe('[[1 + 2i, 2 + 2i]]')
})

describe('pinv', () => {
  const close = (X: unknown, Y: unknown, size: number) => {
    const difference = plain.subtract(plain.matrix(X as never), plain.matrix(Y as never))
    expect(plain.norm(difference as never, 'fro')).toBeLessThanOrEqual(1e-12 * size)
  }
  /** A matrix of integers of the rank r at most: no rounding in it. */
  const integers = (m: number, k: number) =>
    fc.array(fc.array(fc.integer({ min: -3, max: 3 }), { minLength: k, maxLength: k }), {
      minLength: m,
      maxLength: m,
    })
  const lowRank = fc
    .tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 }), size)
    .chain(([m, k, r]) => fc.tuple(integers(m, r), integers(r, k)))
    .map(([B, A]) => plain.multiply(B, A) as Rows)

  it.each<[string, (A: Rows) => unknown, string]>([
    ['an array', (A) => A, 'Array'],
    ['a DenseMatrix', (A) => math.matrix(A), 'DenseMatrix'],
    ['a SparseMatrix', (A) => math.sparse(A), 'SparseMatrix'],
    ['a FloatMatrix', (A) => math.floatMatrix(A), 'FloatMatrix'],
  ])('of %s of any rank satisfies the four Penrose equations, in its own form', (_, make, type) => {
    fc.assert(
      fc.property(lowRank, (A) => {
        const inverse = math.pinv(make(A) as never)
        expect(math.typeOf(inverse)).toBe(type)
        const P = plain.matrix(inverse as never).toArray() as Rows
        const AP = plain.multiply(A, P)
        const PA = plain.multiply(P, A)
        const size = (1 + (plain.norm(A, 'fro') as number)) ** 2 * (1 + (plain.norm(P, 'fro') as number)) ** 2
        close(plain.multiply(AP, A), A, size)
        close(plain.multiply(PA, P), P, size)
        close(plain.transpose(AP), AP, size)
        close(plain.transpose(PA), PA, size)
      }),
    )
  })

  it('is what mathjs gives where that is right: full rank', () => {
    // diagonally dominant, so well conditioned
    const dominant = rowsOf(3, 3).map((A) => A.map((row, i) => row.map((x, j) => x / 10 + (i === j ? 5 : 0))))
    fc.assert(
      fc.property(dominant, (A) => {
        close(math.pinv(A), plain.pinv(A), 1)
      }),
    )
  })

  it('is right where mathjs fails: rank 1 but for rounding', () => {
    // A = u·vᵀ has A⁺ = v·uᵀ / (|u|² |v|²)
    const [u, v] = [
      [0.1, 0.2, 0.3],
      [0.7, 0.1, 0.3],
    ]
    const A = u.map((x) => v.map((y) => x * y))
    const exact = v.map((y) => u.map((x) => (x * y) / (0.14 * 0.59)))
    close(math.pinv(A), exact, 1)
    close(math.pinv(math.matrix(A)), exact, 1)
  })

  it('stays mathjs’s for what is no matrix of numbers', () => {
    const samples = (of: MathJsInstance): unknown[] => [
      4,
      [3, 4],
      [[of.complex(1, 2), 2]],
      [[of.bignumber(1), of.bignumber(2)]],
      of.matrix([[of.fraction(1, 2), of.fraction(3)]]),
      [0, 0],
    ]
    samples(math).forEach((A, i) => {
      expect(math.format(math.pinv(A as never))).toBe(plain.format(plain.pinv(samples(plain)[i] as never)))
    })
  })
})
