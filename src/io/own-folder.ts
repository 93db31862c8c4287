import { createHash } from 'node:crypto'
import type { Stats } from 'node:fs'
import { lstat, mkdir, readdir, readFile, rename, rm, rmdir, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { badInput, errnoOf, type LoraSvdError, osError } from '../errors.ts'
import { quoted } from '../text/quote.ts'
import { isMountPoint } from './files.ts'
import { isForeign, temporaryName } from './temporary.ts'
import { writeTextAtomic } from './write-atomic.ts'

/** Nobody else may write in it, whatever the umask. */
const MODE = 0o755
const OTHERS_WRITE = 0o022

/**
 * Makes the folder, or checks one that is there: that it is this user's, that nobody else may write in it, and that it can be
 * renamed. No link is followed. Gives whether it was made. Throws `bad-input`, `system`, and ENOENT where it has just gone.
 */
export async function makeOwnFolder(folder: string): Promise<boolean> {
  try {
    await mkdir(folder, MODE)
    return true
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw osError(error, 'make this folder', folder)
  }
  const found = await lstat(folder)
  if (found.isSymbolicLink()) throw refused(folder, 'is a link, and what it leads to may be anything')
  if (!found.isDirectory()) throw refused(folder, 'is a file, where unfinished runs keep a folder')
  if (isOpenToOthers(found) && (await keepsOwners(folder, found))) {
    const why = isForeign(found) ? 'belongs to another user' : 'can be written in by others (chmod go-w)'
    throw refused(folder, `${why}, so what it holds can't be trusted`)
  }
  if ((await lstat(dirname(folder))).dev !== found.dev || (await isMountPoint(folder))) {
    throw refused(folder, 'is on another file system than the output, so nothing can be renamed from it')
  }
  return false
}

/** The entries of a folder that `makeOwnFolder` has passed: throws `bad-input` on one that no run left there. */
export async function assertOnlyOurs(
  folder: string,
  isOurs: (name: string, entry: EntryKind) => boolean,
): Promise<void> {
  const own = await lstat(folder)
  const names = await readdir(folder).catch((error: unknown) => {
    throw errnoOf(error) === 'ENOENT' ? error : osError(error, 'list it', folder)
  })
  for (const name of names) {
    // of those who come and go while the lock is not yet held
    const entry = await lstat(join(folder, name)).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return undefined
      throw osError(error, `look at ${quoted(name)} in it`, folder)
    })
    if (entry === undefined || (entry.uid === own.uid && isOurs(name, entry))) continue
    throw badInput(
      `${folder}: unfinished runs keep their results in a folder of this name, and it holds ${quoted(name)}, which is none; move it, or write to another --out`,
      { file: folder },
    )
  }
}

/** What an entry of a folder is, no link followed. */
export type EntryKind = Pick<Stats, 'isFile' | 'isDirectory'>

/** Removes a folder that was made and in which nothing is yet; any other stays. */
export const removeEmpty = (folder: string): Promise<void> => rmdir(folder).catch(() => {})

/**
 * Removes a folder with all that is in it. It leaves its name in one step, so that nobody finds it half removed and takes it. Gives
 * where it is, or what is left of it, with the error that stood in the way; undefined where it is gone.
 */
export async function removeWhole(folder: string): Promise<{ at: string; error: unknown } | undefined> {
  const trash = join(dirname(resolve(folder)), temporaryName())
  let at = folder
  try {
    await rename(folder, trash)
    at = trash
    await rm(trash, { recursive: true, force: true })
    return undefined
  } catch (error) {
    return { at, error }
  }
}

/** Removes the entries of a folder whose names are meant. Throws what the system says. */
export async function discard(folder: string, isMeant: (name: string) => boolean): Promise<void> {
  for (const name of await readdir(folder)) {
    if (isMeant(name)) await rm(join(folder, name), { recursive: true, force: true })
  }
}

/** Gives the first of the entries whose names are meant the name `to`, if that is free. Throws what the system says. */
export async function putBack(folder: string, isMeant: (name: string) => boolean, to: string): Promise<void> {
  for (const name of (await readdir(folder)).filter(isMeant)) {
    const isFree = await lstat(to).then(
      () => false,
      (error: unknown) => errnoOf(error) === 'ENOENT',
    )
    if (isFree) await rename(join(folder, name), to)
  }
}

const isOpenToOthers = (found: Stats) =>
  process.geteuid !== undefined && (isForeign(found) || (found.mode & OTHERS_WRITE) !== 0)

/**
 * Whether the file system keeps owners and permissions. Some give every folder the same (FAT, shares, root on NFS): there a new one
 * shows the same, and nothing is told by it.
 */
async function keepsOwners(folder: string, { uid, mode }: Stats): Promise<boolean> {
  const probe = join(dirname(folder), temporaryName())
  try {
    await mkdir(probe, MODE)
  } catch {
    return true
  }
  try {
    const made = await lstat(probe)
    return made.uid !== uid || (made.mode & OTHERS_WRITE) !== (mode & OTHERS_WRITE)
  } catch {
    return true
  } finally {
    await rmdir(probe).catch(() => {})
  }
}

const refused = (folder: string, why: string): LoraSvdError =>
  badInput(`${folder}: ${why}; move it, or write to another --out`, { file: folder })

export const digestOfJson = (value: unknown): string =>
  createHash('sha256').update(JSON.stringify(value)).digest('hex')

/** A small file of JSON that appears whole or not at all. */
export async function writeJsonFile(path: string, value: unknown): Promise<void> {
  await writeTextAtomic(path, `${JSON.stringify(value)}\n`, { force: true })
}

/** What it holds; undefined where it is missing, no file, or holds no JSON object. Throws `system` where the machine fails. */
export async function readJsonFile(path: string): Promise<Record<string, unknown> | undefined> {
  // a pipe would be waited for, and a device may never end; what can't be looked at is read to say why
  const isFile = await stat(path).then(
    (found) => found.isFile(),
    () => true,
  )
  if (!isFile) return undefined
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return ''
    throw osError(error, 'read it', path)
  })
  try {
    const value = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

/** The same with a checksum, for one run only. */
export async function writeSealed(path: string, run: string, content: unknown): Promise<void> {
  await writeJsonFile(path, { run, content, sha256: digestOfJson([run, content]) })
}

/** What `writeSealed` wrote for this run; undefined where that can't be had. */
export async function readSealed(path: string, run: string): Promise<unknown> {
  const found = await readJsonFile(path)
  if (found === undefined || found.sha256 !== digestOfJson([run, found.content])) return undefined
  return found.content
}
