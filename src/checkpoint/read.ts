import { badInput, LoraSvdError } from '../errors.ts'
import { decodeHalfBits, decodeNumbers, isHalf } from '../formats/dtype.ts'
import { openTensors } from '../formats/open.ts'
import { bitsPerElement, storedDtypeOf, type TensorDtype } from '../formats/safetensors-dtype.ts'
import { readMatrixOf, tensorSet } from '../formats/tensor-set.ts'
import { isAddress } from '../io/remote/address.ts'
import { readingOn } from '../io/remote/ahead.ts'
import { comesByNetwork } from '../io/remote/cache.ts'
import { type ByteSource, openFile } from '../io/source.ts'
import type { NonFiniteEntries } from '../linalg/matrix/finite.ts'
import type { FloatArray, HalfMatrix, Matrix } from '../linalg/matrix/matrix.ts'
import { firstNonFinite } from '../linalg/matrix/norms.ts'
import { quoted } from '../text/quote.ts'
import { fillFromRows } from './rows.ts'
import type { ByteRange, StoredTensor, TensorSource, WeightMatrix } from './types.ts'

/** The bytes [begin, end) of what a source holds as stored. */
type ByteReader = (begin: number, end: number) => Promise<Uint8Array>
/** Fills an array with the bytes from `begin` on. */
type ByteFiller = (target: Uint8Array, begin: number) => Promise<void>

/**
 * The numbers of a matrix as stored: F16 and BF16 as their bits, F8 widened to float32, exactly, F64 as float64. Opens the
 * file, reads that part of it, and closes it. Throws `bad-input` where the file is gone or shorter than it was.
 */
export async function readWeight(weight: WeightMatrix): Promise<Matrix | HalfMatrix> {
  const { rows, columns, dtype, source, bytes } = weight
  if (source.kind === 'memory') return source.matrix
  if (source.kind === 'file') {
    return readArrayOfFile(source)
  }
  return withBytes(source, weight.tensor, async (read) => {
    const stored = await read(0, bytes)
    return isHalf(dtype)
      ? { rows, columns, dtype, data: decodeHalfBits(stored) }
      : { rows, columns, data: decodeNumbers(stored, dtype) }
  })
}

/** The matrix of a file, or of one array of it, that can only be read whole. */
async function readArrayOfFile({
  file,
  array,
  header,
}: Extract<TensorSource, { kind: 'file' }>): Promise<Matrix> {
  const source = await openFile(file)
  try {
    const ofNpz = async ({ entry, shapes }: NonNullable<typeof array>) =>
      (await import('../formats/npz.ts')).openNpz(source, entry, shapes)
    const set =
      array === undefined ? await openTensors(source, { header }) : tensorSet(source, await ofNpz(array))
    const [problem] = set.refused.values()
    if (problem !== undefined) throw problem
    const [name, ...others] = set.tensors.keys()
    if (name === undefined || others.length > 0 || set.format === 'safetensors') {
      throw badInput(`${file}: was changed since it was opened; run the same command again`, { file })
    }
    return await readMatrixOf(set, name, { file, ...(array !== undefined && { tensor: name }) })
  } finally {
    await source.close()
  }
}

/** The bytes of a tensor as stored. Throws as `readWeight` does, and RangeError for arrays that aren't stored as bytes in a row. */
export function readBytes({ name, source, bytes }: StoredTensor): Promise<Uint8Array> {
  return withBytes(source, name, (read) => read(0, bytes))
}

/** Runs `use` on the bytes of a source while its file is open; nothing from `end` on will be read, nor asked for ahead. */
export async function withBytes<T>(
  source: TensorSource,
  tensor: string,
  use: (read: ByteReader, fill: ByteFiller) => Promise<T>,
  end?: number,
): Promise<T> {
  if (source.kind === 'bytes') {
    const { bytes } = source
    return use(
      async (begin, end) => bytes.subarray(begin, end),
      async (target, begin) => target.set(bytes.subarray(begin, begin + target.length)),
    )
  }
  if (source.kind === 'range') {
    const range = end === undefined ? source : { ...source, end: source.begin + end }
    return withRanges([range], tensor, ([file]) =>
      use(
        (begin, end) => file.read(source.begin + begin, source.begin + end),
        (target, begin) => file.readInto(target, source.begin + begin),
      ),
    )
  }
  if (source.kind !== 'rows') throw new RangeError(`${tensor}: is not stored as bytes in a row`)
  return withRanges(source.ranges, tensor, (files) => {
    const fill: ByteFiller = (target, begin) => fillFromRows(source, files, target, begin)
    return use(async (begin, end) => {
      const bytes = new Uint8Array(end - begin)
      await fill(bytes, begin)
      return bytes
    }, fill)
  })
}

