import { dirname, resolve } from 'node:path'
import { badInput, errnoOf, LoraSvdError, osError, osReason } from '../errors.ts'
import { entriesOf, existsNow, inodeOf } from './files.ts'
import {
  assertOnlyOurs,
  digestOfJson,
  discard,
  type EntryKind,
  makeOwnFolder,
  putBack,
  readJsonFile,
  removeEmpty,
  removeWhole,
  writeJsonFile,
} from './own-folder.ts'
import { LOCK_FILE, lockFolder, type Patience, type RunLock } from './run-lock.ts'
import { isTemporaryName, removeLeftovers } from './temporary.ts'

/**
 * What a run keeps beside its output while it is not done, so that the same command goes on with it after it was killed: the part
 * that all commands share. docs/run-folder.md says who may do what with it, and what each crash leaves.
 *
 *     <output>.partial/run.json            of which inputs and options these results are
 *     <output>.partial/lock, lock-<token>  the processes that have worked here, the last of which may still (run-lock.ts)
 *     <output>.partial/placed.json         what is about to get its final name
 *     <output>.partial/replaced-<token>    what had that name before
 */
export interface OwnedRun {
  readonly path: string
  /** The digest of the run's identity. */
  readonly run: string
  /** Where the output is put together. */
  readonly staging: string
  /** Where what the output replaces goes, until all is done. */
  readonly replaced: string
  /** The inode of what an earlier run, killed right after, put at the output. */
  readonly placed: string | undefined
  /** Notes that what is at `path`, in the folder, is whole and about to get its final name. */
  markPlaced(path?: string): Promise<void>
  /** Throws `system` where the folder is another process's by now. */
  assertHeld(): Promise<void>
  /** Whether it holds no result. */
  isEmpty(): Promise<boolean>
  /** Lets another process work here. */
  release(): void
  /** Removes it all. Gives what stood in the way, as a line for the user, instead of throwing. */
  remove(): Promise<string | undefined>
}

/** What the results depend on. Anything that JSON can hold. */
export interface RunIdentity {
  readonly inputs: unknown
  readonly options: unknown
}

/** What a command's runs put into their folders besides. */
export interface RunContents {
  /** The name of the folder in which the output is put together, by the process's token. */
  staging(token: string): string
  readonly isStaging: RegExp
  /** Whether the next process goes on with what is there; otherwise it goes. */
  readonly keepsStaging: boolean
  /** Whether a file of this name holds results. */
  isResult(name: string): boolean
  /** Whether a file of this name holds what else a run has decided. */
  isNote(name: string): boolean
  /** Whether a folder of this name is a run of its own, of which this one takes over results. */
  isPart?(name: string): boolean
}

export interface OpeningRun {
  /** Discards what an earlier run has left, whatever it is of. */
  readonly restart: boolean
  readonly patience?: Patience | undefined
}

export const runFolderOf = (output: string) => `${output}.partial`

/** In which the identity of a run is written down. */
export const RUN_FILE = 'run.json'
const PLACED = 'placed.json'
const REPLACED = /^replaced-[0-9a-f]+$/

/** Starts anew where another process removes the folder at the same moment; more often, and something else is wrong. */
const MOST_TRIES = 20

/** The inode of what an earlier run was about to place, where that is what stands at `output` now. */
export async function placedByRun(output: string): Promise<string | undefined> {
  const note = await readJsonFile(`${runFolderOf(output)}/${PLACED}`).catch(() => undefined)
  const inode = await inodeOf(output).catch(() => undefined)
  return inode !== undefined && note?.inode === inode ? inode : undefined
}

/**
 * Opens the run folder of `output`, a new one or that of an earlier run of the same identity; `use` makes of it what the command
 * works with. Throws `bad-input` where it belongs to other inputs or options (unless `restart`), where a living process works in it,
 * where others may have written in it, and where it holds what no run has left there.
 */
export async function openOwnedRun<T>(
  output: string,
  identity: RunIdentity,
  contents: RunContents,
  { restart, patience }: OpeningRun,
  use: (run: OwnedRun) => Promise<T>,
): Promise<T> {
  const folder = runFolderOf(output)
  const isOurs = isOurEntry(contents)
  const { lock, isNew } = await taken(folder, isOurs, patience)
  try {
    // of a rival that was first, all the same: what is its own it has under its own token
    await assertOnlyOurs(folder, isOurs)
    await removeLeftovers(dirname(resolve(output)))
    await putBack(folder, (name) => REPLACED.test(name), output)
    const placed = restart ? undefined : await placedByRun(output)
    const isStale = (name: string) => contents.isStaging.test(name) && !contents.keepsStaging
    await discard(folder, (name) => !LOCK_FILE.test(name) && (restart || isStale(name)))
    await identify(folder, identity, contents)
    return await use(ownedRun(folder, lock, identity, contents, placed))
  } catch (error) {
    if (isNew) await removed(folder, lock)
    lock.release()
    throw inWords(error, 'work in it', folder)
  }
}

