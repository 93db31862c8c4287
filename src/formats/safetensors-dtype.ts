import { badInput } from '../errors.ts'
import { quoted } from '../text/quote.ts'
import {
  bytesPerElement,
  type Float8Dtype,
  type FloatDtype,
  type IntegerDtype,
  type PlainDtype,
  type StoredDtype,
} from './dtype.ts'
import { BLOCK_SIZES, type BlockDtype } from './gguf-blocks.ts'
import { ggmlBlocksOf } from './gguf-types.ts'

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

/** Numbers in blocks, which GGUF alone stores. */
export type BlockedDtype = Uppercase<BlockDtype>

/** Blocks of GGUF's that are not read, by ggml's names: Q5_K, IQ2_XXS, MXFP4 … */
export type UnreadDtype = `${'Q' | 'IQ' | 'TQ' | 'MXFP' | 'NVFP'}${number}${string}`

/** The type of a tensor of whatever format is read. */
export type TensorDtype = SafetensorsDtype | BlockedDtype | UnreadDtype

const NAMES = Object.keys(BITS) as SafetensorsDtype[]
const KNOWN: ReadonlySet<string> = new Set(NAMES)

const FLOATS = new Map<TensorDtype, FloatDtype>([
  ['F64', 'f64'],
  ['F32', 'f32'],
  ['F16', 'f16'],
  ['BF16', 'bf16'],
])

const FLOATS_8 = new Map<TensorDtype, Float8Dtype>([
  ['F8_E4M3', 'f8_e4m3'],
  ['F8_E5M2', 'f8_e5m2'],
])

const BLOCKS = new Map<string, BlockDtype>(
  (Object.keys(BLOCK_SIZES) as BlockDtype[]).map((dtype) => [dtype.toUpperCase(), dtype]),
)

const INTEGERS: Record<IntegerDtype, SafetensorsDtype> = {
  bool: 'BOOL',
  uint8: 'U8',
  int8: 'I8',
  uint16: 'U16',
  int16: 'I16',
  uint32: 'U32',
  int32: 'I32',
  uint64: 'U64',
  int64: 'I64',
}

const INTEGER_OF = new Map<string, IntegerDtype>(
  Object.entries(INTEGERS).map(([integer, dtype]) => [dtype, integer as IntegerDtype]),
)

export const isSafetensorsDtype = (name: string): name is SafetensorsDtype => KNOWN.has(name)
/** Whether safetensors can't store it: its numbers mean something as whole blocks alone. */
export const isBlocked = (dtype: TensorDtype): dtype is BlockedDtype => BLOCKS.has(dtype)
/** Whether it is one of GGUF's quantised types that are not read. */
export const isUnread = (dtype: string): dtype is UnreadDtype =>
  !KNOWN.has(dtype) && !BLOCKS.has(dtype) && ggmlBlocksOf(dtype) !== undefined
/** The dtype, of a tensor that is to be stored as it is. Throws `bad-input` where safetensors has no such type. */
export function storableDtype(dtype: TensorDtype, tensor: string): SafetensorsDtype {
  if (!isBlocked(dtype) && !isUnread(dtype)) return dtype
  throw badInput(
    `tensor ${quoted(tensor)} is stored in GGUF's blocks (${dtype}), which safetensors does not hold; use the model that was quantised`,
    { tensor },
  )
}
/** Of numbers in blocks their share of the block, which is no whole number. */
export function bitsPerElement(dtype: TensorDtype): number {
  if (isBlocked(dtype)) return 8 * bytesPerElement(BLOCKS.get(dtype)!)
  if (!isUnread(dtype)) return BITS[dtype]
  const { bytes, elements } = ggmlBlocksOf(dtype)!
  return (8 * bytes) / elements
}
/** The place in the writer's order: smaller comes first in the file. */
export const layoutRank = (dtype: SafetensorsDtype) => NAMES.indexOf(dtype)
/** The float type that we read, else undefined. */
export const floatDtypeOf = (dtype: TensorDtype) => FLOATS.get(dtype)
/** As `floatDtypeOf`, with the 8-bit floats and the blocks of GGUF, which are read and not written. */
export const readableFloatOf = (dtype: TensorDtype) =>
  FLOATS.get(dtype) ?? FLOATS_8.get(dtype) ?? BLOCKS.get(dtype)
/** NumPy's name of an integer type, else undefined. */
export const storedIntegerOf = (dtype: TensorDtype) => INTEGER_OF.get(dtype)
/** Our name of a type whose numbers are read, floats and integers; undefined for others. */
export const storedDtypeOf = (dtype: TensorDtype): StoredDtype | undefined =>
  readableFloatOf(dtype) ?? storedIntegerOf(dtype)
/** safetensors' name of a type. */
export const safetensorsDtypeOf = (dtype: PlainDtype): SafetensorsDtype =>
  INTEGERS[dtype as IntegerDtype] ?? (dtype.toUpperCase() as SafetensorsDtype)
