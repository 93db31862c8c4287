import { all, create, type MathJsInstance } from 'mathjs'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { type FloatMatrix, loraSvd, type SvdResult } from '../../src/mathjs.ts'

const A = [
  [1, 2],
  [3, 4],
]

function instance(...imports: object[]): MathJsInstance {
  const math = create(all) as MathJsInstance
  for (const options of imports) math.import(loraSvd, options)
  return math
}

describe.each([
  ['once', [{}]],
  ['twice', [{}, {}]],
  ['with override', [{ override: true }]],
  ['with override after a first time', [{}, { override: true }]],
  ['silently', [{ silent: true }]],
  ['three times in all ways', [{ override: true }, {}, { silent: true }]],
])('imported %s', (_, imports) => {
  const math = instance(...imports)
  const plain = create(all) as MathJsInstance

  it('mathjs has all that it had', () => {
    const c = math.complex(1, 2)
    for (const of of [math, plain]) {
      expect([of.add(1, 2), of.subtract(5, 2), of.multiply(2, 3), of.pinv(4)]).toEqual([3, 3, 6, 0.25])
      expect(of.transpose(A)).toEqual([
        [1, 3],
        [2, 4],
      ])
      expect(of.multiply(A, 2)).toEqual([
        [2, 4],
        [6, 8],
      ])
      expect(of.evaluate("[1, 2; 3, 4]' + 1").toArray()).toEqual([
        [2, 4],
        [3, 5],
      ])
      expect(of.add(c, 1).toString()).toBe('2 + 2i')
      expect((of.add as (...terms: number[]) => number)(1, 2, 3)).toBe(6)
      expect(of.pinv([3, 4])).toEqual([0.12, 0.16])
    }
  })

  it('and what we add', () => {
    const F = math.floatMatrix(A)
    expect(math.typeOf(F)).toBe('FloatMatrix')
    const results = [
      math.add(F, F),
      math.subtract(F, F),
      math.multiply(F, F),
      math.transpose(F),
      math.pinv(F),
    ]
    expect(results.map((R) => math.typeOf(R))).toEqual(Array(5).fill('FloatMatrix'))
    expect(math.svd(A).S[0]).toBeCloseTo(5.464985704219043, 14)
    expect(math.rank(A)).toBe(2)
    expect(math.lowRank(A, { rank: 1 }).rank).toBe(1)
    expect(math.evaluate('rank(pinv([1, 2; 2, 4]))')).toBe(1)
  })
})

it('two instances keep to themselves', () => {
  const [one, other] = [instance({}), instance({})]
  expect(one.multiply(one.floatMatrix(A), one.floatMatrix(A)).constructor).not.toBe(
    other.multiply(other.floatMatrix(A), other.floatMatrix(A)).constructor,
  )
  expect(one.svd(A)).toEqual(other.svd(A))
})

it('a chain has the functions, with their types', () => {
  const math = instance({})
  const svd = math.chain(A).svd().done()
  expectTypeOf(svd).toEqualTypeOf<Required<SvdResult<number[][], number[]>>>()
  expect(svd).toEqual(math.svd(A))
  const few = math.chain(A).svd({ rank: 1 }).done()
  expectTypeOf(few).toEqualTypeOf<SvdResult<number[][], number[]>>()
  expect(few.S).toHaveLength(1)
  const rank = math.chain(math.matrix(A)).rank(1e-6).done()
  expectTypeOf(rank).toEqualTypeOf<number>()
  expect(rank).toBe(2)
  const F = math.chain(A).floatMatrix('f32').done()
  expectTypeOf(F).toExtend<FloatMatrix>()
  expect(F.flat.data).toBeInstanceOf(Float32Array)
  expect(math.chain(A).lowRank({ rank: 1 }).done().B).toEqual(math.lowRank(A, { rank: 1 }).B)
  expect(math.chain(A).pinv().done()).toEqual(math.pinv(A))
})
