import { put } from './disk.ts'

/** Stands for io/write-atomic.ts: what is written is a blob, there once it is whole. */

export type Chunks = Iterable<Uint8Array> | AsyncIterable<Uint8Array>

export const assertWritable = async (_path: string, _options?: object): Promise<void> => {}

/** Chunks are handed to the browser when so many bytes are together. */
const HANDED_AT = 16 * 2 ** 20

export async function writeFileAtomic(path: string, chunks: Chunks, _options?: object): Promise<number> {
  const parts: Blob[] = []
  let waiting: Uint8Array<ArrayBuffer>[] = []
  let bytes = 0
  const hand = () => {
    parts.push(new Blob(waiting))
    waiting = []
    bytes = 0
  }
  for await (const chunk of chunks) {
    // a copy: what makes chunks may use their memory again
    waiting.push(chunk.slice())
    bytes += chunk.length
    if (bytes >= HANDED_AT) hand()
  }
  hand()
  const whole = new Blob(parts)
  put(path, whole)
  return whole.size
}

export const writeOwnFile = writeFileAtomic

export const writeTextAtomic = (path: string, text: string, options?: object): Promise<number> =>
  writeFileAtomic(path, [new TextEncoder().encode(text)], options)
