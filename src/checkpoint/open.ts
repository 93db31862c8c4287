import { homedir } from 'node:os'
import { basename } from 'node:path'
import { badInput, LoraSvdError } from '../errors.ts'
import type { ArrayShapes } from '../formats/npy.ts'
import type { HeaderChoice } from '../formats/text-matrix.ts'
import { type FileIdentity, identityOf, withoutLinks } from '../io/files.ts'
import { isAddress } from '../io/remote/address.ts'
import { pinned } from '../io/remote/hub.ts'
import { network } from '../io/remote/network.ts'
import type { Surroundings } from '../io/remote/settings.ts'
import { readTextIfThere } from '../io/source.ts'
import { quoted } from '../text/quote.ts'
import { JsonError, parseJson, parseObject } from '../text/strict-json.ts'
import {
  ADAPTER_CONFIG_FILE,
  type Entrance,
  entranceItself,
  entranceOf,
  folderMeant,
  isOnHubOnly,
} from './folder.ts'
import { joinSplits, splitsOf } from './gguf-splits.ts'
import { ofComponent, type Pipeline, pipelineOf } from './pipeline.ts'
import { type JoinedTensors, joinShards, readShardIndex, type ShardIndex } from './shards.ts'
import { type OpenedFile, type OpenFilesOptions, openFiles } from './stored.ts'
import type { Checkpoint, Component, StoredTensor } from './types.ts'

export interface OpenOptions extends Partial<Surroundings> {
  /** What `-` stands for. */
  readonly stdin?: AsyncIterable<Uint8Array | string> | undefined
  /** Whether the first row of a text is names. */
  readonly header?: HeaderChoice | undefined
  /** Why a text is refused, where it is: half a sentence of the file. */
  readonly textProblem?: string | undefined
  /** Which arrays of an .npz are wanted; matrices where left out. */
  readonly arrays?: ArrayShapes | undefined
  /** Read `org/name` from the Hub where the cache doesn't have it. */
  readonly online?: boolean | undefined
}

/**
 * Opens a checkpoint of whatever form: a safetensors, GGUF (with all files of a model that was split), .npy, .npz or text file (`-`: standard
 * input), an index of shards, a folder of a model, an adapter or a pipeline of diffusers, a repository's folder in the Hugging Face cache, `org/name`, which is
 * looked up in that cache without network, or an address hf:// or https:// of any of these. Reads headers and configs alone; no file stays open. Throws `bad-input` for what is
 * missing, broken or of another format, naming the file.
 */
export async function openCheckpoint(
  given: string,
  {
    stdin,
    header,
    textProblem,
    arrays,
    online = false,
    env = process.env,
    home = homedir(),
  }: OpenOptions = {},
): Promise<Checkpoint> {
  const surroundings = { env, home }
  const address = online && (await isOnHubOnly(given, surroundings)) ? `hf://${given}` : given
  const path = isAddress(address) ? await pinned(address) : address
  network().readAs.set(given, path)
  const folder = path === '-' ? undefined : await folderMeant(path, surroundings)
  const pipeline = folder === undefined ? undefined : await pipelineOf(folder)
  if (pipeline !== undefined) return openPipeline(path, folder!.folder, pipeline)
  const entrance = folder === undefined ? entranceItself(path) : await entranceOf(folder)
  const options = { stdin, header, textProblem, arrays, mayBePipe: folder === undefined }
  const { opened, index, tensors, warnings } = await openEntrance(entrance, options)
  const configs = await readConfigs(entrance.configs)
  return {
    path,
    ...(entrance.folder !== undefined && { folder: await withoutLinks(entrance.folder) }),
    tensors,
    metadata: opened[0].metadata,
    ...(opened[0].format === 'gguf' && { isGguf: true }),
    ...configs,
    files: [...identitiesOf(opened, index), ...configs.files],
    warnings: [...entrance.warnings, ...warnings, ...configs.warnings],
  }
}

interface Opened extends JoinedTensors {
  readonly opened: readonly OpenedFile[]
  readonly index: ShardIndex | undefined
}

