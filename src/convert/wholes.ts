import { type Candidate, type KeptTensor, keptOf } from '../combine/kept.ts'
import type { Summand } from '../combine/modules.ts'
import { NAMES } from '../combine/spelling.ts'
import { badInput } from '../errors.ts'
import { isBlocked } from '../formats/safetensors-dtype.ts'
import type { Layout } from '../lora/families/layout.ts'
import { moduleNames } from '../lora/families/modules.ts'
import type { AdapterFormat, AdapterModule, ReplacedTensor } from '../lora/model.ts'
import { quoted } from '../text/quote.ts'
import type { Dropped, Pair } from './target.ts'

export interface Wholes {
  readonly wholes: readonly KeptTensor[]
  readonly dropped: readonly Dropped[]
}

/**
 * What an adapter holds besides factors, under the names of another format: DoRA's magnitudes, biases, and what ComfyUI takes whole. What has
 * no place there is dropped, each with its reason.
 */
export function crossWholes(
  { adapter }: Summand,
  format: AdapterFormat,
  pairs: readonly Pair[],
  already: readonly Dropped[],
  layout?: Layout,
): Wholes {
  const { path } = adapter
  const wholes: KeptTensor[] = []
  const dropped: Dropped[] = [...already]
  for (const one of adapter.replaced) {
    const name = format === 'comfyui' && layout !== undefined ? exactName(one, layout) : undefined
    if (name === undefined) dropped.push({ name: one.tensor.name, reason: noPlace(one, format) })
    else wholes.push(keptOf([{ ...candidate(name, one.how), tensor: one.tensor, factor: 1, path }]))
  }
  // llama.cpp's tensors are no pairs of these
  for (const { bias } of format === 'gguf' ? adapter.modules : []) {
    if (bias !== undefined) dropped.push({ name: bias.name, reason: noBias(format) })
  }
  const placed = new Set<AdapterModule>()
  for (const pair of pairs) {
    for (const { module } of pair.changes) {
      if (placed.has(module)) continue
      placed.add(module)
      const { magnitude } = module
      if (magnitude !== undefined) {
        const name = magnitudeName(pair, format)
        const kept = keptOf([{ ...candidate(name, 'replace'), tensor: magnitude, factor: 1, path }])
        wholes.push({ ...kept, shape: magnitudeShape(pair, module, format, path) })
      }
      const kept = keptBias(module, isWholeModule(pair) ? biasName(pair, format) : undefined, format, path)
      if (kept === undefined) continue
      if ('reason' in kept) dropped.push(kept)
      else wholes.push(kept)
    }
  }
  return { wholes, dropped }
}

const noBias = (format: AdapterFormat) => `${NAMES[format]} has no place for a bias of the factors`

/** What the module does to its bias, under the name that this then has; undefined of a module that does nothing to it. */
export function keptBias(
  { bias, scale }: AdapterModule,
  name: string | undefined,
  format: AdapterFormat,
  path: string,
): KeptTensor | Dropped | undefined {
  if (bias === undefined) return undefined
  if (name === undefined) return { name: bias.name, reason: noBias(format) }
  return keptOf([{ ...candidate(name, 'add'), tensor: bias, factor: scale, path }])
}

const candidate = (name: string, how: Candidate['how']) => ({ name, how, target: name })

/** ComfyUI's name of a whole tensor or a difference (comfy/lora.py: load_lora @2025-10-12); undefined where it has none. */
export function exactName(
  { name, how, tensor, rows }: Pick<ReplacedTensor, 'name' | 'how' | 'tensor' | 'rows'>,
  layout: Layout,
): string | undefined {
  if (rows !== undefined || isBlocked(tensor.dtype) || !layout.tensors.has(name)) return undefined
  const modules = moduleNames(layout, 'comfyui')(name)
  if (modules?.length !== 1) return undefined
  const [{ name: module, rows: ofRows, moduleRows, swapHalves, isTransposed }] = modules
  if (ofRows !== undefined || moduleRows !== undefined || swapHalves || isTransposed) return undefined
  if (name.endsWith('.bias')) return how === 'add' ? `${module}.diff_b` : undefined
  return how === 'add' ? `${module}.diff` : `${module}.set_weight`
}

const noPlace = ({ how }: ReplacedTensor, format: AdapterFormat) =>
  how === 'replace'
    ? `takes the place of a whole tensor, for which ${NAMES[format]} has none in such a file`
    : `is added to a whole tensor, for which ${NAMES[format]} has no place`

function magnitudeName({ module, names }: Pair, format: AdapterFormat): string {
  if (format === 'mlx') return `${module}.m`
  if (format !== 'peft') return `${module}.dora_scale`
  return `${names.A.replace(/\.lora_(?:embedding_)?A(?:\.weight)?$/, '')}.lora_magnitude_vector`
}

/**
 * The same magnitudes, [out] in PEFT and MLX (mlx_lm/tuner/dora.py), [out, 1 …] in LyCORIS (modules/locon.py, wd_on_out). Throws `bad-input` for those of the columns, which
 * PEFT does not have, and for a module that is cut or joined.
 */
function magnitudeShape(pair: Pair, module: AdapterModule, format: AdapterFormat, path: string): number[] {
  const { shape, name } = module.magnitude!
  const [out] = module.productShape
  const isOfRows = shape[0] === out && shape.slice(1).every((n) => n === 1)
  const isWhole = isWholeModule(pair)
  if (isOfRows && isWhole) return format !== 'kohya' ? [out] : [out, ...module.shape.slice(1).map(() => 1)]
  throw badInput(
    `${path}: tensor ${quoted(name)} holds the magnitudes of DoRA ${isWhole ? `for the columns, and ${NAMES[format]} has them for the rows` : 'of a module that is another part of the model there'}; apply the adapter to its base, and extract what comes of it`,
    { file: path, tensor: name },
  )
}

/** The pair is of one module of the source, with all of its rows. */
const isWholeModule = ({ changes }: Pair) =>
  changes.length === 1 && changes[0].terms.length === 1 && changes[0].terms[0].module.fit === undefined

/** The name under which a change of the module's bias is stored. */
function biasName({ module, names }: Pair, format: AdapterFormat): string | undefined {
  if (format === 'comfyui') return `${module}.diff_b`
  if (format === 'diffusers') return names.B.replace(/\.weight$/, '.bias')
  return undefined
}
