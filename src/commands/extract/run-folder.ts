import { dirname, resolve } from 'node:path'
import { type LayerResult, type RankRequest, withoutVectors } from '../../compress/layer-result.ts'
import { badInput, errnoOf, LoraSvdError, osError, osReason } from '../../errors.ts'
import { entriesOf, existsNow, inodeOf, sizeIfAny } from '../../io/files.ts'
import {
  assertOnlyOurs,
  digestOfJson,
  discard,
  type EntryKind,
  makeOwnFolder,
  putBack,
  readJsonFile,
  readSealed,
  removeEmpty,
  removeWhole,
  writeJsonFile,
  writeSealed,
} from '../../io/own-folder.ts'
import { LOCK_FILE, lockFolder, type RunLock } from '../../io/run-lock.ts'
import { isTemporaryName, removeLeftovers } from '../../io/temporary.ts'
import { type LayerKey, readLayerFile, writeLayerFile } from './layer-file.ts'

/**
 * What a run keeps beside its output while it is not done, so that the same command goes on with it after it was killed.
 * docs/run-folder.md says who may do what with it, and what each crash leaves.
 *
 *     <output>.partial/run.json            of which inputs and options these results are
 *     <output>.partial/lock, lock-<token>  the processes that have worked here, the last of which may still (run-lock.ts)
 *     <output>.partial/asks-2.json         what the second round asked of each layer
 *     <output>.partial/layer-00012-1.safetensors   what the first round found
 *     <output>.partial/adapter-<token>/    the adapter until it is whole, by one process
 *     <output>.partial/placed.json         which folder is about to get its final name
 *     <output>.partial/replaced-<token>    what had that name before
 */
