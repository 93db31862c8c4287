import { counted } from '../text/quote.ts'
import { nameProblem } from './found-by-loaders.ts'
import {
  COMFYUI_NAMES,
  LANGUAGE_MODEL,
  LOADERS,
  type Loader,
  stackedPaths,
  VLLM_INITS,
  VLLM_LARGEST_RANK,
} from './loaders.ts'
import { type Adapter, type AdapterFormat, type AdapterModule, blamed } from './model.ts'
import { loraScale, type PeftConfig } from './read/peft-config.ts'
import { leafOfPath } from './traits.ts'

/** The scale by which a loader multiplies B·A, or why it does not load the adapter. */
export interface LoaderScale {
  readonly loader: Loader
  readonly scale?: number
  readonly refusal?: string
}

/** Scales closer than this are the same: an .alpha tensor in bf16 is off by up to 2⁻⁹. */
const SCALE_TOLERANCE = 2 ** -8

interface Judged {
  readonly adapter: Adapter
  readonly config: PeftConfig | undefined
  readonly byPath: ReadonlyMap<string, AdapterModule>
  /** Why a loader refuses the adapter, whatever the module. */
  readonly refusals: Readonly<Record<'vLLM' | 'llama.cpp', string | undefined>>
}

type Judgement = { readonly scale: number } | { readonly refusal: string }
type Rule = (judged: Judged, config: PeftConfig, module: AdapterModule) => Judgement

/** Where no rule stands the loader reads whatever PEFT writes. */
const PEFT_RULES: Readonly<Record<Exclude<Loader, 'ComfyUI'>, Rule>> = {
  PEFT: (_, __, module) => judge(unfound(module, 'PEFT'), module.scale),
  // up to mid-2026 the patterns are not read, so that all modules have one scale
  vLLM: (judged, config, module) =>
    judge(
      judged.refusals.vLLM ?? unfound(module, 'vLLM') ?? vllmModuleRefusal(config, module),
      loraScale(config.loraAlpha, config.r, config.useRslora),
    ),
  SGLang: (judged, config, module) =>
    judge(sglangRefusal(judged, config, module), loraScale(config.loraAlpha, config.r, false)),
  'llama.cpp': (judged, config, module) =>
    // an alpha of 0 counts as none there (llama-adapter.h, get_scale)
    judge(
      judged.refusals['llama.cpp'] ?? llamaCppModuleRefusal(module),
      config.loraAlpha === 0 ? 1 : loraScale(config.loraAlpha, module.rank, false),
    ),
  'TensorRT-LLM': (_, config, module) =>
    judge(tensorRtRefusal(config, module), loraScale(config.loraAlpha, module.rank, config.useRslora)),
}

/** Names by which a loader finds no module. */
function unfound(module: AdapterModule, loader: Loader): string | undefined {
  const problem = nameProblem(module)
  return problem?.loaders.includes(loader) ? problem.reason.replace(/^would load /, 'it finds ') : undefined
}

const judge = (refusal: string | undefined, scale: number): Judgement =>
  refusal === undefined ? { scale } : { refusal }

/**
 * The scale by which each loader multiplies B·A of a module, or why it doesn't load it: one entry a loader, always in
 * the same order. As read from the loaders' sources in 2026: vLLM up to the middle of that year.
 */
export const loaderScales = (adapter: Adapter, module: AdapterModule): LoaderScale[] =>
  scalesIn(judgedOf(adapter), module)

/** What is the same for all modules is found once. */
const known = new WeakMap<Adapter, Judged>()

function judgedOf(adapter: Adapter): Judged {
  const before = known.get(adapter)
  if (before !== undefined) return before
  const config = adapter.format === 'peft' ? adapter.config : undefined
  const strangers = strangersIn(adapter)
  const judged = {
    adapter,
    config,
    byPath: new Map(adapter.modules.map((module) => [module.path, module])),
    refusals: {
      vLLM: config && vllmRefusal(strangers, config),
      'llama.cpp': config && llamaCppRefusal(strangers, config),
    },
  }
  known.set(adapter, judged)
  return judged
}

function scalesIn(judged: Judged, module: AdapterModule): LoaderScale[] {
  const { adapter, config } = judged
  return LOADERS.map((loader) => {
    if (adapter.format === 'gguf') return { loader, ...ofGguf(loader, module) }
    if (adapter.format === 'mlx') return { loader, refusal: OTHER_FORMAT }
    if (loader === 'ComfyUI') return { loader, ...comfyUi(adapter.format, config, module) }
    if (adapter.format !== 'peft') return { loader, refusal: OTHER_FORMAT }
    if (config === undefined) return { loader, refusal: 'it needs adapter_config.json' }
    if (config.method !== 'LORA' && loader !== 'PEFT') return { loader, refusal: OTHER_METHOD }
    return { loader, ...PEFT_RULES[loader](judged, config, module) }
  })
}

