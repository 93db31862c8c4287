import { OTHER_TASK, sourced } from './common.ts'
import { familyRules, isOfEncoder } from './family-gaps.ts'
import type { JudgedAdapter, LoaderFacts, LoaderRule, ModuleView } from './types.ts'

const DATE = '2026-08-23'
const PIPELINE = 'huggingface/diffusers: src/diffusers/loaders/lora_pipeline.py'
const CONVERSION = 'huggingface/diffusers: src/diffusers/loaders/lora_conversion_utils.py'
const ofPipeline = sourced('diffusers', PIPELINE, DATE)
const ofConversion = sourced('diffusers', CONVERSION, DATE)

const isUnet = ({ family, naming }: JudgedAdapter) => family?.component === 'unet' && naming === 'kohya'
/** Original names of U-Nets, which kohya's files have of SDXL alone. */
const LDM_PATH = /^(?:input_blocks|middle_block|output_blocks)_/
const isOf = ({ family, naming }: JudgedAdapter, id: string, of = 'comfyui') =>
  family?.id === id && naming === of

/** Names of attention's projections under which an alpha finds no module. */
const PROJECTION = /[._]attn[12][._]to_(?:[qkv]|out[._]0)$/

/** An alpha that the converters of these families fail at. */
function refusedAlpha({ path, storedAlpha, prefix }: ModuleView, adapter: JudgedAdapter): string | undefined {
  if (storedAlpha === undefined || isOfEncoder({ prefix })) return undefined
  if (isOf(adapter, 'hunyuan-video') || isOf(adapter, 'lumina2'))
    return 'it fails at an .alpha of this family'
  return isOf(adapter, 'wan') && !/^blocks\./.test(path)
    ? 'it fails at an .alpha outside the blocks'
    : undefined
}

