import { NO_NAMES, OTHER_TASK, sourced } from './common.ts'
import { familyRules, isOfEncoder } from './family-gaps.ts'
import type { AdapterView, LoaderFacts, LoaderRule, ModuleView } from './types.ts'
import { LANGUAGE_MODEL } from './view.ts'

/**
 * The names of denoisers' modules that ComfyUI looks for (model_lora_keys_unet): its own and kohya's of any model; diffusers'
 * `transformer.` and `unet.`; PEFT's of SD3 and PixArt, whose blocks are called so.
 */
const NAMES: Readonly<Record<AdapterView['format'], RegExp>> = {
  kohya: /^/,
  comfyui: /^/,
  diffusers: /^(?:transformer|unet)\./,
  // it reads no GGUF
  gguf: /(?!)/,
  mlx: /(?!)/,
  peft: /^(?:base_model\.model\.)?(?:transformer_blocks|joint_blocks)\./,
}

/** Diffusers' names of text encoders that ComfyUI looks for (model_lora_keys_clip): those of the layers of CLIP. */
const ENCODER_NAMES =
  /^text_encoder(?:_2)?\.text_model\.encoder\.layers\.\d+\.(?:self_attn\.(?:[qkv]|out)_proj|mlp\.fc[12])$/
const isOfDiffusersEncoder = (module: ModuleView, { format }: AdapterView) =>
  format === 'diffusers' && isOfEncoder(module)

const MID_2026 = 'mid-2026'
const ofNames = sourced('ComfyUI', 'Comfy-Org/ComfyUI: comfy/lora.py, model_lora_keys_unet', MID_2026)
const ofEncoderNames = sourced('ComfyUI', 'Comfy-Org/ComfyUI: comfy/lora.py, model_lora_keys_clip', MID_2026)
const ofPatches = sourced('ComfyUI', 'Comfy-Org/ComfyUI: comfy/lora.py, load_lora', '2025-10-12')
const ofAdapters = sourced('ComfyUI', 'Comfy-Org/ComfyUI: comfy/weight_adapter/lora.py', MID_2026)
const ofDora = sourced(
  'ComfyUI',
  'Comfy-Org/ComfyUI: comfy/weight_adapter/base.py, weight_decompose',
  '2025-10-12',
)

const RULES: readonly LoaderRule[] = [
  {
    ...ofNames({
      rule: 'comfyui-gguf',
      effect: 'refuses',
      text: 'ComfyUI reads no GGUF adapters',
    }),
    ofAdapter: ({ format }) => (format === 'gguf' ? 'it reads PEFT adapters' : undefined),
    isFinal: true,
  },
  {
    ...ofNames({
      rule: 'comfyui-language-model',
      effect: 'passes over',
      text: 'ComfyUI reads adapters of diffusion models',
    }),
    ofModule: ({ path }, { config }) =>
      config?.taskType !== undefined || LANGUAGE_MODEL.test(path) ? OTHER_TASK : undefined,
  },
  {
    ...ofNames({
      rule: 'comfyui-names',
      effect: 'passes over',
      text: 'ComfyUI passes over names of modules that it doesn’t know',
    }),
    ofModule: (module, adapter) =>
      isOfDiffusersEncoder(module, adapter) || NAMES[adapter.format].test(module.prefix + module.path)
        ? undefined
        : `${NO_NAMES} ${module.down}`,
  },
  {
    ...ofAdapters({
      rule: 'comfyui-embedding',
      effect: 'passes over',
      text: 'ComfyUI knows no lora_embedding_A',
    }),
    ofModule: ({ kind }) => (kind === 'embedding' ? 'it knows no lora_embedding_A' : undefined),
  },
  {
    ...ofAdapters({
      rule: 'comfyui-stacked-experts',
      effect: 'passes over',
      text: 'ComfyUI knows no stacked experts',
    }),
    ofModule: ({ kind }) => (kind === 'experts' ? 'it knows no stacked experts' : undefined),
  },
  {
    ...ofAdapters({
      rule: 'comfyui-peft-dora',
      effect: 'misreads',
      text: 'ComfyUI reads DoRA from dora_scale alone, and PEFT’s magnitudes not at all',
    }),
    ofModule: ({ magnitude }) =>
      magnitude?.name.includes('lora_magnitude_vector') ? 'it reads DoRA from dora_scale alone' : undefined,
  },
  {
    ...ofAdapters({
      rule: 'comfyui-lora-bias',
      effect: 'passes over',
      text: 'ComfyUI passes over lora_B.bias',
    }),
    ofModule: ({ bias }) => (bias === undefined ? undefined : 'it passes over lora_B.bias'),
  },
  {
    ...ofDora({
      rule: 'comfyui-dora-output-axis',
      effect: 'misreads',
      text: 'ComfyUI divides a DoRA over the outputs by the norms of the base’s weight, not by those of the changed one (#15458)',
    }),
    ofModule: ({ magnitude, productShape: [out] }) =>
      magnitude?.name.endsWith('.dora_scale') && magnitude.shape.length > 1 && magnitude.shape[0] === out
        ? 'it divides a DoRA over the outputs by the norms of the base’s weight'
        : undefined,
  },
  {
    ...ofDora({
      rule: 'comfyui-dora-one-dimension',
      effect: 'misreads',
      text: 'ComfyUI fails at a dora_scale of one dimension, and makes another product of it where the weight is square (#12938, #13011)',
    }),
    ofModule: ({ magnitude }) =>
      magnitude?.name.endsWith('.dora_scale') && magnitude.shape.length === 1
        ? 'it takes a dora_scale of one dimension for another product, or fails at it'
        : undefined,
  },
  {
    ...ofPatches({
      rule: 'comfyui-factors-and-diff',
      effect: 'passes over',
      text: 'ComfyUI applies the .diff alone where a file has factors of the same weight',
    }),
    ofModule: ({ path, prefix }, { whole, format }) =>
      format !== 'peft' && whole.some(({ name }) => name === `${prefix}${path}.diff`)
        ? 'it applies the .diff of the same weight in its place'
        : undefined,
  },
  ...familyRules('ComfyUI'),
  {
    ...ofEncoderNames({
      rule: 'comfyui-encoder-names',
      effect: 'passes over',
      text: 'ComfyUI knows diffusers’ names of the layers of CLIP, and of no other text encoder',
    }),
    ofModule: (module, adapter) =>
      !isOfDiffusersEncoder(module, adapter) || ENCODER_NAMES.test(module.prefix + module.path)
        ? undefined
        : `${NO_NAMES} ${module.down}`,
  },
]

export const COMFYUI: LoaderFacts = {
  rules: RULES,
  scale: {
    ...ofAdapters({
      rule: 'comfyui-scale',
      effect: 'scales',
      text: 'ComfyUI scales by .alpha over the rank, by 1 without .alpha, and by 0 where it is 0; it reads no adapter_config.json',
    }),
    scaleOf: ({ storedAlpha, dim, method, scale }, { format }) => {
      // of a Kronecker product of two whole matrices nobody but PEFT heeds alpha
      if (method === 'lokr' && storedAlpha === undefined && format !== 'peft') return scale
      return storedAlpha === undefined ? 1 : storedAlpha / dim
    },
  },
}
