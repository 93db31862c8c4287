import { constants } from 'node:fs'
import { chmod, copyFile, link, lstat, mkdir, readdir, rename, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { badInput, errnoOf, LoraSvdError, osError } from '../errors.ts'
import { type FileIdentity, inodeOf } from './files.ts'
import { syncFile, syncFolder } from './sized-file.ts'
import { stampOf } from './source.ts'

/** A file below a folder, by its path there with / between the parts. */
export interface FoundFile {
  readonly path: string
  readonly bytes: number
  /** What tells that it is still the same one, with its whole path. */
  readonly identity: FileIdentity
}

/** Folders in folders are followed so far: no model's have more, and links may go in a circle. */
const MOST_LEVELS = 8

/**
 * The files below a folder, links followed, sorted. `wants` is asked of each file and folder by its path below it. Pipes, devices and
 * links to nothing are left out.
 */
export async function filesBelow(
  folder: string,
  wants: (path: string, isFolder: boolean) => boolean,
): Promise<FoundFile[]> {
  const found: FoundFile[] = []
  const walk = async (below: string, level: number): Promise<void> => {
    const names = await readdir(join(folder, below)).catch((error: unknown) => {
      throw osError(error, 'list the folder', join(folder, below))
    })
    for (const name of names.sort()) {
      const path = below === '' ? name : `${below}/${name}`
      const whole = join(folder, path)
      const entry = await stat(whole, { bigint: true }).catch(() => undefined)
      if (entry === undefined || !wants(path, entry.isDirectory())) continue
      if (entry.isFile())
        found.push({ path, bytes: Number(entry.size), identity: { path: whole, ...stampOf(entry) } })
      else if (entry.isDirectory() && level < MOST_LEVELS) await walk(path, level + 1)
    }
  }
  await walk('', 1)
  return found
}

/** Makes the folders that a path below a folder lies in. */
async function makeFolders(folder: string, path: string): Promise<void> {
  const parts = path.split('/').slice(0, -1)
  if (parts.length === 0) return
  await mkdir(join(folder, ...parts), { recursive: true })
}

/** Copies a file to a path below `folder`, replacing what is there, and flushes it to the disk. Throws `bad-input` or `system`. */
export async function copyInto(from: string, folder: string, path: string): Promise<void> {
  const to = join(folder, path)
  try {
    await makeFolders(folder, path)
    // one that may not be written would be in the way of the next try
    await unlink(to).catch(() => {})
    await copyFile(from, to, constants.COPYFILE_FICLONE)
    const { mode } = await stat(to)
    await chmod(to, mode | 0o600)
  } catch (error) {
    throw osError(error, `copy ${from} there`, to)
  }
  await syncFile(to)
}

/** Flushes the names in a folder and in those in it that hold these files. */
export async function syncFolders(folder: string, paths: readonly string[]): Promise<void> {
  const inner = new Set(
    paths.flatMap((path) =>
      path
        .split('/')
        .slice(0, -1)
        .map((_, i, parts) => parts.slice(0, i + 1).join('/')),
    ),
  )
  for (const path of inner) await syncFolder(join(folder, path))
  await syncFolder(folder)
}

/**
 * Moves what is at one path to another on the same file system; a second name of the same file is taken away, which a renaming would
 * leave. Throws `bad-input` or `system`.
 */
export async function moveTo(from: string, to: string): Promise<void> {
  const isSame = (await inodeOf(from)) === (await inodeOf(to))
  await (isSame ? unlink(from) : rename(from, to)).catch((error: unknown) => {
    throw osError(error, 'give it its name', to)
  })
}

/** File systems that can't make hard links say so with one of these. */
const NO_HARD_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EXDEV', 'EINVAL'])

/**
 * Gives a whole file its final name. What stands there is replaced with `force`; otherwise the link fails on it. Throws `output-exists`, `bad-input` for what is no file, `system`.
 */
export async function putFileInPlace(
  staging: string,
  output: string,
  { force }: { readonly force: boolean },
): Promise<void> {
  const found = await lstat(output).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw osError(error, 'look at it', output)
  })
  if (found?.isFile() === false) {
    throw badInput(`${output}: is no file any more; write to another --out`, { file: output })
  }
  const exists = () =>
    new LoraSvdError('output-exists', `${output}: exists already; add --force to replace it`, {
      file: output,
    })
  if (found !== undefined && !force) throw exists()
  if (found !== undefined) return moveTo(staging, output)
  try {
    await link(staging, output)
    // where that fails it goes with the folder that it is in
    await unlink(staging).catch(() => {})
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') throw exists()
    if (!NO_HARD_LINKS.has(errnoOf(error) ?? '')) throw osError(error, 'give it its name', output)
    await moveTo(staging, output)
  }
}
