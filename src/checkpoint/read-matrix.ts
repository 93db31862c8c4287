import { basename } from 'node:path'
import { badInput, type ErrorPlace } from '../errors.ts'
import type { StoredDtype } from '../formats/dtype.ts'
import { openTensors } from '../formats/open.ts'
import { listed, matrixEntry, onlyMatrix as onlyTensor } from '../formats/safetensors.ts'
import { readableFloatOf, storedDtypeOf } from '../formats/safetensors-dtype.ts'
import { readMatrixOf, type TensorSet } from '../formats/tensor-set.ts'
import type { HeaderChoice } from '../formats/text-matrix.ts'
import { assertUnchanged, type FileIdentity, identityOf, kindOf, nameOfStandardInput } from '../io/files.ts'
import { type ByteSource, openSource } from '../io/source.ts'
import { widened } from '../linalg/matrix/half.ts'
import type { Matrix } from '../linalg/matrix/matrix.ts'
import { didYouMean } from '../text/compare.ts'
import { quoted, shapeText } from '../text/quote.ts'
import { isIndexName } from './folder.ts'
import { matricesOfView, readable, viewOf } from './matrices.ts'
import { type OpenOptions, openCheckpoint } from './open.ts'
import { readWeight } from './read.ts'
import { holdsNamedBytes, storedTensors } from './stored.ts'
import type { Checkpoint, StoredTensor, WeightMatrix } from './types.ts'

/** A matrix as a file holds it. `name` is the tensor's or array's name where the file names it, else the file's. */
export interface NamedMatrix {
  readonly matrix: Matrix
  readonly dtype: StoredDtype
  readonly name: string
  /** What a user should know of how it was read. */
  readonly warnings?: readonly string[]
}

export interface ReadMatrixOptions {
  /** Which tensor of a safetensors or GGUF file or array of an .npz; needed where there are several matrices. */
  readonly tensor?: string | undefined
  /** Whether the first row of a text is names; by its looks where it isn't said. */
  readonly header?: HeaderChoice | undefined
  /** What `-` stands for. */
  readonly stdin?: AsyncIterable<Uint8Array | string> | undefined
}

/** Arrays of an .npz listed at most when one has to be chosen: they must fit one line. */
const LISTED_ARRAYS = 6

/**
 * Reads a matrix from .npy, .npz, safetensors, GGUF or text (csv, tsv, blanks); `-` is standard input. The first bytes tell the
 * format, the file's name only where they don't. It may have no rows or columns, and NaN or infinite entries.
 * Throws `bad-input` for what can't be read as a matrix, with the way out, and for a file that was changed while it was read.
 */
export async function readMatrix(
  path: string,
  { stdin, ...options }: ReadMatrixOptions = {},
): Promise<NamedMatrix> {
  const source = await openSource(path, { stdin, mayBePipe: true })
  try {
    const read = await readMatrixFrom(source, options)
    await assertUnchanged({ files: identityOf(source.name, source.stamp) })
    return read
  } finally {
    await source.close()
  }
}

/** As `readMatrix`, from a source that is open: opens it as tensors, chooses one, reads it. */
export async function readMatrixFrom(
  source: ByteSource,
  { tensor, header }: Omit<ReadMatrixOptions, 'stdin'> = {},
): Promise<NamedMatrix> {
  const set = await openTensors(source, { header })
  return set.format === 'gguf' ? readChosenOfSet(set, tensor) : readChosenOf(set, tensor)
}

async function readChosenOf(set: TensorSet, tensor: string | undefined): Promise<NamedMatrix> {
  const name = nameOfChosen(set, tensor)
  const place = { file: set.source.name, ...(set.format === 'npz' && { tensor: name }) }
  const { dtype } = set.tensors.get(name)!
  return {
    matrix: await readMatrixOf(set, name, place),
    dtype: storedDtypeOf(dtype)!,
    name,
    ...(set.format === 'text' && { warnings: set.warnings }),
  }
}

/** The tensor that is asked for, or the only one that is a matrix. Throws `bad-input`, with what there is. */
function nameOfChosen(set: TensorSet, tensor: string | undefined): string {
  const file = set.source.name
  switch (set.format) {
    case 'safetensors':
      if (tensor === undefined) return onlyTensor(file, set)
      matrixEntry(file, set, tensor)
      return tensor
    case 'npz':
      return tensor === undefined ? onlyArray(set) : namedArray(set, tensor)
    default:
      refuseTensor(tensor, file)
      return [...set.tensors.keys()][0]
  }
}

function namedArray({ source, names, tensors, refused }: TensorSet, name: string): string {
  const file = source.name
  if (tensors.has(name)) return name
  const problem = refused.get(name)
  if (problem !== undefined) throw problem
  const near = didYouMean(name, names)
  const advice = near === '' ? `; it holds ${names.slice(0, LISTED_ARRAYS).map(quoted).join(', ')}` : near
  throw badInput(`${file}: there is no array ${quoted(name)}${advice}`, { file, tensor: name })
}

/** The one matrix of an archive, whatever else lies beside it: vectors, scalars, arrays of strings. */
function onlyArray({ source, tensors, refused }: TensorSet): string {
  const file = source.name
  const matrices = [...tensors.values()]
  if (matrices.length === 1) return matrices[0].name
  if (matrices.length === 0) throw [...refused.values()][0]
  const shown = matrices
    .slice(0, LISTED_ARRAYS)
    .map(({ name, shape }) => `${quoted(name)} ${shapeText(shape)}`)
  const more = matrices.length > LISTED_ARRAYS ? ` and ${matrices.length - LISTED_ARRAYS} more` : ''
  throw badInput(
    `${file}: holds ${matrices.length} matrices; choose one with --tensor: ${shown.join(', ')}${more}`,
    { file },
  )
}

function refuseTensor(tensor: string | undefined, file: string): void {
  if (tensor === undefined) return
  throw badInput(`${file}: holds one matrix without a name; leave out --tensor ${quoted(tensor)}`, { file })
}

type Named = Pick<Checkpoint, 'path' | 'tensors'>

export interface AnyMatrixOptions extends OpenOptions {
  /** Which tensor, array, or expert (`name[3]`); needed where there are several matrices. */
  readonly tensor?: string | undefined
}

/** A matrix, and what was read for it, by the names under which it can be looked at. */
export interface OpenedMatrix extends NamedMatrix {
  readonly files: readonly { readonly path: string }[]
  /** What tells that those are still the same; none of a pipe. */
  readonly identity: readonly FileIdentity[]
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
    const { files } = checkpoint
    return { ...(await readChosen(checkpoint, tensor)), files, identity: files }
  }
  const files = path === '-' ? nameOfStandardInput([path]) : [{ path }]
  const source = await openSource(path, { stdin: options.stdin, mayBePipe: true })
  try {
    const set = await openTensors(source, options)
    const chosen = holdsNamedBytes(set.format) ? readChosenOfSet : readChosenOf
    return { ...(await chosen(set, tensor)), files, identity: identityOf(source.name, source.stamp) }
  } finally {
    await source.close()
  }
}

/** As of a checkpoint, from a file that is open: with F8, blocks, and stacks of experts. */
async function readChosenOfSet(set: TensorSet, tensor: string | undefined): Promise<NamedMatrix> {
  const tensors = await storedTensors(set, { isShared: true })
  return readChosen({ path: set.source.name, tensors: new Map(tensors.map((t) => [t.name, t])) }, tensor)
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
