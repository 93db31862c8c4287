import { addTo } from '../checkpoint/group.ts'
import { decodeStored, readBytes, withBytes } from '../checkpoint/read.ts'
import type { StoredTensor } from '../checkpoint/types.ts'
import { badInput } from '../errors.ts'
import { decodeIntegers } from '../formats/dtype.ts'
import { quoted } from '../formats/quote.ts'
import { bitsPerElement, readableFloatOf } from '../formats/safetensors-dtype.ts'
import type { FloatArray } from '../matrix/matrix.ts'

/**
 * The float entries [start, end) of a tensor in row-major order, all of them by default: f64 as float64, others widened
 * exactly to float32. Reads only their bytes. Throws `bad-input` on another dtype.
 */
export function readFloats(tensor: StoredTensor, start = 0, end = elementCount(tensor)): Promise<FloatArray> {
  const { source, dtype, name } = tensor
  const float = readableFloatOf(dtype)
  if (float === undefined) {
    throw badInput(
      `tensor ${quoted(name)} is stored as ${dtype}; a factor is made of floats`,
      placeOf(tensor),
    )
  }
  assertBytes(tensor)
  const size = bitsPerElement(dtype) / 8
  return withBytes(source, name, async (read) => decodeStored(await read(start * size, end * size), float))
}

/** The single number of each tensor, float or integer, as `.alpha` is stored; each file is opened once. */
export async function readScalars(tensors: readonly StoredTensor[]): Promise<Map<string, number>> {
  const values = new Map<string, number>()
  const byFile = new Map<string, { tensor: StoredTensor; begin: number; end: number }[]>()
  for (const tensor of tensors) {
    assertBytes(tensor)
    const { source, name } = tensor
    if (source.kind === 'range') addTo(byFile, source.file, { tensor, begin: source.begin, end: source.end })
    else values.set(name, scalar(tensor, await readBytes(tensor)))
  }
  for (const [file, ranges] of byFile) {
    const last = ranges.reduce((a, b) => (b.end > a.end ? b : a))
    const whole = { kind: 'range', file, begin: 0, end: last.end } as const
    await withBytes(whole, last.tensor.name, async (read) => {
      for (const { tensor, begin, end } of ranges) {
        values.set(tensor.name, scalar(tensor, await read(begin, end)))
      }
    })
  }
  return values
}

const INTEGERS = { I64: 'int64', I32: 'int32', I16: 'int16', I8: 'int8', U8: 'uint8' } as const

function scalar(tensor: StoredTensor, bytes: Uint8Array): number {
  const { name, dtype } = tensor
  const float = readableFloatOf(dtype)
  if (float !== undefined) return decodeStored(bytes, float)[0]
  if (!(dtype in INTEGERS)) {
    throw badInput(`tensor ${quoted(name)} is stored as ${dtype}; alpha is a number`, placeOf(tensor))
  }
  const integer = INTEGERS[dtype as keyof typeof INTEGERS]
  return decodeIntegers(bytes, integer, true, { tensor: name }, () => quoted(name))[0]
}

/** How many entries a tensor has. */
export const elementCount = ({ shape }: StoredTensor) => shape.reduce((product, n) => product * n, 1)

function assertBytes(tensor: StoredTensor): void {
  if (tensor.source.kind === 'range' || tensor.source.kind === 'bytes') return
  throw badInput(
    `tensor ${quoted(tensor.name)} of an adapter lies in no safetensors file; convert the adapter to one`,
    placeOf(tensor),
  )
}

const placeOf = ({ name, source }: StoredTensor) => ({
  tensor: name,
  ...('file' in source && { file: source.file }),
})
