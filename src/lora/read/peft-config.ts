import { badInput } from '../../errors.ts'
import { jsonText, quoted } from '../../text/quote.ts'
import { PatternSet } from '../pattern/pattern-set.ts'
import { PatternError } from '../pattern/syntax.ts'

/** A value for the modules that a pattern matches. */
export interface PatternRule {
  /** Python's `re`, matched as PEFT does: see `PatternSet.ofKeys`. */
  readonly pattern: string
  readonly value: number
}

/** Rows of an embedding that are trained whole. */
export interface TokenRows {
  /** The module's name or the end of its path; undefined for the model's own embedding. */
  readonly module?: string
  readonly rows: readonly number[]
}

/** The methods whose change of a weight is a product that can be read. */
export type PeftMethod = 'LORA' | 'LOHA' | 'LOKR'

/** What adapter_config.json says of an adapter, as far as it bears on the weights. Plain data. */
export interface PeftConfig {
  readonly method: PeftMethod
  readonly r: number
  readonly loraAlpha: number
  /** scale = alpha/√r in place of alpha/r. */
  readonly useRslora: boolean
  /** The first that matches a module holds. */
  readonly rankPattern: readonly PatternRule[]
  readonly alphaPattern: readonly PatternRule[]
  readonly fanInFanOut: boolean
  readonly bias: 'none' | 'all' | 'lora_only'
  readonly loraBias: boolean
  readonly useDora: boolean
  readonly modulesToSave: readonly string[]
  /** A regular expression, or a list of suffixes; absent where the file says nothing. */
  readonly targetModules?: string | readonly string[]
  /** Modules that are not meant though target_modules names them: a regular expression, or a list of suffixes. */
  readonly excludeModules?: string | readonly string[]
  /** The layers that alone are meant, by their numbers; absent where the file says nothing. */
  readonly layersToTransform?: readonly number[]
  /** What a layer's number stands after in paths; empty where any name may. */
  readonly layersPattern: readonly string[]
  readonly targetParameters: readonly string[]
  /** `trainable_token_indices`. */
  readonly tokenRows: readonly TokenRows[]
  readonly initLoraWeights: boolean | string
  /** Why the adapter belongs to another base than the one it names: its training began by changing the base's weights. */
  readonly mutatesBase?: string
  readonly layerReplication: boolean
  /** aLoRA: applied from certain tokens on. */
  readonly alora: boolean
  /** The version of PEFT that wrote it, which 0.18 was the first to tell. */
  readonly peftVersion?: string
  readonly taskType?: string
  readonly baseModel?: string
  /** Of r, lora_alpha and target_modules those that the file leaves to PEFT's defaults; vLLM asks for all. */
  readonly missing: readonly string[]
  /** Of the same those that the file has as null. */
  readonly nulls: readonly string[]
}

/** tuners/lora/config.py. */
const DEFAULT_RANK = 8
const DEFAULT_ALPHA = 8

/** Initialisations that subtract their first B·A from the base (tuners/lora/model.py, subtract_mutated_init). */
const MUTATING_INIT = /^(?:pissa|olora$|corda$|lora_ga$|loftq$)/

/** Options that change what the stored factors mean. */
const UNSUPPORTED = {
  use_qalora: 'QALoRA, whose A has fewer columns than the weight',
  use_bdlora: 'block-diagonal factors',
  monteclora_config: 'MonteCLoRA',
} as const

/**
 * Checks adapter_config.json field by field. Throws `bad-input` that names the file and the field: another method than
 * LoRA, a wrong type, a pattern that does not compile, or an option under which the factors mean something else.
 */
