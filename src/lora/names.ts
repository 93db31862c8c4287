import type { AdapterFormat } from './model.ts'

/** Parts of LyCORIS' products, by the names that its modules and PEFT give them (modules/loha.py, modules/lokr.py). */
const LYCORIS_PARTS = [
  'hada_w1_a',
  'hada_w1_b',
  'hada_w2_a',
  'hada_w2_b',
  'hada_t1',
  'hada_t2',
  'lokr_w1',
  'lokr_w1_a',
  'lokr_w1_b',
  'lokr_w2',
  'lokr_w2_a',
  'lokr_w2_b',
  'lokr_t2',
] as const
export type LycorisRole = (typeof LYCORIS_PARTS)[number]

/** What a tensor is to its module. */
export type Role =
  | LycorisRole
  | 'A'
  | 'B'
  | 'embedding A'
  | 'embedding B'
  | 'mid'
  | 'alpha'
  | 'bias'
  | 'magnitude'
  | 'diff'
  | 'diff_b'
  | 'set_weight'
  | 'token rows'

export interface ParsedName {
  /** The name without what tells its role. */
  readonly stem: string
  readonly role: Role
  /** Spelled with lora_A and lora_B, as PEFT does. */
  readonly isPeftSpelling: boolean
  /** PEFT's name of the adapter, which stands in the keys of a model's own state, and that PEFT takes out when it saves. */
  readonly adapterName?: string
}

/** PEFT's own wrappers, before the path in the model. */
export const PEFT_PREFIX = 'base_model.model.'

/** The formats that prefixes and endings tell apart: a GGUF file is one by its first bytes, MLX has a reader of its own. */
export type SpelledFormat = Exclude<AdapterFormat, 'gguf' | 'mlx'>

/** What a format puts before a module's path, where it puts anything. */
const PREFIXES: Readonly<Record<SpelledFormat, RegExp>> = {
  peft: new RegExp(`^${PEFT_PREFIX.replaceAll('.', '\\.')}`),
  // OneTrainer's legacy names have the component's, and a fourth encoder for HiDream (Nerogar/OneTrainer@2026-08-19: modules/model,
  // lora_text_encoders; modules/modelLoader/mixin/LoRALoaderMixin.py, _mixture_legacy_conversion); SimpleTuner's are LyCORIS' own
  kohya: /^(?:lora_(?:unet|te[1-4]?|transformer|prior_unet|prior_te)|lycoris)_(?=[^.]+$)/,
  comfyui: /^(?:diffusion_model\.|text_encoders\.(?:(?:[^.]+\.)?transformer\.|clip_[lgh]\.)?)/,
  // language models of the GPT-2 family call their trunk `transformer` too
  diffusers:
    /^(?:unet|transformer(?:_2)?|text_encoder(?:_[2-4])?)\.(?!(?:h|wte|wpe|word_embeddings|encoder\.layers)\.)/,
}

type Ending = readonly [ending: string, role: Role]

/** How each format ends the names of a module's tensors; a file may mix them, and ComfyUI reads all. */
const SPELLINGS: Readonly<Record<SpelledFormat, readonly Ending[]>> = {
  // peft/utils/save_and_load.py
  peft: [
    ['.lora_A.weight', 'A'],
    ['.lora_B.weight', 'B'],
    // torchtune's: Linear layers as PEFT's are (torchtune/modules/peft/lora.py)
    ['.lora_a.weight', 'A'],
    ['.lora_b.weight', 'B'],
    ['.lora_A', 'A'],
    ['.lora_B', 'B'],
    ['.lora_embedding_A', 'embedding A'],
    ['.lora_embedding_B', 'embedding B'],
    ['.lora_B.bias', 'bias'],
    ['.lora_magnitude_vector', 'magnitude'],
    ['.lora_magnitude_vector.weight', 'magnitude'],
    // ai-toolkit's DoRA (ostris/ai-toolkit: toolkit/models/DoRA.py), and torchtune's
    ['.magnitude', 'magnitude'],
    // peft/tuners/trainable_tokens/layer.py, around the embedding itself
    ['.token_adapter.trainable_tokens_delta', 'token rows'],
    ['.trainable_tokens_delta', 'token rows'],
  ],
  // kohya-ss/sd-scripts: networks/lora.py; LyCORIS: modules/locon.py
  kohya: [
    ['.lora_down.weight', 'A'],
    ['.lora_up.weight', 'B'],
    ['.lora_mid.weight', 'mid'],
    ['.alpha', 'alpha'],
    ['.lora_alpha', 'alpha'],
    ['.dora_scale', 'magnitude'],
    ...LYCORIS_PARTS.map((part) => [`.${part}`, part] as const),
  ],
  // comfy/weight_adapter/lora.py, comfy/lora.py; LyCORIS' w_norm and b_norm are added as diff and diff_b are
  comfyui: [
    ['.diff', 'diff'],
    ['.diff_b', 'diff_b'],
    ['.w_norm', 'diff'],
    ['.b_norm', 'diff_b'],
    ['.set_weight', 'set_weight'],
  ],
  // what comfy/weight_adapter/lora.py calls diffusers_lora, diffusers3_lora and transformers_lora
  diffusers: [
    ['_lora.down.weight', 'A'],
    ['_lora.up.weight', 'B'],
    ['.lora.down.weight', 'A'],
    ['.lora.up.weight', 'B'],
    ['.lora_linear_layer.down.weight', 'A'],
    ['.lora_linear_layer.up.weight', 'B'],
  ],
}

