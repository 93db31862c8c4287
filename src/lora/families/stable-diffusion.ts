import { CLIP_G, CLIP_H, CLIP_L, CLIP_L_ALONE } from './encoders.ts'
import { DIFFUSERS, KOHYA } from './targets.ts'
import type { Encoder, EncoderPlace, Family, Gap, Mark, ShapeOf } from './types.ts'
import { renameUnet, UNET_PATHS } from './unet.ts'

/** SDXL has no attention at its first level. */
const FIRST_ATTENTION = ['input_blocks.1.1.norm.weight', 'down_blocks.0.attentions.0.norm.weight']
/** What also has this U-Net's names: Stable Video Diffusion and AnimateDiff, with layers over time. */
const OVER_TIME = [
  'input_blocks.1.0.time_stack.in_layers.0.weight',
  'down_blocks.0.motion_modules.0.temporal_transformer.norm.weight',
]

/** SD 1 projects into attention by kernels of one pixel, SD 2 by matrices (use_linear_in_transformer). */
const projectsBy = (dimensions: number) => (shapeOf: ShapeOf) =>
  ['input_blocks.1.1.proj_in.weight', 'down_blocks.0.attentions.0.proj_in.weight'].some(
    (path) => shapeOf(path)?.length === dimensions,
  )

// ControlNets lack the last convolution
const marks = (extra: Partial<Mark>): readonly Mark[] => [
  { form: 'original', tensors: ['input_blocks.0.0.weight', 'out.2.weight'], ...extra },
  {
    form: 'diffusers',
    tensors: ['conv_in.weight', 'conv_out.weight', 'down_blocks.0.resnets.0.time_emb_proj.weight'],
    ...extra,
  },
]

/** What is the same for all three. */
const GAPS: readonly Gap[] = [
  {
    loader: 'diffusers',
    naming: 'comfyui',
    effect: 'dropped',
    reason: 'diffusers takes U-Nets’ modules under its own names or kohya’s alone',
    source: 'diffusers: loaders/lora_pipeline.py, StableDiffusionLoraLoaderMixin @2026-08-23',
  },
  {
    loader: 'ComfyUI',
    naming: 'diffusers',
    paths: /\.attn[12]\.to_(?:[qkv]|out\.0)$/,
    effect: 'dropped',
    reason: 'ComfyUI looks for attention’s modules as .processor.to_q, which diffusers wrote up to 2023',
    source: 'ComfyUI: comfy/lora.py, model_lora_keys_unet @2025-10-12',
  },
]

const kohyaGap = (paths: RegExp, reason: string, source: string): Gap => ({
  loader: 'kohya',
  naming: 'kohya',
  paths,
  effect: 'dropped',
  reason,
  source,
})

const places = (encoder: Encoder, prefix: string, form: EncoderPlace['form']): readonly EncoderPlace[] => [
  { id: encoder.id, prefix, form },
  { id: encoder.id, prefix: `${encoder.component}.`, form: 'transformers' },
]

const SD1: Family = {
  id: 'sd1',
  name: 'Stable Diffusion 1',
  component: 'unet',
  marks: marks({ unless: OVER_TIME, test: projectsBy(4) }),
  encoders: [CLIP_L_ALONE],
  encoderPlaces: places(CLIP_L_ALONE, 'cond_stage_model.transformer.', 'transformers'),
  targets: {
    kohya: { form: 'diffusers', ...KOHYA },
    comfyui: { form: 'original', ...KOHYA },
    diffusers: { form: 'diffusers', ...DIFFUSERS },
  },
  portable: 'kohya',
  loaders: ['ComfyUI', 'diffusers', 'kohya'],
  gaps: [
    ...GAPS,
    kohyaGap(
      /^(?:conv_in|conv_out|(?:time|class)_embedding\.linear_[12])$/,
      'kohya builds modules inside Transformer2DModel, ResnetBlock2D, Downsample2D and Upsample2D alone',
      'sd-scripts: networks/lora.py, UNET_TARGET_REPLACE_MODULE @2026-02-16',
    ),
  ],
  encodersInDiffusers: { kohya: 'read', comfyui: 'dropped' },
  completeness: [],
  modules: UNET_PATHS,
  rename: renameUnet('class_embedding'),
}

const SD2: Family = {
  ...SD1,
  id: 'sd2',
  name: 'Stable Diffusion 2',
  marks: marks({ unless: OVER_TIME, test: projectsBy(2) }),
  encoders: [CLIP_H],
  encoderPlaces: [
    ...places(CLIP_H, 'cond_stage_model.model.', 'openclip'),
    ...places(CLIP_H, 'conditioner.embedders.0.model.', 'openclip'),
  ],
}

const SDXL: Family = {
  ...SD1,
  id: 'sdxl',
  name: 'Stable Diffusion XL',
  marks: marks({ unless: [...FIRST_ATTENTION, ...OVER_TIME] }),
  encoders: [CLIP_L, CLIP_G],
  encoderPlaces: [
    ...places(CLIP_L, 'conditioner.embedders.0.transformer.', 'transformers'),
    ...places(CLIP_G, 'conditioner.embedders.1.model.', 'openclip'),
    // the refiner's only one
    { id: CLIP_G.id, prefix: 'conditioner.embedders.0.model.', form: 'openclip' },
  ],
  targets: {
    kohya: { form: 'original', ...KOHYA },
    comfyui: { form: 'original', ...KOHYA },
    diffusers: { form: 'diffusers', ...DIFFUSERS },
  },
  gaps: [
    ...GAPS,
    kohyaGap(
      /^(?:time_embed\.|label_emb\.|input_blocks\.0\.0$|out\.2$)/,
      'kohya builds modules inside the blocks’ transformers, residual layers and resamplers alone',
      'sd-scripts: networks/lora.py, UNET_TARGET_REPLACE_MODULE @2026-02-16',
    ),
  ],
  rename: renameUnet('add_embedding'),
}

export const STABLE_DIFFUSION: readonly Family[] = [SDXL, SD1, SD2]
