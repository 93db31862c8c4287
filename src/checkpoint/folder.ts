import { basename, dirname, join } from 'node:path'
import { badInput, type LoraSvdError } from '../errors.ts'
import { sniff } from '../formats/sniff.ts'
import { entriesIfAny, entriesOf, kindOf, pathsBelow } from '../io/files.ts'
import type { FolderKind } from '../io/place-folder.ts'
import { folderOf, inFolder } from '../io/remote/address.ts'
import { cachedName } from '../io/remote/cache.ts'
import { network } from '../io/remote/network.ts'
import { hubCacheFolder, type Surroundings } from '../io/remote/settings.ts'
import { readTextIfThere } from '../io/source.ts'
import { counted, quoted } from '../text/quote.ts'

/** The file that leads to a checkpoint's tensors: they are in it, or it is the index of their shards. */
export interface Entrance {
  readonly file: string
  readonly isIndex: boolean
  /** The folder that the checkpoint is, where it isn't one file alone. */
  readonly folder?: string
  /** The configs that speak of it, whether or not they are there. */
  readonly configs: readonly string[]
  /** What else lies there that someone might have meant. */
  readonly warnings: readonly string[]
}

export const ADAPTER_FILE = 'adapter_model.safetensors'
export const ADAPTER_CONFIG_FILE = 'adapter_config.json'
const CONFIG_FILE = 'config.json'

/** A folder that is an adapter's alone: it may hold what PEFT, mlx-lm, the Hub and desktops put there. */
export const ADAPTER_FOLDER: FolderKind = {
  noun: 'adapter',
  mark: ADAPTER_CONFIG_FILE,
  mayHold:
    /^(adapter_|(\d+_)?adapters\.safetensors$|README\.md$|\.|tokenizer|special_tokens|added_tokens|vocab|merges|chat_template)/,
}

/** What MLX calls an adapter's tensors; before April 2024 without a config beside them. */
const MLX_FILES = ['adapters.safetensors', 'adapters.npz']

/** The names that transformers, peft and diffusers look for, in the order in which they are looked for here. */
const KNOWN_FILES = [
  'model.safetensors',
  'model.safetensors.index.json',
  ADAPTER_FILE,
  ...MLX_FILES,
  'diffusion_pytorch_model.safetensors',
  'diffusion_pytorch_model.safetensors.index.json',
  'pytorch_lora_weights.safetensors',
]

/** Whether one of the files is there that transformers, peft and diffusers look for. */
export const hasKnownFile = (entries: readonly string[]) => KNOWN_FILES.some((name) => entries.includes(name))

/** Whether a file is named as a whole model's weights or their index are, so that config.json is of the same model. */
const isModel = (file: string) => /^(diffusion_pytorch_)?model\.safetensors/.test(file)

/** Whether it is named as an adapter's weights are, MLX's after so many iterations too, so that adapter_config.json is of the same. */
const isAdapter = (file: string) =>
  file === ADAPTER_FILE || /^(?:\d+_)?adapters\.(?:safetensors|npz)$/.test(file)

/** Files and folders listed at most: they must fit one line. */
const LISTED = 6

/** Weights that are not read, by their names: `sniff` knows what to do with each. */
const FOREIGN_WEIGHTS = /\.(bin|pt|pth|ckpt|pkl|gguf|onnx|h5|hdf5)$/i

/** The entrance that is named itself. Configs beside a file of any name may be another's. */
export function entranceItself(file: string): Entrance {
  const name = basename(file)
  const isIndex = isIndexName(name)
  const folder = folderOf(file)
  const configs = isIndex ? [CONFIG_FILE] : isAdapter(name) || isModel(name) ? configsOf(name) : []
  return {
    file,
    isIndex,
    ...(isIndex && { folder }),
    configs: configs.map((config) => inFolder(folder, config)),
    warnings: [],
  }
}