const ENDINGS = Object.values(SPELLINGS).flat()
const WITHOUT_LORA = ENDINGS.filter(([ending]) => !ending.includes('lora'))

const LYCORIS: ReadonlySet<Role> = new Set(LYCORIS_PARTS)
export const isLycoris = (role: Role): role is LycorisRole => LYCORIS.has(role)

/** Whether a part makes its module one of an adapter: a factor, or what stands for factors. */
export const isFactor = (role: Role) =>
  role === 'A' || role === 'B' || role === 'embedding A' || role === 'embedding B' || isLycoris(role)

/** What a name says of a tensor's part in an adapter; undefined for any other name. */
export function parseName(name: string): ParsedName | undefined {
  // most names of most checkpoints are passed over by one look
  for (const [ending, role] of name.includes('lora') ? ENDINGS : WITHOUT_LORA) {
    if (name.length > ending.length && name.endsWith(ending)) {
      const stem = name.slice(0, -ending.length)
      return { stem, role, isPeftSpelling: /^\.lora_(?:[ABab]\b|embedding)/.test(ending) }
    }
  }
  return MAYBE_NAMED.test(name) ? named(name) : undefined
}

const MAYBE_NAMED = /\.(?:lora_|hada_|lokr_|trainable_tokens_delta)/
const NAMED: readonly (readonly [pattern: RegExp, role: Role])[] = [
  [/\.lora_A\.([^.]+)\.weight$/, 'A'],
  [/\.lora_B\.([^.]+)\.weight$/, 'B'],
  [/\.lora_B\.([^.]+)\.bias$/, 'bias'],
  [/\.lora_embedding_A\.([^.]+)$/, 'embedding A'],
  [/\.lora_embedding_B\.([^.]+)$/, 'embedding B'],
  [/\.lora_magnitude_vector\.([^.]+)(?:\.weight)?$/, 'magnitude'],
  [/\.trainable_tokens_delta\.([^.]+)$/, 'token rows'],
  ...LYCORIS_PARTS.map((part) => [new RegExp(`\\.${part}\\.([^.]+)$`), part] as const),
]

/** A key with the adapter's name in it, which holds no dots: it is one of torch's ModuleDict (peft/tuners/lora/layer.py). */
function named(name: string): ParsedName | undefined {
  for (const [pattern, role] of NAMED) {
    const found = pattern.exec(name)
    if (found === null || found.index === 0) continue
    return { stem: name.slice(0, found.index), role, isPeftSpelling: true, adapterName: found[1] }
  }
  return undefined
}

/** Adapters that are no product B·A, by the names that only they have. */
const OTHER_KINDS: readonly (readonly [pattern: RegExp, kind: string])[] = [
  [/\.(?:oft|boft)_(?:blocks|diag|R|r|s|[RS]\.weight)$/, 'OFT (orthogonal fine-tuning)'],
  [/\.lora_E$/, 'AdaLoRA (factors with singular values)'],
  [/\.vera_(?:lambda_[bd]|A|B)(?:\.weight)?$/, 'VeRA (shared random factors)'],
  [/\.ia3_l$/, 'IA³ (scaled activations)'],
  [/\.fourierft_spectrum$/, 'FourierFT'],
  [/\.vblora_(?:logits|vector_bank)\w*$/, 'VB-LoRA (a bank of vectors)'],
  [/\.randlora_(?:lambda|gamma|[AB])$/, 'RandLoRA (shared random factors)'],
  [/\.hira_[AB](?:\.weight)?$/, 'HiRA (Hadamard products)'],
]
/** One of these is in every such name: most names are passed over by one look. */
const HINT = /oft_|lora_E|vera_|ia3_l|fourierft_|vblora_|randlora_|hira_/
const GLORA_PARTS = ['a1', 'a2', 'b1', 'b2'].map((part) => `.${part}.weight`)

/** The kind of adapter, other than a product B·A, that a name belongs to, and the module's stem. */
export function otherKind(
  name: string,
  has: (name: string) => boolean,
): { readonly kind: string; readonly stem: string } | undefined {
  for (const [pattern, kind] of HINT.test(name) ? OTHER_KINDS : []) {
    const at = name.search(pattern)
    if (at > 0) return { kind, stem: name.slice(0, at) }
  }
  const [first] = GLORA_PARTS
  if (!name.endsWith(first)) return undefined
  const stem = name.slice(0, -first.length)
  return GLORA_PARTS.every((part) => has(stem + part))
    ? { kind: 'GLoRA (generalised LoRA)', stem }
    : undefined
}

/** The prefix that a format puts before a module's path, '' where it puts none, and the path. */
export function splitPrefix(name: string, format: SpelledFormat): { prefix: string; path: string } {
  const prefix = PREFIXES[format].exec(name)?.[0] ?? ''
  return { prefix, path: name.slice(prefix.length) }
}

/** Whose names these are, where no adapter_config.json says that they are PEFT's. */
export function formatOf(names: readonly ParsedName[]): SpelledFormat {
  const anyStem = (pattern: RegExp) => names.some(({ stem }) => pattern.test(stem))
  const known = (['kohya', 'comfyui', 'peft', 'diffusers'] as const).find((one) => anyStem(PREFIXES[one]))
  if (known !== undefined) return known
  return names.some(({ isPeftSpelling }) => isPeftSpelling) ? 'peft' : 'comfyui'
}
