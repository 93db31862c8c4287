import { badInput, LoraSvdError } from '../errors.ts'
import { entriesIfAny, type FileIdentity, identityOf } from '../io/files.ts'
import { inFolder } from '../io/remote/address.ts'
import { readTextFile } from '../io/source.ts'
import { JsonError, parseObject } from '../text/strict-json.ts'
import { type Entrance, entranceOf, hasKnownFile, type ListedFolder } from './folder.ts'
import type { StoredTensor } from './types.ts'

/** diffusers' list of a pipeline's components (diffusers: pipelines/pipeline_utils.py, DiffusionPipeline.config_name). */
export const PIPELINE_FILE = 'model_index.json'

/** Real ones have some kilobytes. */
const INDEX_BYTE_LIMIT = 2 ** 20

/** A folder of a pipeline that holds weights. */
export interface ComponentEntrance {
  readonly name: string
  readonly entrance: Entrance
}

export interface Pipeline {
  /** In the order of model_index.json. */
  readonly components: readonly ComponentEntrance[]
  readonly identity: readonly FileIdentity[]
  readonly warnings: readonly string[]
}

/**
 * The components of a folder that is a pipeline of diffusers; undefined of any other, and of one beside whose model_index.json a
 * model or an adapter lies. Throws `bad-input` where the list can't be read, or a component's files don't tell which are meant.
 */
export async function pipelineOf({ folder, entries }: ListedFolder): Promise<Pipeline | undefined> {
  if (!entries.includes(PIPELINE_FILE) || hasKnownFile(entries)) return undefined
  const components: ComponentEntrance[] = []
  const warnings: string[] = []
  const { names, identity } = await readNames(inFolder(folder, PIPELINE_FILE))
  for (const name of names) {
    const inner = { folder: inFolder(folder, name), entries: await entriesIfAny(inFolder(folder, name)) }
    if (!inner.entries.some((file) => WEIGHTS.test(file))) continue
    const entrance = await entranceOf(inner).catch((error: unknown) => {
      if (!(error instanceof LoraSvdError) || inner.entries.some(isSafetensors)) throw error
      warnings.push(`${error.message}; this component is left as it is`)
    })
    if (entrance !== undefined) components.push({ name, entrance })
  }
  if (components.length === 0) return undefined
  const beside = entries.filter(isSafetensors)
  if (beside.length > 0) {
    warnings.push(
      `${folder}: holds a pipeline and ${beside[0]}${beside.length > 1 ? ', …' : ''}; the pipeline is read: for the file name it itself`,
    )
  }
  return { components, identity, warnings }
}

const isSafetensors = (name: string) => /\.safetensors$/i.test(name)
const WEIGHTS = /\.(safetensors(\.index\.json)?|bin)$/i

/** The keys of model_index.json but those of the pipeline itself, which are folders' names. */
async function readNames(file: string): Promise<{ names: string[]; identity: FileIdentity[] }> {
  const { text, stamp } = await readTextFile(file, INDEX_BYTE_LIMIT)
  try {
    const names = Object.keys(parseObject(text)).filter((key) => /^[A-Za-z][\w-]*$/.test(key))
    return { names, identity: identityOf(file, stamp) }
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    throw badInput(`${file}: is no right JSON: ${error.message}; correct it or fetch it again`, { file })
  }
}

/** A component's tensors as the pipeline has them: `unet.conv_in.weight`. */
export const ofComponent = (name: string, tensors: Iterable<StoredTensor>): [string, StoredTensor][] =>
  [...tensors].map((tensor) => {
    const full = `${name}.${tensor.name}`
    return [full, { ...tensor, name: full }]
  })