async function openEntrance({ file, isIndex }: Entrance, options: OpenFilesOptions): Promise<Opened> {
  const index = isIndex ? await readShardIndex(file) : undefined
  const files = index?.paths ?? (await splitsOf(file))
  const mayBePipe = options.mayBePipe === true && files.length === 1
  const opened = await openFiles(
    files,
    index === undefined ? { ...options, mayBePipe } : { only: 'safetensors' },
  )
  return { opened, index, ...(index === undefined ? together(files, opened) : joinShards(opened, index)) }
}

const identitiesOf = (opened: readonly OpenedFile[], index: ShardIndex | undefined): FileIdentity[] => [
  ...opened.flatMap(({ identity }) => identity),
  ...(index?.identity ?? []),
]

/** All components of a pipeline as one, their names before those of their tensors. Of their configs none speaks of all of it. */
async function openPipeline(path: string, folder: string, pipeline: Pipeline): Promise<Checkpoint> {
  const tensors = new Map<string, StoredTensor>()
  const components: Component[] = []
  const files: FileIdentity[] = [...pipeline.identity]
  const warnings = [...pipeline.warnings]
  for (const { name, entrance } of pipeline.components) {
    const part = await openEntrance(entrance, { only: 'safetensors' })
    for (const [full, tensor] of ofComponent(name, part.tensors.values())) tensors.set(full, tensor)
    const { metadata } = part.opened[0]
    const index = part.index === undefined ? undefined : basename(part.index.file)
    components.push({ name, metadata, ...(index !== undefined && { index }) })
    files.push(...identitiesOf(part.opened, part.index))
    warnings.push(...entrance.warnings, ...part.warnings)
  }
  const { metadata } = components[0]
  return { path, folder: await withoutLinks(folder), components, tensors, metadata, files, warnings }
}

function together(files: readonly string[], opened: readonly OpenedFile[]): JoinedTensors {
  const [{ tensors, warnings, format }] = opened
  if (format === 'gguf') return joinSplits(files, opened)
  return { tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])), warnings }
}

/** The configs of real models have a few kilobytes; those with label lists or long patterns some hundred. */
const CONFIG_BYTE_LIMIT = 16 * 2 ** 20

export type Config = Readonly<Record<string, unknown>>

/** What stands beside a checkpoint's tensors. */
export interface Configs {
  /** config.json of a model. */
  readonly config?: Config
  /** adapter_config.json of an adapter. */
  readonly adapterConfig?: Config
  readonly files: readonly FileIdentity[]
  readonly warnings: readonly string[]
}

/**
 * Reads the configs that are there. Throws `bad-input` for an adapter's, on which the scale of all its factors hangs, that isn't one JSON
 * object; of a model's little is used, and one that can't be read is a warning.
 */
async function readConfigs(paths: readonly string[]): Promise<Configs> {
  let configs: Configs = { files: [], warnings: [] }
  for (const path of paths) {
    const isStrict = basename(path) === ADAPTER_CONFIG_FILE
    try {
      const found = await readTextIfThere(path, CONFIG_BYTE_LIMIT)
      if (found === undefined) continue
      const value = isStrict ? parseObject(found.text) : parseJson(found.text)
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        throw new JsonError('it holds no object')
      }
      const files = [...configs.files, ...identityOf(path, found.stamp)]
      configs = { ...configs, files, [isStrict ? 'adapterConfig' : 'config']: value }
    } catch (error) {
      const problem = problemOf(error, path, isStrict)
      if (isStrict) throw problem
      configs = { ...configs, warnings: [...configs.warnings, `${problem.message}; gone on without it`] }
    }
  }
  return configs
}

/** Why a config can't be read; anything else that was thrown is thrown on. */
function problemOf(error: unknown, file: string, isStrict: boolean): LoraSvdError {
  if (error instanceof LoraSvdError) return error
  if (!(error instanceof JsonError)) throw error
  // a piece of the text is in the message
  const problem = isStrict
    ? `is no right JSON: ${error.message}; correct it or fetch it again`
    : `can't be read as JSON (${quoted(error.message).slice(1, -1)})`
  return badInput(`${file}: ${problem}`, { file })
}
