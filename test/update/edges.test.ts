import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { decodeFloats, encodeFloats, type FloatDtype } from '../../src/formats/dtype.ts'
import { matrix } from '../../src/linalg/matrix/matrix.ts'
import { addRoundedPlainly, type StoredRows } from '../../src/update/plain.ts'
import { add, expectSame, KERNEL_DTYPES, pairsOf, storedRows } from './support.ts'

interface Golden {
  readonly name: string
  readonly dtype: FloatDtype
  readonly out: FloatDtype
  readonly rows: number
  readonly columns: number
  readonly W: string
  readonly B: number[][]
  readonly A: number[][]
  readonly stored: string
  readonly account: Awaited<ReturnType<typeof add>>['account']
}

const { cases, roundedTwiceByTorch }: { cases: Golden[]; roundedTwiceByTorch: number[] } = JSON.parse(
  readFileSync('test/fixtures/update-goldens.json', 'utf8'),
)
const fromLists = (lists: number[][], rows: number, columns: number) =>
  matrix(rows, columns, Float64Array.from(lists.flat()))

describe('scripts/golden-update.py', () => {
  test.each(cases.map((golden) => [golden.name, golden.dtype, golden.out, golden] as const))(
    'says the same: %s, %s → %s',
    async (_, dtype, out, { rows, columns, W: hex, B: left, A: right, stored, account }) => {
      const W: StoredRows = { bytes: Buffer.from(hex, 'hex'), dtype, rows, columns }
      const [B, A] = [fromLists(left, rows, right.length), fromLists(right, right.length, columns)]
      const expected = { bytes: Buffer.from(stored, 'hex'), account }
      expectSame(addRoundedPlainly(W, B, A, out), expected)
      expectSame(await add(W, B, A, out), expected)
    },
  )

  test('PyTorch’s bfloat16 is another where float32 on the way makes a tie', () => {
    const golden = cases.find(({ name, out }) => name === 'edges' && out === 'bf16')!
    const before = decodeFloats(Buffer.from(golden.W, 'hex'), 'bf16')
    const twice = encodeFloats(
      Float32Array.from(before, (w, i) => w + golden.A[0][i]),
      'bf16',
    )
    const once = Buffer.from(golden.stored, 'hex')
    const differ = [...before.keys()].filter(
      (i) => once.readUInt16LE(2 * i) !== Buffer.from(twice).readUInt16LE(2 * i),
    )
    expect(differ).toEqual(roundedTwiceByTorch)
  })
})

/** W + Δ for one row of each, and what is stored. */
async function row(
  W: readonly number[],
  delta: readonly number[],
  dtype: FloatDtype,
  out: FloatDtype = dtype,
) {
  const columns = W.length
  const B = matrix(1, 1, Float64Array.of(1))
  const A = matrix(1, columns, Float64Array.from(delta))
  const { bytes, account } = await add(storedRows(Float64Array.from(W), dtype, 1, columns), B, A, out)
  return { values: [...decodeFloats(bytes.slice(), out)], account }
}

/** Fills up a block of four, so that vectors do it, or leaves a single number, so that none does. */
const PLACES = [
  ['in a vector', (x: number) => [x, 1, 1, 1]],
  ['by itself', (x: number) => [x]],
] as const

