import { badInput } from '../../errors.ts'
import { jsonText } from '../../text/quote.ts'
import type { JsonObject } from '../model.ts'

/**
 * What MLX's adapter_config.json says of its factors (ml-explore/mlx-lm@2026-08-22: mlx_lm/tuner/utils.py, load_adapters and
 * linear_to_lora_layers; mlx_lm/lora.py writes all options of the run into it).
 */
export interface MlxConfig {
  /** By which lora_a·lora_b is multiplied; undefined where two versions of MLX read the file in two ways. */
  readonly scale: number | undefined
  /** What they read, and the alphas that say so: alpha/rank is then the scale. */
  readonly readings?: {
    readonly rank: number
    readonly alpha: number
    readonly old: number
    readonly new: number
  }
  readonly rank: number | undefined
  readonly isDora: boolean
}

/** The modules that MLX makes LoRA layers of, and so loads factors into, as far as the config tells. */
export interface MlxTargets {
  /** Names in a block, or of the whole model; undefined: MLX's own of the model's type. */
  readonly keys?: readonly string[]
  /** Blocks from the last back; all where it is below 1. */
  readonly numLayers?: number
}

/** A config that is MLX's and no other's. */
export const isMlxConfig = (json: JsonObject): boolean =>
  !Object.hasOwn(json, 'peft_type') &&
  ['fine_tune_type', 'lora_parameters'].some((key) => Object.hasOwn(json, key))

/**
 * Checks the config field by field. Throws `bad-input` that names the file and the field: a full fine-tune, which has no factors, another
 * method, or a scale that isn't there.
 *
 * Up to June 2024 the scale was `scale·alpha/rank` (ml-explore/mlx-examples@9f671228, 2024-05-21: llms/mlx_lm/tuner/lora.py); from then on
 * alpha is not read, though the default config kept it until September (@c457a3f8, 2024-06-02; fine_tune_type is there from @50e5ca81, 2024-09-29).
 */
export function parseMlxConfig(json: JsonObject, file: string): MlxConfig {
  const fail = (problem: string): never => {
    throw badInput(`${file}: ${problem}`, { file })
  }
  const type = json.fine_tune_type ?? (json.use_dora === true ? 'dora' : 'lora')
  if (type === 'full') {
    return fail(
      'fine_tune_type is "full": MLX trained whole weights, and there are no factors; mlx_lm.fuse makes a model of them, from which an adapter can be extracted',
    )
  }
  if (type !== 'lora' && type !== 'dora') {
    return fail(`fine_tune_type is ${jsonText(type)}; only "lora" and "dora" are read`)
  }
  const parameters = json.lora_parameters
  if (typeof parameters !== 'object' || parameters === null || Array.isArray(parameters)) {
    return fail('lora_parameters is missing; MLX keeps rank and scale in it')
  }
  const number = (key: string): number | undefined => {
    const value = (parameters as JsonObject)[key]
    if (value === undefined || value === null) return undefined
    if (typeof value === 'number' && Number.isFinite(value)) return value
    return fail(`lora_parameters.${key} is ${jsonText(value)}, expected a number`)
  }
  const [rank, scale, alpha] = [number('rank'), number('scale'), number('alpha')]
  if (rank !== undefined && !(Number.isInteger(rank) && rank > 0)) {
    return fail(`lora_parameters.rank is ${rank}, expected an integer above 0`)
  }
  if (scale === undefined) {
    return fail(
      'lora_parameters.scale is missing, and MLX refuses that: it is what the product is multiplied by',
    )
  }
  const told = { rank, isDora: type === 'dora' }
  if (alpha === undefined || rank === undefined || json.fine_tune_type !== undefined)
    return { ...told, scale }
  const old = (scale * alpha) / rank
  if (old === scale) return { ...told, scale }
  return { ...told, scale: undefined, readings: { rank, alpha, old, new: scale } }
}

/** What of the config says into which modules factors are loaded. */
export function mlxTargets({ lora_parameters, num_layers }: JsonObject): MlxTargets {
  const { keys } = (lora_parameters ?? {}) as JsonObject
  const isNames = Array.isArray(keys) && keys.every((key) => typeof key === 'string')
  return {
    ...(isNames && { keys }),
    ...(typeof num_layers === 'number' && { numLayers: num_layers }),
  }
}
