import { quoted } from '../text/quote.ts'
import { takingOf } from './kinds.ts'
import type { Loader } from './loaders/types.ts'
import type { MatchedModule } from './match.ts'
import { type Adapter, type AdapterModule, blamed } from './model.ts'
import { PEFT_PREFIX } from './names.ts'
import { PatternError } from './pattern/syntax.ts'
import type { ModelTraits } from './traits.ts'
import { pathOf } from './traits.ts'
import { targetTest } from './write/targets.ts'

/** Modules of a PEFT adapter that loaders don't take into the model, though they are measured here. */
export interface NotLoaded {
  readonly loaders: readonly Loader[]
  /** What they do, and why. */
  readonly reason: string
  /** Labels. */
  readonly modules: readonly string[]
}

type Problem = Omit<NotLoaded, 'modules'>

/** PEFT passes over names that no module of the model has (utils/save_and_load.py, load_state_dict(strict=False)); so does vLLM. */
const SKIP_UNKNOWN_NAMES: readonly Loader[] = ['PEFT', 'vLLM']

/** PEFT's tasks of models whose head stands beside the body (peft/mapping.py). */
const HEADED_TASKS: ReadonlySet<string | undefined> = new Set([
  'CAUSAL_LM',
  'SEQ_CLS',
  'SEQ_2_SEQ_LM',
  'TOKEN_CLS',
  'QUESTION_ANS',
])

/** transformers' names of bodies: base_model_prefix of its classes. */
const BODIES =
  /^(?:model|transformer|backbone|encoder|gpt_neox|rwkv|vit|clip|\w*(?:bert|roberta|electra|net|former))$/

/**
 * What PEFT and vLLM make of the names of an adapter's factors, set beside the model. Only of a folder with adapter_config.json: a
 * lone file is not theirs. A module that heads alone make a difference for is theirs too, as a model may be loaded without.
 */
export function notLoaded(
  adapter: Adapter,
  matched: readonly MatchedModule[],
  traits: ModelTraits,
): NotLoaded[] {
  const { config } = adapter
  if (adapter.format !== 'peft' || config === undefined) return []
  const isTargeted = targetedBy(adapter.config?.targetModules)
  const groups = new Map<string, NotLoaded & { modules: string[] }>()
  for (const { module, base } of matched) {
    const path = base.name.replace(/\.weight$/, '')
    const problem =
      spellingProblem(blamed(module, 'A').name, module.prefix) ??
      pathProblem(module, path, adapter, traits) ??
      classProblem(module, base.shape, path, traits) ??
      (isOfParameter(module) || isTargeted(module.path) ? undefined : NOT_TARGETED)
    if (problem === undefined) continue
    const key = JSON.stringify(problem)
    const group = groups.get(key) ?? { ...problem, modules: [] }
    group.modules.push(module.label)
    groups.set(key, group)
  }
  return [...groups.values()]
}

/** Whether its factors are of stacked experts, which target_parameters names. */
const isOfParameter = ({ kind, product }: AdapterModule) =>
  kind === 'experts' || (product.kind === 'lora' && product.every !== undefined)

const NOT_TARGETED: Problem = {
  loaders: ['PEFT'],
  reason: 'would load nothing of it: target_modules does not match its path',
}

/** Why a loader finds nothing by a module's names, whatever the model; undefined where it may. */
export function nameProblem(
  { down, prefix }: { readonly down: string; readonly prefix: string },
  loader: Loader,
): string | undefined {
  const problem = spellingProblem(down, prefix)
  return problem?.loaders.includes(loader) ? problem.reason.replace(/^would load /, 'it finds ') : undefined
}

/** What the name of the first factor, and what stands before the module's path in it, say whatever the model. */
function spellingProblem(name: string, prefix: string): Problem | undefined {
  const key = /\.(?:lora_(?:A|embedding_A)|hada_w1_a|lokr_w1(?:_a)?)\.(?!weight$)(.+?)(?:\.weight)?$/.exec(
    name,
  )?.[1]
  if (key !== undefined) {
    return {
      loaders: SKIP_UNKNOWN_NAMES,
      reason: `would load nothing of it: its names hold the adapter's name (${key}), which PEFT takes out when it saves`,
    }
  }
  return prefix === PEFT_PREFIX
    ? undefined
    : { loaders: ['PEFT'], reason: `would load nothing of it: its names do not begin with ${PEFT_PREFIX}` }
}

const IN_A_STACK: Problem = {
  loaders: ['PEFT'],
  reason: 'would load nothing of it: the model has its experts stacked, and no module for a single one',
}

function pathProblem(
  { path: module, kind, product }: AdapterModule,
  stored: string,
  { config }: Adapter,
  traits: ModelTraits,
): Problem | undefined {
  if (product.kind === 'stack') return IN_A_STACK
  if (product.kind === 'lora' && product.every !== undefined) return undefined
  const plain = pathOf(stored, { ...traits, prefix: '' })
  if (kind === 'experts' || module === pathOf(stored, traits) || module === plain) return undefined
  const [head] = module.split('.', 1)
  const [body] = plain.split('.', 1)
  // transformers puts the name of a model's body before the paths of a model with a head, and leaves it out without
  const isHeadless = module === plain.slice(body.length + 1)
  if (isHeadless && !HEADED_TASKS.has(config?.taskType)) return undefined
  const isHeaded = module === `${head}.${plain}` && head !== body && BODIES.test(head)
  if (isHeaded) return undefined
  return {
    loaders: SKIP_UNKNOWN_NAMES,
    reason: `would load nothing of it: the model has no module of its path${isHeadless ? ` (it is a body's, without ${quoted(body)}, and task_type asks for a head)` : ', only one that is called much the same'}`,
  }
}

function classProblem(
  module: AdapterModule,
  shape: readonly number[],
  path: string,
  traits: ModelTraits,
): Problem | undefined {
  if (module.kind === 'experts') return undefined
  const taking = takingOf({ path, shape, isKernel: module.kind === 'convolution', traits })
  if ('reason' in taking) {
    if (!taking.isCertain) return undefined
    return {
      loaders: ['PEFT'],
      reason:
        taking.takes === 'raises'
          ? `would load nothing at all: it is ${taking.reason}`
          : `would load it without effect: it is ${taking.reason}`,
    }
  }
  if ((taking.takes === 'embedding') === (module.kind === 'embedding')) return undefined
  return {
    loaders: ['PEFT'],
    reason:
      module.kind === 'embedding'
        ? 'would load nothing of it: its names are those of an embedding, which it is none of'
        : 'would load nothing of it: it is an embedding, whose factors are called lora_embedding_A and _B',
  }
}

/** Which paths target_modules means; all of them where the file leaves that to PEFT, and `otherwise` where its words are not read. */
export function targetedBy(
  named: string | readonly string[] | undefined,
  otherwise = true,
): (path: string) => boolean {
  if (named === undefined || named === 'all-linear') return () => true
  const unread = <T>(instead: T, read: () => T): T => {
    try {
      return read()
    } catch (error) {
      if (error instanceof PatternError) return instead
      throw error
    }
  }
  const test = unread(undefined, () => targetTest(named))
  return test === undefined ? () => otherwise : (path) => unread(otherwise, () => test(path))
}

/** For a person: who would load what as nothing. */
export const notLoadedText = ({ loaders, reason }: NotLoaded): string => `${loaders.join(' and ')} ${reason}`
