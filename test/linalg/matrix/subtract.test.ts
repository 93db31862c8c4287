import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { nonFiniteEntries } from '../../../src/linalg/matrix/finite.ts'
import { narrowHalf, widenHalf } from '../../../src/linalg/matrix/half.ts'
import type { HalfMatrix, Matrix } from '../../../src/linalg/matrix/matrix.ts'
import { subtract } from '../../../src/linalg/matrix/subtract.ts'

type Kind = 'f64' | 'f32' | 'f16' | 'bf16'
const KINDS: Kind[] = ['f64', 'f32', 'f16', 'bf16']

function stored(values: readonly number[], kind: Kind, columns = values.length): Matrix | HalfMatrix {
  const rows = columns === 0 ? 1 : values.length / columns
  if (kind === 'f64') return { rows, columns, data: Float64Array.from(values) }
  if (kind === 'f32') return { rows, columns, data: Float32Array.from(values) }
  return { rows, columns, dtype: kind, data: narrowHalf(Float64Array.from(values), kind) }
}

/** The entries as they are stored. */
const entries = (A: Matrix | HalfMatrix) => [...('dtype' in A ? widenHalf(A.data, A.dtype) : A.data)]
const norm = (values: readonly number[]) => Math.hypot(...values)

describe('the difference of two matrices', () => {
  test('is rounded once, and counted and measured as entry by entry', () => {
    const kind = fc.constantFrom(...KINDS)
    const value = fc.double({ noNaN: true, min: -1e3, max: 1e3 })
    const pairs = fc.array(fc.tuple(value, value, fc.boolean()), { minLength: 1, maxLength: 40 })
    fc.assert(
      fc.property(pairs, kind, kind, (pairs, ofTuned, ofBase) => {
        const tuned = stored(
          pairs.map(([x]) => x),
          ofTuned,
        )
        const base = stored(
          pairs.map(([x, y, isSame]) => (isSame ? x : y)),
          ofBase,
        )
        const [x, y] = [entries(tuned), entries(base)]
        const { delta, changed, frobenius, nonFinite } = subtract(tuned, base)
        const isWide = ofTuned === 'f64' || ofBase === 'f64'
        const expected = x.map((_, i) => (isWide ? x[i] - y[i] : Math.fround(x[i] - y[i])))
        expect(delta.data).toBeInstanceOf(isWide ? Float64Array : Float32Array)
        expect([...delta.data]).toEqual(expected)
        expect(changed).toBe(x.filter((_, i) => x[i] !== y[i]).length)
        expect(nonFinite).toEqual({})
        for (const [found, values] of [
          [frobenius.base, y],
          [frobenius.tuned, x],
          [frobenius.delta, expected],
        ] as const) {
          expect(Math.abs(found - norm(values))).toBeLessThanOrEqual(1e-13 * norm(values))
        }
      }),
      { numRuns: 500 },
    )
  })

  test.each([
    ['bf16', 'bf16'],
    ['f16', 'bf16'],
    ['f32', 'f16'],
    ['f32', 'f32'],
    ['bf16', 'f64'],
  ] as const)('of more entries than are taken at a time: %s − %s', (ofTuned, ofBase) => {
    const [rows, columns] = [61, 103]
    const value = (i: number, step: number) => ((i * step) % 1009) / 64 - 7
    const values = Array.from({ length: rows * columns }, (_, i) => i)
    const tuned = stored(
      values.map((i) => value(i, 37)),
      ofTuned,
      columns,
    )
    const base = stored(
      values.map((i) => value(i, i % 3 === 0 ? 37 : 41)),
      ofBase,
      columns,
    )
    const { delta, changed, frobenius } = subtract(tuned, base)
    const [x, y] = [entries(tuned), entries(base)]
    const expected = x.map((_, i) => Math.fround(x[i] - y[i]))
    expect(delta).toMatchObject({ rows, columns })
    expect([...delta.data]).toEqual(expected)
    expect(changed).toBe(x.filter((_, i) => x[i] !== y[i]).length)
    expect(frobenius.delta).toBeCloseTo(norm(expected), 9)
    expect(frobenius.base).toBeCloseTo(norm(y), 9)
  })

  test('measures what is too large or small to be squared in its own type', () => {
    const wide = subtract(stored([3e200, 0], 'f64'), stored([0, 4e200], 'f64'))
    expect(wide.frobenius).toEqual({ base: 4e200, tuned: 3e200, delta: expect.closeTo(5e200, -187) })
    const narrow = subtract(stored([3e-40, 3e38], 'f32'), stored([3e-40, 0], 'f32'))
    expect(narrow.frobenius.tuned / Math.fround(3e38)).toBeCloseTo(1, 12)
    expect(narrow.frobenius.base / Math.fround(3e-40)).toBeCloseTo(1, 12)
  })

  test('0 is −0, and a NaN is different from itself', () => {
    expect(subtract(stored([0, 1], 'bf16'), stored([-0, 1], 'f32')).changed).toBe(0)
    expect(subtract(stored([Number.NaN], 'bf16'), stored([Number.NaN], 'bf16')).changed).toBe(1)
  })

  test.each(KINDS)('names what is not finite in either: %s', (kind) => {
    const tuned = stored([1, 2, 3, 4, Number.NEGATIVE_INFINITY, 6], kind, 3)
    const base = stored([1, Number.NaN, 3, Number.POSITIVE_INFINITY, 5, Number.NaN], kind, 3)
    const found = subtract(tuned, base)
    expect(found.nonFinite).toEqual({
      tuned: { count: 1, first: { row: 1, column: 1, value: Number.NEGATIVE_INFINITY } },
      base: { count: 3, first: { row: 0, column: 1, value: Number.NaN } },
    })
    expect(subtract(base, stored([1, 2, 3, 4, 5, 6], kind, 3)).nonFinite).toEqual({
      tuned: { count: 3, first: { row: 0, column: 1, value: Number.NaN } },
    })
    expect(nonFiniteEntries(stored([1, 2], kind))).toBeUndefined()
    expect(nonFiniteEntries(stored([1, Number.POSITIVE_INFINITY], kind))).toEqual({
      count: 1,
      first: { row: 0, column: 1, value: Number.POSITIVE_INFINITY },
    })
  })

  test('of other shapes is a mistake of the caller', () => {
    expect(() => subtract(stored([1, 2], 'f32', 2), stored([1, 2], 'f32', 1))).toThrow(RangeError)
  })

  test('of nothing is nothing', () => {
    expect(subtract(stored([], 'bf16'), stored([], 'bf16'))).toMatchObject({
      changed: 0,
      frobenius: { delta: 0 },
    })
  })
})
