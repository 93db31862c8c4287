import type { Checkpoint } from '../../checkpoint/types.ts'
import { NAMES } from '../../combine/spelling.ts'
import { badInput, type LoraSvdError } from '../../errors.ts'
import { diffusionFamily } from '../../lora/diffusion.ts'
import { type Layout, layoutsOf, partOf } from '../../lora/families/layout.ts'
import { otherLayout } from '../../lora/families/other.ts'
import { NAMINGS, type Naming } from '../../lora/families/types.ts'
import type { TensorView } from '../../lora/kinds.ts'
import type { AdapterFormat, TargetModule } from '../../lora/model.ts'
import { ggufModel } from '../../lora/write/gguf-names.ts'
import type { LeftReason } from './result.ts'

/** Whose names the adapter gets, and where a diffusion model's checkpoint holds what. */
export interface Destination {
  readonly format: AdapterFormat
  /** Of a diffusion model whose adapter gets the names of its tools: one for each denoiser, else none. */
  readonly layouts: readonly Layout[]
  /** The same of any diffusion model, PEFT's names with it. */
  readonly parts: readonly Layout[]
  readonly warnings: readonly string[]
}

type Models = Pick<Checkpoint, 'path' | 'tensors' | 'config'>

const isNaming = (format: AdapterFormat): format is Naming => NAMINGS.some((one) => one === format)

/** The diffusion models that base and tuned belong to. */
export const familyOf = (base: Pick<Checkpoint, 'tensors' | 'config'>, tuned: Pick<Checkpoint, 'config'>) =>
  diffusionFamily(base.tensors, base.config ?? tuned.config)

/**
 * The format that was asked for, or the one that suits the model: ComfyUI's for a diffusion model, else PEFT's. Throws `bad-input` where no
 * tool of that format loads adapters of such a model.
 */
export function destinationOf(
  base: Models,
  tuned: Models,
  { format: asked }: { readonly format?: AdapterFormat | undefined },
): Destination {
  const family = familyOf(base, tuned)
  const format = asked ?? (family === undefined ? 'peft' : 'comfyui')
  if (isNaming(format)) {
    const layouts = layoutsFor(base, family, format)
    return { format, layouts, parts: layouts, warnings: [] }
  }
  if (format !== 'peft' && family !== undefined) {
    throw refusal(
      base,
      `is a diffusion model (${family}), and ${NAMES[format]} loads adapters of language models alone; --format comfyui, kohya and diffusers are for diffusion models`,
    )
  }
  // an architecture that llama.cpp has no name for is refused before any work
  if (format === 'gguf') ggufModel(base.config, base.path)
  if (family === undefined) return { format, layouts: [], parts: [], warnings: [] }
  const known = layoutsOf(base.tensors)
  return {
    ...{ format, layouts: [], parts: known.length > 0 ? known : [otherLayout(base.tensors)] },
    warnings: [
      `the base is a diffusion model (${family}), and this adapter is for PEFT alone: ComfyUI, kohya’s tools and diffusers’ load_lora_weights don’t find its names; --format comfyui, kohya and diffusers are theirs`,
    ],
  }
}

const refusal = ({ path }: Models, problem: string): LoraSvdError =>
  badInput(`${path}: ${problem}`, { file: path })

function layoutsFor(base: Models, family: string | undefined, format: Naming): readonly Layout[] {
  const layouts = layoutsOf(base.tensors)
  if (layouts.length > 1 && format !== 'diffusers') {
    const components = layouts.map(({ component }) => component)
    throw refusal(
      base,
      `has ${layouts.length} denoisers (${components.join(', ')}), and a file for ${NAMES[format]} is of one; extract each by itself from its own folder or file, or both with --format diffusers`,
    )
  }
  if (layouts.length > 0) return layouts
  if (family === undefined) {
    throw refusal(
      base,
      `is no diffusion model that is known, and ${NAMES[format]} loads adapters of those alone; --format peft, mlx and gguf are for language models`,
    )
  }
  if (format === 'diffusers') {
    throw refusal(
      base,
      `is a diffusion model (${family}) whose modules' names in diffusers are not known here; --format comfyui writes it under its own`,
    )
  }
  return [otherLayout(base.tensors)]
}

/** Text encoders of single files and pipelines, also those that a family isn't known to have. */
const TEXT_ENCODER = /^(?:cond_stage_model|conditioner|text_encoders|text_encoder(?:_\d)?)\./

/** Tables of rows, as text encoders call theirs. */
const EMBEDDING =
  /(?:^|\.)(?:token_embedding|position_embedding|shared|embed_tokens|relative_attention_bias|word_embeddings|wte|wpe)\.weight$/

/** The weight of a module: torch's attention calls the one of its three projections `in_proj_weight`, open_clip its last one as it does. */
const WEIGHT = /[^.]\.weight$|\.in_proj_weight$|(?:^|\.)text_projection$/

export interface PartOptions {
  readonly embeddings: boolean
  readonly textEncoder: boolean
}

/** Why a tensor of a diffusion model has no place in any adapter, or is not wanted in this one; undefined for others. */
export function asideIn(
  { parts }: Destination,
  tensor: string,
  { textEncoder }: Pick<PartOptions, 'textEncoder'>,
): LeftReason | undefined {
  const kinds = parts.map((layout) => partOf(layout, tensor).kind)
  if (kinds.includes('vae')) return { kind: 'vae' }
  if (kinds.length > 0 && !textEncoder && TEXT_ENCODER.test(tensor)) return { kind: 'text-encoder' }
  return undefined
}

/** Whether it has no place in the adapter, not whole either. */
export const isAside = ({ kind }: LeftReason): boolean => kind === 'vae' || kind === 'text-encoder'

/** open_clip multiplies by it from the right. */
const TURNED = /(?:^|\.)text_projection$/

/** The module of a diffusion model's weight: a linear layer or a convolution. */
export function diffusionModule(
  tensor: string,
  view: TensorView,
  shape: readonly number[],
  { embeddings }: Pick<PartOptions, 'embeddings'>,
): TargetModule | LeftReason {
  const no = (reason: string): LeftReason => ({ kind: 'no-module', reason })
  if (!WEIGHT.test(tensor)) return no('a parameter that is not the weight of a module')
  if (view === 'expert' || (view === 'matrix' && shape.length > 2)) return no('a stack of matrices')
  if (!embeddings && EMBEDDING.test(tensor)) return no('an embedding (--embeddings carries it)')
  const [rows, ...rest] = shape
  const isTransposed = TURNED.test(tensor)
  return {
    ...{ tensor, path: tensor.replace(/\.weight$/, ''), shape, rows, experts: 1, isTransposed },
    columns: rest.reduce((product, n) => product * n, 1),
    kind: view === 'conv' ? 'convolution' : isTransposed ? 'conv1d' : 'linear',
  }
}