/** src/llama-adapter.h: one alpha for the file, divided by the rank of each tensor. */
const ofGguf = (loader: Loader, { scale }: AdapterModule): Judgement =>
  loader === 'llama.cpp' ? { scale } : { refusal: OTHER_FORMAT }

const OTHER_FORMAT = 'it reads PEFT adapters'
const OTHER_METHOD = 'it reads LoRA, and neither LoHa nor LoKr'
const NO_NAMES = 'it finds no names such as'
const OTHER_TASK = 'it reads adapters of diffusion models'

/** comfy/weight_adapter/lora.py: adapter_config.json is not read, and no .alpha means 1. */
function comfyUi(format: AdapterFormat, config: PeftConfig | undefined, module: AdapterModule): Judgement {
  if (config?.taskType !== undefined || LANGUAGE_MODEL.test(module.path)) return { refusal: OTHER_TASK }
  const known = COMFYUI_NAMES[format]
  if (!known.test(module.prefix + module.path)) return { refusal: `${NO_NAMES} ${blamed(module, 'A').name}` }
  if (module.kind === 'embedding') return { refusal: 'it knows no lora_embedding_A' }
  if (module.kind === 'experts') return { refusal: 'it knows no stacked experts' }
  if (module.magnitude?.name.includes('lora_magnitude_vector')) {
    return { refusal: 'it reads DoRA from dora_scale alone' }
  }
  return { scale: module.storedAlpha === undefined ? 1 : module.storedAlpha / module.dim }
}

function vllmRefusal(strangers: readonly string[], config: PeftConfig): string | undefined {
  if (config.missing.length > 0) return `it needs ${config.missing.join(', ')} in adapter_config.json`
  if (config.modulesToSave.length > 0) return `it refuses modules_to_save (${someOf(config.modulesToSave)})`
  const [extra] = strangers
  if (extra !== undefined) return `it refuses tensors that are no factors (${extra})`
  if (config.useDora) return 'it refuses DoRA'
  if (config.bias !== 'none') return `it refuses bias "${config.bias}"`
  if (config.loraBias) return 'it refuses lora_bias'
  if (config.layerReplication) return 'it refuses layer_replication'
  if (config.alora) return 'it refuses aLoRA'
  const init = config.initLoraWeights
  if (typeof init === 'string' && !VLLM_INITS.includes(init.toLowerCase())) {
    return `it refuses init_lora_weights "${init}"`
  }
  return undefined
}

function vllmModuleRefusal(config: PeftConfig, module: AdapterModule): string | undefined {
  if (module.bias !== undefined) return 'it refuses lora_bias'
  const rank = Math.max(config.r, module.rank)
  if (rank > VLLM_LARGEST_RANK) return `it refuses rank ${rank}, above ${VLLM_LARGEST_RANK}`
  return module.kind === 'experts' ? 'it misreads stacked experts (vLLM #41384)' : undefined
}

function sglangRefusal({ byPath }: Judged, config: PeftConfig, module: AdapterModule): string | undefined {
  const targets = config.targetModules
  if (typeof targets === 'string' && targets !== 'all-linear' && targets !== 'all') {
    return 'it refuses a regular expression as target_modules'
  }
  if (module.kind === 'experts') return 'it misreads stacked experts (SGLang #25528)'
  const stacked = stackedPaths(module.path)
  const other = stacked
    .map((path) => byPath.get(path))
    .find((sibling) => sibling !== undefined && sibling.rank !== module.rank)
  if (other === undefined) return undefined
  const names = stacked.map(leafOfPath)
  return `it needs equal ranks in ${names.join(', ')}: ${module.path} has ${module.rank}, ${other.path} ${other.rank}`
}

/** Names listed at most in a refusal. */
const LISTED = 3
const someOf = (names: readonly string[]) =>
  names.length <= LISTED
    ? names.join(', ')
    : `${names.slice(0, LISTED).join(', ')} and ${names.length - LISTED} more`

/** Names of tensors that are neither factors nor the copies of the base's weights that loaders skip. */
const strangersIn = ({ replaced, ignored, modules }: Adapter): string[] => [
  ...replaced.map(({ tensor }) => tensor.name),
  ...ignored.map(({ name }) => name).filter((name) => !name.endsWith('.base_layer.weight')),
  ...modules.flatMap(({ label, storedAlpha }) => (storedAlpha === undefined ? [] : [`${label}.alpha`])),
]