describe.each(PLACES)('%s', (_, placed) => {
  const one = async (w: number, delta: number, dtype: FloatDtype, out: FloatDtype = dtype) => {
    const { values, account } = await row(placed(w), placed(delta).fill(0, 1), dtype, out)
    return { value: values[0], account }
  }

  test.each([
    ['bf16', 2 ** -8],
    ['f16', 2 ** -11],
    ['f32', 2 ** -24],
  ] as const)('a tie of %s goes to the even number, what is past it does not', async (dtype, half) => {
    for (const sign of [1, -1]) {
      const rounded = async (w: number, delta: number) =>
        sign * (await one(sign * w, sign * delta, dtype)).value
      expect(await rounded(1, half)).toBe(1)
      expect(await rounded(1 + 2 * half, half)).toBe(1 + 4 * half)
      expect(await rounded(1, half + 2 ** -52)).toBe(1 + 2 * half)
      expect(await rounded(1 + 2 * half, half - 2 ** -52)).toBe(1 + 2 * half)
      // below a power of two the numbers are twice as dense
      expect(await rounded(1, -half / 2)).toBe(1)
      expect(await rounded(1, -half * 0.75)).toBe(1 - half)
    }
  })

  test.each([
    ['bf16', 2 ** -133],
    ['f16', 2 ** -24],
    ['f32', 2 ** -149],
  ] as const)(
    'the subnormal numbers of %s are as far apart as the least is from zero',
    async (dtype, least) => {
      expect((await one(0, least / 2, dtype)).value).toBe(0)
      expect((await one(0, -least / 2, dtype)).value).toBe(-0)
      expect((await one(0, (least / 2) * (1 + 2 ** -52), dtype)).value).toBe(least)
      expect((await one(least, least / 2, dtype)).value).toBe(2 * least)
      expect((await one(least * 5, least * 0.4999, dtype)).value).toBe(5 * least)
      expect((await one(least, -(2 ** -600), dtype)).account.changed).toBe(0)
      expect((await one(0, 2 ** -600, dtype)).account).toMatchObject({ changed: 0, nonFinite: 0 })
    },
  )

  test.each([
    ['bf16', 2 ** 128 - 2 ** 120, 2 ** 119],
    ['f16', 65504, 16],
    ['f32', 2 ** 128 - 2 ** 104, 2 ** 103],
  ] as const)('past the largest %s is infinity, counted and in no sum', async (dtype, largest, half) => {
    for (const sign of [1, -1]) {
      const { value, account } = await one(sign * largest, sign * half, dtype)
      expect(value).toBe(sign * Number.POSITIVE_INFINITY)
      expect(account).toMatchObject({ overflowed: 1, nonFinite: 0, changed: 1, deltaSquared: 0, kept: 0 })
      const below = await one(sign * largest, sign * half * (1 - 2 ** -20), dtype)
      expect(below.value).toBe(sign * largest)
      expect(below.account).toMatchObject({ overflowed: 0, changed: 0, kept: 0 })
      expect((await one(0, sign * 1e300, dtype)).account.overflowed).toBe(1)
    }
  })

  test.each(pairsOf(KERNEL_DTYPES))(
    'infinities and NaNs stay, and are in no sum: %s → %s',
    async (dtype, out) => {
      for (const w of [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN]) {
        const { value, account } = await one(w, 0.5, dtype, out)
        expect(value).toBe(w)
        expect(account).toMatchObject({ nonFinite: 1, changed: 0, overflowed: 0, deltaSquared: 0 })
      }
      for (const delta of [Number.POSITIVE_INFINITY, Number.NaN]) {
        const { value, account } = await one(1, delta, dtype, out)
        expect(value).toBe(delta)
        expect(account).toMatchObject({ nonFinite: 1, changed: 1, overflowed: 0, deltaSquared: 0 })
      }
    },
  )
})

test('zero has the sign of the sum: −0 + 0 is 0, which is no change', async () => {
  for (const dtype of KERNEL_DTYPES) {
    const { values, account } = await row([-0, 0, -0, 1, -0], [0, 0, 0, -1, 0], dtype)
    expect(values).toEqual([0, 0, 0, 0, 0])
    expect(account.changed).toBe(1)
  }
})

test('a NaN keeps its bits where the type stays, and is the quiet one elsewhere', async () => {
  const bits = (dtype: FloatDtype) =>
    ({ bf16: [0x81, 0xff], f16: [0x01, 0xfc], f32: [1, 0, 0x80, 0xff] })[dtype as 'bf16']
  const quiet = { bf16: '\xc0\x7f', f16: '\x00\x7e', f32: '\x00\x00\xc0\x7f' }
  for (const [dtype, out] of pairsOf(KERNEL_DTYPES)) {
    const W: StoredRows = { bytes: Uint8Array.from(bits(dtype)), dtype, rows: 1, columns: 1 }
    const [B, A] = [matrix(1, 1, Float64Array.of(1)), matrix(1, 1, Float64Array.of(2))]
    const { bytes } = await add(W, B, A, out)
    const expected = dtype === out ? bits(dtype) : [...Buffer.from(quiet[out], 'latin1')]
    expect([...bytes]).toEqual(expected)
    expect([...addRoundedPlainly(W, B, A, out).bytes]).toEqual(expected)
  }
})
