/**
 * What llama.cpp calls the norms of the architectures of ../write/gguf-architectures.ts, each with what transformers' models call it: the
 * first of these that the model at hand has. Source: gguf-py/gguf/tensor_mapping.py (llama.cpp@de3ff815, 2026), asked for every
 * architecture. Gemma 2 and 3 have two norms before and after each half of a layer, where others have one that is called as their
 * second.
 */
const NORMS_OF_LAYER: Readonly<Record<string, readonly string[]>> = {
  attn_norm: ['input_layernorm', 'ln_mlp', 'ln_1', 'attention_norm', 'attention_layernorm'],
  attn_norm_2: ['ln_attn', 'post_attention_layernorm'],
  ffn_norm: [
    'pre_feedforward_layernorm',
    'post_attention_layernorm',
    'ln_2',
    'ffn_norm',
    'feedforward_layernorm',
  ],
  post_attention_norm: ['post_attention_layernorm'],
  post_ffw_norm: ['post_feedforward_layernorm'],
  attn_q_norm: ['self_attn.q_norm'],
  attn_k_norm: ['self_attn.k_norm'],
}

const LAST_NORMS = ['model.norm', 'transformer.ln_f', 'gpt_neox.final_layer_norm', 'model.final_layernorm']

/** The norms that a tensor of llama.cpp's may be in a model with such layers: paths with what is stored of it, `weight` or `bias`. */
export function normsOf(tensor: string, layers: string): readonly string[] {
  const [, last] = /^output_norm\.(weight|bias)$/.exec(tensor) ?? []
  if (last !== undefined) return LAST_NORMS.map((path) => `${path}.${last}`)
  const [, layer, norm, part] = /^blk\.(\d+)\.([a-z_0-9]+)\.(weight|bias)$/.exec(tensor) ?? []
  if (norm === undefined || !Object.hasOwn(NORMS_OF_LAYER, norm)) return []
  return NORMS_OF_LAYER[norm].map((path) => `${layers}${layer}.${path}.${part}`)
}

/**
 * Architectures whose norms multiply by 1 + weight: the converter adds the 1, in float32, to every tensor whose name ends in `norm.weight`
 * (conversion/gemma.py and nemotron.py, llama.cpp@de3ff815, 2026).
 */
const STORED_PLUS_ONE: ReadonlySet<string> = new Set(['gemma', 'gemma2', 'gemma3', 'nemotron'])

/** Whether a norm of an architecture is stored plus 1, by the name that transformers has for it. */
export const isPlusOne = (architecture: string, name: string) =>
  STORED_PLUS_ONE.has(architecture) && name.endsWith('norm.weight')

/** Frequencies of rotary embeddings, which the converter computes from config.json (generate_extra_tensors of conversion/*.py). */
export const isComputedByConverter = (tensor: string) =>
  /^(?:blk\.\d+\.)?rope_(?:freqs|factors_long|factors_short)\.weight$/.test(tensor)