export function parsePeftConfig(json: Readonly<Record<string, unknown>>, file: string): PeftConfig {
  const fail = (problem: string): never => {
    throw badInput(`${file}: ${problem}`, { file })
  }
  const wrong = (key: string, expected: string): never =>
    fail(`${key} is ${jsonText(json[key])}, expected ${expected}`)
  const given = (key: string) => Object.hasOwn(json, key) && json[key] !== null

  const number = (key: string, fallback: number): number => {
    if (!given(key)) return fallback
    const value = json[key]
    return typeof value === 'number' && Number.isFinite(value) ? value : wrong(key, 'a number')
  }
  const flag = (key: string): boolean => {
    if (!given(key)) return false
    const value = json[key]
    return typeof value === 'boolean' ? value : wrong(key, 'true or false')
  }
  const text = (key: string): string | undefined => {
    if (!given(key)) return undefined
    const value = json[key]
    return typeof value === 'string' ? value : wrong(key, 'a string')
  }
  const names = (key: string): readonly string[] => {
    if (!given(key)) return []
    const value = json[key]
    return isNames(value) ? value : wrong(key, 'a list of strings')
  }
  const rules = (key: string, isRank: boolean): PatternRule[] => {
    if (!given(key)) return []
    const value = json[key]
    if (typeof value !== 'object' || Array.isArray(value)) return wrong(key, 'an object of numbers')
    const all = Object.entries(value as object).map(([pattern, entry]): PatternRule => {
      if (typeof entry !== 'number' || !Number.isFinite(entry) || (isRank && entry <= 0)) {
        const expected = isRank ? 'a number above 0' : 'a number'
        return fail(`${key} gives ${quoted(pattern)} the value ${jsonText(entry)}, expected ${expected}`)
      }
      return { pattern, value: entry }
    })
    try {
      patternsOf(all)
    } catch (error) {
      if (!(error instanceof PatternError)) throw error
      const which = error.pattern === undefined ? 'patterns' : `the pattern ${quoted(error.pattern)}`
      fail(`${key} has ${which}, which can't be read: ${error.message}`)
    }
    return all
  }

  const method = text('peft_type') ?? fail('peft_type is missing; a LoRA adapter says "LORA"')
  if (!isReadable(method)) return fail(`is a ${quoted(method)} adapter; only LORA, LOHA and LOKR are read`)
  for (const [key, meaning] of Object.entries(UNSUPPORTED)) {
    if (given(key) && json[key] !== false) fail(`${key} is set: ${meaning}; that is not read`)
  }
  const r = number('r', DEFAULT_RANK)
  if (r <= 0) wrong('r', 'a number above 0')
  const bias = text('bias') ?? 'none'
  if (bias !== 'none' && bias !== 'all' && bias !== 'lora_only') {
    return wrong('bias', '"none", "all" or "lora_only"')
  }
  const init = given('init_lora_weights') ? json.init_lora_weights : true
  if (typeof init !== 'boolean' && typeof init !== 'string') {
    return wrong('init_lora_weights', 'true, false or a string')
  }
  const targets = given('target_modules') ? json.target_modules : undefined
  if (targets !== undefined && typeof targets !== 'string' && !isNames(targets)) {
    return wrong('target_modules', 'a string or a list of strings')
  }
  const excluded = namesOrText(json.exclude_modules)
  const layers = layersOf(json.layers_to_transform)
  const layersPattern = namesOrText(json.layers_pattern) ?? []
  const named = ['r', method === 'LORA' ? 'lora_alpha' : 'alpha', 'target_modules']
  const mutatesBase = mutation(init, given('kasa_config'))
  const taskType = text('task_type')
  const baseModel = text('base_model_name_or_path')
  const peftVersion = text('peft_version')
  return {
    method,
    r,
    loraAlpha: number(method === 'LORA' ? 'lora_alpha' : 'alpha', DEFAULT_ALPHA),
    useRslora: flag('use_rslora'),
    rankPattern: rules('rank_pattern', true),
    alphaPattern: rules('alpha_pattern', false),
    fanInFanOut: flag('fan_in_fan_out'),
    bias,
    loraBias: flag('lora_bias'),
    useDora: flag('use_dora'),
    modulesToSave: names('modules_to_save'),
    layersPattern: typeof layersPattern === 'string' ? [layersPattern] : layersPattern,
    targetParameters: names('target_parameters'),
    tokenRows: tokenRowsOf(
      given('trainable_token_indices') ? json.trainable_token_indices : undefined,
      wrong,
    ),
    initLoraWeights: init,
    layerReplication: given('layer_replication'),
    alora: given('alora_invocation_tokens'),
    missing: named.filter((key) => !Object.hasOwn(json, key)),
    nulls: named.filter((key) => json[key] === null),
    ...(targets === undefined ? {} : { targetModules: targets }),
    ...(excluded === undefined ? {} : { excludeModules: excluded }),
    ...(layers === undefined ? {} : { layersToTransform: layers }),
    ...(mutatesBase === undefined ? {} : { mutatesBase }),
    ...(taskType === undefined ? {} : { taskType }),
    ...(baseModel === undefined ? {} : { baseModel }),
    ...(peftVersion === undefined ? {} : { peftVersion }),
  }
}

