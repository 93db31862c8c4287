import { badInput } from '../errors.ts'
import { checkRange } from './ranges.ts'

/** Sources of bytes, whatever they are on: nothing here touches a file. */

/** Bytes that can be read in ranges: a file, or memory. `name` is what messages call it. */
export interface ByteSource {
  readonly name: string
  readonly byteLength: number
  /** Of a file, here or elsewhere: what tells that it is still the same one. */
  readonly stamp?: FileStamp
  /** The bytes [start, end). Throws RangeError outside 0 … byteLength. The result may share the source's memory. */
  read(start: number, end: number): Promise<Uint8Array>
  /**
   * Fills `target` with the bytes from `start` on, by a call that waits: for panels of a few hundred KiB, of which each by way of Node's
   * pool would cost as much again. Throws as `read` does.
   */
  readInto(target: Uint8Array, start: number): Promise<void>
  close(): Promise<void>
}

/**
 * Length, time of the last change in nanoseconds, and inode of a file; the last two as decimal digits. Of a file elsewhere the
 * second is its ETag, of the Hub's at a commit nothing, and the last 0.
 */
export interface FileStamp {
  readonly bytes: number
  readonly modified: string
  readonly inode: string
}

/** The most a pipe may deliver: it can't be read in ranges, and joining its pieces needs the size twice. */
export const STREAM_BYTE_LIMIT = 2 * 2 ** 30

/** A source over bytes in memory, which it doesn't copy. */
export function memorySource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    byteLength: bytes.length,
    read: async (start, end) => {
      checkRange(name, start, end, bytes.length)
      return bytes.subarray(start, end)
    },
    readInto: async (target, start) => {
      checkRange(name, start, start + target.length, bytes.length)
      target.set(bytes.subarray(start, start + target.length))
    },
    close: async () => {},
  }
}

/** What messages call standard input. */
export const STANDARD_INPUT = 'standard input'

/** A text, and what tells that its file is still the same. */
export interface TextFile {
  readonly text: string
  readonly stamp: FileStamp | undefined
}

/** All bytes of a source. */
export const readWhole = (source: ByteSource) => source.read(0, source.byteLength)

/** The text that bytes are. A byte-order mark is kept. Throws `bad-input` for what is no UTF-8. */
export function decodeUtf8(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw badInput(`${file}: is not UTF-8 text; write it anew as UTF-8`, { file, cause })
  }
}
