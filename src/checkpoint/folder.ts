import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { badInput, LoraSvdError } from '../errors.ts'
import { sniff } from '../formats/sniff.ts'
import { osError } from '../io/os-error.ts'
import { type FileStamp, openFile, readWhole } from '../io/source.ts'
import { counted, quoted } from '../text/quote.ts'
import { JsonError, jsonReader, parseJson } from '../text/strict-json.ts'
import type { FileIdentity } from './types.ts'

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

/** The text of a UTF-8 file of `limit` bytes at most. Throws `bad-input` for a longer one, and as `openFile` does. */
export async function readTextFile(
  file: string,
  limit: number,
): Promise<{ text: string; stamp: FileStamp | undefined }> {
  const source = await openFile(file, { limit })
  try {
    const bytes = await readWhole(source)
    return { text: decodeUtf8(bytes, file), stamp: source.stamp }
  } finally {
    await source.close()
  }
}

/** A byte-order mark is kept, and so refused by a strict parser. */
function decodeUtf8(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw badInput(`${file}: is not UTF-8 text; write it anew as UTF-8`, { file, cause })
  }
}

/** The configs of real models have a few kilobytes; those with label lists or long patterns some hundred. */
const CONFIG_BYTE_LIMIT = 16 * 2 ** 20

export type Config = Readonly<Record<string, unknown>>

/** An adapter's config, on which the scale of all its factors hangs. Throws `bad-input` for anything but one JSON object. */
export async function readStrictConfig(file: string): Promise<{ config: Config; identity: FileIdentity[] }> {
  const { text, stamp } = await readTextFile(file, CONFIG_BYTE_LIMIT)
  const members = new Map<string, unknown>()
  const json = jsonReader(text)
  try {
    json.object((key) => {
      if (members.has(key)) json.fail(`the key ${quoted(key)} comes twice`)
      members.set(key, JSON.parse(json.skip()))
    })
    json.end()
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    throw badInput(`${file}: is no right JSON: ${error.message}; correct it or fetch it again`, { file })
  }
  return { config: Object.fromEntries(members), identity: identityOf(file, stamp) }
}

/** A model's config, of which little is used: one that can't be read is a warning. */
export async function readLenientConfig(
  file: string,
): Promise<{ config?: Config; identity: FileIdentity[]; warnings: string[] }> {
  try {
    const { text, stamp } = await readTextFile(file, CONFIG_BYTE_LIMIT)
    const config = parseJson(text)
    if (typeof config !== 'object' || config === null || Array.isArray(config)) {
      throw new JsonError('it holds no object')
    }
    return { config: config as Config, identity: identityOf(file, stamp), warnings: [] }
  } catch (error) {
    if (error instanceof LoraSvdError)
      return { identity: [], warnings: [`${error.message}; gone on without it`] }
    if (!(error instanceof JsonError)) throw error
    // a piece of the text is in the message
    const problem = quoted(error.message).slice(1, -1)
    return { identity: [], warnings: [`${file}: can't be read as JSON (${problem}); gone on without it`] }
  }
}

const identityOf = (path: string, stamp: Omit<FileIdentity, 'path'> | undefined): FileIdentity[] =>
  stamp === undefined ? [] : [{ path, ...stamp }]

/** `model.safetensors.index.json`, or with a variant: `model.safetensors.index.fp16.json`. */
export const isIndexName = (name: string) => /\.safetensors\.index(\.[^.]+)?\.json$/.test(name)
