import type { AdapterFormat } from './model.ts'

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
