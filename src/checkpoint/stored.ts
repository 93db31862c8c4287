import { lstat, stat } from 'node:fs/promises'
import { badInput, badUsage, LoraSvdError } from '../errors.ts'
import { readSafetensorsHeader, type SafetensorsHeader } from '../formats/safetensors-header.ts'
import { SNIFFED_BYTES, sniff } from '../formats/sniff.ts'
import { errnoOf, osError } from '../io/os-error.ts'
import { type ByteSource, type OpenFileOptions, openFile, stampOf } from '../io/source.ts'
import type { Checkpoint, FileIdentity, StoredTensor, TensorSource } from './types.ts'

/** A safetensors file of which the header was read. */
export interface OpenedFile {
  readonly tensors: readonly StoredTensor[]
  readonly metadata: ReadonlyMap<string, string>
  readonly identity: readonly FileIdentity[]
  /** Bytes up to the data. */
  readonly headerBytes: number
}

/**
 * Opens a file that was found in a folder. Throws as `openFile` does, and says it where the file is a link to something that
 * isn't there, as an interrupted download leaves it.
 */
export async function openListed(file: string, options?: OpenFileOptions): Promise<ByteSource> {
  try {
    return await openFile(file, options)
  } catch (error) {
    const isMissing = error instanceof LoraSvdError && errnoOf(error.cause) === 'ENOENT'
    if (!isMissing) throw error
    const isLink = await lstat(file).then(
      (stat) => stat.isSymbolicLink(),
      () => false,
    )
    throw isLink
      ? badInput(
          `${file}: is a link to a file that isn't there: the download is incomplete; fetch it again`,
          {
            file,
            cause: error,
          },
        )
      : error
  }
}

/** The header of a safetensors file, whatever its name. Throws `bad-input` for another format, and for a wrong header. */
export async function openSafetensors(file: string): Promise<OpenedFile> {
  const source = await openListed(file)
  try {
    const start = await source.read(0, Math.min(SNIFFED_BYTES, source.byteLength))
    const sniffed = sniff(start, source.byteLength, file)
    if (sniffed.format === 'foreign') throw badInput(`${file}: ${sniffed.problem}`, { file })
    if (sniffed.format !== 'safetensors')
      throw badInput(`${file}: is no safetensors file; fetch it again`, { file })
    return await openedFile(source)
  } finally {
    await source.close()
  }
}

/**
 * As `openSafetensors`, of a source that is known to be one. Tensors of what can't be opened again keep their bytes: copies,
 * so that a worker which is sent one isn't sent them all, unless `isShared`.
 */
export async function openedFile(source: ByteSource, isShared = false): Promise<OpenedFile> {
  const header = await readSafetensorsHeader(source)
  const { stamp } = source
  const identity = stamp === undefined ? [] : [{ path: source.name, ...stamp }]
  const tensors = await storedTensors(header, async (begin, end) => {
    if (stamp !== undefined) return { kind: 'range', file: source.name, begin, end }
    const bytes = await source.read(begin, end)
    return { kind: 'bytes', bytes: isShared ? bytes : bytes.slice() }
  })
  return { tensors, metadata: header.metadata, identity, headerBytes: header.dataStart }
}

/** The tensors in the order of their data. */
async function storedTensors(
  { tensors, dataStart }: SafetensorsHeader,
  sourceOf: (begin: number, end: number) => Promise<TensorSource>,
): Promise<StoredTensor[]> {
  const inOrder = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)
  const stored: StoredTensor[] = []
  for (const [name, { dtype, shape, begin, end }] of inOrder) {
    const source = await sourceOf(dataStart + begin, dataStart + end)
    stored.push({ name, dtype, shape, bytes: end - begin, source })
  }
  return stored
}

/**
 * Throws `bad-input` naming the first file of the checkpoint that is no longer the one that was opened: another length, time
 * of change or inode.
 */
export async function assertUnchanged({ files }: Pick<Checkpoint, 'files'>): Promise<void> {
  for (const { path, bytes, modified, inode } of files) {
    const now = await stat(path, { bigint: true }).catch((error: unknown) => {
      throw osError(error, 'look at it again', path, 'it was there when the checkpoint was opened')
    })
    const stamp = stampOf(now)
    if (stamp.bytes !== bytes || stamp.modified !== modified || stamp.inode !== inode) {
      throw badInput(`${path}: was changed since it was opened; run the same command again`, { file: path })
    }
  }
}

/**
 * Throws `bad-usage` where an output is one of the files that are read, which --force would replace: the same file by device
 * and inode, whatever links or spelling lead to it. `outputs` are paths by their flags.
 */
export async function assertNotRead(
  outputs: Readonly<Record<string, string>>,
  files: readonly { readonly path: string }[],
): Promise<void> {
  const read = new Set(await Promise.all(files.map(({ path }) => identityOf(path))))
  for (const [flag, output] of Object.entries(outputs)) {
    const identity = await identityOf(output)
    if (identity !== undefined && read.has(identity)) {
      throw badUsage(`${flag} ${output}: is what is read; name another file`)
    }
  }
}

/** The name under which a file that was given as standard input can be looked at, where one of the inputs is `-`. */
export const nameOfStandardInput = (inputs: readonly (string | undefined)[]) =>
  inputs.includes('-') ? [{ path: '/dev/stdin' }] : []

/** What two names of one file have in common; undefined where there is none. */
const identityOf = (path: string) =>
  stat(path, { bigint: true }).then(
    ({ dev, ino }) => `${dev}/${ino}`,
    () => undefined,
  )
