import { constants, unlinkSync } from 'node:fs'
import { access, type FileHandle, link, lstat, open, readlink, rename, stat, unlink } from 'node:fs/promises'
import { basename, dirname, isAbsolute } from 'node:path'
import { badInput, errnoOf, LoraSvdError, osError, outputExists } from '../errors.ts'
import { noFolder } from './files.ts'
import { syncFolder } from './sized-file.ts'
import { beforeEnd, removeLeftovers, temporaryName } from './temporary.ts'

export interface WriteOptions {
  /** Replace an existing file. */
  readonly force?: boolean
  /** Refuse pipes and devices, from which nothing can be read back. */
  readonly onlyFile?: boolean
}

export interface WholeFileOptions extends Pick<WriteOptions, 'force'> {
  /** Looks at the whole file, at the path where it is then; what it throws is thrown, and the file never gets its name. */
  readonly check?: (path: string) => Promise<void>
}

export type Chunks = Iterable<Uint8Array> | AsyncIterable<Uint8Array>

/** As many links as Linux follows before it calls them a circle. */
const LINKS_FOLLOWED = 40

/** File systems that can't make hard links say so with one of these. */
const NO_HARD_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EXDEV', 'EINVAL'])

/** Folders in which this process has looked for what killed ones left. */
const tidied = new Set<string>()

/** Deletes a temporary file that is still open. For a signal handler: nothing is awaited, nothing thrown. */
function removeTemporary(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // gone already, or not ours to delete: the process ends either way
  }
}

/**
 * Checks that `path` can be written, before work is spent on what goes there. Throws LoraSvdError `output-exists` for
 * an existing file without `force`, `bad-input` for a folder, where there is no such folder to write in, or for
 * a pipe or device with `onlyFile`, `system` where the permission is missing.
 */
export async function assertWritable(
  path: string,
  { force = false, onlyFile = false }: WriteOptions = {},
): Promise<void> {
  const { kind } = await prepare(path, force)
  if (onlyFile && kind !== 'file') {
    throw badInput(`${path}: is a pipe or a device; name a file, as what is written is read back`, {
      file: path,
    })
  }
}

/**
 * Writes a file so that under its name stands, at every moment, the old content or the whole new one: to a temporary
 * file beside it, flushed to the disk, then renamed; what killed processes left of such is deleted. A link is followed and stays; pipes and devices are written
 * as they are. Gives the number of bytes. Throws as `assertWritable`, `system` where the machine fails (disk full …),
 * and what `chunks` throws; the temporary file is then gone.
 */
export async function writeFileAtomic(
  path: string,
  chunks: Chunks,
  { force = false, check }: WholeFileOptions = {},
): Promise<number> {
  const { target, kind, mode } = await prepare(path, force)
  if (kind === 'stream') return writeStream(path, target, chunks)
  await tidyOnce(dirname(target))
  const { temporary, handle, forget } = await openTemporary(dirname(target), path)
  try {
    // the umask would take bits from the permissions of the file that is replaced
    if (mode !== undefined) await whileWriting(path, () => handle.chmod(mode))
    const written = await writeChunks(handle, chunks, path)
    await whileWriting(path, async () => {
      await handle.sync()
      await handle.close()
    })
    await check?.(temporary)
    await whileWriting(path, () => putInPlace(temporary, target, path, force))
    await syncFolder(dirname(target))
    return written
  } finally {
    // after a success both are no-ops: the file is closed and has its final name
    await handle.close().catch(() => {})
    await unlink(temporary).catch(() => {})
    forget()
  }
}

/**
 * Writes a file into a folder of this process's own, which appears there whole or not at all and replaces what has its name. Nothing is asked about
 * that folder or name, and nothing is flushed to the disk: once the machine has stopped the file may be cut, empty or missing, which
 * whoever reads it has to tell. Gives the number of bytes. Throws `system` where the machine fails, and what `chunks` throws.
 */
export async function writeOwnFile(path: string, chunks: Chunks): Promise<number> {
  const folder = dirname(path)
  await tidyOnce(folder)
  const { temporary, handle, forget } = await openTemporary(folder, path)
  try {
    const written = await writeChunks(handle, chunks, path)
    await whileWriting(path, async () => {
      await handle.close()
      await rename(temporary, path)
    })
    return written
  } catch (error) {
    await handle.close().catch(() => {})
    await unlink(temporary).catch(() => {})
    throw error
  } finally {
    forget()
  }
}

