import { isPartOfStack } from '../lora/experts.ts'
import { targetedBy } from '../lora/found-by-loaders.ts'
import { isExpertParameter } from '../lora/kinds.ts'
import type { JsonObject } from '../lora/model.ts'
import { leafOfPath } from '../lora/traits.ts'
import { withoutPlace } from '../lora/write/config.ts'
import { escapedPattern } from '../lora/write/targets.ts'
import { compareUtf8 } from '../text/compare.ts'
import type { KeptTensor } from './kept.ts'
import type { OutputPlan, SumBase, WrittenModule } from './output.ts'
import type { CombinePlan } from './plan.ts'
import { parameterOf, patternPath } from './spelling.ts'

/** Fields of PEFT's LoHa and LoKr configs that LoRA's has not (tuners/loha/config.py, tuners/lokr/config.py). */
const OF_OTHER_METHODS = new Set([
  'alpha',
  'rank_dropout',
  'rank_dropout_scale',
  'module_dropout',
  'use_effective_conv2d',
  'decompose_both',
  'decompose_factor',
  'init_weights',
])

/** Fields that say how training began, which a result has behind it. */
const OF_THE_START = new Set(['loftq_config', 'corda_config', 'eva_config', 'lora_ga_config', 'kasa_config'])

/**
 * The text of adapter_config.json: the first adapter's own fields, with rank, alpha and what is targeted as the result has them, all
 * that the others target and store whole with it. The scale lies in the factors, so that alpha is the rank.
 */
export function sumConfig(output: Omit<OutputPlan, 'metadata' | 'texts'>): string {
  const { plan, r, modules } = output
  const all = plan.summands.map(({ checkpoint }) => (checkpoint.adapterConfig ?? {}) as JsonObject)
  const own = Object.fromEntries(
    Object.entries(all[0]).filter(([key]) => !OF_OTHER_METHODS.has(key) && !OF_THE_START.has(key)),
  )
  const unlike = modules.filter(({ storedRank }) => storedRank !== r)
  const patterns = Object.fromEntries(
    unlike
      .map((one): [string, number] => [`^${escapedPattern(patternPath(one.summed.module))}`, one.storedRank])
      .sort(([a], [b]) => compareUtf8(a, b)),
  )
  const isSet = (key: string) => all.some((json) => json[key] === true)
  const firstOf = (key: string) =>
    all.find((json) => json[key] !== undefined && json[key] !== null)?.[key] ?? null
  const restricting = RESTRICTING.filter((key) =>
    all.some((json) => textOf(json, key) !== textOf(all[0], key)),
  )
  const parameters = parametersOf(all, modules)
  const saved = union(all.map((json) => json.modules_to_save))
  const fields: Record<string, unknown> = {
    ...own,
    peft_type: 'LORA',
    task_type: firstOf('task_type'),
    base_model_name_or_path: baseOf(plan, output.named) ?? null,
    r,
    lora_alpha: r,
    rank_pattern: patterns,
    alpha_pattern: patterns,
    ...Object.fromEntries(restricting.map((key) => [key, null])),
    target_modules: targetsOf(all, modules, restricting.length > 0 || modules.some(isOfSingles)),
    target_parameters: parameters.length > 0 ? parameters : 'target_parameters' in own ? null : undefined,
    ...tokensOf(all, plan.kept),
    modules_to_save: saved.length > 0 ? saved : null,
    lora_dropout: own.lora_dropout ?? 0,
    bias: all.map((json) => json.bias).find((bias) => bias !== undefined && bias !== 'none') ?? 'none',
    fan_in_fan_out: isSet('fan_in_fan_out'),
    use_rslora: false,
    use_dora: isSet('use_dora'),
    ...(isSet('lora_bias') && { lora_bias: true }),
    init_lora_weights: true,
    inference_mode: true,
  }
  const sorted = Object.fromEntries(Object.entries(fields).sort(([a], [b]) => compareUtf8(a, b)))
  return `${JSON.stringify(sorted, null, 2)}\n`
}