function mutation(init: boolean | string, hasKasa: boolean): string | undefined {
  if (typeof init === 'string' && MUTATING_INIT.test(init.toLowerCase()))
    return `init_lora_weights is ${quoted(init)}`
  return hasKasa ? 'kasa_config is set' : undefined
}

const isReadable = (method: string): method is PeftMethod =>
  method === 'LORA' || method === 'LOHA' || method === 'LOKR'

/** A list for the model's own embedding, or lists by module (tuners/lora/config.py, trainable_token_indices). */
function tokenRowsOf(value: unknown, wrong: (key: string, expected: string) => never): TokenRows[] {
  const isRows = (rows: unknown): rows is number[] =>
    Array.isArray(rows) && rows.every((row) => Number.isSafeInteger(row) && row >= 0)
  if (value === undefined) return []
  if (isRows(value)) return [{ rows: value }]
  const lists = typeof value === 'object' && !Array.isArray(value) ? Object.entries(value as object) : []
  if (lists.length === 0 || !lists.every(([, rows]) => isRows(rows))) {
    return wrong('trainable_token_indices', 'a list of rows, or an object of such lists')
  }
  return lists.map(([module, rows]) => ({ module, rows }))
}

/** Each list of rules is compiled once. */
const compiled = new WeakMap<readonly PatternRule[], PatternSet>()

function patternsOf(rules: readonly PatternRule[]): PatternSet {
  const known = compiled.get(rules)
  if (known !== undefined) return known
  const fresh = PatternSet.ofKeys(rules.map(({ pattern }) => pattern))
  compiled.set(rules, fresh)
  return fresh
}

function firstMatch(rules: readonly PatternRule[], path: string): number | undefined {
  const index = rules.length === 0 ? undefined : patternsOf(rules).first(path)
  return index === undefined ? undefined : rules[index].value
}

/** The rank that a config gives a module: its path is without `base_model.model.`. */
export const configRank = (config: PeftConfig, path: string) =>
  firstMatch(config.rankPattern, path) ?? config.r

/** The alpha that a config gives a module. */
export const configAlpha = (config: PeftConfig, path: string) =>
  firstMatch(config.alphaPattern, path) ?? config.loraAlpha

/** alpha/r, or alpha/√r (Kalajdzievski, "A rank stabilization scaling factor for fine-tuning with LoRA", 2023). */
export const loraScale = (alpha: number, rank: number, useRslora: boolean) =>
  alpha / (useRslora ? Math.sqrt(rank) : rank)

const isNames = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'string')

const namesOrText = (value: unknown) =>
  (typeof value === 'string' && value !== '') || isNames(value) ? value : undefined

/** `layers_to_transform`: a number or a list of them. */
function layersOf(value: unknown): readonly number[] | undefined {
  const list = Array.isArray(value) ? value : [value]
  return list.every((one): one is number => Number.isSafeInteger(one)) ? list : undefined
}
