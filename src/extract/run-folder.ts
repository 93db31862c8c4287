import { existsSync, readFileSync } from 'node:fs'
import { mkdir, open, readdir, readFile, rm, unlink } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import { badInput, LoraSvdError } from '../errors.ts'
import { errnoOf, osError } from '../formats/os-error.ts'
import { quoted } from '../formats/quote.ts'
import { writeFileAtomic } from '../formats/write-atomic.ts'
import { readLayerFile, writeLayerFile } from './layer-file.ts'
import type { LayerAsk, LayerResult } from './layer-result.ts'

/**
 * What a run keeps beside its output while it is not done, so that the same command goes on with it after it was killed:
 *
 *     <output>.partial/run.json            of which inputs and options these results are
 *     <output>.partial/lock                the process that works here
 *     <output>.partial/asks-2.json         what the second round asked of each layer
 *     <output>.partial/layer-00012-1.safetensors   what the first round found
 *     <output>.partial/adapter/            the adapter until it is whole
 *     <output>.partial/placed              the adapter is whole: where it isn't here any more, it has its final name
 *     <output>.partial/replaced/           what had that name before
 */
export interface RunFolder {
  /** Where the adapter is put together. */
  readonly staging: string
  /** Where what the output replaces goes, until all is done. */
  readonly replaced: string
  /** How many layers an earlier run had done. */
  readonly found: number
  has(round: number, index: number): boolean
  /** The result of a layer; `withVectors` false leaves its vectors unread. */
  read(round: number, index: number, withVectors?: boolean): Promise<LayerResult>
  write(round: number, index: number, result: LayerResult): Promise<void>
  /** What round n asks of the layers: what an earlier run decided, else `decide()`, which is then kept. */
  asksOf(round: number, decide: () => readonly (LayerAsk | null)[]): Promise<readonly (LayerAsk | null)[]>
  /** Notes that the adapter in `staging` is whole and about to get its final name. */
  markPlaced(): Promise<void>
  /** Lets another process work here. */
  release(): Promise<void>
  /** Removes it all. */
  remove(): Promise<void>
}

/** What the results depend on. Anything that JSON can hold. */
export interface RunIdentity {
  readonly inputs: unknown
  readonly options: unknown
}

export const runFolderOf = (output: string) => `${output}.partial`

const PLACED = 'placed'
const STAGING = 'adapter'

/** Whether what stands at `output` was put there by a run that was killed right after, before it could tidy up. */
export function isPlacedByRun(output: string): boolean {
  const folder = runFolderOf(output)
  return existsSync(`${folder}/${PLACED}`) && !existsSync(`${folder}/${STAGING}`)
}

/**
 * Opens the run folder of `output`, a new one or that of an earlier run of the same identity. Throws `bad-input` where it
 * belongs to other inputs or options (unless `restart`), where a living process works in it, and where it holds what no run
 * has left there.
 */
export async function openRunFolder(
  output: string,
  identity: RunIdentity,
  { restart }: { restart: boolean },
): Promise<RunFolder> {
  const folder = runFolderOf(output)
  await whileWriting(folder, () => mkdir(folder, { recursive: true }))
  await refuseForeign(folder)
  await lock(folder)
  try {
    if (restart) await emptied(folder)
    const found = await identify(folder, identity)
    return runFolder(folder, found)
  } catch (error) {
    await unlock(folder)
    throw error
  }
}

