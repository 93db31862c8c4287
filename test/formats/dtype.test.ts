import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  bytesPerElement,
  decodeFloats,
  decodeIntegers,
  encodeFloats,
  type FloatDtype,
  findOverflow,
  swapBytes,
} from '../../src/formats/dtype.ts'
import { type HalfDtype, narrowHalf, widenHalf } from '../../src/linalg/matrix/half.ts'
import type { FloatArray } from '../../src/linalg/matrix/matrix.ts'
import { errorOf, expected } from './fixtures.ts'

const halfToNumber = (bits: number, dtype: HalfDtype) => widenHalf(Uint16Array.of(bits), dtype)[0]
const numberToHalf = (x: number, dtype: HalfDtype) => narrowHalf(Float64Array.of(x), dtype)[0]
/** What reading back gives. */
const roundFloats = (values: FloatArray, dtype: FloatDtype) =>
  decodeFloats(encodeFloats(values, dtype), dtype)

const EVERY_HALF = Uint16Array.from({ length: 65536 }, (_, i) => i)
const FORMATS = {
  f16: { precision: 11, least: -24, largest: 65504 },
  bf16: { precision: 8, least: -133, largest: 2 ** 128 - 2 ** 120 },
}
const HALVES = ['f16', 'bf16'] as const

/** A finite number as an integer times 2^-1074: every float64 is one, exactly. */
function exact(x: number): bigint {
  const bits = new BigUint64Array(Float64Array.of(Math.abs(x)).buffer)[0]
  const exponent = bits >> 52n
  const significand = (bits & 0xfffffffffffffn) + (exponent > 0n ? 1n << 52n : 0n)
  const magnitude = significand << (exponent > 0n ? exponent - 1n : 0n)
  return x < 0 ? -magnitude : magnitude
}

/** The rounding that IEEE 754 defines, by integers: the multiple of the last place that is nearest, the even one on a tie. */
function roundSlowly(x: number, dtype: HalfDtype): number {
  if (!Number.isFinite(x) || x === 0) return x
  const { precision, least, largest } = FORMATS[dtype]
  const magnitude = exact(Math.abs(x))
  const lastPlace = BigInt(Math.max(magnitude.toString(2).length - precision, least + 1074))
  const unit = 1n << lastPlace
  let units = magnitude / unit
  const rest = 2n * (magnitude % unit)
  if (rest > unit || (rest === unit && units % 2n === 1n)) units++
  const rounded = Number(units) * 2 ** (Number(lastPlace) - 1074)
  return Math.sign(x) * (rounded > largest ? Number.POSITIVE_INFINITY : rounded)
}

/** The bits widened, every NaN as one. */
function hashOf(dtype: HalfDtype): string {
  const wide = widenHalf(EVERY_HALF, dtype)
  const bits = new Uint32Array(wide.length)
  new Float32Array(bits.buffer).set(wide)
  wide.forEach((x, i) => {
    if (Number.isNaN(x)) bits[i] = 0x7fc00000
  })
  return createHash('sha256').update(bits).digest('hex')
}

describe('16-bit floats', () => {
  test.each(HALVES)('all 65,536 of %s widen as NumPy or PyTorch widens them', (dtype) => {
    expect(hashOf(dtype)).toBe(expected.halves[dtype])
  })

  test.each(HALVES)('every %s comes back from float32 and from float64', (dtype) => {
    const wide = widenHalf(EVERY_HALF, dtype)
    for (const back of [narrowHalf(wide, dtype), narrowHalf(Float64Array.from(wide), dtype)]) {
      const wrong = EVERY_HALF.filter((bits, i) => !Number.isNaN(wide[i]) && back[i] !== bits)
      expect(wrong).toHaveLength(0)
      expect(widenHalf(back, dtype).every((x, i) => Number.isNaN(x) === Number.isNaN(wide[i]))).toBe(true)
    }
    expect(EVERY_HALF.every((bits, i) => Object.is(halfToNumber(bits, dtype), wide[i]))).toBe(true)
  })

  test('float64 rounds to f16 as NumPy rounds it', () => {
    for (const [x, bits] of expected.halves.f64ToF16) expect([x, numberToHalf(x, 'f16')]).toEqual([x, bits])
  })

  test('float32 rounds to bf16 as PyTorch rounds it', () => {
    for (const [x, bits] of expected.halves.f32ToBf16) expect([x, numberToHalf(x, 'bf16')]).toEqual([x, bits])
  })

  test('a float64 just past a tie is not rounded twice', () => {
    // through float32 it would land on the tie, and the tie goes down to 1
    expect(halfToNumber(numberToHalf(1 + 2 ** -8 + 2 ** -40, 'bf16'), 'bf16')).toBe(1 + 2 ** -7)
    expect(halfToNumber(numberToHalf(1 + 2 ** -11 + 2 ** -40, 'f16'), 'f16')).toBe(1 + 2 ** -10)
  })

  const nearHalf = (dtype: HalfDtype) =>
    fc
      .tuple(fc.nat(65535), fc.constantFrom(0, 0.5, 1, 0.25, 0.75), fc.integer({ min: -3, max: 3 }))
      .map(([bits, part, steps]) => {
        const [low, high] = [halfToNumber(bits, dtype), halfToNumber(bits ^ 1, dtype)]
        return (low + (high - low) * part) * (1 + steps * Number.EPSILON)
      })

  test.each(HALVES)('rounding to %s is the exact one, by integers', (dtype) => {
    const any = fc.oneof(nearHalf(dtype), fc.double({ noNaN: true }), fc.float({ noNaN: true }))
    fc.assert(
      fc.property(any, (x) => {
        fc.pre(!Number.isNaN(x))
        expect(halfToNumber(numberToHalf(x, dtype), dtype)).toBe(roundSlowly(x, dtype))
        expect(roundFloats(Float64Array.of(x), dtype)[0]).toBe(roundSlowly(x, dtype))
        expect(roundFloats(Float32Array.of(x), dtype)[0]).toBe(roundSlowly(Math.fround(x), dtype))
      }),
      { numRuns: 3000 },
    )
  })
})

