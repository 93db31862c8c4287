import { type LayerResult, type RankRequest, withoutVectors } from '../../compress/layer-result.ts'
import { LoraSvdError } from '../../errors.ts'
import { entriesOf, sizeIfAny } from '../../io/files.ts'
import { readSealed, writeSealed } from '../../io/own-folder.ts'
import {
  isSame,
  type OwnedRun,
  openOwnedRun,
  type RunContents,
  type RunIdentity,
  runFolderOf,
} from '../../io/run-folder.ts'
import { type LayerKey, readLayerFile, writeLayerFile } from './layer-file.ts'

/**
 * What an extraction keeps in its run folder (io/run-folder.ts) while it is not done.
 *
 *     <output>.partial/asks-2.json         what the second round asked of each layer
 *     <output>.partial/layer-00012-1.safetensors   what the first round found
 *     <output>.partial/adapter-<token>/    the adapter until it is whole, by one process
 */
export interface RunFolder extends OwnedRun {
  /** How many layers an earlier run had done. */
  readonly found: number
  /** Files of layers that an earlier run had done and that are not what it wrote: they count as not done. */
  readonly damaged: readonly string[]
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
}

export type LayerShape = Pick<LayerKey, 'name' | 'rows' | 'columns'>

const LAYER_FILE = /^layer-(\d+)-(\d+)\.safetensors$/
const ASKS_FILE = /^asks-\d+\.json$/

const CONTENTS: RunContents = {
  staging: (token) => `adapter-${token}`,
  isStaging: /^adapter-[0-9a-f]+$/,
  keepsStaging: false,
  isResult: (name) => LAYER_FILE.test(name),
  isNote: (name) => ASKS_FILE.test(name),
}

/** Opens the run folder of `output`, a new one or that of an earlier run of the same identity. Throws as `openOwnedRun` does. */
export const openRunFolder = (
  output: string,
  identity: RunIdentity,
  layers: readonly LayerShape[],
  { restart }: { restart: boolean },
): Promise<RunFolder> =>
  openOwnedRun(output, identity, CONTENTS, { restart }, (run) => runFolder(run, layers))

async function runFolder(owned: OwnedRun, layers: readonly LayerShape[]): Promise<RunFolder> {
  const { path: folder, run } = owned
  const nameOf = (round: number, index: number) =>
    `layer-${String(index).padStart(5, '0')}-${round}.safetensors`
  const pathOf = (round: number, index: number) => `${folder}/${nameOf(round, index)}`
  const keyOf = (round: number, index: number): LayerKey => ({ run, round, ...layers[index] })

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
    ...owned,
    found,
    damaged,
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