/** Runs `use` on the file of each range while they are open. Throws `bad-input` where one ends before its range does. */
async function withRanges<T>(
  ranges: readonly ByteRange[],
  tensor: string,
  use: (files: readonly ByteSource[]) => Promise<T>,
): Promise<T> {
  const files: ByteSource[] = []
  const releases: (() => Promise<void>)[] = []
  try {
    for (const { file: path, end } of ranges) {
      const shared = held.get(path)
      const file = shared?.source ?? (await openToRead(path, end))
      files.push(file)
      releases.push(shared === undefined ? () => file.close() : using(path, shared))
      if (file.byteLength >= end) continue
      throw badInput(
        `${path}: has ${file.byteLength} bytes, and tensor ${quoted(tensor)} ended at byte ${end}: it was made shorter since it was opened`,
        { file: path, tensor },
      )
    }
    return await use(files)
  } finally {
    for (const release of releases) await release()
  }
}

/** Of a file elsewhere what follows is asked for before it is read. */
async function openToRead(path: string, end: number): Promise<ByteSource> {
  const file = await openFile(path)
  return comesByNetwork(path) ? readingOn(file, Math.min(end, file.byteLength)) : file
}

/** What is read at once where less is asked for: tensors of a file mostly lie in the order in which they are read. */
const AHEAD = 2 ** 20
/** A file of so many bytes is read at once, and stays in memory while it is open: its tensors are looked at several times. */
const SMALL_FILE = 4 * AHEAD

/** A source that reads more than it is asked for where reads lie near each other, and gives what comes next from that. */
function readingAhead(source: ByteSource): ByteSource {
  const { byteLength } = source
  const isSmall = byteLength <= SMALL_FILE
  let window = { start: 0, end: 0, bytes: Promise.resolve<Uint8Array>(new Uint8Array(0)) }
  const toRead = (start: number, end: number) => {
    if (isSmall) return [0, byteLength]
    // of two tensors that belong together the second may lie before the first
    const isNear = start >= window.start - AHEAD && start <= window.end + AHEAD
    return [start, isNear ? Math.max(end, Math.min(byteLength, start + AHEAD)) : end]
  }
  return {
    ...source,
    read: async (start, end) => {
      if (end > byteLength || (end - start > AHEAD && !isSmall)) return source.read(start, end)
      if (start < window.start || end > window.end) {
        const [first, last] = toRead(start, end)
        window = { start: first, end: last, bytes: source.read(first, last) }
      }
      const { start: first, bytes } = window
      return (await bytes).slice(start - first, end - first)
    },
  }
}

/** A file that is open while work goes on, and how many works and readers need it. */
interface Held {
  readonly source: ByteSource
  users: number
}

const held = new Map<string, Held>()

/** One more user of a held file. What is given back ends that; the last one closes the file. */
function using(path: string, entry: Held): () => Promise<void> {
  entry.users++
  return async () => {
    entry.users--
    if (entry.users > 0) return
    held.delete(path)
    await entry.source.close()
  }
}

/**
 * Keeps files open while `work` goes on, so that `withBytes` opens none of them for every tensor: of many small ones that takes longer
 * than reading them. In this thread alone; what lies elsewhere has no file to be open.
 */
export async function holdingOpen<T>(files: Iterable<string>, work: () => Promise<T>): Promise<T> {
  const release = await holdOpen(files)
  try {
    return await work()
  } finally {
    await release()
  }
}

/** More files are of a large model, in which a tensor takes longer to read than its file to open. */
const FEW_FILES = 8

/** The files, each once, where they are few enough to be held open; none otherwise. */
export function ifFew(files: Iterable<string>): Iterable<string> {
  const distinct = new Set<string>()
  for (const file of files) {
    distinct.add(file)
    if (distinct.size > FEW_FILES) return []
  }
  return distinct
}

/** Opens the files as `holdingOpen` does; they are held until what is given back is called. */
export async function holdOpen(files: Iterable<string>): Promise<() => Promise<void>> {
  const releases: (() => Promise<void>)[] = []
  const release = async () => {
    for (const one of releases) await one()
  }
  try {
    for (const file of new Set(files)) {
      if (isAddress(file)) continue
      const own = held.has(file) ? undefined : await openFile(file)
      // another work may have opened it meanwhile
      const known = held.get(file)
      const entry = known ?? { source: readingAhead(own!), users: 0 }
      held.set(file, entry)
      releases.push(using(file, entry))
      if (known !== undefined) await own?.close()
    }
  } catch (error) {
    await release()
    throw error
  }
  return release
}