function runFolder(folder: string, found: number): RunFolder {
  const layerPath = (round: number, index: number) =>
    `${folder}/layer-${String(index).padStart(5, '0')}-${round}.safetensors`
  return {
    staging: `${folder}/${STAGING}`,
    replaced: `${folder}/replaced`,
    found,
    has: (round, index) => existsSync(layerPath(round, index)),
    read: (round, index, withVectors) => readLayerFile(layerPath(round, index), withVectors),
    write: (round, index, result) => writeLayerFile(layerPath(round, index), result),
    asksOf: async (round, decide) => {
      const path = `${folder}/asks-${round}.json`
      if (existsSync(path)) return JSON.parse(await readFile(path, 'utf8'))
      const asks = decide()
      await writeJson(path, asks)
      return asks
    },
    markPlaced: () => writeFileAtomic(`${folder}/${PLACED}`, [], { force: true }).then(() => {}),
    release: () => unlock(folder),
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}

/** How many layers are done; writes down the identity of a new run. */
async function identify(folder: string, identity: RunIdentity): Promise<number> {
  const path = `${folder}/run.json`
  if (!existsSync(path)) {
    await emptied(folder)
    await writeJson(path, identity)
    return 0
  }
  const earlier: RunIdentity = JSON.parse(await readFile(path, 'utf8'))
  const cure = 'give --restart to start anew'
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
  return countLayers(folder)
}

/** How many layers an unfinished run of `output` has done. */
export const countDone = (output: string) => countLayers(runFolderOf(output)).catch(() => 0)

const countLayers = async (folder: string) =>
  (await readdir(folder)).filter((name) => LAYER_FILE.test(name)).length

const LAYER_FILE = /^layer-\d+-1\.safetensors$/

/** All that a run leaves in its folder. */
const OURS =
  /^(run\.json|lock|asks-\d+\.json|layer-\d+-\d+\.safetensors|adapter|placed|replaced|\.lora-svd-\d+-\d+\.tmp)$/

/** A folder that happens to have the name is not to be emptied. */
async function refuseForeign(folder: string): Promise<void> {
  const foreign = (await readdir(folder)).find((name) => !OURS.test(name))
  if (foreign === undefined) return
  throw badInput(
    `${folder}: unfinished runs keep their results in a folder of this name, and it holds ${quoted(foreign)}, which is none; move it, or write to another --out`,
    { file: folder },
  )
}

/** Removes everything but the lock. */
async function emptied(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (name !== LOCK) await whileWriting(folder, () => rm(`${folder}/${name}`, { recursive: true }))
  }
}

/** Two numbers that are equal as JSON are equal here. */
const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)

async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFileAtomic(path, [new TextEncoder().encode(`${JSON.stringify(value)}\n`)], { force: true })
}

const LOCK = 'lock'

/** Takes the folder for this process. The lock of a process that is gone, as after kill -9, is taken over. */
async function lock(folder: string): Promise<void> {
  const path = `${folder}/${LOCK}`
  for (;;) {
    try {
      const handle = await open(path, 'wx')
      await handle.writeFile(String(process.pid)).finally(() => handle.close())
      return
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw osError(error, 'write in it', folder)
    }
    const pid = await ownerOf(path)
    if (isAlive(pid)) {
      throw badInput(
        `${folder}: process ${pid} is at work here; wait for it, or write to another --out (if that is no lora-svd, delete ${path})`,
        { file: folder },
      )
    }
    await unlink(path).catch(() => {})
  }
}

/** How long a process may take to write its number into the lock that it has made, in milliseconds: ages. */
const LOCK_WRITTEN_AFTER = 500

/** The process that holds a lock; 0 where there is none, or its owner was killed before it wrote its number. */
async function ownerOf(path: string): Promise<number> {
  const read = () => readFile(path, 'utf8').catch(() => '')
  return Number((await read()) || (await setTimeout(LOCK_WRITTEN_AFTER).then(read)))
}

/** Once the folder is removed another process may have made it anew, with a lock of its own. */
async function unlock(folder: string): Promise<void> {
  const path = `${folder}/${LOCK}`
  const owner = await readFile(path, 'utf8').catch(() => '')
  if (Number(owner) === process.pid) await unlink(path).catch(() => {})
}

function isAlive(pid: number): boolean {
  if (!(pid > 0) || pid === process.pid) return false
  try {
    // signal 0 only asks
    process.kill(pid, 0)
    return !isZombie(pid)
  } catch (error) {
    return errnoOf(error) === 'EPERM'
  }
}

/** Killed, and not yet waited for by its parent: it does nothing any more. Linux alone tells. */
function isZombie(pid: number): boolean {
  try {
    return /\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

async function whileWriting<T>(folder: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (error instanceof LoraSvdError) throw error
    throw osError(error, 'write in it', folder)
  }
}
