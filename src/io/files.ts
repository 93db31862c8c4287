import { existsSync } from 'node:fs'
import { lstat, mkdir, readdir, readFile, realpath, stat, statfs } from 'node:fs/promises'
import { basename, dirname, join, resolve, sep } from 'node:path'
import { badInput, badUsage, errnoOf, LoraSvdError, osError } from '../errors.ts'
import { bytes as byteText } from '../text/numbers.ts'
import { isAddress } from './remote/address.ts'
import { entriesElsewhere, kindElsewhere } from './remote/hub.ts'
import { assertUnchangedElsewhere } from './remote/source.ts'
import { type FileStamp, stampOf } from './source.ts'

/** What a path names, links followed; 'file' also where it can't be told, so that opening it says why. */
export async function kindOf(path: string): Promise<'folder' | 'file' | 'missing'> {
  if (isAddress(path)) return kindElsewhere(path)
  try {
    return (await stat(path)).isDirectory() ? 'folder' : 'file'
  } catch (error) {
    return errnoOf(error) === 'ENOENT' ? 'missing' : 'file'
  }
}

/** Those of the paths under which nothing is; a link to nothing is something. */
export async function missingOf(paths: readonly string[]): Promise<string[]> {
  const missing: string[] = []
  for (const path of paths) {
    if (!isAddress(path)) await lstat(path).catch(() => missing.push(path))
    else if (kindElsewhere(path) === 'missing') missing.push(path)
  }
  return missing
}

/** Whether something can be reached by this path at this moment. */
export const existsNow = (path: string): boolean => existsSync(path)

/** The names of a folder's entries, sorted. Throws `bad-input` or `system` where it can't be listed. */
export async function entriesOf(folder: string): Promise<string[]> {
  if (isAddress(folder)) return entriesElsewhere(folder)
  try {
    return (await readdir(folder)).sort()
  } catch (error) {
    throw osError(error, 'list the folder', folder)
  }
}

/** The same, or none where it can't be listed: of what need not be a folder. */
export const entriesIfAny = (folder: string): Promise<string[]> => entriesOf(folder).catch(() => [])

/** The paths below a folder, down to so many levels and with / between their parts, sorted by level; what can't be listed has none. */
export async function pathsBelow(folder: string, levels: number): Promise<string[]> {
  const names = await entriesIfAny(folder)
  if (levels === 1) return names
  const inner = await Promise.all(names.map((name) => pathsBelow(join(folder, name), levels - 1)))
  return [...names, ...inner.flatMap((paths, i) => paths.map((path) => `${names[i]}/${path}`))]
}

/** The names and lengths in bytes of the files in a folder, sorted. Throws `bad-input` or `system`. */
export async function sizesIn(folder: string): Promise<{ name: string; bytes: number }[]> {
  try {
    const names = (await readdir(folder)).sort()
    return await Promise.all(
      names.map(async (name) => ({ name, bytes: (await stat(join(folder, name))).size })),
    )
  } catch (error) {
    throw osError(error, 'look at what was written', folder)
  }
}

/** The length of a file in bytes, no link followed; 0 where that can't be told. */
export const sizeIfAny = (path: string): Promise<number> =>
  lstat(path).then(
    ({ size }) => size,
    () => 0,
  )

/** The path without links; as it is given where that can't be told. */
export const withoutLinks = async (path: string): Promise<string> =>
  isAddress(path) ? path : realpath(path).catch(() => path)

/** The refusal of an output whose folder isn't there. */
export const noFolder = (output: string, folder: string): LoraSvdError =>
  badInput(
    isAddress(output)
      ? `${output}: is an address, and results are written to this machine; name a folder or a file here`
      : `${output}: the folder ${folder} does not exist; create it first (mkdir -p)`,
    { file: output },
  )

/** Makes a folder that isn't there. Throws `bad-input` or `system`. */
export async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder).catch((error: unknown) => {
    throw osError(error, 'make this folder', folder)
  })
}

