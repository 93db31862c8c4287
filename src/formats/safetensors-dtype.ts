import type { FloatDtype } from './dtype.ts'

/**
 * The dtypes of safetensors 0.8 with their bits, in the order in which the reference writer lays tensors out
 * (safetensors/src/tensor.rs, enum Dtype, from the last to the first).
 */
const BITS = {
  U64: 64,
  I64: 64,
  F64: 64,
  C64: 64,
  F32: 32,
  U32: 32,
  I32: 32,
  BF16: 16,
  F16: 16,
  U16: 16,
  I16: 16,
  F8_E5M2FNUZ: 8,
  F8_E4M3FNUZ: 8,
  F8_E8M0: 8,
  F8_E4M3: 8,
  F8_E5M2: 8,
  I8: 8,
  U8: 8,
  F6_E3M2: 6,
  F6_E2M3: 6,
  F4: 4,
  BOOL: 8,
} as const

export type SafetensorsDtype = keyof typeof BITS

const NAMES = Object.keys(BITS) as SafetensorsDtype[]
const KNOWN: ReadonlySet<string> = new Set(NAMES)

const FLOATS = new Map<SafetensorsDtype, FloatDtype>([
  ['F64', 'f64'],
  ['F32', 'f32'],
  ['F16', 'f16'],
  ['BF16', 'bf16'],
])

export const isSafetensorsDtype = (name: string): name is SafetensorsDtype => KNOWN.has(name)
export const bitsPerElement = (dtype: SafetensorsDtype): number => BITS[dtype]
/** The place in the writer's order: smaller comes first in the file. */
export const layoutRank = (dtype: SafetensorsDtype) => NAMES.indexOf(dtype)
/** The float type that we read, else undefined. */
export const floatDtypeOf = (dtype: SafetensorsDtype) => FLOATS.get(dtype)
/** safetensors' name of a float type. */
export const safetensorsDtypeOf = (dtype: FloatDtype) => dtype.toUpperCase() as SafetensorsDtype
