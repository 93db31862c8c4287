import type { Encoder, Family, Gap, Naming } from './types.ts'

type Rule = Gap & {
  readonly kinds: readonly Encoder['kind'][]
}

/** The layers' matrices: all that trainers put adapters beside. */
const LINEAR = {
  clip: /\.(?:self_attn\.(?:q|k|v|out)_proj|mlp\.fc[12])$/,
  t5: /\.(?:SelfAttention\.[qkvo]|DenseReluDense\.w(?:i_[01]|o))$/,
  llm: /\.(?:self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj)$/,
} as const
const notLinear = (kind: Encoder['kind'], but = '') =>
  new RegExp(`^(?!.*${LINEAR[kind].source}${but === '' ? '' : `|${but}$`})`)
const PROJECTION = 'text_projection'

const COMFYUI_SOURCE = 'ComfyUI: comfy/lora.py, model_lora_keys_clip @2025-10-12'
const KOHYA_SOURCE =
  'sd-scripts: networks/lora.py, lora_flux.py, lora_lumina.py, TEXT_ENCODER_TARGET_REPLACE_MODULE @2026-02-16'
const DIFFUSERS_SOURCE = 'diffusers: loaders/lora_pipeline.py, lora_conversion_utils.py @2026-08-23'

/** What is the same in all families; `paths` are of the encoder. */
const RULES: readonly Rule[] = [
  ...(['comfyui', 'diffusers'] as const).map((naming) => ({
    kinds: ['clip', 't5', 'llm'] as const,
    loader: 'kohya' as const,
    naming,
    effect: 'dropped' as const,
    reason: 'kohya reads lora_te names alone',
    source: 'sd-scripts: networks/lora.py @2026-02-16',
  })),
  ...(['clip', 't5', 'llm'] as const).map((kind) => ({
    kinds: [kind],
    loader: 'kohya' as const,
    naming: 'kohya' as const,
    paths: notLinear(kind),
    effect: 'dropped' as const,
    reason: 'kohya builds modules inside the layers’ attention and MLP alone',
    source: KOHYA_SOURCE,
  })),
  {
    kinds: ['clip'],
    loader: 'ComfyUI',
    naming: 'kohya',
    paths: notLinear('clip', PROJECTION),
    effect: 'dropped',
    reason: 'of kohya’s names of CLIP ComfyUI reads those of the layers’ matrices and of the projection',
    source: COMFYUI_SOURCE,
  },
  {
    kinds: ['clip'],
    loader: 'ComfyUI',
    naming: 'diffusers',
    paths: notLinear('clip'),
    effect: 'dropped',
    reason: 'of diffusers’ names of CLIP ComfyUI reads those of the layers’ matrices',
    source: COMFYUI_SOURCE,
  },
  {
    kinds: ['t5', 'llm'],
    loader: 'ComfyUI',
    naming: 'diffusers',
    effect: 'dropped',
    reason: 'of diffusers’ names of text encoders ComfyUI reads CLIP’s alone',
    source: COMFYUI_SOURCE,
  },
  {
    kinds: ['clip'],
    loader: 'diffusers',
    naming: 'kohya',
    paths: notLinear('clip', PROJECTION),
    effect: 'dropped',
    reason: 'diffusers makes dots of all underscores that it doesn’t know, and so of those in these names',
    source: 'diffusers: loaders/lora_conversion_utils.py, _convert_text_encoder_lora_key @2026-08-23',
  },
]

/** What loaders of a family don't do right with an encoder's module at transformers' path. */
export function encoderGaps(family: Family, encoder: Encoder, naming: Naming, path: string): Gap[] {
  const gaps: Gap[] = []
  const verdict = naming === 'diffusers' ? 'read' : family.encodersInDiffusers[naming]
  if (!encoder.isLoadedByDiffusers || verdict !== 'read') {
    gaps.push({
      loader: 'diffusers',
      naming,
      effect: verdict === 'refused' ? 'refused' : 'dropped',
      reason: encoder.isLoadedByDiffusers
        ? 'diffusers doesn’t convert names of text encoders of this kind'
        : `diffusers loads no adapter into this pipeline’s ${encoder.component}`,
      source: DIFFUSERS_SOURCE,
    })
  }
  for (const { kinds, ...gap } of RULES) {
    if (gap.naming !== naming || !kinds.includes(encoder.kind)) continue
    if (!family.loaders.includes(gap.loader) || gaps.some(({ loader }) => loader === gap.loader)) continue
    if (gap.paths === undefined || gap.paths.test(path)) gaps.push(gap)
  }
  return gaps
}
