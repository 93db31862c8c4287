import { constants } from 'node:fs'
import { chmod, copyFile, link, lstat, open, rename, stat, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { badInput, errnoOf, LoraSvdError, osError } from '../errors.ts'
import { entriesOf, type FileIdentity, identityOf, inodeOf, kindOf } from './files.ts'
import { makeFolders } from './make-folders.ts'
import { inFolder, isAddress } from './remote/address.ts'
import { syncFile, syncFolder } from './sized-file.ts'
import { openFile, stampOf } from './source.ts'

/** A file below a folder, by its path there with / between the parts. */
export interface FoundFile {
  readonly path: string
  readonly bytes: number
  /** What tells that it is still the same one, with its whole path. */
  readonly identity: readonly FileIdentity[]
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
    for (const name of await entriesOf(below === '' ? folder : inFolder(folder, below))) {
      const path = below === '' ? name : `${below}/${name}`
      const entry = await entryAt(inFolder(folder, path))
      if (entry === undefined || !wants(path, entry.kind === 'folder')) continue
      if (entry.kind === 'file') found.push({ path, ...(await entry.look()) })
      else if (entry.kind === 'folder' && level < MOST_LEVELS) await walk(path, level + 1)
    }
  }
  await walk('', 1)
  return found
}

interface Entry {
  readonly kind: 'file' | 'folder' | 'other'
  /** What there is to say of a file; elsewhere its server is asked. */
  look(): Promise<Pick<FoundFile, 'bytes' | 'identity'>>
}

/** What lies at a path, here or elsewhere; undefined where nothing can be found. */
async function entryAt(path: string): Promise<Entry | undefined> {
  if (isAddress(path)) {
    const kind = await kindOf(path)
    return kind === 'missing' ? undefined : { kind, look: () => lookElsewhere(path) }
  }
  const found = await stat(path, { bigint: true }).catch(() => undefined)
  if (found === undefined) return undefined
  return {
    kind: found.isFile() ? 'file' : found.isDirectory() ? 'folder' : 'other',
    look: async () => ({ bytes: Number(found.size), identity: [{ path, ...stampOf(found) }] }),
  }
}

async function lookElsewhere(path: string): Promise<Pick<FoundFile, 'bytes' | 'identity'>> {
  const { byteLength, stamp, close } = await openFile(path)
  await close()
  return { bytes: byteLength, identity: identityOf(path, stamp) }
}

/** Copies a file to a path below `folder`, replacing what is there, and flushes it to the disk. Throws `bad-input` or `system`. */
export async function copyInto(from: string, folder: string, path: string): Promise<void> {
  const to = join(folder, path)
  try {
    // the folder itself isn't made again where somebody has removed it
    if (path.includes('/')) await makeFolders(dirname(to))
    // one that may not be written would be in the way of the next try
    await unlink(to).catch(() => {})
    if (isAddress(from)) await fetchTo(from, to)
    else await copyFile(from, to, constants.COPYFILE_FICLONE)
    const { mode } = await stat(to)
    await chmod(to, mode | 0o600)
  } catch (error) {
    if (error instanceof LoraSvdError) throw error
    throw osError(error, `copy ${from} there`, to)
  }
  await syncFile(to)
}

/** Read at once of a file elsewhere: a large tokenizer has twice as many bytes. */
const FETCHED_AT_ONCE = 8 * 2 ** 20

/** Writes what a file elsewhere holds to a new one here. */
async function fetchTo(from: string, to: string): Promise<void> {
  const source = await openFile(from)
  const handle = await open(to, 'wx')
  try {
    for (let at = 0; at < source.byteLength; at += FETCHED_AT_ONCE) {
      await handle.writeFile(await source.read(at, Math.min(source.byteLength, at + FETCHED_AT_ONCE)))
    }
  } finally {
    await handle.close()
    await source.close()
  }
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
