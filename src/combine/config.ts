import type { JsonObject } from '../lora/model.ts'
import { escapedPattern } from '../lora/write/targets.ts'
import { compareUtf8 } from '../text/compare.ts'
import type { OutputPlan, WrittenModule } from './output.ts'

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
      .map((one): [string, number] => [`^${escapedPattern(patternPath(one))}`, one.storedRank])
      .sort(([a], [b]) => compareUtf8(a, b)),
  )
  const isSet = (key: string) => all.some((json) => json[key] === true)
  const firstOf = (key: string) =>
    all.find((json) => json[key] !== undefined && json[key] !== null)?.[key] ?? null
  const parameters = modules.filter(({ summed }) => summed.module.kind === 'experts').map(patternPath)
  const saved = union(all.map((json) => json.modules_to_save))
  const fields: Record<string, unknown> = {
    ...own,
    peft_type: 'LORA',
    task_type: firstOf('task_type'),
    base_model_name_or_path: firstOf('base_model_name_or_path'),
    r,
    lora_alpha: r,
    rank_pattern: patterns,
    alpha_pattern: patterns,
    target_modules: targetsOf(all, modules),
    ...(parameters.length > 0 && { target_parameters: parameters }),
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

/** What the inputs target: the one's own words where there is one, the union of lists, else each module by its path. */
function targetsOf(all: readonly JsonObject[], modules: readonly WrittenModule[]): unknown {
  const targets = all.map((json) => json.target_modules).filter((one) => one !== undefined && one !== null)
  if (targets.length > 0 && targets.every((one) => JSON.stringify(one) === JSON.stringify(targets[0])))
    return targets[0]
  if (targets.length === all.length && targets.every(Array.isArray)) return union(targets)
  return modules
    .filter(({ summed }) => summed.module.kind !== 'experts')
    .map(patternPath)
    .sort(compareUtf8)
}

/** The entries of lists, each once. */
function union(lists: readonly unknown[]): string[] {
  const entries = lists.flatMap((list) =>
    Array.isArray(list) ? list.filter((one) => typeof one === 'string') : [],
  )
  return [...new Set(entries)].sort(compareUtf8)
}

/** A module's path as PEFT's patterns match it. */
const patternPath = ({ summed: { module } }: WrittenModule): string =>
  module.kind === 'experts' ? module.tensor : module.path
