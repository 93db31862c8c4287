import { badInput } from '../errors.ts'
import {
  type Adapter,
  type AdapterFormat,
  type AdapterModule,
  blamed,
  type TargetModule,
} from '../lora/model.ts'
import { PEFT_PREFIX } from '../lora/names.ts'
import { leafOfPath } from '../lora/traits.ts'
import { quoted } from '../text/quote.ts'

/** Whose names a format has, for messages. */
export const NAMES: Readonly<Record<AdapterFormat, string>> = {
  peft: 'PEFT',
  kohya: 'kohya',
  comfyui: 'ComfyUI',
  diffusers: 'diffusers',
  gguf: 'llama.cpp',
  mlx: 'MLX',
}

/** How a module's factors lie in a format: PEFT alone stores those of embeddings and of Conv1D the other way round. */
export const lyingIn = (format: AdapterFormat, module: AdapterModule): AdapterModule =>
  format !== 'peft' && module.isTransposed ? { ...module, kind: 'linear', isTransposed: false } : module

/** What an adapter's names have before a module's path where the base's have something else. */
interface Wrapping {
  /** Of the base's names. */
  readonly base: string
  /** Of the adapter's. */
  readonly own: string
  readonly like: AdapterModule
}

/**
 * Names for modules of other adapters as this one's format would spell them, learnt from how its own names differ from the base's.
 * Throws `bad-input` where they don't tell.
 */
export function spelledAs(
  adapter: Adapter,
): (module: AdapterModule, path: string) => { readonly module: AdapterModule; readonly like: AdapterModule } {
  let wrappings: Wrapping[] | undefined
  return (module, path) => {
    wrappings ??= wrappingsOf(adapter)
    const name = spelling(adapter, module.tensor)
    const fitting = wrappings.filter(({ base }) => name.startsWith(base))
    const [found] = fitting
    if (fitting.length !== 1 || module.kind === 'experts' || found.like.kind === 'experts') {
      throw badInput(
        `${path}: what names of ${NAMES[adapter.format]} call its module ${quoted(module.label)} can't be told from the names in ${adapter.path}, which has no such module; name ${path} first`,
        { file: path, tensor: blamed(module, 'A').name },
      )
    }
    const full = found.own + name.slice(found.base.length)
    const { prefix } = found.like
    const own = full.startsWith(prefix) ? full.slice(prefix.length) : full
    return {
      module: { ...lyingIn(adapter.format, module), prefix, path: own, label: own },
      like: found.like,
    }
  }
}

const separatorOf = ({ format }: Adapter) => (format === 'kohya' ? '_' : '.')

/** A base's name as the format would write it. */
const spelling = (adapter: Adapter, tensor: string) =>
  tensor.replace(/\.weight$/, '').replaceAll('.', separatorOf(adapter))

/** Each way in which the adapter's names differ from the base's, once. */
function wrappingsOf(adapter: Adapter): Wrapping[] {
  const separator = separatorOf(adapter)
  const found = new Map<string, Wrapping>()
  for (const like of adapter.modules) {
    const prefix = adapter.format === 'peft' ? PEFT_PREFIX : like.prefix
    const own = (prefix + like.path).split(separator)
    const base = spelling(adapter, like.tensor).split(separator)
    let same = 0
    while (same < Math.min(own.length, base.length) && own.at(-1 - same) === base.at(-1 - same)) same++
    const start = (parts: readonly string[]) =>
      parts
        .slice(0, parts.length - same)
        .map((part) => part + separator)
        .join('')
    const wrapping = { base: start(base), own: start(own), like: { ...like, prefix } }
    if (same > 0)
      found.set(`${wrapping.base} ${wrapping.own}`, found.get(`${wrapping.base} ${wrapping.own}`) ?? wrapping)
  }
  return [...found.values()]
}

/** The parameter that an expert module's factors are for; undefined where its names tell no more than the module. */
export function parameterOf({ path, tensor }: TargetModule): string | undefined {
  const parameter = leafOfPath(tensor)
  return parameter === 'weight' ? undefined : `${path.replace(/(?:\.base_layer)+$/, '')}.${parameter}`
}

/** A module's path as PEFT's patterns match it. */
export const patternPath = (module: TargetModule): string =>
  (module.kind === 'experts' ? parameterOf(module) : undefined) ?? module.path
