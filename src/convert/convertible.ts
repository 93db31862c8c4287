import type { Checkpoint } from '../checkpoint/types.ts'
import type { Summand } from '../combine/modules.ts'
import { NAMES } from '../combine/spelling.ts'
import { badInput } from '../errors.ts'
import { diffusionFamily } from '../lora/diffusion.ts'
import { type Layout, layoutOf } from '../lora/families/layout.ts'
import { otherLayout } from '../lora/families/other.ts'
import type { Naming } from '../lora/families/types.ts'
import { LANGUAGE_MODEL } from '../lora/loaders/view.ts'
import type { AdapterFormat } from '../lora/model.ts'
import { quoted } from '../text/quote.ts'
import type { Dropped, FormatPlan } from './target.ts'

/** Formats whose modules have the names that the model itself has for them. */
const IN_MODEL_NAMES: readonly AdapterFormat[] = ['peft', 'mlx']

/**
 * Throws `bad-input` where it can be told beforehand that nothing comes of it: names that hang on a base that isn't given, or on another kind
 * of base, and models whose adapters no tool of the format loads.
 */
export function assertConvertible(
  source: Pick<Summand, 'adapter'>,
  base: Checkpoint | undefined,
  format: AdapterFormat,
): void {
  const { path, format: from } = source.adapter
  if (base === undefined) {
    const isTold = [from, format].every((one) => IN_MODEL_NAMES.includes(one))
    if (from !== format && !isTold) needed(base, source, format)
    return
  }
  if (base.isGguf) {
    throw badInput(
      `${base.path}: is a GGUF file, and what ${NAMES[format]} calls its modules is told by the folder that it was made from, with its config.json; give that by --base`,
      { file: base.path },
    )
  }
  const family = format === 'gguf' || format === 'mlx' ? familyNameOf(base) : undefined
  if (family === undefined) return
  throw badInput(
    `${path}: ${base.path} is a diffusion model (${family}), and ${NAMES[format]} loads adapters of language models alone; comfyui, kohya and diffusers are formats for diffusion models`,
    { file: path },
  )
}

const familyNameOf = ({ tensors, config }: Checkpoint) =>
  layoutOf(tensors)?.family.name ?? diffusionFamily(tensors, config)

/** The base, without which the names can't be told. Throws `bad-input` where it isn't given. */
export function needed(
  base: Checkpoint | undefined,
  { adapter }: Pick<Summand, 'adapter'>,
  format: AdapterFormat,
): Checkpoint {
  if (base !== undefined) return base
  throw badInput(
    `${adapter.path}: what ${NAMES[format]} calls its modules can't be told from names of ${NAMES[adapter.format]} alone; give the base that it is of by --base`,
    { file: adapter.path },
  )
}

/** The layout of a diffusion model. Throws `bad-input` for other models. */
export function diffusionLayout(
  base: Checkpoint,
  { adapter }: Pick<Summand, 'adapter'>,
  format: Naming,
): Layout {
  const layout = layoutOf(base.tensors)
  if (layout !== undefined) return layout
  const isLanguage = [...base.tensors.keys()].some((name) => LANGUAGE_MODEL.test(name))
  if (!isLanguage && diffusionFamily(base.tensors, base.config) !== undefined)
    return otherLayout(base.tensors)
  throw badInput(
    `${adapter.path}: ${base.path} is no diffusion model that is known, and ${NAMES[format]} loads adapters of those alone; peft, mlx and gguf are formats for language models`,
    { file: adapter.path },
  )
}

/** Throws `bad-input` for a plan that has nothing in it. */
export function refuseEmpty(plan: FormatPlan, { adapter }: Summand, [first]: readonly Dropped[]): void {
  const { pairs, differences, wholes, gguf } = plan
  if (pairs.length + differences.length + wholes.length + (gguf?.tensors.length ?? 0) > 0) return
  const why = first === undefined ? '' : `: ${quoted(first.name)} ${first.reason}`
  throw badInput(`${adapter.path}: nothing of it can be had as ${plan.format}${why}`, { file: adapter.path })
}