describe('overflow', () => {
  test.each(['f32', 'f16', 'bf16'] as const)('found in %s exactly where rounding gives infinity', (dtype) => {
    const largest = { f32: 2 ** 128 - 2 ** 104, ...{ f16: 65504, bf16: 2 ** 128 - 2 ** 120 } }[dtype]
    const edge = fc.double({ min: largest * 0.99, max: largest * 1.01, noNaN: true })
    const halfStep = { f32: 2 ** 103, f16: 16, bf16: 2 ** 119 }[dtype]
    const tie = fc.constantFrom(largest + halfStep, (largest + halfStep) * (1 - Number.EPSILON), largest)
    fc.assert(
      fc.property(fc.oneof(edge, tie), fc.boolean(), (magnitude, negative) => {
        const x = negative ? -magnitude : magnitude
        const becomesInfinite = !Number.isFinite(roundFloats(Float64Array.of(x), dtype)[0])
        expect(findOverflow(Float64Array.of(0, x), dtype)).toBe(becomesInfinite ? 1 : -1)
      }),
    )
  })

  test('infinity and NaN themselves are not overflow', () => {
    expect(findOverflow(Float64Array.of(Number.NaN, Number.POSITIVE_INFINITY), 'f16')).toBe(-1)
    expect(findOverflow(Float64Array.of(1e300), 'f64')).toBe(-1)
  })
})

describe('bytes', () => {
  test.each(['f64', 'f32', 'f16', 'bf16'] as const)(
    '%s: encode then decode, at any offset and byte order',
    (dtype) => {
      const values = fc.array(fc.double({ noNaN: true }), { maxLength: 20 })
      fc.assert(
        fc.property(values, fc.nat(9), (list, offset) => {
          const stored = roundFloats(Float64Array.from(list), dtype)
          const bytes = encodeFloats(stored, dtype)
          const shifted = new Uint8Array(offset + bytes.length)
          shifted.set(bytes, offset)
          expect(decodeFloats(shifted.subarray(offset), dtype)).toEqual(stored)
          const size = bytes.length / Math.max(1, list.length)
          const reversed = Uint8Array.from(bytes, (_, i) => bytes[i - (i % size) + size - 1 - (i % size)])
          expect(decodeFloats(swapBytes(reversed, bytesPerElement(dtype)), dtype)).toEqual(stored)
        }),
      )
    },
  )

  test('the little-endian bytes of known numbers', () => {
    const hex = (x: number, dtype: 'f64' | 'f32' | 'f16' | 'bf16') =>
      Buffer.from(encodeFloats(Float64Array.of(x), dtype)).toString('hex')
    expect(hex(1, 'f64')).toBe('000000000000f03f')
    expect(hex(-2, 'f32')).toBe('000000c0')
    expect(hex(1.5, 'f16')).toBe('003e')
    expect(hex(1.5, 'bf16')).toBe('c03f')
  })

  test('a length that is no whole number of elements is refused', () => {
    expect(() => decodeFloats(new Uint8Array(6), 'f32')).toThrow(RangeError)
  })

  test('64-bit integers up to 2^53 are exact, past it refused', async () => {
    const decode = (value: bigint) =>
      decodeIntegers(
        new Uint8Array(BigInt64Array.of(7n, value).buffer),
        'int64',
        { file: 'x.npy' },
        (i) => `entry ${i}`,
      )
    expect([...decode(-(2n ** 53n))]).toEqual([7, -(2 ** 53)])
    const error = await errorOf(() => decode(2n ** 53n + 1n))
    expect(error.message).toContain('entry 1 is 9007199254740993')
    await errorOf(() => decode(2n ** 54n))
  })
})
