import type { Float8Dtype } from './dtype.ts'

/** Exponent bits, fraction bits and bias of the two formats of "OCP 8-bit Floating Point Specification", revision 1.0. */
const FORMATS = {
  f8_e4m3: { exponentBits: 4, fractionBits: 3, bias: 7 },
  f8_e5m2: { exponentBits: 5, fractionBits: 2, bias: 15 },
} as const

const tables = new Map<Float8Dtype, Float32Array>()

/** Each number widened to float32, exactly. */
export function decodeFloat8(bytes: Uint8Array, dtype: Float8Dtype): Float32Array {
  const table = tableOf(dtype)
  const out = new Float32Array(bytes.length)
  for (let i = 0; i < out.length; i++) out[i] = table[bytes[i]]
  return out
}

function tableOf(dtype: Float8Dtype): Float32Array {
  const known = tables.get(dtype)
  if (known !== undefined) return known
  const table = Float32Array.from({ length: 256 }, (_, code) => float8Value(code, dtype))
  tables.set(dtype, table)
  return table
}

/** The number that a code stands for. E4M3 has no infinities and one NaN of each sign; E5M2 has those of IEEE 754. */
function float8Value(code: number, dtype: Float8Dtype): number {
  const { exponentBits, fractionBits, bias } = FORMATS[dtype]
  const sign = code & 0x80 ? -1 : 1
  const exponent = (code & 0x7f) >> fractionBits
  const fraction = code & (2 ** fractionBits - 1)
  const isHighest = exponent === 2 ** exponentBits - 1
  if (isHighest && dtype === 'f8_e5m2') return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  if (isHighest && fraction === 2 ** fractionBits - 1) return Number.NaN
  const significand = fraction / 2 ** fractionBits
  return exponent === 0
    ? sign * significand * 2 ** (1 - bias)
    : sign * (1 + significand) * 2 ** (exponent - bias)
}
