import { badInput, type LoraSvdError } from '../errors.ts'
import type { ByteSource } from '../io/source.ts'
import type { HalfMatrix, Matrix } from '../linalg/matrix/matrix.ts'
import { didYouMean } from '../text/compare.ts'
import { quoted, shapeText } from '../text/quote.ts'
import { decodeFloats, decodeHalfBits, type FloatDtype, isHalf } from './dtype.ts'
import { floatDtypeOf, type TensorDtype } from './safetensors-dtype.ts'
import { readSafetensorsHeader, type SafetensorsHeader } from './safetensors-header.ts'
import type { Contents, TensorInfo } from './tensor-set.ts'

/** What is asked of a tensor before its numbers are. */
interface Described {
  readonly dtype: TensorDtype
  readonly shape: readonly number[]
}

/** Named tensors, as a header or a set of tensors lists them. */
interface Listing<T extends Described = Described> {
  readonly tensors: ReadonlyMap<string, T>
}

/** Tensors listed at most when one has to be chosen: they must fit one line. */
const LISTED_TENSORS = 6

/** The tensors of a safetensors file, in the order of its header, which alone is read. Throws as `readSafetensorsHeader` does. */
export async function openSafetensors(source: ByteSource): Promise<Contents> {
  const { tensors, metadata, dataStart } = await readSafetensorsHeader(source)
  const infos = [...tensors].map(([name, { dtype, shape, begin, end }]): [string, TensorInfo] => [
    name,
    { name, dtype, shape, bytes: end - begin, range: { begin: dataStart + begin, end: dataStart + end } },
  ])
  return {
    format: 'safetensors',
    names: [...tensors.keys()],
    tensors: new Map(infos),
    metadata,
    refused: new Map(),
    warnings: [],
    headerBytes: dataStart,
  }
}

/** The stored bytes of a tensor. Throws `bad-input`, with the names nearest to it, when there is none of that name. */
export async function readTensorBytes(
  source: ByteSource,
  header: SafetensorsHeader,
  name: string,
): Promise<Uint8Array> {
  const { begin, end } = entryOf(source.name, header, name)
  return source.read(header.dataStart + begin, header.dataStart + end)
}

/**
 * A 2-D float tensor as a matrix: F64 as float64; F32, F16 and BF16 as float32, exactly.
 * Throws `bad-input` for a name that isn't there, another dtype, or other than two dimensions.
 */
export async function readTensor(
  source: ByteSource,
  header: SafetensorsHeader,
  name: string,
): Promise<{ matrix: Matrix; dtype: FloatDtype }> {
  const { dtype, rows, columns } = matrixEntry(source.name, header, name)
  const bytes = await readTensorBytes(source, header, name)
  return { matrix: { rows, columns, data: decodeFloats(bytes, dtype) }, dtype }
}

/** As `readTensor`, but F16 and BF16 stay as their bits: half the memory, for an engine that widens as it reads. */
export async function readStoredTensor(
  source: ByteSource,
  header: SafetensorsHeader,
  name: string,
): Promise<Matrix | HalfMatrix> {
  const { dtype, rows, columns } = matrixEntry(source.name, header, name)
  const bytes = await readTensorBytes(source, header, name)
  return isHalf(dtype)
    ? { rows, columns, dtype, data: decodeHalfBits(bytes) }
    : { rows, columns, data: decodeFloats(bytes, dtype) }
}

/** The only 2-D float tensor of a file. Throws `bad-input`, listing what there is, when there are none or several. */
export function onlyMatrix(file: string, header: Listing): string {
  const matrices = [...header.tensors].filter(([, entry]) => isFloatMatrix(entry))
  if (matrices.length === 1) return matrices[0][0]
  if (matrices.length > 1) {
    throw badInput(
      `${file}: holds ${matrices.length} matrices; choose one with --tensor: ${listed(matrices)}`,
      { file },
    )
  }
  const all = [...header.tensors]
  throw badInput(
    all.length === 0
      ? `${file}: holds no tensors`
      : `${file}: holds no 2-D tensor of F64, F32, F16 or BF16; it holds ${listed(all)}`,
    { file },
  )
}

const isFloatMatrix = ({ dtype, shape }: Described) => shape.length === 2 && floatDtypeOf(dtype) !== undefined

/**
 * What the header says of a 2-D float tensor. Throws `bad-input` for a name that isn't there, with the names nearest to it, for another
 * dtype, and for other than two dimensions.
 */
export function matrixEntry(file: string, header: Listing, name: string) {
  const { dtype: stored, shape } = entryOf(file, header, name)
  if (shape.length !== 2) {
    throw tensorError(
      file,
      name,
      `has the shape ${shapeText(shape)}; a matrix has 2 dimensions${listing(header)}`,
    )
  }
  const dtype = floatDtypeOf(stored)
  if (dtype === undefined) {
    throw tensorError(
      file,
      name,
      `is stored as ${stored}; F64, F32, F16 and BF16 are read: convert it to one of them (a quantised tensor together with its scales)`,
    )
  }
  return { dtype, rows: shape[0], columns: shape[1] }
}

function listing(header: Listing): string {
  const matrices = [...header.tensors].filter(([, entry]) => isFloatMatrix(entry))
  return matrices.length === 0 ? '' : `, as ${listed(matrices)} have`
}

function entryOf<T extends Described>(file: string, header: Listing<T>, name: string): T {
  const entry = header.tensors.get(name)
  if (entry !== undefined) return entry
  const near = didYouMean(name, header.tensors.keys())
  const advice = near === '' && header.tensors.size > 0 ? `; it holds ${listed([...header.tensors])}` : near
  throw badInput(`${file}: there is no tensor ${quoted(name)}${advice}`, { file, tensor: name })
}

/** Names with dtype and shape, as many as fit one line. */
export function listed(tensors: readonly (readonly [name: string, Described])[]): string {
  const shown = tensors
    .slice(0, LISTED_TENSORS)
    .map(([name, { dtype, shape }]) => `${quoted(name)} ${dtype} ${shapeText(shape)}`)
  const more = tensors.length - shown.length
  return `${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}

const tensorError = (file: string, tensor: string, problem: string): LoraSvdError =>
  badInput(`${file}: tensor ${quoted(tensor)} ${problem}`, { file, tensor })
