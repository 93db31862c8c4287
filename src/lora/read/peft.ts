import type { StoredTensor } from '../../checkpoint/types.ts'
import { badInput } from '../../errors.ts'
import { counted, quoted, shapeText } from '../../text/quote.ts'
import { EXPERT_PARAMETERS } from '../kinds.ts'
import type { IgnoredTensor, ReplacedTensor } from '../model.ts'
import { type Role, splitPrefix } from '../names.ts'
import { configAlpha, configRank, type PeftConfig } from './peft-config.ts'

/** The rank and alpha that adapter_config.json gives a module. */
export interface ModuleRule {
  readonly rank: number
  readonly alpha: number
}

export const moduleRule = (config: PeftConfig, path: string): ModuleRule => ({
  rank: configRank(config, path),
  alpha: configAlpha(config, path),
})

/**
 * Rank and alpha of factors with `rows` rows of A that target_parameters calls for: those of one parameter of the module, often a
 * stack of experts (peft/tuners/lora/layer.py, ParamWrapper). PEFT matches patterns against `module.parameter`, and wraps the
 * module once a parameter, the one registered first innermost, as `base_layer`. Undefined where none is meant.
 */
export function parameterStack(
  config: PeftConfig,
  module: string,
  rows: number,
): (ModuleRule & { readonly tensor?: string }) | { readonly problem: string } | undefined {
  const owner = module.replace(/(?:\.base_layer)+$/, '')
  const parameters = config.targetParameters.flatMap((target) => {
    const dot = target.lastIndexOf('.')
    const path = target.slice(0, Math.max(0, dot))
    return path === '' || owner === path || owner.endsWith(`.${path}`) ? [target.slice(dot + 1)] : []
  })
  if (parameters.length === 0) return undefined
  const parameter = nestedAt((module.length - owner.length) / '.base_layer'.length, new Set(parameters))
  const candidates = parameter === undefined ? parameters : [parameter]
  const rules = candidates.map((name) => moduleRule(config, `${owner}.${name}`))
  const [rule] = rules
  if (rules.some(({ rank, alpha }) => rank !== rule.rank || alpha !== rule.alpha)) {
    return {
      problem: `is of one of the parameters ${parameters.join(', ')}, for which rank_pattern and alpha_pattern differ; the names don't tell which`,
    }
  }
  if (rows % rule.rank !== 0) {
    return {
      problem: `has ${rows} rows, no multiple of the config's rank ${rule.rank}; PEFT stores rank rows an expert`,
    }
  }
  return { ...rule, ...(parameter !== undefined && { tensor: `${owner}.${parameter}` }) }
}

/** The parameter that is wrapped at this depth: the only one, or one of those whose order of registration is known. */
function nestedAt(depth: number, parameters: ReadonlySet<string>): string | undefined {
  if (parameters.size === 1) return [...parameters][0]
  const ordered = EXPERT_PARAMETERS.filter((name) => parameters.has(name))
  return ordered.length === parameters.size ? ordered.at(-1 - depth) : undefined
}

/** A part that PEFT passes over, as its config does not ask for it. */
export const isSwitchedOff = (role: Role, config: PeftConfig): boolean =>
  (role === 'bias' && !config.loraBias) || (role === 'magnitude' && !config.useDora)

/** A tensor of a PEFT adapter that is no factor: a whole one that replaces the base's, or one to be left out, with the reason. */
export function otherTensor(
  tensor: StoredTensor,
  config: PeftConfig | undefined,
  adapterName = 'default',
): ReplacedTensor | IgnoredTensor {
  const { prefix, path } = splitPrefix(tensor.name, 'peft')
  const isTrainedBias = path.endsWith('.base_layer.bias') && config !== undefined && config.bias !== 'none'
  if ((/\.base_layer\./.test(path) && !isTrainedBias) || /\.original_module\./.test(path)) {
    return { name: tensor.name, reason: COPY_OF_BASE }
  }
  if (/\.(?:lora_rank|reshape_weight)$/.test(path)) return { name: tensor.name, reason: 'no weight' }
  if (/\.lora_[^.]*(?:\.[^.]+){0,2}$/.test(path)) {
    // no model has such weights: it would take the place of nothing
    return { name: tensor.name, reason: 'a part of LoRA in a spelling that is not known' }
  }
  const bare = path.replace(`.modules_to_save.${adapterName}.`, '.')
  const name = bare.replace(/\.modules_to_save(?=\.)|\.base_layer(?=\.bias$)/, '')
  return { name, tensor, how: 'replace', prefix }
}

/**
 * Why a tensor is of no weight, whatever the format: what trainers put beside (Nerogar/OneTrainer@2026-08-19: modules/modelSaver/flux/FluxLoRASaver.py;
 * modules/util/load_lora_util.py, normalize_various).
 */
export function strangerReason(name: string): string | undefined {
  if (name.startsWith('bundle_emb.'))
    return 'an embedding of a word, which OneTrainer bundles and no weight is changed by'
  return name.startsWith('_aux.') ? 'no weight' : undefined
}

export const COPY_OF_BASE = 'a copy of the base'

/**
 * Trainable tokens: rows that take the place of rows of an embedding (peft/tuners/trainable_tokens/layer.py@2026-08-21: index_copy). Which
 * rows is in the config alone, for the module or for the model's only embedding. Throws `bad-input` where there are as many of one as
 * not of the other.
 */
export function tokenRows(
  tensor: StoredTensor,
  module: string,
  prefix: string,
  config: PeftConfig | undefined,
  path: string,
): ReplacedTensor | IgnoredTensor {
  const rows = config?.tokenRows.find(({ module: named }) => named === undefined || isAt(module, named))?.rows
  if (rows === undefined) {
    return { name: tensor.name, reason: 'trainable_token_indices does not say which rows it is' }
  }
  if (tensor.shape.length !== 2 || tensor.shape[0] !== rows.length) {
    throw badInput(
      `${path}: tensor ${quoted(tensor.name)} has the shape ${shapeText(tensor.shape)}; trainable_token_indices names ${counted(rows.length, 'row')}`,
      { file: path, tensor: tensor.name },
    )
  }
  return { name: `${module}.weight`, tensor, how: 'replace', rows, prefix }
}

const isAt = (module: string, named: string) => module === named || module.endsWith(`.${named}`)