const RULES: readonly LoaderRule[] = [
  {
    ...ofPipeline({
      rule: 'diffusers-other-format',
      effect: 'refuses',
      text: 'diffusers reads adapters of diffusion models, in its own, kohya’s and ComfyUI’s names',
    }),
    ofAdapter: ({ format }) =>
      format === 'peft' || format === 'gguf' || format === 'mlx' ? OTHER_TASK : undefined,
    isFinal: true,
  },
  {
    ...ofPipeline({
      rule: 'diffusers-hunyuan-video-names',
      effect: 'passes over',
      text: 'diffusers knows HunyuanVideo’s files under ComfyUI’s names by Tencent’s img_attn_qkv, and loads nothing of others',
    }),
    ofAdapter: (adapter) =>
      isOf(adapter, 'hunyuan-video') && !adapter.modules.some(({ path }) => path.includes('img_attn_qkv'))
        ? 'it knows such a file by Tencent’s names (img_attn_qkv)'
        : undefined,
    isFinal: true,
  },
  {
    ...ofConversion({
      rule: 'diffusers-sd1-original-names',
      effect: 'passes over',
      text: 'diffusers makes names that the model lacks of kohya’s files of SD 1 and SD 2 under original names',
    }),
    ofModule: ({ path }, adapter) =>
      isUnet(adapter) && adapter.family?.id !== 'sdxl' && LDM_PATH.test(path)
        ? 'it makes names that the model lacks of SD 1’s and SD 2’s original ones'
        : undefined,
  },
  {
    ...ofConversion({
      rule: 'diffusers-dora',
      effect: 'misreads',
      text: 'diffusers passes over dora_scale, so that a DoRA acts as a LoRA',
    }),
    ofModule: ({ magnitude }) =>
      magnitude?.name.endsWith('.dora_scale') ? 'it passes over dora_scale' : undefined,
  },
  {
    ...ofConversion({
      rule: 'diffusers-lycoris',
      effect: 'refuses',
      text: 'diffusers has no converter for LoHa and LoKr',
    }),
    ofModule: ({ method }) => (method === 'lora' ? undefined : 'it has no converter for LoHa and LoKr'),
  },
  {
    ...ofPipeline({
      rule: 'diffusers-unet-other-keys',
      effect: 'refuses',
      text: 'diffusers refuses kohya’s files of U-Nets with any tensor besides factors and alphas',
    }),
    ofAdapter: (adapter) => {
      if (!isUnet(adapter)) return undefined
      const [extra] = [...adapter.whole, ...adapter.ignored]
      return extra && `it refuses kohya’s files of U-Nets with other tensors (${extra.name})`
    },
  },
  {
    ...ofConversion({
      rule: 'diffusers-whole-tensors',
      effect: 'passes over',
      text: 'diffusers passes over whole tensors (.diff)',
    }),
    ofWhole: ({ name }, adapter) =>
      isUnet(adapter) || (isOf(adapter, 'wan') && name.endsWith('.diff_b'))
        ? undefined
        : 'it passes over whole tensors',
  },
  {
    ...ofConversion({
      rule: 'diffusers-unet-mixed-scales',
      effect: 'scales',
      text: 'diffusers scales attention’s projections of U-Nets in kohya’s files by the commonest alpha, whatever theirs',
    }),
    ofModule: ({ path, prefix, storedAlpha }, adapter) => {
      if (!isUnet(adapter) || storedAlpha === undefined || !PROJECTION.test(path)) return undefined
      const { commonAlpha, isTied } = adapter.components.get(prefix)!
      return storedAlpha === commonAlpha && !isTied
        ? undefined
        : 'it scales attention’s projections by the commonest alpha, and theirs is another'
    },
  },
  {
    ...ofConversion({
      rule: 'diffusers-alpha-refused',
      effect: 'refuses',
      text: 'diffusers fails at an .alpha of HunyuanVideo and Lumina 2, and of Wan outside the blocks',
    }),
    ofModule: refusedAlpha,
  },
  {
    ...ofConversion({
      rule: 'diffusers-qwen-image-needs-alpha',
      effect: 'refuses',
      text: 'diffusers fails at a lora_down of Qwen-Image without .alpha',
    }),
    ofModule: ({ down, storedAlpha }, { family }) =>
      family?.id === 'qwen-image' && down.endsWith('.lora_down.weight') && storedAlpha === undefined
        ? 'it needs an .alpha beside lora_down'
        : undefined,
  },
  {
    ...ofPipeline({
      rule: 'diffusers-metadata-and-alpha',
      effect: 'refuses',
      text: 'diffusers refuses .alpha tensors beside lora_adapter_metadata',
    }),
    ofAdapter: ({ metadata, modules }) =>
      metadata?.has('lora_adapter_metadata') && modules.some(({ storedAlpha }) => storedAlpha !== undefined)
        ? 'it refuses .alpha tensors beside lora_adapter_metadata'
        : undefined,
  },
  ...familyRules('diffusers'),
]

export const DIFFUSERS: LoaderFacts = {
  rules: RULES,
  scale: {
    ...ofConversion({
      rule: 'diffusers-scale',
      effect: 'scales',
      text: 'diffusers scales by .alpha over the rank, by 1 without, by the commonest .alpha of its part of the pipeline in kohya’s files of U-Nets, and passes over an .alpha beside lora_A of Qwen-Image',
    }),
    scaleOf: ({ storedAlpha, dim, down, scale, prefix }, adapter) => {
      const { family, metadata, naming } = adapter
      // utils/peft_utils.py, get_peft_kwargs, which is given the alphas of one component at a time (loaders/peft.py, load_lora_adapter)
      if (isUnet(adapter)) {
        const alpha = storedAlpha ?? adapter.components.get(prefix)?.commonAlpha
        return alpha === undefined ? 1 : alpha / dim
      }
      if (naming === 'diffusers' && metadata?.has('lora_adapter_metadata')) return scale
      const isPassedOver = family?.id === 'qwen-image' && /\.lora_A\b/.test(down)
      return storedAlpha === undefined || isPassedOver ? 1 : storedAlpha / dim
    },
  },
}
