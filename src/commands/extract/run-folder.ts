import { type LayerResult, type RankRequest, withoutVectors } from '../../compress/layer-result.ts'
import { LoraSvdError } from '../../errors.ts'
import { entriesIfAny, entriesOf, sizeIfAny } from '../../io/files.ts'
import { digestOfJson, readSealed, writeSealed } from '../../io/own-folder.ts'
import {
  isSame,
  type OpeningRun,
  type OwnedRun,
  openOwnedRun,
  type RunContents,
  type RunIdentity,
  runFolderOf,
} from '../../io/run-folder.ts'
import { type LayerKey, readLayerFile, writeLayerFile } from './layer-file.ts'
import type { ExtractionPlan } from './plan.ts'
import type { ExtractResult } from './result.ts'
import { isShardFolder } from './shard-folders.ts'

/**
 * What an extraction keeps in its run folder (io/run-folder.ts) while it is not done.
 *
 *     <output>.partial/asks-2.json         what the second round asked of each layer
 *     <output>.partial/layer-00012-1.safetensors   what the first round found
 *     <output>.partial/shard-2-of-4.partial/       of a job in shards: the same of one of them
 *     <output>.partial/adapter-<token>/    the adapter until it is whole, by one process
 */
export interface RunFolder extends OwnedRun {
  /** How many layers an earlier run had done. */
  readonly found: number
  /** Files of layers that an earlier run had done and that are not what it wrote: they count as not done. */
  readonly damaged: readonly string[]
  /** Where the layers are those of shards: how many of both. */
  readonly joined?: NonNullable<ExtractResult['joined']>
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

export const layerShapes = ({ layers }: Pick<ExtractionPlan, 'layers'>): LayerShape[] =>
  layers.map(({ pair: { name, tuned } }) => ({ name, rows: tuned.rows, columns: tuned.columns }))

const LAYER_FILE = /^layer-(\d+)-(\d+)\.safetensors$/
const ASKS_FILE = /^asks-\d+\.json$/

const CONTENTS: RunContents = {
  staging: (token) => `adapter-${token}`,
  isStaging: /^adapter-[0-9a-f]+$/,
  keepsStaging: false,
  isResult: (name) => LAYER_FILE.test(name),
  isNote: (name) => ASKS_FILE.test(name),
}

/** Of a job that is done in shards: of the folder in which those of the shards are, and in which they are joined. */
export const SHARED_CONTENTS: RunContents = { ...CONTENTS, isPart: isShardFolder }

export interface OpeningExtraction extends OpeningRun {
  /** Folders of other runs of the same identity, whose layers are this one's too. They are only read. */
  readonly parts?: readonly string[]
  /** Whether the folder may hold those of shards. */
  readonly isShared?: boolean
  /** Whether each layer is flushed to the disk: where layers are all that a run makes, as a shard's are. */
  readonly lasts?: boolean
}

/** Opens the run folder of `output`, a new one or that of an earlier run of the same identity. Throws as `openOwnedRun` does. */
export const openRunFolder = (
  output: string,
  identity: RunIdentity,
  layers: readonly LayerShape[],
  { parts = [], isShared = false, lasts = false, ...opening }: OpeningExtraction,
): Promise<RunFolder> =>
  openOwnedRun(output, identity, isShared ? SHARED_CONTENTS : CONTENTS, opening, (run) =>
    runFolder(run, layers, parts, lasts),
  )

/** Layers of a run as they lie in its folders: those that are whole, and the files that are not what a run of this identity wrote. */
export interface FoundLayers {
  readonly sound: Map<string, { readonly path: string; readonly result: LayerResult }>
  readonly damaged: readonly string[]
  find: RunFolder['find']
}

/** Looks for the layers of a run in folders, the first that has one giving it. Nothing is written. */
export async function findLayers(
  folders: readonly string[],
  identity: RunIdentity,
  layers: readonly LayerShape[],
): Promise<FoundLayers> {
  return foundIn(undefined, folders, digestOfJson(identity), layers)
}

async function foundIn(
  own: string | undefined,
  others: readonly string[],
  run: string,
  layers: readonly LayerShape[],
): Promise<FoundLayers> {
  const sound: FoundLayers['sound'] = new Map()
  const damaged: string[] = []
  for (const folder of own === undefined ? others : [own, ...others]) {
    for (const [name, index, round] of await layerFiles(folder)) {
      if (sound.has(name)) continue
      const path = `${folder}/${name}`
      const isOne = index < layers.length && name === layerFileName(round, index)
      const result = isOne ? await readLayerFile(path, { run, round, ...layers[index] }) : undefined
      if (result === undefined) damaged.push(folder === own ? name : path)
      else sound.set(name, { path, result: withoutVectors(result) })
    }
  }
  return {
    sound,
    damaged,
    find: (round, index, ask) => {
      const result = sound.get(layerFileName(round, index))?.result
      return result !== undefined && isSame(result.asked, ask) ? result : undefined
    },
  }
}

async function runFolder(
  owned: OwnedRun,
  layers: readonly LayerShape[],
  parts: readonly string[],
  lasts: boolean,
): Promise<RunFolder> {
  const { path: folder, run } = owned
  const pathOf = (round: number, index: number) => `${folder}/${layerFileName(round, index)}`
  const keyOf = (round: number, index: number): LayerKey => ({ run, round, ...layers[index] })
  const { sound, damaged, find } = await foundIn(folder, parts, run, layers)
  return {
    ...owned,
    found: layers.filter((_, index) => sound.has(layerFileName(1, index))).length,
    damaged,
    find,
    read: async (round, index) => {
      const path = sound.get(layerFileName(round, index))?.path ?? pathOf(round, index)
      const result = await readLayerFile(path, keyOf(round, index))
      if (result !== undefined) return result
      throw new LoraSvdError(
        'system',
        `${path}: is not what was written there during this run; run the same command again`,
        { file: path },
      )
    },
    write: async (round, index, result) => {
      await writeLayerFile(pathOf(round, index), keyOf(round, index), result, lasts)
      sound.delete(layerFileName(round, index))
    },
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

const layerFileName = (round: number, index: number): string =>
  `layer-${String(index).padStart(5, '0')}-${round}.safetensors`

/** Whether each of so many layers has a file of the first round in one of the folders, as far as names tell. */
export async function areAllNamed(count: number, folders: readonly string[]): Promise<boolean> {
  const names = new Set((await Promise.all(folders.map(entriesIfAny))).flat())
  return Array.from({ length: count }, (_, index) => layerFileName(1, index)).every((name) => names.has(name))
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
