import { all, create, type MathJsInstance } from 'mathjs'
import { describe, expect, it } from 'vitest'
import { fromRows, matrixRank } from '../../src/index.ts'
import { loraSvd } from '../../src/mathjs.ts'

const math = create(all) as MathJsInstance
math.import(loraSvd)

const FUNCTIONS: [string, (A: never) => unknown][] = [
  ['svd', (A) => math.svd(A)],
  ['rank', (A) => math.rank(A)],
  ['lowRank', (A) => math.lowRank(A, { rank: 1 })],
  ['floatMatrix', (A) => math.floatMatrix(A)],
]

describe.each(FUNCTIONS)('%s of entries that are no numbers', (name, call) => {
  it.each<[string, unknown, string]>([
    ['BigNumber', math.bignumber(2), 'convert the matrix first, with number(A)'],
    ['Fraction', math.fraction(1, 2), 'convert the matrix first, with number(A)'],
    ['bigint', 2n, 'convert the matrix first, with number(A)'],
    ['string', '2', 'convert the matrix first, with number(A)'],
    ['boolean', true, 'convert the matrix first, with number(A)'],
    ['Complex', math.complex(1, 2), 'give its real form [re, -im; im, re]'],
    ['Unit', math.unit('2 m'), 'take the number in a unit of it first'],
    ['null', null, 'put a number in its place'],
  ])('names the type %s, the place and the cure', (type, entry, cure) => {
    const A = [
      [1, 2, 3],
      [4, 5, entry],
    ]
    const message = `${name} needs numbers, but the entry at [1, 2] (row 2, column 3) is a ${type}: ${cure}`
    expect(() => call(A as never)).toThrow(TypeError)
    expect(() => call(A as never)).toThrow(message)
    if (entry !== null) expect(() => call(math.matrix(A as never) as never)).toThrow(message)
  })

  it('the cure works', () => {
    const A = [[math.bignumber(2), math.fraction(1, 2), 3n, '4', true]]
    expect(() => call(math.number(A as never) as never)).not.toThrow()
  })

  it('says how many dimensions there are to be', () => {
    expect(() => call([1, 2] as never)).toThrow(`${name} needs a matrix with two dimensions, not a vector`)
    expect(() => call([[[1]]] as never)).toThrow(`${name} needs a matrix with two dimensions, not more`)
  })
})

it('the real form of a complex matrix has its singular values twice', () => {
  // of diag(3i, 4): 3 and 4
  const real = [
    [0, 0, -3, 0],
    [0, 4, 0, 0],
    [3, 0, 0, 0],
    [0, 0, 0, 4],
  ]
  expect(math.svd(real).S).toEqual([4, 4, 3, 3])
})

it.each(['f16', 'bf16', 'float32', ''])('there is no float type %j', (type) => {
  const message = `floatMatrix keeps its entries as 'f64' (the default) or 'f32', not as '${type}'`
  expect(() => math.floatMatrix([[1]], type as never)).toThrow(message)
  expect(() => math.floatMatrix(math.matrix([[1]]), type as never)).toThrow(message)
})

it('a number that float32 cannot hold is named, infinity is not', () => {
  expect(() => math.floatMatrix([[1, 1e39]], 'f32')).toThrow('[0, 1] (row 1, column 2) is 1e+39')
  expect(math.floatMatrix([[Number.POSITIVE_INFINITY]], 'f32').get([0, 0])).toBe(Number.POSITIVE_INFINITY)
})

describe('the option rank', () => {
  const A = [
    [1, 2, 3],
    [4, 5, 6],
  ]
  it.each([0, 3, 9, -1, 1.5, Number.NaN, '2', null])('%j is refused alike by svd and lowRank', (rank) => {
    const says = `option rank is an integer from 1 to 2, not ${rank}`
    expect(() => math.svd(A, { rank } as never)).toThrow(`svd ${says}`)
    expect(() => math.lowRank(A, { rank } as never)).toThrow(`lowRank ${says}`)
  })

  it('up to the smaller side it is taken', () => {
    expect(math.svd(A, { rank: 2 })).toEqual(math.svd(A))
    expect(math.lowRank(A, { rank: 2 }).rank).toBe(2)
  })

  it.each([-1, Number.NaN])('a tolerance of %d is refused', (tolerance) => {
    expect(() => math.rank(A, tolerance)).toThrow(`a tolerance of 0 or more, not ${tolerance}`)
  })
})

describe('at the ends of what a number holds', () => {
  const full = (x: number, m = 2, k = 2) => Array.from({ length: m }, () => Array(k).fill(x) as number[])

  it.each([1e308, Number.MAX_VALUE, 1e-310, Number.MIN_VALUE])('full of %d has rank 1', (x) => {
    expect([math.rank(full(x)), math.rank(math.floatMatrix(full(x)))]).toEqual([1, 1])
    expect(math.rank(full(x, 40, 70))).toBe(1)
    expect([matrixRank(fromRows(full(x))), matrixRank(fromRows(full(x, 70, 40)))]).toEqual([1, 1])
  })

  it('a tolerance is compared with the values as they are', () => {
    // singular values 2x and 0, and of the diagonal x and x / 1e8
    expect([1.9, 2.1].map((t) => math.rank(full(1e-310), t * 1e-310))).toEqual([1, 0])
    const diagonal = [
      [1e300, 0],
      [0, 1e292],
    ]
    expect([1e291, 1e293, 1e301].map((t) => math.rank(diagonal, t))).toEqual([2, 1, 0])
  })

  it('values are exact to rounding as long as they can be told', () => {
    // of full(x, m, k): x·√(mk)
    for (const x of [8e307, 1e250, 1e-250]) expect(math.svd(full(x)).S[0] / (2 * x)).toBeCloseTo(1, 14)
    expect(math.svd(full(1e-310)).S[0]).toBe(2e-310)
  })

  it.each([
    ['float64', full(1e308), '1.8e308'],
    ['float32', math.floatMatrix(full(3e38), 'f32'), "3.4e38, the most that 'f32' holds"],
  ])('and are refused where %s ends', (_, A, most) => {
    expect(() => math.svd(A as never)).toThrow(`the largest singular value would exceed ${most}`)
    expect(() => math.svd(A as never)).toThrow(RangeError)
    const wide = Array.isArray(A) ? full(1e308, 2, 5) : math.floatMatrix(full(3e38, 2, 5), 'f32')
    expect(() => math.lowRank(wide as never, { rank: 1 })).toThrow(`an entry of B would exceed ${most}`)
  })

  it('lowRank factors what can be written down, with its error', () => {
    const { B, A, error } = math.lowRank(full(1e308, 3, 2), { rank: 1 })
    // B = x·√k and A = 1/√k
    for (const [b] of B) expect(b / (1e308 * Math.SQRT2)).toBeCloseTo(1, 14)
    for (const a of A[0]) expect(a).toBeCloseTo(Math.SQRT1_2, 14)
    expect(error.atMost).toBeLessThan(1e-14)
  })

  it('pinv inverts them, or says why not', () => {
    // of full(x, 2, 2): 1 / 4x
    expect((math.pinv(full(1e300)) as number[][])[1][0] * 4e300).toBeCloseTo(1, 14)
    expect((math.pinv(full(1e-300)) as number[][])[1][0] / 2.5e299).toBeCloseTo(1, 14)
    expect(() => math.pinv([[1e-310]])).toThrow('an entry of the inverse would exceed 1.8e308')
    expect(() => math.pinv([[1e-310]])).toThrow('scale the matrix up first')
  })
})
