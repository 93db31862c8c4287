import { all, create, type MathJsInstance, type Matrix as MathMatrix } from 'mathjs'
import { describe, expect, it } from 'vitest'
import { loraSvd } from '../../src/mathjs.ts'

const math = create(all) as MathJsInstance
math.import(loraSvd)

const rows = [
  [2, -1, 0.5],
  [1, 3, -2],
  [0.25, 7, 4],
]
const other = [
  [1, 2, 3],
  [4, 5, 6],
  [7, 8, 10],
]
const flat = (A = rows) => math.floatMatrix(A)

describe('svd in a full mathjs instance', () => {
  it('returns arrays for an array, with the singular values of [[1, 2], [3, 4]]', () => {
    const { U, S, V } = math.svd([
      [1, 2],
      [3, 4],
    ])
    expect(S[0]).toBeCloseTo(5.464985704219043, 14)
    expect(S[1]).toBeCloseTo(0.3659661906262578, 14)
    const product = math.multiply(math.multiply(U, math.diag(S)), math.transpose(V))
    ;(product as unknown as number[][]).flat().forEach((x, i) => {
      expect(x).toBeCloseTo([1, 2, 3, 4][i], 14)
    })
  })

  it('returns mathjs matrices for a mathjs matrix, and works in expressions', () => {
    expect(math.svd(math.matrix(rows)).U.constructor).toBe(math.matrix(rows).constructor)
    expect(math.typeOf(math.evaluate('svd([1, 2; 3, 4]).S'))).toBe('DenseMatrix')
    expect(math.evaluate('size(svd([1, 2, 3; 4, 5, 6], {rank: 1}).V)')).toEqual([3, 1])
    const rebuilt = math.evaluate("D = svd(A); D.U * diag(D.S) * D.V'", { A: math.matrix(rows) })
    const last = rebuilt.entries.at(-1) as MathMatrix
    ;(last.toArray() as number[][]).flat().forEach((x, i) => {
      expect(x).toBeCloseTo(rows.flat()[i], 13)
    })
  })

  it('keeps the float type of a FloatMatrix', () => {
    const { U, S, V } = math.svd(math.floatMatrix(rows, 'f32'))
    expect(U.flat.data).toBeInstanceOf(Float32Array)
    expect(V.flat.data).toBeInstanceOf(Float32Array)
    expect((S.toArray() as number[]).every((s) => s === Math.fround(s))).toBe(true)
  })

  it('computes values only on request', () => {
    expect(math.svd(rows, { vectors: 'none' })).toEqual({ S: math.svd(rows).S })
  })

  it('has help', () => {
    expect(math.evaluate('help(svd)').toString()).toContain('Singular value decomposition')
    expect(math.evaluate('help(floatMatrix)').toString()).toContain('typed array')
  })

  it.each([
    [() => math.svd([[1, Number.NaN]]), 'the entry at [0, 1] (row 1, column 2) is NaN'],
    [() => math.svd(rows, { rank: 0 }), 'rank is an integer from 1 to 3, not 0'],
    [() => math.svd(rows, { ranks: 2 } as never), "no option 'ranks'"],
    [() => math.svd(rows, { vectors: 'full' } as never), "'thin' or 'none', not 'full'"],
    [() => math.svd([1, 2, 3] as never), 'two dimensions'],
    [() => math.svd([['a']] as never), 'the entry at [0, 0] (row 1, column 1) is a string'],
  ])('refuses bad input %#', (call, message) => {
    expect(call).toThrow(message)
  })
})

describe('rank', () => {
  it.each([
    [
      [
        [1, 2],
        [2, 4],
      ],
      1,
    ],
    [
      [
        [1, 2, 3],
        [4, 5, 6],
        [7, 8, 9],
      ],
      2,
    ],
    [
      [
        [0, 0],
        [0, 0],
      ],
      0,
    ],
    [rows, 3],
  ])('of an array, a matrix and a FloatMatrix %#', (A, expected) => {
    expect([math.rank(A), math.rank(math.matrix(A)), math.rank(math.floatMatrix(A, 'f32'))]).toEqual([
      expected,
      expected,
      expected,
    ])
  })

  it('takes a tolerance, and has help', () => {
    expect(math.evaluate('rank([1, 0; 0, 1e-9], 1e-6)')).toBe(1)
    expect(math.evaluate('help(rank)').toString()).toContain('numerical rank')
  })
})