/** Makes a folder unless one is there, perhaps by another process at this moment. Throws `bad-input` or `system`. */
export async function makeFolderIfMissing(folder: string): Promise<void> {
  await mkdir(folder).catch((error: unknown) => {
    if (errnoOf(error) !== 'EEXIST') throw osError(error, 'make this folder', folder)
  })
}

/** Bytes free for this user on the file system where `output` will be. */
export async function freeBytes(output: string): Promise<number> {
  const { bavail, bsize } = await statfs(dirname(resolve(output))).catch((error: unknown) => {
    throw osError(error, 'ask for the room on its disk', output)
  })
  return bavail * bsize
}

/** Throws `system` where fewer than `needed` bytes are free: at least that much will be written. */
export async function assertRoom(output: string, needed: number): Promise<void> {
  const free = await freeBytes(output)
  if (free >= needed) return
  throw new LoraSvdError(
    'system',
    `${output}: the disk has ${byteText(free)} free, and at least ${byteText(needed)} are needed; free some, or write elsewhere`,
    { file: output },
  )
}

/** What tells that a file is still the one that was opened. */
export interface FileIdentity extends FileStamp {
  readonly path: string
}

/** The identity of a file that was opened; none of what was no regular file. */
export const identityOf = (path: string, stamp: FileStamp | undefined): FileIdentity[] =>
  stamp === undefined ? [] : [{ path, ...stamp }]

/** Throws `bad-input` naming the first of the files that is no longer the one that was opened: another length, time of change or inode. */
export async function assertUnchanged({ files }: { readonly files: readonly FileIdentity[] }): Promise<void> {
  for (const { path, bytes, modified, inode } of files) {
    if (isAddress(path)) {
      await assertUnchangedElsewhere(path)
      continue
    }
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
  const read = new Set(await Promise.all(files.map(({ path }) => placeOf(path))))
  for (const [flag, output] of Object.entries(outputs)) {
    const place = await placeOf(output)
    if (place !== undefined && read.has(place)) {
      throw badUsage(`${flag} ${output}: is what is read; name another file`)
    }
  }
}

/** Throws `bad-input` where a folder holds one of the files that are read: with --force it would be replaced with them. */
export async function assertHoldsNone(
  folder: string,
  files: readonly { readonly path: string }[],
): Promise<void> {
  const within = (await withoutLinks(resolve(folder))) + sep
  for (const { path } of files) {
    if (isAddress(path) || !(await withoutLinks(resolve(path))).startsWith(within)) continue
    throw badInput(`${folder}: holds ${path}, which is read; write to another --out`, { file: folder })
  }
}

/** The name under which a file that was given as standard input can be looked at, where one of the inputs is `-`. */
export const nameOfStandardInput = (inputs: readonly (string | undefined)[]) =>
  inputs.includes('-') ? [{ path: '/dev/stdin' }] : []

/** What two names of one file have in common; undefined where there is none. */
const placeOf = (path: string) =>
  stat(path, { bigint: true }).then(
    ({ dev, ino }) => `${dev}/${ino}`,
    () => undefined,
  )

/** The inode of what has this name itself, no link followed; undefined where nothing has. Throws `bad-input` or `system`. */
export const inodeOf = (path: string): Promise<string | undefined> =>
  lstat(path, { bigint: true }).then(
    ({ ino }) => String(ino),
    (error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return undefined
      throw osError(error, 'look at it', path)
    },
  )

/**
 * Whether a file system is mounted at this very path, which then can't be renamed; a mount of a folder of the same file system
 * shows nowhere else. Field 5 of proc_pid_mountinfo(5), with octal escapes. False where the system doesn't tell.
 */
export async function isMountPoint(path: string): Promise<boolean> {
  try {
    const real = join(await realpath(dirname(resolve(path))), basename(resolve(path)))
    const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')
    return lines.some((line) => unescaped(line.split(' ')[4] ?? '') === real)
  } catch {
    return false
  }
}

const unescaped = (field: string) =>
  field.replace(/\\([0-7]{3})/g, (_, code) => String.fromCharCode(Number.parseInt(code, 8)))
