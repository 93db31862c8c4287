import { realpath, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { badInput } from '../errors.ts'
import { openInput } from '../formats/read-matrix.ts'
import { SNIFFED_BYTES, sniff } from '../formats/sniff.ts'
import type { HeaderChoice } from '../formats/text-matrix.ts'
import { errnoOf } from '../io/os-error.ts'
import type { ByteSource } from '../io/source.ts'
import { type Arrays, npyArray, npzArrays, textArray } from './arrays.ts'
import {
  ADAPTER_CONFIG_FILE,
  ADAPTER_FILE,
  CONFIG_FILE,
  entranceOf,
  entriesOf,
  isIndexName,
  isModel,
  readLenientConfig,
  readStrictConfig,
} from './folder.ts'
import {
  hubCacheFolder,
  isBareName,
  isRepositoryFolder,
  isRepositoryName,
  repositoryFolder,
  type Surroundings,
  snapshotFolder,
} from './hub-cache.ts'
import { openShards } from './shards.ts'
import { type OpenedFile, openedFile, openListed } from './stored.ts'
import type { Checkpoint } from './types.ts'

export interface OpenOptions extends Partial<Surroundings> {
  /** What `-` stands for. */
  readonly stdin?: AsyncIterable<Uint8Array | string> | undefined
  /** Whether the first row of a text is names. */
  readonly header?: HeaderChoice | undefined
}

/** What was read, before the configs beside it and before its name. */
type Tensors = Pick<Checkpoint, 'tensors' | 'metadata' | 'files' | 'warnings'>

/**
 * Opens a checkpoint of whatever form: a safetensors, .npy, .npz or text file (`-`: standard input), an index of shards, a
 * folder of a model or an adapter, a repository's folder in the Hugging Face cache, or `org/name`, which is looked up in that
 * cache without network. Reads headers and configs alone; no file stays open. Throws `bad-input` for what is missing,
 * broken or of another format, naming the file.
 */
export async function openCheckpoint(
  path: string,
  { stdin, header, env = process.env, home = homedir() }: OpenOptions = {},
): Promise<Checkpoint> {
  if (path === '-') return withConfigs({ path, ...(await openAny(await openInput(path, stdin), header)) })
  const kind = await kindOf(path)
  if (kind === 'folder') return openFolder(path, path)
  if (kind === 'missing' && (await isCached(path, { env, home }))) {
    return openFolder(path, await cachedSnapshot(path, { env, home }))
  }
  if (isIndexName(basename(path))) {
    const folder = await realpath(dirname(path)).catch(() => dirname(path))
    return withConfigs({ path, folder, ...(await openShards(path)) }, dirname(path), [CONFIG_FILE])
  }
  const source = await openListed(path, { mayBePipe: true })
  return withConfigs(
    { path, ...(await openAny(source, header)) },
    dirname(path),
    configsBeside(basename(path)),
  )
}

/** What a path names; a file also where it can't be told, so that opening it says why. */
export async function kindOf(path: string): Promise<'folder' | 'file' | 'missing'> {
  try {
    return (await stat(path)).isDirectory() ? 'folder' : 'file'
  } catch (error) {
    return errnoOf(error) === 'ENOENT' ? 'missing' : 'file'
  }
}

/** Whether a path that isn't there is to be looked up in the cache: as org/name, or as a bare name that is there. */
async function isCached(path: string, surroundings: Surroundings): Promise<boolean> {
  if (isRepositoryName(path)) return true
  const folder = repositoryFolder(hubCacheFolder(surroundings), path)
  return isBareName(path) && (await kindOf(folder)) === 'folder'
}

async function cachedSnapshot(repository: string, surroundings: Surroundings): Promise<string> {
  const cache = hubCacheFolder(surroundings)
  const folder = repositoryFolder(cache, repository)
  if ((await kindOf(folder)) === 'folder') return snapshotFolder(folder)
  throw badInput(
    `${repository}: no such file or folder, and no such model in the Hugging Face cache (${cache}); check the path, or download it: hf download ${repository}`,
    { file: repository },
  )
}

async function openFolder(path: string, folder: string): Promise<Checkpoint> {
  const entries = await entriesOf(folder)
  if (isRepositoryFolder(entries)) return openFolder(path, await snapshotFolder(folder))
  const { file, kind, warnings } = await entranceOf(folder, entries)
  const entrance = join(folder, file)
  const opened = kind === 'index' ? await openShards(entrance) : await openAny(await openListed(entrance))
  return withConfigs(
    {
      path,
      folder: await realpath(folder),
      ...opened,
      warnings: [...warnings, ...opened.warnings],
    },
    folder,
    configsOf(file).filter((name) => entries.includes(name)),
  )
}

/** The configs of a folder that speak of the file which was found in it. */
function configsOf(file: string): string[] {
  if (file === ADAPTER_FILE) return [ADAPTER_CONFIG_FILE]
  return isModel(file) ? [CONFIG_FILE] : [CONFIG_FILE, ADAPTER_CONFIG_FILE]
}

/** The same of a file that is named itself: configs beside one of any name may be another's. */
const configsBeside = (file: string) => (file === ADAPTER_FILE || isModel(file) ? configsOf(file) : [])

async function withConfigs(
  checkpoint: Checkpoint,
  folder = '',
  names: readonly string[] = [],
): Promise<Checkpoint> {
  let complete = checkpoint
  for (const name of names) {
    const file = join(folder, name)
    if ((await kindOf(file)) === 'missing') continue
    if (name === ADAPTER_CONFIG_FILE) {
      const { config, identity } = await readStrictConfig(file)
      complete = { ...complete, adapterConfig: config, files: [...complete.files, ...identity] }
    } else {
      const { config, identity, warnings } = await readLenientConfig(file)
      complete = {
        ...complete,
        ...(config !== undefined && { config }),
        files: [...complete.files, ...identity],
        warnings: [...complete.warnings, ...warnings],
      }
    }
  }
  return complete
}

/** What a file of any format that holds numbers holds; closes it. */
async function openAny(source: ByteSource, header?: HeaderChoice): Promise<Tensors> {
  try {
    const { name: file, byteLength } = source
    const sniffed = sniff(await source.read(0, Math.min(SNIFFED_BYTES, byteLength)), byteLength, file)
    switch (sniffed.format) {
      case 'foreign':
        throw badInput(`${file}: ${sniffed.problem}`, { file })
      case 'safetensors':
        return fromFile(await openedFile(source))
      case 'npy':
        return fromArrays(source, await npyArray(source))
      case 'zip':
        return fromArrays(source, await npzArrays(source))
      case 'text':
        return fromArrays(source, await textArray(source, header))
    }
  } finally {
    await source.close()
  }
}

const fromFile = ({ tensors, metadata, identity }: OpenedFile): Tensors => ({
  tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])),
  metadata,
  files: identity,
  warnings: [],
})

const fromArrays = ({ name, stamp }: ByteSource, { tensors, warnings }: Arrays): Tensors => ({
  tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])),
  metadata: new Map(),
  files: stamp === undefined ? [] : [{ path: name, ...stamp }],
  warnings,
})
