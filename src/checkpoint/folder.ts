import { basename, dirname, join } from 'node:path'
import { badInput, type LoraSvdError } from '../errors.ts'
import { sniff } from '../formats/sniff.ts'
import { entriesIfAny } from '../io/files.ts'
import type { FolderKind } from '../io/place-folder.ts'
import { counted, quoted } from '../text/quote.ts'
import type { ListedFolder } from './hub-cache.ts'

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

/** A folder that is an adapter's alone: it may hold what PEFT, the Hub and desktops put there. */
export const ADAPTER_FOLDER: FolderKind = {
  noun: 'adapter',
  mark: ADAPTER_CONFIG_FILE,
  mayHold: /^(adapter_|README\.md$|\.|tokenizer|special_tokens|added_tokens|vocab|merges|chat_template)/,
}

/** The names that transformers, peft and diffusers look for, in the order in which they are looked for here. */
const KNOWN_FILES = [
  'model.safetensors',
  'model.safetensors.index.json',
  ADAPTER_FILE,
  'diffusion_pytorch_model.safetensors',
  'diffusion_pytorch_model.safetensors.index.json',
  'pytorch_lora_weights.safetensors',
]

/** Whether a file is named as a whole model's weights or their index are, so that config.json is of the same model. */
const isModel = (file: string) => /^(diffusion_pytorch_)?model\.safetensors/.test(file)

/** Files and folders listed at most: they must fit one line. */
const LISTED = 6

/** Weights that are not read, by their names: `sniff` knows what to do with each. */
const FOREIGN_WEIGHTS = /\.(bin|pt|pth|ckpt|pkl|gguf|onnx|h5|hdf5)$/i

/** The entrance that is named itself. Configs beside a file of any name may be another's. */
export function entranceItself(file: string): Entrance {
  const name = basename(file)
  const isIndex = isIndexName(name)
  const folder = dirname(file)
  const configs = isIndex ? [CONFIG_FILE] : name === ADAPTER_FILE || isModel(name) ? configsOf(name) : []
  return {
    file,
    isIndex,
    ...(isIndex && { folder }),
    configs: configs.map((config) => join(folder, config)),
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
    file: join(folder, name),
    isIndex: isIndexName(name),
    folder,
    configs: configsOf(name)
      .filter((config) => entries.includes(config))
      .map((config) => join(folder, config)),
    warnings: known === undefined ? [] : otherwise(folder, known, entries),
  }
}

/** The configs of a folder that speak of the file which was found in it. */
function configsOf(file: string): string[] {
  if (file === ADAPTER_FILE) return [ADAPTER_CONFIG_FILE]
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
    const what = sniffed.format === 'foreign' ? sniffed.problem : 'is not read'
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
    const inner = await entriesIfAny(join(folder, name))
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
