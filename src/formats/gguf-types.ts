/**
 * The numbers by which GGUF names types. Tensors: enum ggml_type of ggml/include/ggml.h, with the sizes of blocks from
 * ggml/src/ggml-common.h (llama.cpp@01243c58, 2026). Metadata: enum gguf_type of ggml/include/gguf.h.
 */

export interface GgmlType {
  /** As ggml calls it. */
  readonly name: string
  /** Numbers of a block: 1 where each stands for itself. Rows are whole blocks. */
  readonly elements: number
  /** Bytes of a block. */
  readonly bytes: number
}

const GGML_TYPES: Readonly<Record<number, readonly [name: string, elements: number, bytes: number]>> = {
  0: ['F32', 1, 4],
  1: ['F16', 1, 2],
  2: ['Q4_0', 32, 18],
  3: ['Q4_1', 32, 20],
  6: ['Q5_0', 32, 22],
  7: ['Q5_1', 32, 24],
  8: ['Q8_0', 32, 34],
  9: ['Q8_1', 32, 36],
  10: ['Q2_K', 256, 84],
  11: ['Q3_K', 256, 110],
  12: ['Q4_K', 256, 144],
  13: ['Q5_K', 256, 176],
  14: ['Q6_K', 256, 210],
  15: ['Q8_K', 256, 292],
  16: ['IQ2_XXS', 256, 66],
  17: ['IQ2_XS', 256, 74],
  18: ['IQ3_XXS', 256, 98],
  19: ['IQ1_S', 256, 50],
  20: ['IQ4_NL', 32, 18],
  21: ['IQ3_S', 256, 110],
  22: ['IQ2_S', 256, 82],
  23: ['IQ4_XS', 256, 136],
  24: ['I8', 1, 1],
  25: ['I16', 1, 2],
  26: ['I32', 1, 4],
  27: ['I64', 1, 8],
  28: ['F64', 1, 8],
  29: ['IQ1_M', 256, 56],
  30: ['BF16', 1, 2],
  34: ['TQ1_0', 256, 54],
  35: ['TQ2_0', 256, 66],
  39: ['MXFP4', 32, 17],
  40: ['NVFP4', 64, 36],
  41: ['Q1_0', 128, 18],
  42: ['Q2_0', 64, 18],
}

/** The type of a tensor by its number; undefined for those that were never or are no longer one. */
export function ggmlTypeOf(code: number): GgmlType | undefined {
  const found = GGML_TYPES[code]
  return found && { name: found[0], elements: found[1], bytes: found[2] }
}

const BY_NAME = new Map(
  Object.values(GGML_TYPES).map(([name, elements, bytes]) => [name, { elements, bytes }]),
)

/** The blocks of a type by its name; undefined for what is none of ggml's. */
export const ggmlBlocksOf = (name: string): Omit<GgmlType, 'name'> | undefined => BY_NAME.get(name)

/** The number of a type that is written. */
export const GGML_CODES = { f32: 0, f16: 1, bf16: 30 } as const

/** The types of metadata, in the order of their numbers. */
export const VALUE_TYPES = [
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'f32',
  'bool',
  'string',
  'array',
  'u64',
  'i64',
  'f64',
] as const

export type ValueType = (typeof VALUE_TYPES)[number]
/** What an array can be of: gguf_init_from_reader refuses arrays of arrays (ggml/src/gguf.cpp, llama.cpp@067d44f6). */
export type ScalarType = Exclude<ValueType, 'array'>

/** Bytes of a number; of a string those of its length, which stands before it. */
export const SCALAR_BYTES: Readonly<Record<ScalarType, number>> = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  bool: 1,
  string: 8,
  u64: 8,
  i64: 8,
  f64: 8,
}

/** A value of metadata under its type: llama.cpp ends the process where a key that it asks for has another than it expects. */
export type GgufScalar =
  | { readonly type: 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'f32' | 'f64'; readonly value: number }
  | { readonly type: 'u64' | 'i64'; readonly value: bigint }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }

export interface GgufArray {
  readonly type: 'array'
  readonly of: ScalarType
  readonly values: readonly GgufScalar['value'][]
}

/** Tensors lie at multiples of this where `general.alignment` doesn't say another (GGUF_DEFAULT_ALIGNMENT). */
export const DEFAULT_ALIGNMENT = 32
export const ALIGNMENT_KEY = 'general.alignment'

/** The next multiple of a power of two, for numbers past 2^32 too. */
export const padded = (length: number, alignment: number) => Math.ceil(length / alignment) * alignment
