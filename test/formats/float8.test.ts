import { describe, expect, test } from 'vitest'
import { decodeFloat8, type Float8Dtype } from '../../src/formats/dtype.ts'
import { widenHalf } from '../../src/linalg/matrix/half.ts'

const CODES = Uint8Array.from({ length: 256 }, (_, code) => code)
const of = (dtype: Float8Dtype, ...codes: number[]) => [...decodeFloat8(Uint8Array.from(codes), dtype)]
/** As bits, so that −0 and 0 differ; every NaN is one. */
const bits = (values: Float32Array) =>
  [...new Uint32Array(values.buffer, values.byteOffset, values.length)].map((u, i) =>
    Number.isNaN(values[i]) ? 'NaN' : u.toString(16),
  )

describe('all 256 codes', () => {
  test('of E5M2 are the upper halves of binary16 numbers', () => {
    const halves = Uint16Array.from(CODES, (code) => code << 8)
    expect(bits(decodeFloat8(CODES, 'f8_e5m2'))).toEqual(bits(widenHalf(halves, 'f16')))
  })

  test('of E4M3 are binary16 numbers of the same exponent, but for the bias, and NaN for the last', () => {
    // sign, a 0 in front of the four exponent bits, and the fraction: the biases differ by 15 − 7
    const halves = Uint16Array.from(CODES, (code) => ((code & 0x80) << 8) | ((code & 0x7f) << 7))
    const expected = widenHalf(halves, 'f16').map((x, code) =>
      (code & 0x7f) === 0x7f ? Number.NaN : x * 2 ** 8,
    )
    expect(bits(decodeFloat8(CODES, 'f8_e4m3'))).toEqual(bits(expected))
  })
})

test('the values that the OCP specification lists', () => {
  expect(of('f8_e4m3', 0x7e, 0x08, 0x07, 0x01, 0x80, 0xfe)).toEqual([
    448,
    2 ** -6,
    0.875 * 2 ** -6,
    2 ** -9,
    -0,
    -448,
  ])
  expect(of('f8_e4m3', 0x7f, 0xff)).toEqual([Number.NaN, Number.NaN])
  expect(of('f8_e5m2', 0x7b, 0x04, 0x03, 0x01, 0xfb)).toEqual([
    57344,
    2 ** -14,
    0.75 * 2 ** -14,
    2 ** -16,
    -57344,
  ])
  expect(of('f8_e5m2', 0x7c, 0xfc, 0x7d, 0x7e, 0xff)).toEqual([
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    Number.NaN,
    Number.NaN,
    Number.NaN,
  ])
})
