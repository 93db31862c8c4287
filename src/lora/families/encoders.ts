import type { Encoder, EncoderPlace } from './types.ts'

/**
 * Text encoders: what kohya's names begin with (sd-scripts: networks/lora.py, lora_sd3.py, lora_flux.py, lora_lumina.py @2026-02-16), what
 * ComfyUI calls them (comfy/supported_models.py, comfy/text_encoders/ @2025-10-12; its other spellings: comfy/lora.py,
 * model_lora_keys_clip), and which of them diffusers loads adapters into (loaders/lora_pipeline.py, _lora_loadable_modules @2026-08-23).
 */
export const CLIP_L_ALONE: Encoder = {
  id: 'clip_l',
  kind: 'clip',
  kohya: 'lora_te_',
  aliases: ['lora_te1_'],
  component: 'text_encoder',
  isLoadedByDiffusers: true,
}

export const CLIP_H: Encoder = { ...CLIP_L_ALONE, id: 'clip_h' }
/** The first of several. */
export const CLIP_L: Encoder = { ...CLIP_L_ALONE, kohya: 'lora_te1_', aliases: ['lora_te_'] }
export const CLIP_G: Encoder = {
  id: 'clip_g',
  kind: 'clip',
  kohya: 'lora_te2_',
  component: 'text_encoder_2',
  isLoadedByDiffusers: true,
}
export const T5_OF_SD3: Encoder = {
  id: 't5xxl',
  kind: 't5',
  kohya: 'lora_te3_',
  component: 'text_encoder_3',
  isLoadedByDiffusers: false,
}
/** OneTrainer counts it as the second. */
export const T5_OF_FLUX: Encoder = { ...T5_OF_SD3, aliases: ['lora_te2_'], component: 'text_encoder_2' }

/** One that is trained by no script of kohya's, and that diffusers loads no adapter into. */
const untrained = (id: string, kind: Encoder['kind'], component = 'text_encoder'): Encoder => ({
  id,
  kind,
  component,
  isLoadedByDiffusers: false,
})

export const UMT5 = untrained('umt5xxl', 't5')
export const LLAMA = untrained('llama', 'llm')
export const CLIP_L_OF_HUNYUAN = untrained('clip_l', 'clip', 'text_encoder_2')
export const QWEN25 = untrained('qwen25_7b', 'llm')
export const QWEN3 = untrained('qwen3_4b', 'llm')
export const GEMMA2: Encoder = { ...untrained('gemma2_2b', 'llm'), kohya: 'lora_te_' }

/** Where ComfyUI's single files, and pipelines, hold encoders. */
export const filePlaces = (...encoders: readonly Encoder[]): readonly EncoderPlace[] =>
  encoders.flatMap(({ id, component }): EncoderPlace[] => [
    { id, prefix: `text_encoders.${id}.transformer.`, form: 'transformers' },
    { id, prefix: `${component}.`, form: 'transformers' },
  ])
