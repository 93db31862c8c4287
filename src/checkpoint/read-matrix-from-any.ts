import { basename } from 'node:path'
import { badInput, type ErrorPlace } from '../errors.ts'
import { type NamedMatrix, openInput, readMatrixFrom } from '../formats/read-matrix.ts'
import { listed } from '../formats/safetensors.ts'
import { readableFloatOf } from '../formats/safetensors-dtype.ts'
import { SNIFFED_BYTES, sniff } from '../formats/sniff.ts'
import { widened } from '../linalg/matrix/half.ts'
import { quoted, shapeText } from '../text/quote.ts'
import { didYouMean } from '../text/suggest.ts'
import { isIndexName } from './folder.ts'
import { readable } from './matrices.ts'
import { kindOf, type OpenOptions, openCheckpoint } from './open.ts'
import { readWeight } from './read.ts'
import { nameOfStandardInput, openedFile } from './stored.ts'
import type { Checkpoint, StoredTensor, WeightMatrix } from './types.ts'
import { matricesOfView, viewOf } from './view.ts'

type Named = Pick<Checkpoint, 'path' | 'tensors'>

export interface AnyMatrixOptions extends OpenOptions {
  /** Which tensor, array, or expert (`name[3]`); needed where there are several matrices. */
  readonly tensor?: string | undefined
}

/** A matrix, and what was read for it, by the names under which it can be looked at. */
export interface OpenedMatrix extends NamedMatrix {
  readonly files: readonly { readonly path: string }[]
}

/**
 * One matrix of whatever `openCheckpoint` opens: the named one, or the only one; half precision and F8 widened to float32.
 * Where several tensors can be seen as matrices, a single one of two dimensions is the one. Throws as `openCheckpoint` and
 * `readMatrix` do.
 */
export async function readMatrixFromAny(
  path: string,
  { tensor, ...options }: AnyMatrixOptions = {},
): Promise<OpenedMatrix> {
  const isFile = path === '-' || ((await kindOf(path)) === 'file' && !isIndexName(basename(path)))
  if (!isFile) {
    const checkpoint = await openCheckpoint(path, options)
    return { ...(await readChosen(checkpoint, tensor)), files: checkpoint.files }
  }
  const files = path === '-' ? nameOfStandardInput([path]) : [{ path }]
  const source = await openInput(path, options.stdin)
  try {
    const { name, byteLength } = source
    const start = await source.read(0, Math.min(SNIFFED_BYTES, byteLength))
    if (sniff(start, byteLength, name).format !== 'safetensors') {
      return { ...(await readMatrixFrom(source, { tensor, header: options.header })), files }
    }
    const { tensors } = await openedFile(source, true)
    const named = { path: name, tensors: new Map(tensors.map((t) => [t.name, t])) }
    return { ...(await readChosen(named, tensor)), files }
  } finally {
    await source.close()
  }
}

async function readChosen(checkpoint: Named, tensor: string | undefined): Promise<NamedMatrix> {
  const weight = tensor === undefined ? onlyMatrix(checkpoint) : namedMatrix(checkpoint, tensor)
  return { matrix: widened(await readWeight(weight)), dtype: weight.dtype, name: weight.name }
}

/** The matrices of one tensor, none where it has none. */
function matricesOfTensor({ tensors }: Named, tensor: StoredTensor): WeightMatrix[] {
  const read = readable(tensors, tensor)
  return 'dtype' in read ? matricesOfView(tensor, viewOf(tensor.name, tensor.shape), read.dtype) : []
}

function onlyMatrix(checkpoint: Named): WeightMatrix {
  const { path, tensors } = checkpoint
  const matrices = [...tensors.values()].flatMap((tensor) => matricesOfTensor(checkpoint, tensor))
  const plain = matrices.filter(({ storedShape }) => storedShape.length === 2)
  const [only] = plain.length === 1 ? plain : matrices
  if (plain.length === 1 || matrices.length === 1) return only
  const place = { file: path }
  if (matrices.length > 1) {
    throw badInput(
      `${path}: holds ${matrices.length} matrices; choose one with --tensor: ${listedMatrices(checkpoint, matrices)}`,
      place,
    )
  }
  throw badInput(
    tensors.size === 0
      ? `${path}: holds no tensors`
      : `${path}: holds no matrix of F64, F32, F16, BF16 or F8; it holds ${listed([...tensors])}`,
    place,
  )
}

function namedMatrix(checkpoint: Named, name: string): WeightMatrix {
  const { path, tensors } = checkpoint
  const tensor = tensors.get(name) ?? tensors.get(name.replace(/\[\d+\]$/, ''))
  const place = { file: path, tensor: name }
  if (tensor === undefined) throw noTensor(tensors, place)
  const matrices = matricesOfTensor(checkpoint, tensor)
  const found = matrices.length === 1 ? matrices[0] : matrices.find((matrix) => matrix.name === name)
  if (found !== undefined && (found.name === name || found.tensor === name)) return found
  if (matrices.length === 0 && tensor.name === name) throw noMatrix(checkpoint, tensor, place)
  if (matrices.length < 2) throw noTensor(tensors, place)
  throw badInput(
    `${path}: tensor ${quoted(tensor.name)} is a stack of ${matrices.length} matrices; choose one, from --tensor ${quoted(matrices[0].name)} to ${quoted(matrices[matrices.length - 1].name)}`,
    place,
  )
}

function noTensor(tensors: ReadonlyMap<string, StoredTensor>, place: ErrorPlace & { tensor: string }) {
  const near = didYouMean(place.tensor, tensors.keys())
  const advice = near === '' && tensors.size > 0 ? `; it holds ${listed([...tensors])}` : near
  return badInput(`${place.file}: there is no tensor ${quoted(place.tensor)}${advice}`, place)
}

function noMatrix(checkpoint: Named, tensor: StoredTensor, place: ErrorPlace) {
  const { name, shape } = tensor
  const about = `${place.file}: tensor ${quoted(name)}`
  if (shape.length < 2) {
    const matrices = [...checkpoint.tensors.values()].flatMap((other) => matricesOfTensor(checkpoint, other))
    const listing = matrices.length === 0 ? '' : `, as ${listedMatrices(checkpoint, matrices)} have`
    return badInput(`${about} has the shape ${shapeText(shape)}; a matrix has 2 dimensions${listing}`, place)
  }
  const read = readable(checkpoint.tensors, tensor)
  const reason = 'reason' in read ? read.reason : ''
  const what = readableFloatOf(tensor.dtype) === undefined ? '; F64, F32, F16, BF16 and F8 are read' : ''
  return badInput(`${about} can't be read as a matrix: ${reason}${what}`, place)
}

const listedMatrices = ({ tensors }: Named, matrices: readonly WeightMatrix[]) =>
  listed(
    matrices.map(({ name, tensor, rows, columns }) => [
      name,
      { dtype: tensors.get(tensor)!.dtype, shape: [rows, columns] },
    ]),
  )
