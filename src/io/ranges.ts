import { constants } from 'node:buffer'
import { badInput, LoraSvdError } from '../errors.ts'

/** What all sources of bytes check. */

/** An array for bytes of a file. Throws `bad-input` for more than Node holds in one, `system` where memory doesn't suffice. */
export function allocate(byteLength: number, file: string): Uint8Array {
  if (byteLength > constants.MAX_LENGTH) {
    throw badInput(
      `${file}: ${byteLength} bytes are asked for at once; this Node holds at most ${constants.MAX_LENGTH} in one array`,
      { file },
    )
  }
  try {
    return new Uint8Array(byteLength)
  } catch (cause) {
    throw new LoraSvdError('system', `${file}: not enough memory for ${byteLength} bytes`, { file, cause })
  }
}

/** Throws RangeError for bytes outside of a source. */
export function checkRange(name: string, start: number, end: number, byteLength: number): void {
  if (!(start >= 0 && start <= end && end <= byteLength)) {
    throw new RangeError(`${name}: bytes ${start} to ${end} are outside 0 to ${byteLength}`)
  }
}

/** Throws `bad-input` for a file that is longer than what is read of its kind. */
export function checkLength(path: string, bytes: number, limit: number | undefined): void {
  if (limit === undefined || bytes <= limit) return
  throw badInput(`${path}: the file is ${bytes} bytes long; at most ${limit} are read of such a file`, {
    file: path,
  })
}
