import { badInput } from '../errors.ts'
import { type FileStamp, openFile, readWhole } from '../formats/source.ts'

/** The text of a UTF-8 file of `limit` bytes at most. Throws `bad-input` for a longer one, and as `openFile` does. */
export async function readTextFile(
  file: string,
  limit: number,
): Promise<{ text: string; stamp: FileStamp | undefined }> {
  const source = await openFile(file, { limit })
  try {
    const bytes = await readWhole(source)
    return { text: decodeUtf8(bytes, file), stamp: source.stamp }
  } finally {
    await source.close()
  }
}

/** A byte-order mark is kept, and so refused by a strict parser. */
function decodeUtf8(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw badInput(`${file}: is not UTF-8 text; write it anew as UTF-8`, { file, cause })
  }
}
