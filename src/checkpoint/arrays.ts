import { basename } from 'node:path'
import { badInput, LoraSvdError } from '../errors.ts'
import { bytesPerElement, isHalf, type StoredDtype } from '../formats/dtype.ts'
import { NPY_HEADER_BYTES, type NpyHeader, notAMatrix, readNpy, readNpyHeader } from '../formats/npy.ts'
import { type NpzArray, readArray, readArrayHeader, readNpzDirectory } from '../formats/npz.ts'
import { readMatrixFrom } from '../formats/read-matrix.ts'
import { safetensorsDtypeOf } from '../formats/safetensors-dtype.ts'
import type { HeaderChoice } from '../formats/text-matrix.ts'
import { type ByteSource, readWhole, STREAM_BYTE_LIMIT } from '../io/source.ts'
import { counted } from '../text/quote.ts'
import type { StoredTensor, TensorSource } from './types.ts'

export interface Arrays {
  readonly tensors: readonly StoredTensor[]
  readonly warnings: readonly string[]
}

/**
 * The array of a .npy file, named as the file is. Of a file only the header is read, and where it stores floats by rows in
 * little-endian order it is a range like a tensor's. Throws `bad-input` for other than two dimensions.
 */
export async function npyArray(source: ByteSource): Promise<Arrays> {
  const file = source.name
  const start = await source.read(0, Math.min(NPY_HEADER_BYTES, source.byteLength))
  const header = readNpyHeader(start, { file }, source.byteLength)
  if (header.shape.length !== 2) throw notAMatrix(header.shape, { file })
  return { tensors: [stored(basename(file), header, await npySource(source, header))], warnings: [] }
}

async function npySource(source: ByteSource, header: NpyHeader): Promise<TensorSource> {
  const file = source.name
  if (source.stamp === undefined) {
    return { kind: 'memory', matrix: readNpy(await readWhole(source), { file }).matrix }
  }
  const isFloat = ['f64', 'f32'].includes(header.dtype) || isHalf(header.dtype)
  return isFloat && header.littleEndian && !header.fortranOrder
    ? { kind: 'range', file, begin: header.dataStart, end: source.byteLength }
    : { kind: 'file', file }
}

/** Arrays that aren't matrices listed at most, each a line. */
const LISTED_PROBLEMS = 8

/** The 2-D arrays of an .npz, of which only headers are unpacked; others get a warning. Throws `bad-input` where there is no matrix at all. */
export async function npzArrays(source: ByteSource): Promise<Arrays> {
  const file = source.name
  const tensors: StoredTensor[] = []
  const problems: LoraSvdError[] = []
  let inMemory = 0
  for (const array of await readNpzDirectory(source)) {
    const place = { file, tensor: array.name }
    try {
      const header = await readArrayHeader(source, array)
      if (header.shape.length !== 2) throw notAMatrix(header.shape, place)
      inMemory += array.entry.byteLength
      tensors.push(stored(array.name, header, await npzSource(source, array, inMemory)))
    } catch (error) {
      if (!(error instanceof LoraSvdError && error.code === 'bad-input')) throw error
      problems.push(error)
    }
  }
  if (tensors.length === 0) {
    // readMatrixFrom says what an archive without arrays is
    if (problems.length === 0) await readMatrixFrom(source)
    throw problems[0]
  }
  const warnings = problems.slice(0, LISTED_PROBLEMS).map(({ message }) => message)
  const more = problems.length - warnings.length
  if (more > 0) warnings.push(`${file}: ${counted(more, 'more array')} of it can't be read as matrices`)
  return { tensors, warnings }
}

/** Of a pipe, which can't be read again, all matrices are kept: `inMemory` bytes with this one. */
async function npzSource(source: ByteSource, array: NpzArray, inMemory: number): Promise<TensorSource> {
  if (source.stamp !== undefined) return { kind: 'file', file: source.name, array }
  if (inMemory > STREAM_BYTE_LIMIT) {
    throw badInput(
      `${source.name}: unpacks to more than ${STREAM_BYTE_LIMIT} bytes, the most kept of a pipe; save it to a file`,
      { file: source.name },
    )
  }
  return { kind: 'memory', matrix: (await readArray(source, array)).matrix }
}

/** The matrix of a text file, which has to be read for its shape. */
export async function textArray(source: ByteSource, header?: HeaderChoice): Promise<Arrays> {
  const { matrix, dtype, name, warnings = [] } = await readMatrixFrom(source, { header })
  const shape = [matrix.rows, matrix.columns]
  const data: TensorSource =
    source.stamp === undefined
      ? { kind: 'memory', matrix }
      : { kind: 'file', file: source.name, ...(header !== undefined && { header }) }
  return { tensors: [stored(name, { dtype, shape }, data)], warnings }
}

function stored(
  name: string,
  { dtype, shape }: { dtype: StoredDtype; shape: readonly number[] },
  source: TensorSource,
): StoredTensor {
  const bytes = shape.reduce((product, n) => product * n, 1) * bytesPerElement(dtype)
  return { name, dtype: safetensorsDtypeOf(dtype), shape, bytes, source }
}
