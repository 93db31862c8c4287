import { badInput } from '../../../errors.ts'
import {
  type ByteSource,
  decodeUtf8,
  type FileStamp,
  readWhole,
  type TextFile,
} from '../../../io/byte-source.ts'
import { allocate, checkLength, checkRange } from '../../../io/ranges.ts'
import { blobAt, entriesIn } from './disk.ts'

/** Stands for io/source.ts: files are read by slices. */
export {
  type ByteSource,
  type FileStamp,
  memorySource,
  readWhole,
  STANDARD_INPUT,
  STREAM_BYTE_LIMIT,
} from '../../../io/byte-source.ts'

/** What is read at once where a file is read part by part: a slice takes a browser a millisecond or two however short it is. */
const WINDOW = 4 * 2 ** 20

interface Limits {
  readonly limit?: number
}

/** Opens a file. Throws `bad-input` where there is none, and past the limit. */
export async function openFile(path: string, { limit }: Limits = {}): Promise<ByteSource> {
  const blob = blobAt(path)
  const file = path
  if (blob === undefined) {
    const isFolder = entriesIn(path).length > 0
    throw badInput(
      isFolder ? `${path}: is a folder; name a file inside it` : `${path}: no such file; check the path`,
      { file },
    )
  }
  checkLength(path, blob.size, limit)
  return blobSource(path, blob)
}

export const openSource = (path: string): Promise<ByteSource> => openFile(path)

function blobSource(path: string, blob: Blob): ByteSource {
  const { size } = blob
  let window: { start: number; bytes: Uint8Array } = { start: 0, bytes: new Uint8Array(0) }
  let last = 0

  async function slice(start: number, end: number): Promise<Uint8Array> {
    try {
      return new Uint8Array(await blob.slice(start, end).arrayBuffer())
    } catch (cause) {
      throw badInput(`${path}: can't be read: it was changed or moved since it was chosen; choose it again`, {
        file: path,
        cause,
      })
    }
  }

  /** Parts that follow each other come from one slice. */
  async function part(start: number, end: number): Promise<Uint8Array> {
    checkRange(path, start, end, size)
    const isNext = start === last
    last = end
    const { start: first, bytes } = window
    if (start >= first && end <= first + bytes.length) return bytes.subarray(start - first, end - first)
    if (!isNext || end - start > WINDOW / 2) return slice(start, end)
    window = { start, bytes: await slice(start, Math.min(size, start + WINDOW)) }
    return window.bytes.subarray(0, end - start)
  }

  return {
    name: path,
    byteLength: size,
    stamp: stampOf(blob),
    read: async (start, end) => {
      const bytes = await part(start, end)
      if (bytes.byteLength === bytes.buffer.byteLength) return bytes
      const own = allocate(end - start, path)
      own.set(bytes)
      return own
    },
    readInto: async (target, start) => target.set(await part(start, start + target.length)),
    close: async () => {},
  }
}

const NANOSECONDS = 1_000_000

const stampOf = (blob: Blob): FileStamp => ({
  bytes: blob.size,
  modified: String(blob instanceof File ? blob.lastModified * NANOSECONDS : 0),
  inode: '0',
})

export async function readTextFile(path: string, limit: number): Promise<TextFile> {
  const source = await openFile(path, { limit })
  return { text: decodeUtf8(await readWhole(source), path), stamp: source.stamp }
}

export const readTextIfThere = async (path: string, limit: number): Promise<TextFile | undefined> =>
  blobAt(path) === undefined ? undefined : readTextFile(path, limit)

export const readWholeFile = async (path: string): Promise<Uint8Array> => readWhole(await openFile(path))
