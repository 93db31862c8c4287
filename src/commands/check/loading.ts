import { datedSource } from '../../lora/loaders/common.ts'
import type { Hit } from '../../lora/loaders/judge.ts'
import { FACTS } from '../../lora/loaders/table.ts'
import { type AdapterView, type Effect, LOADERS, type Loader } from '../../lora/loaders/types.ts'
import { DEFECTS, type DefectName, type Found } from './rules.ts'

/** What comes of a kind of defect in loaders: its modules, or the whole adapter where it names none, are not what they should be. */
interface Loading {
  /** Half a sentence of the loader. */
  readonly why: string
  readonly effects: Readonly<Partial<Record<Loader, Effect>>>
}

const inAll = (effect: Effect, others: Loading['effects'] = {}): Loading['effects'] => ({
  ...Object.fromEntries(LOADERS.map((loader) => [loader, effect])),
  ...others,
})

/** In the loaders of diffusion models. */
const ofPictures = (effect: Effect): Loading['effects'] => ({
  diffusers: effect,
  ComfyUI: effect,
  kohya: effect,
})

/**
 * Factors of other shapes than the loader makes room for: torch raises at them (load_state_dict), llama.cpp throws, ComfyUI logs an error
 * and goes on (comfy/weight_adapter/lora.py, calculate_weight).
 */
const WRONG_SHAPES = inAll('refuses', { ComfyUI: 'passes over' })
/** llama.cpp throws at a factor that it finds no tensor for, or no other of its pair (src/llama-adapter.cpp). */
const NOT_FOUND = inAll('passes over', { 'llama.cpp': 'refuses' })
const OF_CONFIG: readonly Loader[] = ['PEFT', 'vLLM', 'SGLang', 'TensorRT-LLM']

/** The defects that concern loading, and that no fact of a loader tells already. */
const LOADING: Readonly<Partial<Record<DefectName, Loading>>> = {
  'no-factors': { why: 'none of the tensors is a factor', effects: inAll('passes over') },
  'half-pair': { why: 'it finds one factor of a module without the other', effects: NOT_FOUND },
  'duplicate-module': {
    why: 'it takes one of two tensors that are the same part of a module',
    effects: inAll('misreads'),
  },
  'swapped-factors': { why: 'the factors lie the other way round and do not fit', effects: WRONG_SHAPES },
  'factor-shapes': { why: 'the factors do not fit each other', effects: WRONG_SHAPES },
  'factor-dtype': {
    why: 'it takes the numbers of a dtype that is no float as they are',
    effects: inAll('misreads'),
  },
  'grouped-convolution': { why: 'the factors are of a grouped convolution', effects: WRONG_SHAPES },
  'other-kind': { why: 'the tensors are those of another method', effects: inAll('passes over') },
  'several-adapters': { why: 'the keys hold the names of several adapters', effects: NOT_FOUND },
  unreadable: { why: 'a part of the file can not be read', effects: NOT_FOUND },
  'alpha-shape': { why: 'an .alpha is not one number', effects: inAll('refuses') },
  'alpha-zero': { why: 'an alpha is 0, of which each loader makes its own', effects: inAll('scales') },
  'alpha-not-finite': { why: 'it multiplies by an alpha that is no number', effects: inAll('misreads') },
  'names-of-nobody': { why: 'it knows no names that begin so', effects: ofPictures('passes over') },
  'names-not-of-family': { why: 'no module of the model is called so', effects: ofPictures('passes over') },
  'names-not-known': { why: 'it finds the names if the model has them', effects: ofPictures('warns') },
  'names-of-gguf': {
    why: 'no model of transformers has modules called blk.',
    effects: inAll('passes over', { PEFT: 'refuses', 'llama.cpp': 'refuses' }),
  },
  'dora-scale-shape': {
    why: 'the magnitudes do not fit the weight',
    effects: { PEFT: 'refuses', ComfyUI: 'passes over' },
  },
  'config-rank': {
    why: 'the rank in adapter_config.json is not that of the tensors',
    effects: {
      PEFT: 'refuses',
      vLLM: 'scales',
      SGLang: 'scales',
      'TensorRT-LLM': 'scales',
      'llama.cpp': 'scales',
      // it takes the factors as they are, whatever their shapes (mlx/nn/layers/base.py, load_weights)
      MLX: 'warns',
    },
  },
  'config-alpha-zero': {
    why: 'it multiplies the change by 0',
    effects: Object.fromEntries(OF_CONFIG.map((loader) => [loader, 'scales'])),
  },
  'config-dora-without-magnitudes': {
    why: 'it makes fresh magnitudes of DoRA for modules that have none',
    effects: { PEFT: 'misreads' },
  },
  'config-magnitudes-without-dora': {
    why: 'it passes over DoRA’s magnitudes, as use_dora is not set',
    effects: { PEFT: 'misreads' },
  },
  'config-bias-without-flag': {
    why: 'it passes over lora_B.bias, as lora_bias is not set',
    effects: { PEFT: 'misreads' },
  },
  'config-modules-to-save': {
    why: 'it keeps the base’s weights of modules_to_save that the file does not hold',
    effects: { PEFT: 'misreads' },
  },
  'base-unmatched': { why: 'the base has no weight of the name', effects: NOT_FOUND },
  'base-shared': {
    why: 'it takes one of two modules that change the same weight',
    effects: inAll('misreads'),
  },
  'base-shapes': { why: 'the factors do not fit the base’s weight', effects: WRONG_SHAPES },
  'base-whole': { why: 'a whole tensor does not fit the base, or has none there', effects: NOT_FOUND },
}

/** What a loader makes of the defects, as its own facts are told: the verdict is made of both. */
export function defectHits(found: readonly Found[], loader: Loader, view: AdapterView): Hit[] {
  const labels = new Set(view.modules.map(({ label }) => label))
  return found.flatMap(({ rule, names = [], loading }): Hit[] => {
    const { effect, why } = loading === undefined ? ofKind(rule, loader) : ofOwn(loading, loader)
    if (effect === undefined) return []
    const { text, source } = DEFECTS[rule]
    const modules = names.filter((name) => labels.has(name))
    const tensors = names.filter((name) => !labels.has(name))
    return [
      {
        fact: { rule, loader, effect, text, ...ownSource(source, loader) },
        reason: why,
        ...(modules.length > 0 && { modules }),
        ...(tensors.length > 0 && { tensors }),
      },
    ]
  })
}

type Said = { readonly effect: Effect | undefined; readonly why: string }

const ofKind = (rule: DefectName, loader: Loader): Said => {
  const { why = '', effects = {} } = LOADING[rule] ?? {}
  return { effect: effects[loader], why }
}

const ofOwn = ({ loaders, effect, why }: NonNullable<Found['loading']>, loader: Loader): Said => ({
  effect: loaders.includes(loader) ? effect : undefined,
  why,
})

/** A defect's source, where it is the loader's too: what others do with it was not read there. */
const ownSource = (source: string, loader: Loader): { source?: string; date?: string } =>
  repositories(loader).has(repositoryOf(source)) ? datedSource(source) : {}

const repositoryOf = (source: string) => source.split(':')[0]
const repositories = (loader: Loader): ReadonlySet<string> =>
  new Set(FACTS[loader].rules.map((rule) => repositoryOf(rule.source)))
