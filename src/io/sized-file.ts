import { readSync, writeSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { LoraSvdError, osError } from '../errors.ts'

/**
 * Files whose length is known before they are filled, by several threads at once, each at places of its own. Bytes are moved by calls
 * that wait: a thread that fills a file has nothing else to do, and thousands of panels by way of Node's pool cost as much again.
 */

export interface SizedFile {
  /** Writes all bytes from byte `at` on. Throws `system` where the machine fails. */
  write(bytes: Uint8Array, at: number): Promise<void>
  /** Fills `target` with what lies from byte `at` on. Throws `system` where the machine fails or the file has become shorter. */
  readInto(target: Uint8Array, at: number): Promise<void>
}

/** Makes a file of so many bytes, or gives one that is there that length; what it holds stays. Throws `bad-input` or `system`. */
export async function makeSized(path: string, bytes: number): Promise<void> {
  await withHandle(path, 'a', (handle) => handle.truncate(bytes))
}

/** Lets `use` fill a file that `makeSized` has made. */
export const withSizedFile = <T>(path: string, use: (file: SizedFile) => Promise<T>): Promise<T> =>
  withHandle(path, 'r+', (handle) =>
    use({
      write: async (bytes, at) => {
        for (let done = 0; done < bytes.length; ) {
          done += writeSync(handle.fd, bytes, done, bytes.length - done, at + done)
        }
      },
      readInto: async (target, at) => {
        for (let done = 0; done < target.length; ) {
          const bytesRead = readSync(handle.fd, target, done, target.length - done, at + done)
          if (bytesRead === 0) throw shorter(path)
          done += bytesRead
        }
      },
    }),
  )

/** Resolves when all that was written into the file is on the disk. */
export const syncFile = (path: string): Promise<void> => withHandle(path, 'r+', (handle) => handle.sync())

/** The same of the names in a folder, where the system can: Windows can't open one, some file systems can't sync one. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined)
  await handle?.sync().catch(() => {})
  await handle?.close().catch(() => {})
}

async function withHandle<T>(
  path: string,
  flags: 'a' | 'r+',
  use: (handle: FileHandle) => Promise<T>,
): Promise<T> {
  let handle: FileHandle | undefined
  try {
    handle = await open(path, flags)
    return await use(handle)
  } catch (error) {
    if (error instanceof LoraSvdError || !(error instanceof Error && 'syscall' in error)) throw error
    throw osError(error, 'write it', path)
  } finally {
    await handle?.close().catch(() => {})
  }
}

const shorter = (path: string) =>
  new LoraSvdError('system', `${path}: was made shorter while it was written; run the same command again`, {
    file: path,
  })