export interface RunFolder {
  readonly path: string
  /** Where the adapter is put together: this process's own, and not there yet. */
  readonly staging: string
  /** Where what the output replaces goes, until all is done. */
  readonly replaced: string
  /** How many layers an earlier run had done. */
  readonly found: number
  /** Files of layers that an earlier run had done and that are not what it wrote: they count as not done. */
  readonly damaged: readonly string[]
  /** The inode of what an earlier run, killed right after, put at the output. */
  readonly placed: string | undefined
  /** The result of a layer without its vectors, if it is there and is the answer to this. */
  find(round: number, index: number, ask: RankRequest): LayerResult | undefined
  /** The result of a layer, with its vectors. Throws `system` where it is no longer what was found or written. */
  read(round: number, index: number): Promise<LayerResult>
  write(round: number, index: number, result: LayerResult): Promise<void>
  /** What round n asks of the layers: what an earlier run decided, else `decide()`, which is then kept. */
  asksOf(
    round: number,
    decide: () => readonly (RankRequest | null)[],
  ): Promise<readonly (RankRequest | null)[]>
  /** Notes that the adapter in `staging` is whole and about to get its final name. */
  markPlaced(): Promise<void>
  /** Throws `system` where the folder is another process's by now. */
  assertHeld(): Promise<void>
  /** Whether any layer is done. */
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

export type LayerShape = Pick<LayerKey, 'name' | 'rows' | 'columns'>

const runFolderOf = (output: string) => `${output}.partial`

const RUN = 'run.json'
const PLACED = 'placed.json'
const LAYER_FILE = /^layer-(\d+)-(\d+)\.safetensors$/
const ASKS_FILE = /^asks-\d+\.json$/
const STAGING = /^adapter-[0-9a-f]+$/
const REPLACED = /^replaced-[0-9a-f]+$/

/** Starts anew where another process removes the folder at the same moment; more often, and something else is wrong. */
const MOST_TRIES = 20

/** The inode of the folder that an earlier run was about to place, where that is what stands at `output` now. */
export async function placedByRun(output: string): Promise<string | undefined> {
  const note = await readJsonFile(`${runFolderOf(output)}/${PLACED}`).catch(() => undefined)
  const inode = await inodeOf(output).catch(() => undefined)
  return inode !== undefined && note?.inode === inode ? inode : undefined
}

/**
 * Opens the run folder of `output`, a new one or that of an earlier run of the same identity. Throws `bad-input` where it
 * belongs to other inputs or options (unless `restart`), where a living process works in it, where others may have written in it,
 * and where it holds what no run has left there.
 */
export async function openRunFolder(
  output: string,
  identity: RunIdentity,
  layers: readonly LayerShape[],
  { restart }: { restart: boolean },
): Promise<RunFolder> {
  const folder = runFolderOf(output)
  const { lock, isNew } = await taken(folder)
  try {
    // of a rival that was first, all the same: what is its own it has under its own token
    await assertOnlyOurs(folder, isOurs)
    await removeLeftovers(dirname(resolve(output)))
    await putBack(folder, (name) => REPLACED.test(name), output)
    const placed = restart ? undefined : await placedByRun(output)
    await discard(folder, (name) => !LOCK_FILE.test(name) && (restart || STAGING.test(name)))
    await identify(folder, identity)
    return await runFolder(folder, lock, layers, digestOfJson(identity), placed)
  } catch (error) {
    if (isNew) await removed(folder, lock)
    lock.release()
    throw inWords(error, 'work in it', folder)
  }
}

/** Makes the folder or takes that of a run that is gone. */
async function taken(folder: string): Promise<{ lock: RunLock; isNew: boolean }> {
  for (let tries = 1; ; tries++) {
    let isNew = false
    try {
      isNew = await makeOwnFolder(folder)
      await assertOnlyOurs(folder, isOurs)
      return { lock: await lockFolder(folder), isNew }
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' && tries < MOST_TRIES) continue
      // only where nothing is in it
      if (isNew) await removeEmpty(folder)
      throw inWords(error, 'take it for this run', folder)
    }
  }
}

async function runFolder(
  folder: string,
  lock: RunLock,
  layers: readonly LayerShape[],
  run: string,
  placed: string | undefined,
): Promise<RunFolder> {
  const nameOf = (round: number, index: number) =>
    `layer-${String(index).padStart(5, '0')}-${round}.safetensors`
  const pathOf = (round: number, index: number) => `${folder}/${nameOf(round, index)}`
  const keyOf = (round: number, index: number): LayerKey => ({ run, round, ...layers[index] })
  const staging = `${folder}/adapter-${lock.token}`

  const sound = new Map<string, LayerResult>()
  const damaged: string[] = []
  let found = 0
  for (const [name, index, round] of await layerFiles(folder)) {
    const isOne = index < layers.length && name === nameOf(round, index)
    const result = isOne ? await readLayerFile(`${folder}/${name}`, keyOf(round, index)) : undefined
    if (result === undefined) damaged.push(name)
    else {
      sound.set(name, withoutVectors(result))
      if (round === 1) found++
    }
  }
  return {
    path: folder,
    staging,
    replaced: `${folder}/replaced-${lock.token}`,
    found,
    damaged,
    placed,
    find: (round, index, ask) => {
      const result = sound.get(nameOf(round, index))
      return result !== undefined && isSame(result.asked, ask) ? result : undefined
    },
    read: async (round, index) => {
      const path = pathOf(round, index)
      const result = await readLayerFile(path, keyOf(round, index))
      if (result !== undefined) return result
      throw new LoraSvdError(
        'system',
        `${path}: is not what was written there during this run; run the same command again`,
        { file: path },
      )
    },
    write: (round, index, result) => writeLayerFile(pathOf(round, index), keyOf(round, index), result),
    asksOf: async (round, decide) => {
      const path = `${folder}/asks-${round}.json`
      const earlier = await readSealed(path, run)
      if (Array.isArray(earlier) && earlier.length === layers.length) return earlier
      const asks = decide()
      await writeSealed(path, run, asks)
      return asks
    },
    markPlaced: async () => {
      const inode = await inodeOf(staging)
      if (inode === undefined) {
        throw badInput(`${staging}: can't find what was written: no such file or folder (ENOENT)`, {
          file: staging,
        })
      }
      await writeJsonFile(`${folder}/${PLACED}`, { inode })
    },
    assertHeld: lock.assertHeld,
    isEmpty: async () => (await layerFiles(folder).catch(() => undefined))?.length === 0,
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

function inWords(error: unknown, doing: string, folder: string): unknown {
  return error instanceof LoraSvdError || errnoOf(error) === undefined ? error : osError(error, doing, folder)
}

/** Writes down the identity of a new run; throws `bad-input` where an earlier one's is another, or can't be told. */
async function identify(folder: string, identity: RunIdentity): Promise<void> {
  const path = `${folder}/${RUN}`
  const cure = 'give --restart to start anew'
  const earlier = await readJsonFile(path)
  if (earlier === undefined) {
    if ((await layerFiles(folder)).length === 0) return writeJsonFile(path, identity)
    throw badInput(
      `${folder}: holds an unfinished run, but its ${RUN} is ${existsNow(path) ? 'damaged' : 'missing'}, so it can't be told of what; ${cure}`,
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

/** How many layers an unfinished run of `output` has done, as far as their names tell. */
export const countDone = async (output: string) =>
  (await layerFiles(runFolderOf(output)).catch(() => [])).filter(([, , round]) => round === 1).length

/** Bytes of the layers that an unfinished run of `output` has done. */
export async function bytesDone(output: string): Promise<number> {
  const folder = runFolderOf(output)
  const names = await layerFiles(folder).catch(() => [])
  const sizes = names.map(([name]) => sizeIfAny(`${folder}/${name}`))
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
}

async function layerFiles(folder: string): Promise<[name: string, index: number, round: number][]> {
  return (await entriesOf(folder)).flatMap((name) => {
    const [, index, round] = LAYER_FILE.exec(name) ?? []
    return index === undefined ? [] : [[name, Number(index), Number(round)]]
  })
}

/** Whether a run leaves such a thing in its folder. What was replaced may have been a link, and is never followed. */
function isOurs(name: string, entry: EntryKind): boolean {
  if (REPLACED.test(name)) return true
  if (STAGING.test(name)) return entry.isDirectory()
  // what it is says the one that reads it
  if (LOCK_FILE.test(name)) return true
  const isFile = isTemporaryName(name) || LAYER_FILE.test(name) || ASKS_FILE.test(name)
  return entry.isFile() && (isFile || name === RUN || name === PLACED)
}

/** Two numbers that are equal as JSON are equal here. */
const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)
