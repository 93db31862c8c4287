import { type BigIntStats, constants as fsConstants, readSync, type StatsBase } from 'node:fs'
import { type FileHandle, lstat, open, stat } from 'node:fs/promises'
import { badInput, errnoOf, LoraSvdError, osError, osReason } from '../errors.ts'
import {
  type ByteSource,
  decodeUtf8,
  type FileStamp,
  memorySource,
  readWhole,
  STANDARD_INPUT,
  STREAM_BYTE_LIMIT,
  type TextFile,
} from './byte-source.ts'
import { allocate, checkLength, checkRange } from './ranges.ts'
import { isAddress } from './remote/address.ts'
import { cachedFile } from './remote/cache.ts'
import { isThere } from './remote/hub.ts'
import { openRemote, stampElsewhere } from './remote/source.ts'

export { type ByteSource, type FileStamp, memorySource, readWhole, STANDARD_INPUT, STREAM_BYTE_LIMIT }

/** The most one read system call is asked for; Linux moves at most 2 GiB − 4 KiB a call. */
const READ_CALL_BYTES = 2 ** 30

export interface OpenFileOptions {
  /** Read pipes too, to their end: for what a user named. A pipe met in a folder would be waited for without end. */
  readonly mayBePipe?: boolean | undefined
  /** The most bytes it may hold; a longer one is refused before it is read. */
  readonly limit?: number
}

/** Opening a pipe or a terminal then doesn't wait, and doesn't take the terminal; 0 on Windows, which has neither flag. */
const WITHOUT_WAITING = (fsConstants.O_NONBLOCK ?? 0) | (fsConstants.O_NOCTTY ?? 0)

/**
 * Opens a file elsewhere, or a regular file for reading in ranges, links followed; with `mayBePipe` also a pipe (/dev/stdin, a process
 * substitution), which is read whole. Throws LoraSvdError `bad-input` at once for a missing file, a folder, a pipe, socket or
 * device, a file past the limit or one that may not be read, and `system` where the machine fails.
 */
