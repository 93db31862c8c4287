import { counted } from '../text/quote.ts'
import type { AdapterFormat, TargetModule } from './model.ts'
import type { AdapterPlan } from './write/peft.ts'

/**
 * What is known of the programs that load adapters, each fact once, as read from their sources in 2026 (vLLM's up to the middle of
 * that year): what inspect says of an adapter and what extract warns of comes from here.
 */
export const LOADERS = ['PEFT', 'vLLM', 'SGLang', 'llama.cpp', 'TensorRT-LLM', 'ComfyUI'] as const
export type Loader = (typeof LOADERS)[number]

/** The ranks that vLLM's --max-lora-rank takes (vllm/config/lora.py). */
export const VLLM_RANKS = [1, 8, 16, 32, 64, 128, 256, 320, 512] as const
export const VLLM_LARGEST_RANK = VLLM_RANKS[VLLM_RANKS.length - 1]

/** String values of init_lora_weights that vLLM's newest check lets pass (vllm/lora/peft_helper.py). */
export const VLLM_INITS = ['gaussian', 'eva', 'orthogonal', 'mica', 'lora_ga']

/** Projections that SGLang stacks into one: their ranks have to be equal, and a missing one is an error (sglang #25913, #28199). */
const STACKED_GROUPS: readonly (readonly string[])[] = [
  ['q_proj', 'k_proj', 'v_proj'],
  ['gate_proj', 'up_proj'],
]

/** The paths of the modules that SGLang stacks with the one at this path, itself among them; none where it stands alone. */
export function stackedPaths(path: string): string[] {
  const at = path.lastIndexOf('.') + 1
  const group = STACKED_GROUPS.find((names) => names.includes(path.slice(at)))
  return (group ?? []).map((name) => `${path.slice(0, at)}${name}`)
}

/** The layers of language models, which ComfyUI knows as parts of text encoders alone. */
export const LANGUAGE_MODEL =
  /^(?:model\.(?:language_model\.)?layers|language_model\.model\.layers|transformer\.h|gpt_neox\.layers)\.\d/

/**
 * The names that ComfyUI looks for (comfy/lora.py, model_lora_keys_unet, mid-2026): its own and kohya's of any model; diffusers'
 * `transformer.` but neither `unet.` nor the text encoders'; PEFT's of SD3 and PixArt, whose blocks are called so.
 */
export const COMFYUI_NAMES: Readonly<Record<AdapterFormat, RegExp>> = {
  kohya: /^/,
  comfyui: /^/,
  diffusers: /^transformer\./,
  // it reads no GGUF, and none of MLX's
  gguf: /(?!)/,
  mlx: /(?!)/,
  peft: /^(?:base_model\.model\.)?(?:transformer_blocks|joint_blocks)\./,
}

/** PEFT passes over names that no module of the model has (utils/save_and_load.py, load_state_dict(strict=False)); so does vLLM. */
export const SKIP_UNKNOWN_NAMES: readonly Loader[] = ['PEFT', 'vLLM']

/** PEFT's tasks of models whose head stands beside the body (peft/mapping.py). */
export const HEADED_TASKS: ReadonlySet<string | undefined> = new Set([
  'CAUSAL_LM',
  'SEQ_CLS',
  'SEQ_2_SEQ_LM',
  'TOKEN_CLS',
  'QUESTION_ANS',
])

/** transformers' names of bodies: base_model_prefix of its classes. */
export const BODIES =
  /^(?:model|transformer|backbone|encoder|gpt_neox|rwkv|vit|clip|\w*(?:bert|roberta|electra|net|former))$/

/** Which loaders will not take an adapter, or will scale it wrongly: one sentence each. */
export function planWarnings(
  plan: Omit<AdapterPlan, 'warnings'>,
  base: ReadonlyMap<string, unknown>,
): string[] {
  const { r, modules, saved, targetModules, targetParameters } = plan
  const kinds = new Set(modules.map(({ module }) => module.kind))
  const warnings = [...patternWarnings(plan)]
  if (r > VLLM_LARGEST_RANK) {
    warnings.push(`vLLM takes no adapter of a rank above ${VLLM_LARGEST_RANK}, and this one has ${r}`)
  }
  if (saved.length > 0) {
    warnings.push(
      `${counted(saved.length, 'module')} written whole (modules_to_save): vLLM refuses such an adapter, llama.cpp one with a whole embedding or head`,
    )
  }
  if (kinds.has('embedding') && isTied(modules, base)) {
    warnings.push(
      'the base has no head of its own (it shares the embedding): the adapter changes only the lookup, not the head',
    )
  }
  if (kinds.has('conv1d') && kinds.has('linear')) {
    warnings.push(
      'layers stored [in, out] and [out, in] in one adapter: PEFT tells them apart by their class, other loaders by fan_in_fan_out, one flag for all',
    )
  }
  if (targetParameters.length > 0) {
    warnings.push(
      '3-D experts are read in different ways by releases of PEFT, vLLM and SGLang: check the outputs of the one you use',
    )
  }
  if (typeof targetModules === 'string') {
    warnings.push('target_modules is a regular expression, which SGLang refuses: no list of names is exact')
  }
  return warnings
}

/** What goes wrong where ranks differ and a loader doesn't read the patterns. Loaders that divide lora_alpha by r are right. */
export function patternWarnings({ r, modules, rankPattern }: Omit<AdapterPlan, 'warnings'>): string[] {
  if (rankPattern.size === 0) return []
  const least = modules.reduce((rank, { storedRank }) => Math.min(rank, storedRank), r)
  const warnings = [
    `llama.cpp and TensorRT-LLM divide lora_alpha ${r} by each tensor's own rank: ${counted(rankPattern.size, 'module')} too strong, by up to ${Number((r / least).toPrecision(3))}× (--layout portable avoids it)`,
  ]
  const stored = new Map(modules.map(({ module, storedRank }) => [module.path, storedRank]))
  const uneven = modules.find(({ module, storedRank }) =>
    stackedWith(module).some((path) => (stored.get(path) ?? storedRank) !== storedRank),
  )
  if (uneven !== undefined) {
    warnings.push('SGLang stacks q/k/v and gate/up and needs one rank in each group, which differ here')
  }
  return warnings
}

/** The paths of the linear modules that are stacked with this one, itself among them. */
export const stackedWith = ({ kind, path }: Pick<TargetModule, 'kind' | 'path'>): string[] =>
  kind === 'linear' ? stackedPaths(path) : []

/** A model whose embedding is adapted and that stores no head. */
function isTied(modules: AdapterPlan['modules'], base: ReadonlyMap<string, unknown>): boolean {
  const isToken = modules.some(
    ({ module }) => module.kind === 'embedding' && !/(^|[._])(wpe|position|token_type)/.test(module.path),
  )
  return (
    isToken &&
    ![...base.keys()].some((name) => /(^|\.)(lm_head|embed_out|output|score|classifier)\./.test(name))
  )
}