/** The entrance of a folder. Throws `bad-input`, saying what is there instead, when there is none. */
export async function entranceOf({ folder, entries }: ListedFolder): Promise<Entrance> {
  const known = KNOWN_FILES.find((name) => entries.includes(name))
  const indices = entries.filter(isIndexName)
  const found = indices.length > 0 ? indices : entries.filter((name) => /\.safetensors$/i.test(name))
  if (known === undefined && found.length > 1) {
    const kind = indices.length > 1 ? 'indices of shards' : 'safetensors files and no index'
    throw badInput(`${folder}: holds ${found.length} ${kind}; name one of them: ${listed(found)}`, {
      file: folder,
    })
  }
  const name = known ?? found[0]
  if (name === undefined) throw await nothingThere(folder, entries)
  return {
    file: inFolder(folder, name),
    isIndex: isIndexName(name),
    folder,
    configs: configsOf(name)
      .filter((config) => entries.includes(config))
      .map((config) => inFolder(folder, config)),
    warnings: known === undefined ? [] : otherwise(folder, known, entries),
  }
}

/** The configs of a folder that speak of the file which was found in it. */
function configsOf(file: string): string[] {
  if (isAdapter(file)) return [ADAPTER_CONFIG_FILE, CONFIG_FILE]
  return isModel(file) ? [CONFIG_FILE] : [CONFIG_FILE, ADAPTER_CONFIG_FILE]
}

function otherwise(folder: string, chosen: string, entries: readonly string[]): string[] {
  if (chosen === ADAPTER_FILE || !entries.includes(ADAPTER_FILE)) return []
  return [`${folder}: holds a model and an adapter; ${chosen} is read: for the other name ${ADAPTER_FILE}`]
}

async function nothingThere(folder: string, entries: readonly string[]): Promise<LoraSvdError> {
  const problem = (text: string) => badInput(`${folder}: ${text}`, { file: folder })
  const foreign = entries.filter((name) => FOREIGN_WEIGHTS.test(name))
  if (foreign.length > 0) {
    // by its name alone, as torch's .bin has no mark of its own
    const name = foreign[0].replace(/\.bin$/i, '.pt')
    const sniffed = sniff(new Uint8Array([0]), 1, name)
    const what =
      sniffed.format === 'foreign' ? sniffed.problem : 'is a GGUF file; name it itself, not its folder'
    const more = foreign.length > 1 ? ` (and ${counted(foreign.length - 1, 'file')} like it)` : ''
    return problem(`holds no safetensors file; ${quoted(foreign[0])}${more} ${what}`)
  }
  const inner = await foldersWithWeights(folder, entries)
  if (inner.length > 0) {
    return problem(`holds no safetensors file itself; name one of its folders: ${listed(inner)}`)
  }
  if (entries.length === 0) return problem('is an empty folder; name a checkpoint')
  return problem(
    `is a folder without a safetensors file; name one that holds a checkpoint, or a file inside it`,
  )
}

/** The parts of a pipeline, such as `transformer` and `vae` of diffusers, which each are a checkpoint. */
async function foldersWithWeights(folder: string, entries: readonly string[]): Promise<string[]> {
  const found: string[] = []
  for (const name of entries) {
    const inner = await entriesIfAny(inFolder(folder, name))
    if (inner.some((file) => /\.safetensors$/i.test(file))) found.push(name)
    if (found.length > LISTED) break
  }
  return found
}

function listed(names: readonly string[]): string {
  const more = names.length > LISTED ? ', …' : ''
  return `${names.slice(0, LISTED).map(quoted).join(', ')}${more}`
}

/** `model.safetensors.index.json`, or with a variant: `model.safetensors.index.fp16.json`. */
export const isIndexName = (name: string) => /\.safetensors\.index(\.[^.]+)?\.json$/.test(name)

/** A commit hash has 40 characters; a file of this size is none. */
const REF_BYTE_LIMIT = 1024

/** Snapshots, what is in them, and what is in the folders of a pipeline. */
const SNAPSHOT_LEVELS = 3

/** Snapshots listedIn at most: they must fit one line. */
const LISTED_SNAPSHOTS = 3

/** `org/name` as the Hugging Face hub allows it (huggingface_hub/utils/_validators.py). */
export const isRepositoryName = (text: string) =>
  /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/.test(text) && !/--|\.\./.test(text)

/** A name without an organisation, as the hub's oldest models have: gpt2. */
const isBareName = (text: string) => isRepositoryName(`org/${text}`)

/** A folder, and the names of what is in it, sorted. */
export interface ListedFolder {
  readonly folder: string
  readonly entries: readonly string[]
}

