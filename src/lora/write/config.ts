import type { Checkpoint } from '../../checkpoint/types.ts'
import { isAddress, parseHubAddress } from '../../io/remote/address.ts'
import { asRead } from '../../io/remote/hub.ts'
import { compareUtf8 } from '../../text/compare.ts'
import type { JsonObject } from '../model.ts'
import { architectureOf, type ModelTraits, pathOf } from '../traits.ts'
import type { AdapterPlan } from './peft.ts'

/** What adapter_config.json says besides the plan. */
export interface ConfigFacts {
  /** PEFT's `base_model_name_or_path`: where a loader finds the base. */
  readonly baseModel: string | undefined
  readonly taskType: string | undefined
  /** The factors have magnitudes beside them. */
  readonly isDora?: boolean
}

/** PEFT's task types by the ending of config.json's class, with the heads that PEFT then wants in the adapter file. */
const TASKS: readonly { ending: RegExp; type: string; heads: readonly string[] }[] = [
  { ending: /(ForCausalLM|LMHeadModel)$/, type: 'CAUSAL_LM', heads: [] },
  { ending: /ForConditionalGeneration$/, type: 'SEQ_2_SEQ_LM', heads: [] },
  { ending: /ForSequenceClassification$/, type: 'SEQ_CLS', heads: ['classifier', 'score'] },
  { ending: /ForTokenClassification$/, type: 'TOKEN_CLS', heads: ['classifier', 'score'] },
  { ending: /ForQuestionAnswering$/, type: 'QUESTION_ANS', heads: ['qa_outputs'] },
]

/** PEFT's name for the task of config.json's class, whatever an adapter of it holds. */
export const taskNameOf = (config: JsonObject | undefined): string | undefined => taskOf(config)?.type

function taskOf(config: JsonObject | undefined) {
  const task = TASKS.find(({ ending }) => ending.test(architectureOf(config) ?? ''))
  return task?.type === 'SEQ_2_SEQ_LM' && config?.is_encoder_decoder !== true ? undefined : task
}

/**
 * PEFT's task type, or undefined: PEFT loads an adapter without one. With the type of a classifier PEFT adds the head to
 * `modules_to_save` and fails where the file lacks it (peft_model.py), so it is named only where all of the head is saved.
 * `tensors` are the names of all tensors of the tuned model.
 */
export function taskTypeOf(
  config: JsonObject | undefined,
  plan: Pick<AdapterPlan, 'saved'>,
  tensors: Iterable<string>,
  traits: ModelTraits,
): string | undefined {
  const task = taskOf(config)
  if (task === undefined) return undefined
  const saved = new Set(plan.saved.flatMap(({ tensors }) => tensors))
  const isOfHead = (tensor: string) =>
    pathOf(tensor, traits)
      .split('.')
      .slice(0, -1)
      .some((name) => task.heads.some((head) => name.endsWith(head)))
  const head = [...tensors].filter(isOfHead)
  const isWhole = task.heads.length === 0 || (head.length > 0 && head.every((tensor) => saved.has(tensor)))
  return isWhole ? task.type : undefined
}

/** The base model by what the user said, else by its config.json's `_name_or_path`. */
export function baseModelName(given: string | undefined, config: JsonObject | undefined): string | undefined {
  if (given !== undefined && given !== '') return given
  const known = config?._name_or_path
  // a whole path is one of the machine that saved the config
  return typeof known === 'string' && known !== '' && !WHOLE_PATH.test(known) ? known : undefined
}

const WHOLE_PATH = /^(?:[/\\~]|[A-Za-z]:[/\\])/

/** The repository in whose folder of the Hub's cache a path lies, or of which it is the address. */
function hubRepository(path: string): string | undefined {
  if (path.startsWith('hf://')) return parseHubAddress(path).repository
  const found = /(?:^|[/\\])models--([^/\\]+?)(?:--([^/\\]+))?(?=$|[/\\])/.exec(path)
  return found === null ? undefined : found[2] === undefined ? found[1] : `${found[1]}/${found[2]}`
}

/** The repository that a checkpoint is of: named so and found in the Hub's cache, or read from there by its path. */
export const repositoryOf = ({ path, folder }: Pick<Checkpoint, 'path' | 'folder'>): string | undefined =>
  hubRepository(folder ?? path) ?? hubRepository(path)

/** A base as another's config names it: what is a whole path there, of whatever machine, is its name alone. */
export const withoutPlace = (name: string): string => (WHOLE_PATH.test(name) ? publicName(name) : name)

/** What may be told of a model's place: its address, its name on the Hub, of a path the last name alone. */
export function publicName(path: string): string {
  if (isAddress(path)) return asRead(path)
  const cached = hubRepository(path)
  if (cached !== undefined) return cached
  if (HUB_NAME.test(path)) return path
  const names = path.split(/[/\\]+/).filter((name) => !/^\.*$/.test(name))
  return names.at(-1) ?? path
}

const HUB_NAME = /^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/
/** Letters of a repository's name at most. */
const MOST_LETTERS = 96

/** The name as the Hub takes it for a card's base model, or undefined (huggingface_hub: utils/_validators.py, validate_repo_id). */
export function hubName(name: string | undefined): string | undefined {
  const isName =
    name !== undefined &&
    HUB_NAME.test(name) &&
    name.length <= MOST_LETTERS &&
    !/--|\.\.|\.git$|(?:^|\/)[.-]|[.-](?:$|\/)/.test(name)
  return isName ? name : undefined
}

/** The text of adapter_config.json: PEFT's fields, sorted, as PEFT itself writes them. */
export function adapterConfig(
  plan: AdapterPlan,
  { baseModel, taskType, isDora = false }: ConfigFacts,
): string {
  const patterns = Object.fromEntries([...plan.rankPattern].sort(([a], [b]) => compareUtf8(a, b)))
  const fields: Record<string, unknown> = {
    peft_type: 'LORA',
    task_type: taskType ?? null,
    base_model_name_or_path: baseModel ?? null,
    r: plan.r,
    lora_alpha: plan.r,
    target_modules: plan.targetModules,
    ...(plan.targetParameters.length > 0 ? { target_parameters: plan.targetParameters } : {}),
    rank_pattern: patterns,
    alpha_pattern: patterns,
    modules_to_save: plan.saved.length > 0 ? plan.saved.map(({ path }) => path).sort(compareUtf8) : null,
    lora_dropout: 0,
    bias: 'none',
    fan_in_fan_out: plan.fanInFanOut,
    use_rslora: false,
    use_dora: isDora,
    init_lora_weights: true,
    inference_mode: true,
  }
  const sorted = Object.fromEntries(Object.entries(fields).sort(([a], [b]) => compareUtf8(a, b)))
  return `${JSON.stringify(sorted, null, 2)}\n`
}