export async function openFile(
  path: string,
  { mayBePipe = false, limit }: OpenFileOptions = {},
): Promise<ByteSource> {
  if (isAddress(path)) return openElsewhere(path, limit)
  // asked before it is opened: a pipe would let its writer go, a device may act on it
  const found = await stat(path).catch((error: unknown) => {
    throw openError(error, path)
  })
  refuseOtherThanFile(found, mayBePipe, path)
  const flags = fsConstants.O_RDONLY | (found.isFIFO() ? 0 : WITHOUT_WAITING)
  const handle = await open(path, flags).catch((error: unknown) => {
    throw openError(error, path)
  })
  try {
    const opened = await handle.stat({ bigint: true })
    // asked again: another may stand there since
    refuseOtherThanFile(opened, mayBePipe, path)
    const stamp = stampOf(opened)
    checkLength(path, stamp.bytes, limit)
    // files of /proc say they are empty, so an empty file is read to its end too
    if (opened.isFile() && stamp.bytes > 0) return fileSource(path, handle, stamp)
    const bytes = await readAll(handle.createReadStream({ autoClose: false }), path, limit)
    await handle.close()
    return memorySource(path, bytes)
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** A file elsewhere, or what the cache has of it, by the same name and stamp. */
async function openElsewhere(given: string, limit: number | undefined): Promise<ByteSource> {
  const kept = await cachedFile(given, limit)
  if (kept === undefined) return openRemote(given, limit)
  const { address, file } = kept
  const source = await openFile(file, limit === undefined ? {} : { limit })
  const stamp = stampElsewhere(address, { bytes: source.byteLength, version: '' })
  return { ...source, name: address, stamp }
}

export interface OpenSourceOptions extends OpenFileOptions {
  /** What `-` stands for. */
  readonly stdin?: AsyncIterable<Uint8Array | string> | undefined
}

/**
 * Opens what a path names for reading in ranges: a file, or for `-` standard input, which is read to its end. Says it where the path
 * is a link to something that isn't there, as an interrupted download leaves it. Throws as `openFile` and `readAll` do.
 */
export async function openSource(
  path: string,
  { stdin = process.stdin, ...options }: OpenSourceOptions = {},
): Promise<ByteSource> {
  if (path === '-') return memorySource(STANDARD_INPUT, await readAll(stdin, STANDARD_INPUT))
  try {
    return await openFile(path, options)
  } catch (error) {
    const isMissing = error instanceof LoraSvdError && errnoOf(error.cause) === 'ENOENT'
    if (!isMissing || !(await isLink(path))) throw error
    const problem = "is a link to a file that isn't there: the download is incomplete; fetch it again"
    throw badInput(`${path}: ${problem}`, { file: path, cause: error })
  }
}

const isLink = (path: string) =>
  lstat(path).then(
    (found) => found.isSymbolicLink(),
    () => false,
  )

/**
 * The text of a UTF-8 file of `limit` bytes at most. A byte-order mark is kept, and so
 * refused by a strict parser. Throws `bad-input` for a longer one and for other text, and as `openFile` does.
 */
export async function readTextFile(path: string, limit: number): Promise<TextFile> {
  const source = await openFile(path, { limit })
  try {
    const bytes = await readWhole(source)
    return { text: decodeUtf8(bytes, path), stamp: source.stamp }
  } finally {
    await source.close()
  }
}

/** As `readTextFile`; undefined where there is no such file. */
export async function readTextIfThere(path: string, limit: number): Promise<TextFile | undefined> {
  if (isAddress(path)) return (await isThere(path)) ? readTextFile(path, limit) : undefined
  const isMissing = await stat(path).then(
    () => false,
    (error: unknown) => errnoOf(error) === 'ENOENT',
  )
  return isMissing ? undefined : readTextFile(path, limit)
}

function refuseOtherThanFile(found: StatsBase<unknown>, mayBePipe: boolean, path: string): void {
  if (found.isFile() || (mayBePipe && found.isFIFO())) return
  const file = path
  if (found.isDirectory()) throw badInput(`${path}: is a folder; name a file inside it`, { file })
  const what = found.isFIFO() ? 'a pipe' : found.isSocket() ? 'a socket' : 'a device'
  const advice = mayBePipe ? 'name a file, or - for standard input' : 'put the file itself there'
  throw badInput(`${path}: is ${what}, not a file; ${advice}`, { file })
}

export const stampOf = ({ size, mtimeNs, ino }: BigIntStats): FileStamp => ({
  bytes: Number(size),
  modified: String(mtimeNs),
  inode: String(ino),
})

function fileSource(path: string, handle: FileHandle, stamp: FileStamp): ByteSource {
  const byteLength = stamp.bytes

  type ReadCall = (target: Uint8Array, offset: number, length: number, at: number) => number | Promise<number>

  const readByPool: ReadCall = async (...call) => (await handle.read(...call)).bytesRead
  const readNow: ReadCall = (...call) => readSync(handle.fd, ...call)

  async function readInto(target: Uint8Array, start: number, call: ReadCall): Promise<void> {
    checkRange(path, start, start + target.length, byteLength)
    for (let filled = 0; filled < target.length; ) {
      const bytesRead = await readSome(target, filled, start, call)
      if (bytesRead === 0) {
        throw badInput(
          `${path}: ended at byte ${start + filled} of ${byteLength}: it was made shorter while it was read`,
          { file: path },
        )
      }
      filled += bytesRead
    }
  }

  async function readSome(
    target: Uint8Array,
    filled: number,
    start: number,
    call: ReadCall,
  ): Promise<number> {
    try {
      return await call(target, filled, Math.min(READ_CALL_BYTES, target.length - filled), start + filled)
    } catch (error) {
      throw osError(error, 'read it', path)
    }
  }

  return {
    name: path,
    byteLength,
    stamp,
    read: async (start, end) => {
      checkRange(path, start, end, byteLength)
      const bytes = allocate(end - start, path)
      await readInto(bytes, start, readByPool)
      return bytes
    },
    readInto: (target, start) => readInto(target, start, readNow),
    close: () => handle.close(),
  }
}

/**
 * All bytes of a stream, such as standard input. Throws LoraSvdError `bad-input` past `limit` bytes,
 * `system` where reading fails.
 */
export async function readAll(
  stream: AsyncIterable<Uint8Array | string>,
  name: string,
  limit = STREAM_BYTE_LIMIT,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let total = 0
  try {
    for await (const chunk of stream) {
      const bytes = typeof chunk === 'string' ? new TextEncoder().encode(chunk) : chunk
      total += bytes.length
      if (total > limit) {
        throw badInput(
          `${name}: gives more than ${limit} bytes, the most read from a pipe; save it to a file`,
          {
            file: name,
          },
        )
      }
      chunks.push(bytes)
    }
  } catch (error) {
    if (error instanceof LoraSvdError) throw error
    throw osError(error, 'read it', name)
  }
  const all = allocate(total, name)
  let filled = 0
  for (const chunk of chunks) {
    all.set(chunk, filled)
    filled += chunk.length
  }
  return all
}

/** All bytes of a file. Throws as `openFile` does. */
export async function readWholeFile(path: string): Promise<Uint8Array> {
  const source = await openFile(path)
  try {
    return await readWhole(source)
  } finally {
    await source.close()
  }
}

function openError(error: unknown, path: string): LoraSvdError {
  const errno = errnoOf(error)
  const file = path
  if (errno === 'ENOENT') {
    return badInput(`${path}: no such file; check the path`, { file, cause: error })
  }
  if (errno === 'EACCES' || errno === 'EPERM') {
    return badInput(
      `${path}: may not be read: ${osReason(error)}; give yourself read permission (chmod u+r)`,
      {
        file,
        cause: error,
      },
    )
  }
  if (errno === 'ENXIO') {
    return badInput(`${path}: can't be opened: ${osReason(error)}; for standard input write -`, {
      file,
      cause: error,
    })
  }
  return osError(error, 'open it', path)
}