/** Makes the folder or takes that of a run that is gone. */
async function taken(
  folder: string,
  isOurs: EntryTest,
  patience: Patience | undefined,
): Promise<{ lock: RunLock; isNew: boolean }> {
  for (let tries = 1; ; tries++) {
    let isNew = false
    try {
      isNew = await makeOwnFolder(folder)
      await assertOnlyOurs(folder, isOurs)
      return { lock: await lockFolder(folder, patience), isNew }
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' && tries < MOST_TRIES) continue
      // only where nothing is in it
      if (isNew) await removeEmpty(folder)
      throw inWords(error, 'take it for this run', folder)
    }
  }
}

function ownedRun(
  folder: string,
  lock: RunLock,
  identity: RunIdentity,
  contents: RunContents,
  placed: string | undefined,
): OwnedRun {
  const staging = `${folder}/${contents.staging(lock.token)}`
  return {
    path: folder,
    run: digestOfJson(identity),
    staging,
    replaced: `${folder}/replaced-${lock.token}`,
    placed,
    markPlaced: async (path = staging) => {
      const inode = await inodeOf(path)
      if (inode === undefined) {
        throw badInput(`${path}: can't find what was written: no such file or folder (ENOENT)`, {
          file: path,
        })
      }
      await writeJsonFile(`${folder}/${PLACED}`, { inode })
    },
    assertHeld: lock.assertHeld,
    isEmpty: async () => (await resultsIn(folder, contents).catch(() => undefined))?.length === 0,
    release: lock.release,
    remove: () => removed(folder, lock),
  }
}

async function removed(folder: string, lock: RunLock): Promise<string | undefined> {
  let left: { at: string; error: unknown } | undefined
  try {
    await lock.assertHeld()
    lock.stop()
    left = await removeWhole(folder)
  } catch (error) {
    left = { at: folder, error }
  }
  return left && `${left.at}: can't be removed: ${osReason(left.error)}; it is not needed any more, delete it`
}

/** An error of the file system as one of ours. */
export function inWords(error: unknown, doing: string, folder: string): unknown {
  return error instanceof LoraSvdError || errnoOf(error) === undefined ? error : osError(error, doing, folder)
}

/** Writes down the identity of a new run; throws `bad-input` where an earlier one's is another, or can't be told. */
async function identify(folder: string, identity: RunIdentity, contents: RunContents): Promise<void> {
  const path = `${folder}/${RUN_FILE}`
  const cure = 'give --restart to start anew'
  const earlier = await readJsonFile(path)
  if (earlier === undefined) {
    if ((await resultsIn(folder, contents)).length === 0) return writeJsonFile(path, identity)
    throw badInput(
      `${folder}: holds an unfinished run, but its ${RUN_FILE} is ${existsNow(path) ? 'damaged' : 'missing'}, so it can't be told of what; ${cure}`,
      { file: folder },
    )
  }
  if (!isSame(earlier.options, identity.options)) {
    throw badInput(
      `${folder}: holds an unfinished run with other options; give those to go on with it, or ${cure}`,
      { file: folder },
    )
  }
  if (!isSame(earlier.inputs, identity.inputs)) {
    throw badInput(`${folder}: holds an unfinished run, but its inputs have changed since; ${cure}`, {
      file: folder,
    })
  }
}

const resultsIn = async (folder: string, { isResult }: RunContents) =>
  (await entriesOf(folder)).filter((name) => isResult(name))

type EntryTest = (name: string, entry: EntryKind) => boolean

/** Whether a run leaves such a thing in its folder. What was replaced may have been a link, and is never followed. */
export const isOurEntry =
  ({ isStaging, isResult, isNote, isPart }: RunContents): EntryTest =>
  (name, entry) => {
    if (REPLACED.test(name)) return true
    if (isStaging.test(name)) return entry.isDirectory()
    // what it is says the one that reads it
    if (LOCK_FILE.test(name)) return true
    // parts that are discarded leave by a temporary name
    if (entry.isDirectory()) return isPart !== undefined && (isPart(name) || isTemporaryName(name))
    const isFile = isTemporaryName(name) || isResult(name) || isNote(name)
    return entry.isFile() && (isFile || name === RUN_FILE || name === PLACED)
  }

/** Two numbers that are equal as JSON are equal here. */
export const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)

/** What happened to a run's folder, or is kept in it, belongs into the error. */
export function withRunFolder(error: unknown, path: string): unknown {
  if (!existsNow(path)) {
    const message = `${path}: was removed while the run worked in it; run the same command again`
    return new LoraSvdError('system', message, { file: path, cause: error })
  }
  if (!(error instanceof LoraSvdError)) return error
  if (error.code === 'interrupted') {
    const message = `interrupted; what is done is kept in ${path}: the same command goes on from there`
    return new LoraSvdError('interrupted', message, { cause: error.cause })
  }
  if (error.code !== 'output-exists') return error
  const message = `${error.message}, or move it away: what is done is kept in ${path}, and the same command goes on from there`
  return new LoraSvdError(error.code, message, { ...(error.file !== undefined && { file: error.file }) })
}

/** A path that ends in the output's own name, beside which the run folder can be. */
export const namedOutput = (output: string) =>
  /(^|[/\\])\.{1,2}[/\\]*$/.test(output) ? resolve(output) : output.replace(/(?<=.)[/\\]+$/, '')
