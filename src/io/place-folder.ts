import { constants } from 'node:fs'
import { access, lstat, readdir, realpath, rename, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve, sep } from 'node:path'
import { badInput, errnoOf, LoraSvdError, osError, osReason, outputExists } from '../errors.ts'
import { inodeOf, isMountPoint, noFolder, withoutLinks } from './files.ts'

/** What makes a folder one that may be replaced. */
export interface FolderKind {
  /** What such a folder holds, for messages: adapter. */
  readonly noun: string
  /** The file that every one of them has, by its name or a pattern of it. */
  readonly mark: string | RegExp
  /** The names of what may lie beside it. */
  readonly mayHold: Pick<RegExp, 'test'>
}

/** What is read: a folder, links followed, or files. */
export interface FolderInput {
  readonly path: string
  readonly folder?: string
  readonly files?: readonly { readonly path: string }[]
}

/**
 * Checks that a folder can be put at `output`, before work is spent on it. Throws `output-exists` without `force`, `bad-input` for a
 * file, for a folder of another kind (even with `force`), inside one of the inputs or around one, or where there is no folder to put it in,
 * `system` where the permission is missing.
 */
export async function assertOutputFree(
  output: string,
  kind: FolderKind,
  force: boolean,
  inputs: readonly FolderInput[],
): Promise<void> {
  const file = output
  const parent = dirname(resolve(output))
  const folder = await realpath(parent).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw osError(error, 'write it', output)
    throw noFolder(output, parent)
  })
  const target = join(folder, basename(resolve(output)))
  for (const input of inputs) {
    const inside = input.folder
    const files = await Promise.all((input.files ?? []).map(({ path }) => withoutLinks(path)))
    const isAround = files.some((path) => path.startsWith(target + sep))
    if (isAround || (inside !== undefined && (target === inside || target.startsWith(inside + sep)))) {
      const lies = isAround && inside === undefined ? 'holds' : 'lies in'
      throw badInput(`${output}: ${lies} ${input.path}, an input; write the ${kind.noun} somewhere else`, {
        file,
      })
    }
  }
  const found = await lstat(output).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw osError(error, 'write it', output)
  })
  if (found !== undefined) {
    await assertReplaceable(output, kind, force)
    const isElsewhere = found.isDirectory() && found.dev !== (await lstat(folder)).dev
    if (isElsewhere || (await isMountPoint(output))) {
      throw badInput(`${output}: is a mount point, which can't be replaced; name a folder inside it`, {
        file,
      })
    }
  }
  await access(folder, constants.W_OK | constants.X_OK).catch((error: unknown) => {
    throw osError(error, `write in the folder ${folder}`, output)
  })
}

async function assertReplaceable(output: string, kind: FolderKind, force: boolean): Promise<void> {
  const file = output
  const found = await stat(output).catch((error: unknown) => {
    throw osError(error, 'replace the link', output)
  })
  if (!found.isDirectory())
    throw badInput(`${output}: is a file; name a folder for the ${kind.noun}`, { file })
  const entries = await readdir(output).catch((error: unknown) => {
    throw osError(error, 'list it', output)
  })
  if (!force) {
    throw outputExists(output)
  }
  const other = entries.find((entry) => !kind.mayHold.test(entry))
  if (entries.length > 0 && (other !== undefined || !entries.some(isMark(kind)))) {
    throw badInput(
      `${output}: is no ${kind.noun}'s folder${other === undefined ? '' : ` (it holds ${other})`}, and --force replaces only those; write to another --out`,
      { file },
    )
  }
}

const isMark =
  ({ mark }: FolderKind) =>
  (entry: string) =>
    typeof mark === 'string' ? entry === mark : mark.test(entry)

export interface Placing {
  /** The whole folder, which nobody else writes in. */
  readonly staging: string
  readonly output: string
  /** Where what was at `output` goes: on the same file system, and nothing is there. */
  readonly replaced: string
  readonly kind: FolderKind
  /** Replace a folder of that kind. */
  readonly force: boolean
  /** The inode of what may be replaced without `force`: an earlier run of the same put it there. */
  readonly placed: string | undefined
}

/** How the system says that a folder can't have the name of what stands there. */
const OCCUPIED = new Set(['EEXIST', 'ENOTEMPTY', 'ENOTDIR', 'EISDIR'])

/**
 * Gives the whole folder `staging` the name `output`. Looks again at what stands there, which may have come during the run: throws
 * `output-exists` where it may not be replaced, and `bad-input` where it is of another kind. What was there with `force` has the name
 * `replaced` after it, and keeps its own where that fails. The rename itself fails on whatever appears in between, but for an empty
 * folder, in which nothing is lost.
 */
export async function putFolderInPlace(placing: Placing): Promise<void> {
  const { staging, output, replaced, kind, force, placed } = placing
  const inode = await inodeOf(output)
  const isThere = inode !== undefined
  if (isThere) {
    await assertReplaceable(output, kind, force || inode === placed)
    await rename(output, replaced).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw osError(error, 'replace it', output)
    })
    // another may have put something else there since it was looked at
    if ((await inodeOf(replaced)) !== inode) await assertTaken(placing)
  }
  await rename(staging, output).catch(async (error: unknown) => {
    if (isThere) await giveBack(placing)
    if (OCCUPIED.has(errnoOf(error) ?? '')) throw outputExists(output)
    throw osError(error, 'give it its name', output)
  })
}

async function assertTaken(placing: Placing): Promise<void> {
  const { output, replaced, kind, force } = placing
  if ((await inodeOf(replaced)) === undefined) return
  try {
    await assertReplaceable(replaced, kind, force)
  } catch {
    await giveBack(placing)
    throw outputExists(output)
  }
}

/** Gives what was taken its name again; where that is another's by now, it stays, and the error says so. */
async function giveBack({ output, replaced }: Placing): Promise<void> {
  if ((await inodeOf(replaced)) === undefined) return
  const isFree = (await inodeOf(output)) === undefined
  const failure = isFree ? await rename(replaced, output).catch((error: unknown) => error) : undefined
  if (isFree && failure === undefined) return
  const why = isFree
    ? `what was there can't have its name again (${osReason(failure)}), and is`
    : 'something else has this name by now; what was there is'
  throw new LoraSvdError('system', `${output}: ${why} kept in ${replaced}: move it where it belongs`, {
    file: output,
  })
}