/** Entries read at once: 4 MiB where an entry takes two bytes. */
const CHUNK_ENTRIES = 2 ** 21

export const isStoredInBytes = ({ source }: Pick<StoredTensor, 'source'>) =>
  source.kind === 'range' || source.kind === 'rows' || source.kind === 'bytes'
export const bytesPerEntry = ({ dtype }: StoredTensor) => bitsPerElement(dtype) / 8

/** The numbers that bytes stand for; undefined of a dtype that isn't read, and of integers past 2^53. */
export function numbersOf(bytes: Uint8Array, dtype: TensorDtype): FloatArray | undefined {
  const stored = storedDtypeOf(dtype)
  if (stored === undefined) return undefined
  try {
    return decodeNumbers(bytes, stored)
  } catch (error) {
    if (error instanceof LoraSvdError) return undefined
    throw error
  }
}

/** All numbers of an array that can only be read whole; undefined of what is stored in bytes. */
export async function arrayOf({ source }: StoredTensor): Promise<FloatArray | undefined> {
  if (source.kind === 'memory') return source.matrix.data
  if (source.kind === 'file') return (await readArrayOfFile(source)).data
  return undefined
}

/**
 * Gives `use` the numbers of a tensor in order, some at a time with the place of the first. False, at the first ones that
 * can't be read as numbers, where its dtype isn't read.
 */
export async function forEachChunk(
  tensor: StoredTensor,
  use: (numbers: FloatArray, start: number) => void,
): Promise<boolean> {
  const whole = await arrayOf(tensor)
  if (whole !== undefined) {
    use(whole, 0)
    return true
  }
  return withBytes(tensor.source, tensor.name, async (read) => {
    const size = bytesPerEntry(tensor)
    for (let start = 0; start < tensor.bytes / size; start += CHUNK_ENTRIES) {
      const end = Math.min(tensor.bytes, (start + CHUNK_ENTRIES) * size)
      const numbers = numbersOf(await read(start * size, end), tensor.dtype)
      if (numbers === undefined) return false
      use(numbers, start)
    }
    return true
  })
}

/** How many entries a tensor has. */
export const elementCount = ({ shape }: StoredTensor) => shape.reduce((product, n) => product * n, 1)

/** What to do about a checkpoint with NaN in it, where tensors can be left out. */
const MEND_OR_EXCLUDE = 'mend the checkpoint, or leave the tensor out with --exclude'

/** Throws LoraSvdError `not-finite` where a matrix of the checkpoint at `path` has NaN or infinite entries; `cure` says what to do. */
export function refuseNonFinite(
  path: string,
  name: string,
  found: NonFiniteEntries | undefined,
  cure = MEND_OR_EXCLUDE,
): void {
  if (found === undefined) return
  const { count, first } = found
  const others = count === 1 ? '' : `, the first of ${count}`
  const entry = `${first.value} at row ${first.row + 1}, column ${first.column + 1}${others}`
  throw notFinite(path, name, entry, cure)
}

/** The same of a tensor that is stored whole, whatever its shape. */
export function refuseNonFiniteNumbers(path: string, name: string, numbers: FloatArray): void {
  const at = firstNonFinite(numbers)
  if (at >= 0)
    throw notFinite(path, name, `${numbers[at]} at place ${at + 1} of ${numbers.length}`, MEND_OR_EXCLUDE)
}

/** The same of a tensor as it is stored, of any size; one that isn't of numbers passes. */
export async function refuseNonFiniteTensor(
  path: string,
  tensor: StoredTensor | undefined,
  cure = MEND_OR_EXCLUDE,
): Promise<void> {
  if (tensor === undefined) return
  const count = elementCount(tensor)
  await forEachChunk(tensor, (numbers, start) => {
    const at = firstNonFinite(numbers)
    if (at < 0) return
    throw notFinite(path, tensor.name, `${numbers[at]} at place ${start + at + 1} of ${count}`, cure)
  })
}

function notFinite(path: string, name: string, entry: string, cure: string): LoraSvdError {
  return new LoraSvdError('not-finite', `${path}: tensor ${quoted(name)} has the entry ${entry}; ${cure}`, {
    file: path,
    tensor: name,
  })
}