/** convert_lora_to_gguf.py stops at any name it doesn't know, norms excepted. */
function llamaCppRefusal(strangers: readonly string[], config: PeftConfig): string | undefined {
  if (config.missing.includes('lora_alpha')) return 'it needs lora_alpha in adapter_config.json'
  const whole = strangers.find((name) => !/_layernorm|\.norm/.test(name))
  return whole === undefined ? undefined : `it stops at tensors that are no factors (${whole})`
}

function llamaCppModuleRefusal(module: AdapterModule): string | undefined {
  const extra = module.bias ?? module.magnitude
  if (extra !== undefined) return `it stops at ${extra.name}`
  const { name } = blamed(module, 'A')
  if (!/\.lora_(?:A\.weight|embedding_A)$/.test(name)) return `it doesn't know the name ${name}`
  if (module.kind === 'convolution') return 'it reads no convolutions'
  return module.kind === 'experts' ? 'it reads no stacked experts' : undefined
}

/** tensorrt_llm/lora_manager.py: the rank is that of the stored A. */
function tensorRtRefusal(config: PeftConfig, module: AdapterModule): string | undefined {
  const missing = config.missing.filter((key) => key !== 'target_modules')
  if (missing.length > 0) return `it needs ${missing.join(', ')} in adapter_config.json`
  return module.kind === 'experts' ? 'it reads experts one by one' : undefined
}

/** Modules that a loader multiplies by another scale than the adapter's own format does. */
export interface ScaleDisagreement {
  readonly loader: Loader
  /** Labels. */
  readonly modules: readonly string[]
  readonly scale: number
  /** As the adapter's own format says. */
  readonly expected: number
}

/** Disagreements grouped by loader and by the pair of scales, in the loaders' order. */
export function scaleDisagreements(adapter: Adapter): ScaleDisagreement[] {
  const judged = judgedOf(adapter)
  const groups = new Map<string, ScaleDisagreement & { modules: string[] }>()
  for (const module of adapter.modules) {
    for (const { loader, scale } of scalesIn(judged, module)) {
      const expected = module.scale
      if (scale === undefined || isClose(scale, expected)) continue
      const key = JSON.stringify([loader, scale, expected])
      const group = groups.get(key) ?? { loader, modules: [], scale, expected }
      group.modules.push(module.label)
      groups.set(key, group)
    }
  }
  return [...groups.values()].sort((a, b) => LOADERS.indexOf(a.loader) - LOADERS.indexOf(b.loader))
}

const isClose = (a: number, b: number) =>
  Math.abs(a - b) <= SCALE_TOLERANCE * Math.max(Math.abs(a), Math.abs(b))

/** One line a loader that scales modules otherwise, and one a loader that refuses them. */
export function loaderWarnings(adapter: Adapter): string[] {
  const total = adapter.modules.length
  const own = adapter.format === 'peft' && adapter.config !== undefined ? 'PEFT' : 'the file'
  const disagreements = scaleDisagreements(adapter)
  const scaled = LOADERS.flatMap((loader) => {
    const groups = disagreements.filter((group) => group.loader === loader)
    if (groups.length === 0) return []
    const count = groups.reduce((sum, { modules }) => sum + modules.length, 0)
    const { modules, scale, expected } = groups[0]
    const by = `by ${short(scale)} where ${own} scales`
    return groups.length === 1
      ? [
          `${loader} scales ${count} of ${counted(total, 'module')} ${by} ${count === 1 ? 'it' : 'them'} by ${short(expected)}`,
        ]
      : [
          `${loader} scales ${count} of ${counted(total, 'module')} otherwise than ${own}, such as ${modules[0]} ${by} it by ${short(expected)}`,
        ]
  })
  return [...scaled, ...refusalWarnings(adapter)]
}

function refusalWarnings(adapter: Adapter): string[] {
  const judged = judgedOf(adapter)
  const first = new Map<Loader, string>()
  for (const module of adapter.modules) {
    for (const { loader, refusal } of scalesIn(judged, module)) {
      // what was made for one loader is not to blame for not being another's
      if (refusal === undefined || refusal === OTHER_FORMAT || refusal === OTHER_TASK) continue
      if (loader === 'ComfyUI' && adapter.format === 'peft' && refusal.startsWith(NO_NAMES)) continue
      if (!first.has(loader)) first.set(loader, refusal)
    }
  }
  return [...first].map(([loader, refusal]) => `${loader} does not load this adapter: ${refusal}`)
}

const short = (x: number) => String(Number(x.toPrecision(4)))
