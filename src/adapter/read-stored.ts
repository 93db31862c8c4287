import type { StoredTensor } from '../checkpoint/types.ts'
import { badInput } from '../errors.ts'
import { decodeFloats, decodeIntegers } from '../formats/dtype.ts'
import { quoted } from '../formats/quote.ts'
import { bitsPerElement, floatDtypeOf } from '../formats/safetensors-dtype.ts'
import { openFile } from '../formats/source.ts'
import type { FloatArray } from '../matrix/matrix.ts'
import { addTo } from './group.ts'

/**
 * The float entries [start, end) of a tensor in row-major order, all of them by default: f64 as float64, others widened
 * exactly to float32. Reads only their bytes. Throws `bad-input` on another dtype.
 */
export async function readFloats(
  tensor: StoredTensor,
  start = 0,
  end = elementCount(tensor),
): Promise<FloatArray> {
  const { source, dtype, name } = tensor
  if (source.kind === 'memory') return source.matrix.data.subarray(start, end)
  if (source.kind === 'file') throw unreadable(tensor)
  const float = floatDtypeOf(dtype)
  if (float === undefined) {
    throw badInput(
      `${source.file}: tensor ${quoted(name)} is stored as ${dtype}; a factor is made of floats`,
      {
        file: source.file,
        tensor: name,
      },
    )
  }
  const size = bitsPerElement(dtype) / 8
  const file = await openFile(source.file)
  try {
    return decodeFloats(await file.read(source.begin + start * size, source.begin + end * size), float)
  } finally {
    await file.close()
  }
}

/** The single number of each tensor, float or integer, as `.alpha` is stored; each file is opened once. */
export async function readScalars(tensors: readonly StoredTensor[]): Promise<Map<string, number>> {
  const values = new Map<string, number>()
  const byFile = new Map<string, StoredTensor[]>()
  for (const tensor of tensors) {
    const { source, name } = tensor
    if (source.kind === 'memory') values.set(name, source.matrix.data[0])
    else if (source.kind === 'file') throw unreadable(tensor)
    else addTo(byFile, source.file, tensor)
  }
  for (const [path, ofFile] of byFile) {
    const file = await openFile(path)
    try {
      for (const tensor of ofFile) {
        const { source, name } = tensor
        if (source.kind === 'range')
          values.set(name, scalar(tensor, await file.read(source.begin, source.end)))
      }
    } finally {
      await file.close()
    }
  }
  return values
}

const INTEGERS = { I64: 'int64', I32: 'int32', I16: 'int16', I8: 'int8', U8: 'uint8' } as const

function scalar({ name, dtype }: StoredTensor, bytes: Uint8Array): number {
  const float = floatDtypeOf(dtype)
  if (float !== undefined) return decodeFloats(bytes, float)[0]
  if (!(dtype in INTEGERS)) {
    throw badInput(`tensor ${quoted(name)} is stored as ${dtype}; alpha is a number`, { tensor: name })
  }
  const integer = INTEGERS[dtype as keyof typeof INTEGERS]
  return decodeIntegers(bytes, integer, true, { tensor: name }, () => quoted(name))[0]
}

/** How many entries a tensor has. */
export const elementCount = ({ shape }: StoredTensor) => shape.reduce((product, n) => product * n, 1)

const unreadable = ({ name, source }: StoredTensor) =>
  badInput(`tensor ${quoted(name)} of an adapter lies in no safetensors file; convert the adapter to one`, {
    tensor: name,
    ...(source.kind === 'file' ? { file: source.file } : {}),
  })
