import { badInput, errnoOf } from '../errors.ts'
import type { ArrayShapes } from '../formats/npy.ts'
import { openTensors } from '../formats/open.ts'
import { floatDtypeOf } from '../formats/safetensors-dtype.ts'
import { readMatrixOf, type TensorInfo, type TensorSet } from '../formats/tensor-set.ts'
import type { HeaderChoice } from '../formats/text-matrix.ts'
import { type FileIdentity, identityOf } from '../io/files.ts'
import { openSource, STREAM_BYTE_LIMIT } from '../io/source.ts'
import { counted } from '../text/quote.ts'
import type { StoredTensor, TensorSource } from './types.ts'

/** A file of tensors of which the headers were read, and which is closed. */
export interface OpenedFile {
  /** In the order of their data. */
  readonly tensors: readonly StoredTensor[]
  readonly metadata: ReadonlyMap<string, string>
  readonly format: TensorSet['format']
  readonly identity: readonly FileIdentity[]
  readonly warnings: readonly string[]
  /** How many bytes of headers were read. */
  readonly headerBytes: number
}

export interface OpenFilesOptions {
  /** What `-` stands for. */
  readonly stdin?: AsyncIterable<Uint8Array | string> | undefined
  /** Whether the first row of a text is names. */
  readonly header?: HeaderChoice | undefined
  /** The user named the file, and may have named a pipe. */
  readonly mayBePipe?: boolean | undefined
  /** The one format that is expected. */
  readonly only?: 'safetensors' | undefined
  /** Why a text is refused, where it is: half a sentence of the file. */
  readonly textProblem?: string | undefined
  /** Which arrays of an .npz are wanted; matrices where left out. */
  readonly arrays?: ArrayShapes | undefined
}

/** Headers read at once: enough to hide a network's delay, few enough for the largest headers to fit in memory. */
const HEADERS_AT_ONCE = 4

/** All headers together: four times the longest single one, some 6 million tensors. */
const HEADERS_BYTE_LIMIT = 400_000_000

/**
 * Opens files of tensors, reads their headers, and closes them; `-` is standard input. They come in their order. The first error ends
 * it, and nothing is left open. Throws `bad-input` for what is missing, broken, or of another format.
 */
export async function openFiles(files: readonly string[], options: OpenFilesOptions): Promise<OpenedFile[]> {
  const opened: OpenedFile[] = new Array(files.length)
  const waiting = files.map((_, i) => i)
  let [working, headerBytes, failed] = [HEADERS_AT_ONCE, 0, false]
  const work = async () => {
    while (waiting.length > 0 && !failed) {
      const i = waiting.shift()!
      const isAlone = working === 1
      const file = await openFile(files[i], options).catch((error: unknown) => {
        // where few files may be open, others do what is left
        if (!isOfTooMany(error) || isAlone) throw error
        waiting.unshift(i)
      })
      if (file === undefined && working > 1) break
      if (file === undefined) continue
      opened[i] = file
      headerBytes += file.headerBytes
      if (files.length > 1 && headerBytes > HEADERS_BYTE_LIMIT) {
        throw badInput(
          `${files[i]}: the headers up to this shard take ${headerBytes} bytes; at most ${HEADERS_BYTE_LIMIT} are read of one checkpoint`,
          { file: files[i] },
        )
      }
    }
    working--
  }
  const workers = Array.from({ length: HEADERS_AT_ONCE }, () =>
    work().catch((error: unknown) => {
      failed = true
      throw error
    }),
  )
  const outcomes = await Promise.allSettled(workers)
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  return opened
}

const isOfTooMany = (error: unknown) => error instanceof Error && errnoOf(error.cause) === 'EMFILE'

async function openFile(
  file: string,
  { stdin, header, mayBePipe, only, textProblem, arrays }: OpenFilesOptions,
): Promise<OpenedFile> {
  const source = await openSource(file, { stdin, mayBePipe })
  try {
    const set = await openTensors(source, { header, only, textProblem, arrays })
    const { metadata, format, headerBytes } = set
    const warnings = [...set.warnings, ...refusals(set)]
    const identity = identityOf(source.name, source.stamp)
    return {
      metadata,
      format,
      headerBytes,
      warnings,
      identity,
      tensors: await storedTensors(set, { header }),
    }
  } finally {
    await source.close()
  }
}

/** Arrays that aren't matrices listed at most, each a line. */
const LISTED_PROBLEMS = 8

/** A warning for each of the first arrays that can't be read. */
function refusals({ source, refused }: TensorSet): string[] {
  const warnings = [...refused.values()].slice(0, LISTED_PROBLEMS).map(({ message }) => message)
  const more = refused.size - warnings.length
  if (more > 0)
    warnings.push(`${source.name}: ${counted(more, 'more array')} of it can't be read as matrices`)
  return warnings
}

/**
 * The tensors of a set in the order of their data, each with what is needed to read it once the source is closed: its place in the
 * file, or, of what can't be opened again, its numbers. Those are copies, so that a worker which is sent one isn't sent them all, unless
 * `isShared`. Throws `bad-input` where none can be read, and where a pipe unpacks to more than is kept.
 */
export async function storedTensors(
  set: TensorSet,
  {
    header,
    isShared = false,
  }: { readonly header?: HeaderChoice | undefined; readonly isShared?: boolean } = {},
): Promise<StoredTensor[]> {
  const [problem] = set.refused.values()
  if (set.tensors.size === 0 && problem !== undefined) throw problem
  const { name: file, stamp } = set.source
  const begin = ({ range }: TensorInfo) => range ?? { begin: 0, end: 0 }
  const inOrder = [...set.tensors.values()].sort(
    (a, b) => begin(a).begin - begin(b).begin || begin(a).end - begin(b).end,
  )
  const stored: StoredTensor[] = []
  let inMemory = 0
  for (const tensor of inOrder) {
    const { name, dtype, shape, bytes, member } = tensor
    inMemory += member?.byteLength ?? 0
    let source: TensorSource
    if (stamp !== undefined) source = placeIn(file, set.format, tensor, header)
    else if (holdsNamedBytes(set.format)) {
      const numbers = await set.read(name, 0, bytes)
      source = { kind: 'bytes', bytes: isShared ? numbers : numbers.slice() }
    } else if (inMemory > STREAM_BYTE_LIMIT) {
      throw badInput(
        `${file}: unpacks to more than ${STREAM_BYTE_LIMIT} bytes, the most kept of a pipe; save it to a file`,
        { file },
      )
    } else {
      const place = { file, ...(member !== undefined && { tensor: name }) }
      source = { kind: 'memory', matrix: await readMatrixOf(set, name, place) }
    }
    stored.push({ name, dtype, shape, bytes, source })
  }
  return stored
}

/** Whether each tensor lies in the file as bytes in a row, under its name. */
export const holdsNamedBytes = (format: TensorSet['format']) => format === 'safetensors' || format === 'gguf'

/** Where in a file a tensor lies: floats that stand there as they are by their range, all else by what has to be decoded. */
function placeIn(
  file: string,
  format: TensorSet['format'],
  { name, dtype, shape, range, member }: TensorInfo,
  header: HeaderChoice | undefined,
): TensorSource {
  const isAsStored = holdsNamedBytes(format) || floatDtypeOf(dtype) !== undefined
  if (range !== undefined && isAsStored) return { kind: 'range', file, ...range }
  return {
    kind: 'file',
    file,
    ...(member !== undefined && {
      array: { name, entry: member, ...(shape.length !== 2 && { shapes: 'any' }) },
    }),
    ...(format === 'text' && header !== undefined && { header }),
  }
}