/** The same as `writeFileAtomic` of a text, as UTF-8. */
export const writeTextAtomic = (path: string, text: string, options: WriteOptions): Promise<number> =>
  writeFileAtomic(path, [new TextEncoder().encode(text)], options)

interface Target {
  /** Where the bytes go once links are followed. */
  readonly target: string
  readonly kind: 'file' | 'stream'
  /** The permissions of the file that stands there now. */
  readonly mode: number | undefined
}

async function prepare(path: string, force: boolean): Promise<Target> {
  const file = path
  if (/[/\\]$/.test(path)) throw badInput(`${path}: names a folder; name a file to write`, { file })
  const found = await statOrUndefined(path, path)
  if (found?.isDirectory()) throw badInput(`${path}: is a folder; name a file inside it`, { file })
  // by its own name: the links behind /dev/stdout lead to names that no folder holds
  if (found?.isFIFO() || found?.isCharacterDevice()) return { target: path, kind: 'stream', mode: undefined }
  if (found !== undefined && !found.isFile()) {
    throw badInput(`${path}: is neither a file nor a pipe; name a file to write`, { file })
  }
  if (found !== undefined && !force) throw outputExists(path)
  const target = await followLinks(path)
  await checkFolder(path, dirname(target))
  return { target, kind: 'file', mode: found === undefined ? undefined : found.mode & 0o777 }
}

async function checkFolder(path: string, folder: string): Promise<void> {
  const found = await statOrUndefined(folder, path)
  if (found === undefined) {
    throw noFolder(path, folder)
  }
  if (!found.isDirectory()) throw badInput(`${path}: ${folder} is not a folder`, { file: path })
  await access(folder, constants.W_OK | constants.X_OK).catch((error: unknown) => {
    throw osError(error, `write in the folder ${folder}`, path)
  })
}

/** The path that `path` leads to, though nothing may be there yet: a link to nothing is followed too. */
async function followLinks(path: string): Promise<string> {
  let at = path
  for (let followed = 0; followed < LINKS_FOLLOWED; followed++) {
    const found = await statOrUndefined(at, path, lstat)
    if (!found?.isSymbolicLink()) return at
    const next = await whileWriting(path, () => readlink(at))
    // not path.join: it would drop `name/..`, which means another folder where `name` is a link
    at = isAbsolute(next) ? next : `${dirname(at)}/${next}`
  }
  throw badInput(`${path}: its symbolic links go in a circle; name another file`, { file: path })
}

async function statOrUndefined(at: string, path: string, look = stat) {
  return look(at).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined
    throw osError(error, 'write it', path)
  })
}

async function tidyOnce(folder: string): Promise<void> {
  if (tidied.has(folder)) return
  tidied.add(folder)
  await removeLeftovers(folder)
}

async function openTemporary(folder: string, path: string) {
  for (;;) {
    const temporary = `${folder}/${temporaryName()}`
    const forget = beforeEnd(() => removeTemporary(temporary))
    try {
      return { temporary, handle: await open(temporary, 'wx'), forget }
    } catch (error) {
      forget()
      if (errnoOf(error) !== 'EEXIST') throw osError(error, 'write it', path)
    }
  }
}

async function writeChunks(handle: FileHandle, chunks: Chunks, path: string): Promise<number> {
  let written = 0
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      const { bytesWritten } = await whileWriting(path, () => handle.write(chunk, at))
      at += bytesWritten
    }
    written += chunk.length
  }
  return written
}

async function writeStream(path: string, target: string, chunks: Chunks): Promise<number> {
  const handle = await whileWriting(path, () => open(target, 'w'))
  try {
    return await writeChunks(handle, chunks, path)
  } finally {
    await handle.close().catch(() => {})
  }
}

/** Gives the file its final name; without `force` by a link, which fails where another process was first. */
async function putInPlace(temporary: string, target: string, path: string, force: boolean): Promise<void> {
  if (force) return rename(temporary, target)
  try {
    await link(temporary, target)
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') throw outputExists(path)
    if (!NO_HARD_LINKS.has(errnoOf(error) ?? '')) throw error
    if ((await statOrUndefined(target, path)) !== undefined) throw outputExists(path)
    await rename(temporary, target)
  }
}

async function whileWriting<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (error instanceof LoraSvdError) throw error
    throw osError(error, `write ${basename(path)}`, path)
  }
}
