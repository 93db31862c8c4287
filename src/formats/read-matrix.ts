import { basename } from 'node:path'
import { badInput, LoraSvdError } from '../errors.ts'
import { type ByteSource, memorySource, openFile, readAll, readWhole } from '../io/source.ts'
import type { Matrix } from '../linalg/matrix/matrix.ts'
import { quoted, shapeText } from '../text/quote.ts'
import { didYouMean } from '../text/suggest.ts'
import type { StoredDtype } from './dtype.ts'
import { notAMatrix, readNpy } from './npy.ts'
import { type NpzArray, readArray, readArrayHeader, readNpzDirectory } from './npz.ts'
import { onlyMatrix, readTensor } from './safetensors.ts'
import { readSafetensorsHeader } from './safetensors-header.ts'
import { SNIFFED_BYTES, sniff, zipProblem } from './sniff.ts'
import { assertTextLength, type HeaderChoice, readTextMatrix } from './text-matrix.ts'
import { readZipDirectory } from './zip.ts'

/** A matrix as a file holds it. `name` is the tensor's or array's name where the file names it, else the file's. */
export interface NamedMatrix {
  readonly matrix: Matrix
  readonly dtype: StoredDtype
  readonly name: string
  /** What a user should know of how it was read. */
  readonly warnings?: readonly string[]
}

export interface ReadMatrixOptions {
  /** Which tensor of a safetensors file or array of an .npz; needed where there are several matrices. */
  readonly tensor?: string | undefined
  /** Whether the first row of a text is names; by its looks where it isn't said. */
  readonly header?: HeaderChoice | undefined
  /** What `-` stands for. */
  readonly stdin?: AsyncIterable<Uint8Array | string> | undefined
}

/** What messages call standard input. */
export const STANDARD_INPUT = 'standard input'

/** Arrays of an .npz listed at most when one has to be chosen: they must fit one line. */
const LISTED_ARRAYS = 6

/**
 * Reads a matrix from .npy, .npz, safetensors or text (csv, tsv, blanks); `-` is standard input. The first bytes tell the
 * format, the file's name only where they don't. It may have no rows or columns, and NaN or infinite entries.
 * Throws `bad-input` for what can't be read as a matrix, with the way out.
 */
export async function readMatrix(
  path: string,
  { stdin, ...options }: ReadMatrixOptions = {},
): Promise<NamedMatrix> {
  const source = await openInput(path, stdin)
  try {
    return await readMatrixFrom(source, options)
  } finally {
    await source.close()
  }
}

/** The bytes of a file or pipe that a user named, or of standard input, read to its end, for `-`. Throws as `openFile` and `readAll` do. */
export async function openInput(
  path: string,
  stdin: AsyncIterable<Uint8Array | string> = process.stdin,
): Promise<ByteSource> {
  return path === '-'
    ? memorySource(STANDARD_INPUT, await readAll(stdin, STANDARD_INPUT))
    : openFile(path, { mayBePipe: true })
}

/** As `readMatrix`, from a source that is open. */
export async function readMatrixFrom(
  source: ByteSource,
  { tensor, header }: Omit<ReadMatrixOptions, 'stdin'> = {},
): Promise<NamedMatrix> {
  const file = source.name
  const start = await source.read(0, Math.min(SNIFFED_BYTES, source.byteLength))
  const sniffed = sniff(start, source.byteLength, file)
  switch (sniffed.format) {
    case 'foreign':
      throw badInput(`${file}: ${sniffed.problem}`, { file })
    case 'safetensors':
      return fromSafetensors(source, tensor)
    case 'zip':
      return fromNpz(source, tensor)
    case 'npy':
      refuseTensor(tensor, file)
      return { ...readNpy(await readWhole(source), { file }), name: basename(file) }
    case 'text':
      refuseTensor(tensor, file)
      assertTextLength(source.byteLength, file)
      return { ...readTextMatrix(await readWhole(source), file, header), dtype: 'f64', name: basename(file) }
  }
}

async function fromSafetensors(source: ByteSource, tensor: string | undefined): Promise<NamedMatrix> {
  const header = await readSafetensorsHeader(source)
  const name = tensor ?? onlyMatrix(source.name, header)
  return { ...(await readTensor(source, header, name)), name }
}

async function fromNpz(source: ByteSource, tensor: string | undefined): Promise<NamedMatrix> {
  const file = source.name
  const arrays = await readNpzDirectory(source)
  if (arrays.length === 0) {
    const names = (await readZipDirectory(source)).map(({ name }) => name)
    throw badInput(`${file}: ${zipProblem(names)}`, { file })
  }
  const chosen = tensor === undefined ? await onlyArray(arrays, source) : namedArray(arrays, tensor, file)
  return { ...(await readArray(source, chosen)), name: chosen.name }
}

function namedArray(arrays: readonly NpzArray[], name: string, file: string): NpzArray {
  const found = arrays.find((array) => array.name === name)
  if (found !== undefined) return found
  const names = arrays.map((array) => array.name)
  const near = didYouMean(name, names)
  const advice = near === '' ? `; it holds ${names.slice(0, LISTED_ARRAYS).map(quoted).join(', ')}` : near
  throw badInput(`${file}: there is no array ${quoted(name)}${advice}`, { file, tensor: name })
}

/** The one matrix of an archive, whatever else lies beside it: vectors, scalars, arrays of strings. */
async function onlyArray(arrays: readonly NpzArray[], source: ByteSource): Promise<NpzArray> {
  const file = source.name
  if (arrays.length === 1) return arrays[0]
  const matrices: { array: NpzArray; shape: readonly number[] }[] = []
  const others: LoraSvdError[] = []
  for (const array of arrays) {
    try {
      const { shape } = await readArrayHeader(source, array)
      if (shape.length === 2) matrices.push({ array, shape })
      else others.push(notAMatrix(shape, { file, tensor: array.name }))
    } catch (error) {
      if (!(error instanceof LoraSvdError && error.code === 'bad-input')) throw error
      others.push(error)
    }
  }
  if (matrices.length === 1) return matrices[0].array
  if (matrices.length === 0) throw others[0]
  const listed = matrices
    .slice(0, LISTED_ARRAYS)
    .map(({ array, shape }) => `${quoted(array.name)} ${shapeText(shape)}`)
  const more = matrices.length > LISTED_ARRAYS ? ` and ${matrices.length - LISTED_ARRAYS} more` : ''
  throw badInput(
    `${file}: holds ${matrices.length} matrices; choose one with --tensor: ${listed.join(', ')}${more}`,
    { file },
  )
}

function refuseTensor(tensor: string | undefined, file: string): void {
  if (tensor === undefined) return
  throw badInput(`${file}: holds one matrix without a name; leave out --tensor ${quoted(tensor)}`, { file })
}