describe('lowRank', () => {
  const A = [
    [2, 4, 0],
    [1, 2, 0],
    [0, 0, 0.1],
  ]

  it('gives the two factors in the form of A, with the error of the best approximation', () => {
    // Singular values 5 and 0.1: the best of rank 1 leaves 0.1 of a norm of √25.01.
    const { B, A: right, rank, error } = math.lowRank(A, { rank: 1 })
    expect([math.size(B), math.size(right), rank]).toEqual([[3, 1], [1, 3], 1])
    const optimum = 0.1 / Math.sqrt(25.01)
    expect(error.atLeast).toBeLessThanOrEqual(optimum)
    expect(error.atMost).toBeGreaterThanOrEqual(optimum)
    expect(error.atMost - error.atLeast).toBeLessThan(1e-12)
    const left = math.subtract(math.matrix(A), math.matrix(math.multiply(B, right)))
    expect(math.norm(left as never, 'fro')).toBeCloseTo(0.1, 13)
  })

  it('takes a share of the energy or an error, and mathjs matrices of both kinds', () => {
    expect(math.lowRank(A, { energy: 0.99 }).rank).toBe(1)
    expect(math.lowRank(math.matrix(A), { error: 0.01 }).rank).toBe(2)
    const { B } = math.lowRank(math.floatMatrix(A, 'f32'), { rank: 2 })
    expect(B.flat.data).toBeInstanceOf(Float32Array)
    expect(math.evaluate('lowRank(A, {rank: 1}).rank', { A: math.matrix(A) })).toBe(1)
    expect(math.evaluate('help(lowRank)').toString()).toContain('low-rank approximation')
  })

  it.each([
    [{ rank: 0 }, 'from 1 to 3, not 0'],
    [{ rank: 4 }, 'from 1 to 3, not 4'],
    [{ energy: 1.5 }, 'above 0 and up to 1, not 1.5'],
    [{ rank: 1, error: 0.1 }, 'takes one option'],
    [{ ranks: 1 }, 'takes one option'],
    [{}, 'takes one option'],
  ])('refuses %j', (options, message) => {
    expect(() => math.lowRank(A, options as never)).toThrow(message)
  })
})

describe('pinv of a FloatMatrix', () => {
  it.each([
    ['full rank', rows],
    [
      'tall',
      [
        [1, 2],
        [3, 4],
        [5, 6],
      ],
    ],
    [
      'rank 1',
      [
        [1, 2],
        [2, 4],
        [3, 6],
      ],
    ],
    [
      'zero',
      [
        [0, 0],
        [0, 0],
      ],
    ],
  ])('%s satisfies the four Penrose equations', (_, A) => {
    const F = math.floatMatrix(A)
    const P = math.pinv(F)
    const close = (X: unknown, Y: unknown) => {
      const difference = math.subtract(math.matrix(X as never), math.matrix(Y as never))
      expect(math.norm(difference as never, 'fro')).toBeLessThan(1e-13)
    }
    const FP = math.multiply(F, P)
    const PF = math.multiply(P, F)
    close(math.multiply(FP, F), F)
    close(math.multiply(PF, P), P)
    close(math.transpose(FP), FP)
    close(math.transpose(PF), PF)
  })
})

describe('FloatMatrix', () => {
  const agree = (call: (A: never, B: never) => unknown) => {
    const plain = call(math.matrix(rows) as never, math.matrix(other) as never)
    const fast = call(flat() as never, flat(other) as never)
    expect(JSON.stringify(math.format(fast as never, 12))).toBe(
      JSON.stringify(math.format(plain as never, 12)),
    )
  }

  it.each<[string, (A: never, B: never) => unknown]>([
    ['multiply', (A, B) => math.multiply(A, B)],
    ['multiply by a matrix', (A) => math.multiply(A, math.matrix(other) as never)],
    ['multiply by an array', (A) => math.multiply(A, other as never)],
    ['multiply by a number', (A) => math.multiply(A, 2)],
    ['multiply three', (A, B) => math.multiply(A, B, A)],
    ['add', (A, B) => math.add(A, B)],
    ['subtract', (A, B) => math.subtract(A, B)],
    ['transpose', (A) => math.transpose(A)],
    ['det', (A) => math.det(A)],
    ['inv', (A) => math.inv(A)],
    ['trace', (A) => math.trace(A)],
    ['qr', (A) => math.qr(A).R],
    ['lup', (A) => (math.lup(A) as { U: unknown }).U],
    ['norm', (A) => math.norm(A, 'fro')],
    ['map', (A) => math.map(A, (x: number) => x * x)],
    ['subset', (A) => math.subset(A, math.index(1, [0, 2]))],
    ['size', (A) => math.size(A)],
    ['sum', (A) => math.sum(A)],
    ['kron', (A, B) => math.kron(A, B)],
    ['expm', (A) => math.expm(A)],
    ['evaluate', (A, B) => math.evaluate("A * B + 2 * A'", { A, B })],
    ['concat', (A, B) => math.concat(A, B)],
    ['deepEqual', (A) => math.deepEqual(A, A)],
    ['sqrtm-like power', (A) => math.pow(A, 2)],
    ['diag', (A) => math.diag(A)],
    ['dotMultiply', (A, B) => math.dotMultiply(A, B)],
  ])('%s gives what a DenseMatrix gives', (_, call) => {
    agree(call)
  })

  it('multiplies, adds and transposes without nested arrays', () => {
    const A = flat()
    const before = A.flat
    const results = [math.multiply(A, A), math.add(A, A), math.subtract(A, A), math.transpose(A)]
    expect(A.flat).toBe(before)
    expect(results.map((R) => math.typeOf(R))).toEqual(Array(4).fill('FloatMatrix'))
  })

  it('has one source of truth: a change through mathjs is seen by the fast path', () => {
    const A = flat()
    math.qr(A)
    expect(A.flat.data).toEqual(Float64Array.from(rows.flat()))
    A.set([0, 0], 100)
    const product = math.multiply(
      A,
      math.floatMatrix([
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
      ]),
    )
    expect(math.subset(product, math.index(0, 0))).toBe(100)
    A.resize([2, 2])
    expect([A.flat.rows, A.flat.columns]).toEqual([2, 2])
  })

  it('clones to an independent matrix', () => {
    const A = flat()
    const copy = A.clone()
    copy.set([0, 0], -5)
    expect(A.get([0, 0])).toBe(2)
    expect(math.typeOf(copy)).toBe('DenseMatrix')
  })
})