/** The base by what the user said, else as the first adapter that names one does, else as the base's own folder tells. */
export function baseOf(
  { summands }: Pick<CombinePlan, 'summands'>,
  { given, found }: SumBase,
): string | undefined {
  if (given !== undefined) return given
  const named = summands
    .map(({ checkpoint }) => checkpoint.adapterConfig?.base_model_name_or_path)
    .find((name): name is string => typeof name === 'string' && name !== '')
  return named === undefined ? found : withoutPlace(named)
}

/** Fields that leave modules out which `target_modules` names. */
const RESTRICTING = ['layers_to_transform', 'layers_pattern', 'exclude_modules']

const textOf = (json: JsonObject, key: string) => JSON.stringify(json[key] ?? null)

/**
 * What the inputs target: the one's own words where there is one, the union of lists, else each module by its path: so too where an
 * input has no such words, or others of what is left out.
 */
function targetsOf(
  all: readonly JsonObject[],
  modules: readonly WrittenModule[],
  isRestricted: boolean,
): unknown {
  const targets = all.map((json) => json.target_modules ?? undefined)
  const isTold =
    !isRestricted && all.every(({ target_modules, target_parameters }) => target_modules ?? target_parameters)
  const said = targets.filter((one) => one !== undefined)
  const paths = modules
    .filter(({ summed }) => summed.module.kind !== 'experts')
    .map(({ summed }) => patternPath(summed.module))
    .sort(compareUtf8)
  if (!isTold || said.length === 0) return paths
  const isOne = said.every((one) => JSON.stringify(one) === JSON.stringify(said[0]))
  const words = isOne ? said[0] : said.every(Array.isArray) ? union(said) : paths
  const missed = paths.filter((path) => !targetedBy(words as string | string[])(path))
  // what no input's words named is named by its path, so that what is written is loaded
  return missed.length === 0 ? words : Array.isArray(words) ? union([words, missed]) : paths
}

/** The parameters that the inputs target, without stacks of experts that became modules of single ones, and with new stacks. */
function parametersOf(all: readonly JsonObject[], modules: readonly WrittenModule[]): string[] {
  const stacks = modules.flatMap(({ summed: { module } }) =>
    module.kind === 'experts' ? [parameterOf(module)] : [],
  )
  const isApart = modules.some(({ summed }) => summed.terms.some(({ module }) => isPartOfStack(module)))
  const said = union(all.map((json) => json.target_parameters))
  const isOf = (name: string, stack: string | undefined) =>
    stack === undefined || stack === name || stack.endsWith(`.${name}`)
  const isGone = (name: string) =>
    isApart && isExpertParameter(leafOfPath(name)) && !stacks.some((stack) => isOf(name, stack))
  const added = stacks.filter((stack) => stack !== undefined && !said.some((name) => isOf(name, stack)))
  return union([said.filter((name) => !isGone(name)), added])
}

/**
 * A stack of what were single experts. PEFT would take words that still name these for parameters that it has to widen for gate and up
 * (huggingface/peft: utils/transformers_weight_conversion.py, _convert_peft_config_moe @2026-08).
 */
const isOfSingles = ({ summed: { terms } }: WrittenModule) =>
  terms.some(({ module }) => module.product.kind === 'stack')

/** Which rows of which embeddings are stored: in the words of the configs where they have the same. */
function tokensOf(all: readonly JsonObject[], kept: readonly KeptTensor[]): Record<string, unknown> {
  const key = 'trainable_token_indices'
  if (all.every((json) => textOf(json, key) === textOf(all[0], key))) return {}
  const rows = kept.flatMap((one) => one.rows ?? [])
  return { [key]: rows.length === 0 ? null : Object.fromEntries(rows.map((one) => [one.module, one.rows])) }
}

/** The entries of lists, each once. */
function union(lists: readonly unknown[]): string[] {
  const entries = lists.flatMap((list) => [list].flat().filter((one) => typeof one === 'string'))
  return [...new Set(entries)].sort(compareUtf8)
}
