import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { badInput, type LoraSvdError } from '../errors.ts'
import { osError } from '../formats/os-error.ts'
import { counted, quoted } from '../formats/quote.ts'
import { sniff } from '../formats/sniff.ts'
import { isIndexName } from './index-file.ts'

/** The file of a folder that leads to its tensors: they are in it, or it is the index of their shards. */
export interface Entrance {
  readonly file: string
  readonly kind: 'single' | 'index'
  /** What else lies there that someone might have meant. */
  readonly warnings: readonly string[]
}

export const ADAPTER_FILE = 'adapter_model.safetensors'
export const ADAPTER_CONFIG_FILE = 'adapter_config.json'
export const CONFIG_FILE = 'config.json'

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
export const isModel = (file: string) => /^(diffusion_pytorch_)?model\.safetensors/.test(file)

/** Files and folders listed at most: they must fit one line. */
const LISTED = 6

/** Weights that are not read, by their names: `sniff` knows what to do with each. */
const FOREIGN_WEIGHTS = /\.(bin|pt|pth|ckpt|pkl|gguf|onnx|h5|hdf5)$/i

/** The names of a folder's entries, sorted. Throws `bad-input` or `system` where it can't be listed. */
export async function entriesOf(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort()
  } catch (error) {
    throw osError(error, 'list the folder', folder)
  }
}

/** The entrance of a folder with these entries. Throws `bad-input`, saying what is there instead, when there is none. */
export async function entranceOf(folder: string, entries: readonly string[]): Promise<Entrance> {
  const known = KNOWN_FILES.find((name) => entries.includes(name))
  if (known !== undefined) {
    return {
      file: known,
      kind: isIndexName(known) ? 'index' : 'single',
      warnings: otherwise(folder, known, entries),
    }
  }
  const indices = entries.filter(isIndexName)
  if (indices.length === 1) return { file: indices[0], kind: 'index', warnings: [] }
  const files = indices.length > 1 ? indices : entries.filter((name) => /\.safetensors$/i.test(name))
  if (files.length === 1) return { file: files[0], kind: 'single', warnings: [] }
  if (files.length > 1) {
    const kind = indices.length > 1 ? 'indices of shards' : 'safetensors files and no index'
    throw badInput(`${folder}: holds ${files.length} ${kind}; name one of them: ${listed(files)}`, {
      file: folder,
    })
  }
  throw await nothingThere(folder, entries)
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
    const path = join(folder, name)
    const isFolder = await stat(path).then(
      (stat) => stat.isDirectory(),
      () => false,
    )
    const inner = isFolder ? await readdir(path).catch(() => []) : []
    if (inner.some((file) => /\.safetensors$/i.test(file))) found.push(name)
    if (found.length > LISTED) break
  }
  return found
}

function listed(names: readonly string[]): string {
  const more = names.length > LISTED ? ', …' : ''
  return `${names.slice(0, LISTED).map(quoted).join(', ')}${more}`
}