/**
 * The folder that a path means: itself, or a snapshot of the repository of the Hugging Face cache that it is, or that it names:
 * `org/name`, or a bare name that is there. Undefined where it means a file. Throws `bad-input` where that repository isn't in the
 * cache or not whole.
 */
export async function folderMeant(
  path: string,
  surroundings: Surroundings,
): Promise<ListedFolder | undefined> {
  const cache = hubCacheFolder(surroundings)
  // whether or not it is there
  const inCache = join(cache, cachedName(path))
  const isFullName = isRepositoryName(path)
  const isName = isFullName || isBareName(path)
  const kind = await kindOf(path)
  const isCached = isName && kind === 'missing' && (await kindOf(inCache)) === 'folder'
  if (isFullName && kind === 'missing' && !isCached) {
    throw badInput(
      `${path}: no such file or folder, and no such model in the Hugging Face cache (${cache}); check the path, read it from the Hub with --online, or download it: hf download ${path}`,
      { file: path },
    )
  }
  if (kind === 'missing' && isRepositoryName(path.replace(/@[^@]+$/, '')) && path.includes('@')) {
    throw badInput(`${path}: no such file or folder; a revision of a model on the Hub is hf://${path}`, {
      file: path,
    })
  }
  if (kind !== 'folder' && !isCached) return undefined
  let folder = path
  if (isCached) folder = inCache
  const entries = await entriesOf(folder)
  const isRepository =
    entries.includes('snapshots') && (entries.includes('refs') || entries.includes('blobs'))
  if (!isCached && !isRepository) return { folder, entries }
  const below = await pathsBelow(join(folder, 'snapshots'), SNAPSHOT_LEVELS)
  const main = await readTextIfThere(join(folder, 'refs', 'main'), REF_BYTE_LIMIT)
  const snapshot = chosenSnapshot(folder, below, main?.text.trim())
  const names = below.filter((path) => dirname(path) === snapshot).map((path) => basename(path))
  return { folder: join(folder, 'snapshots', snapshot), entries: names }
}

/** Whether a path is `org/name`, and nothing on this machine has that name; of a run that keeps what it reads, the cache doesn't count: it is filled. */
export const isOnHubOnly = async (path: string, surroundings: Surroundings): Promise<boolean> =>
  isRepositoryName(path) &&
  (await kindOf(path)) === 'missing' &&
  (network().keepsIn !== undefined ||
    (await kindOf(join(hubCacheFolder(surroundings), cachedName(path)))) !== 'folder')

/**
 * The snapshot of a repository: what refs/main names, else the only one there is. Throws `bad-input` where that isn't there, or can't
 * be told, and where it has no weights and another has: a newer config or tokenizer was fetched since, and which of the two is
 * meant isn't for us to say.
 */
function chosenSnapshot(repository: string, below: readonly string[], commit: string | undefined): string {
  const snapshots = below.filter((path) => !path.includes('/'))
  const hasWeights = (snapshot: string) =>
    below.some((path) => path.startsWith(`${snapshot}/`) && /\.safetensors$/i.test(path))
  if (commit !== undefined) {
    const isThere = snapshots.includes(commit)
    if (isThere && hasWeights(commit)) return commit
    const whole = snapshots.filter(hasWeights)
    if (isThere && whole.length === 0) return commit
    const others =
      whole.length === 0 ? '' : `, or name a folder in snapshots/ that has weights: ${listedIn(whole)}`
    throw badInput(
      `${repository}: refs/main names the snapshot ${quoted(commit)}, which ${isThere ? 'holds no weights' : "isn't there"}: the download is incomplete; fetch it again (hf download)${others}`,
      { file: repository },
    )
  }
  if (snapshots.length === 1) return snapshots[0]
  throw badInput(
    snapshots.length === 0
      ? `${repository}: holds no snapshot: the download is incomplete; fetch it again (hf download)`
      : `${repository}: holds ${counted(snapshots.length, 'snapshot')} and no refs/main; name one of the folders in snapshots/: ${listedIn(snapshots)}`,
    { file: repository },
  )
}

const listedIn = (snapshots: readonly string[]) => snapshots.slice(0, LISTED_SNAPSHOTS).map(quoted).join(', ')
