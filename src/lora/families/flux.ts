import { CLIP_L, filePlaces, T5_OF_FLUX } from './encoders.ts'
import { fused, pathsOfRows, type Row, renameByRows, sharing, within } from './rows.ts'
import { DIFFUSERS, KOHYA } from './targets.ts'
import type { Family } from './types.ts'

/** comfy/utils.py: flux_to_diffusers @2025-10-12. */
const ROWS: readonly Row[] = [
  ['img_in', 'x_embedder'],
  ['txt_in', 'context_embedder'],
  ['time_in.in_layer', 'time_text_embed.timestep_embedder.linear_1'],
  ['time_in.out_layer', 'time_text_embed.timestep_embedder.linear_2'],
  ['vector_in.in_layer', 'time_text_embed.text_embedder.linear_1'],
  ['vector_in.out_layer', 'time_text_embed.text_embedder.linear_2'],
  ['guidance_in.in_layer', 'time_text_embed.guidance_embedder.linear_1'],
  ['guidance_in.out_layer', 'time_text_embed.guidance_embedder.linear_2'],
  ['final_layer.linear', 'proj_out'],
  ['final_layer.adaLN_modulation.1', 'norm_out.linear', 'swapped'],
  // of ControlNets
  ['pos_embed_input', 'controlnet_x_embedder'],
  ...within('double_blocks.N.', 'transformer_blocks.N.', [
    ['img_mod.lin', 'norm1.linear'],
    ['img_attn.qkv', fused('attn.to_q', 'attn.to_k', 'attn.to_v')],
    ['img_attn.norm.query_norm.scale', 'attn.norm_q.weight'],
    ['img_attn.norm.key_norm.scale', 'attn.norm_k.weight'],
    ['img_attn.proj', 'attn.to_out.0'],
    ['img_mlp.0', 'ff.net.0.proj'],
    ['img_mlp.2', 'ff.net.2'],
    ['txt_mod.lin', 'norm1_context.linear'],
    ['txt_attn.qkv', fused('attn.add_q_proj', 'attn.add_k_proj', 'attn.add_v_proj')],
    ['txt_attn.norm.query_norm.scale', 'attn.norm_added_q.weight'],
    ['txt_attn.norm.key_norm.scale', 'attn.norm_added_k.weight'],
    ['txt_attn.proj', 'attn.to_add_out'],
    ['txt_mlp.0', 'ff_context.net.0.proj'],
    ['txt_mlp.2', 'ff_context.net.2'],
  ]),
  ...within('single_blocks.N.', 'single_transformer_blocks.N.', [
    ['modulation.lin', 'norm.linear'],
    ['linear1', [...fused('attn.to_q', 'attn.to_k', 'attn.to_v'), ...sharing('proj_mlp')]],
    ['norm.query_norm.scale', 'attn.norm_q.weight'],
    ['norm.key_norm.scale', 'attn.norm_k.weight'],
    ['linear2', 'proj_out'],
  ]),
]

const OUTSIDE = /^(?!(?:double|single)_blocks\.)/
const DIFFUSERS_SOURCE =
  'diffusers: loaders/lora_conversion_utils.py, _convert_kohya_flux_lora_to_diffusers @2026-08-23'

export const FLUX: Family = {
  id: 'flux',
  name: 'Flux.1',
  component: 'transformer',
  // Chroma's blocks have no modulations of their own, Flux.2's share them, HunyuanVideo and its kin refine the text's tokens
  marks: [
    {
      form: 'original',
      tensors: ['double_blocks.0.img_mod.lin.weight', 'single_blocks.0.linear1.weight'],
      unless: ['txt_in.individual_token_refiner.blocks.0.norm1.weight'],
    },
    {
      form: 'diffusers',
      tensors: [
        'transformer_blocks.0.norm1_context.linear.weight',
        'single_transformer_blocks.0.proj_mlp.weight',
      ],
      unless: ['context_embedder.token_refiner.refiner_blocks.0.norm1.weight'],
    },
  ],
  encoders: [CLIP_L, T5_OF_FLUX],
  encoderPlaces: filePlaces(CLIP_L, T5_OF_FLUX),
  targets: {
    kohya: { form: 'original', ...KOHYA },
    comfyui: { form: 'original', ...KOHYA },
    diffusers: { form: 'diffusers', ...DIFFUSERS },
  },
  // of modules outside the blocks diffusers and kohya load none under kohya's names; under these ComfyUI and diffusers load all
  portable: 'diffusers',
  loaders: ['ComfyUI', 'diffusers', 'kohya'],
  gaps: [
    {
      loader: 'kohya',
      naming: 'kohya',
      paths: OUTSIDE,
      effect: 'dropped',
      reason: 'kohya builds modules inside DoubleStreamBlock and SingleStreamBlock alone',
      source: 'sd-scripts: networks/lora_flux.py @2026-02-16',
    },
    ...(['kohya', 'comfyui'] as const).map((naming) => ({
      loader: 'diffusers' as const,
      naming,
      paths: OUTSIDE,
      effect: 'dropped' as const,
      reason:
        'diffusers converts modules outside the blocks without its own prefix, and then passes over them',
      source: DIFFUSERS_SOURCE,
    })),
    {
      loader: 'diffusers',
      naming: 'comfyui',
      down: '.lora_A.weight',
      effect: 'dropped',
      reason: 'diffusers knows such a file by its .lora_down.weight, and loads nothing of another',
      source: 'diffusers: loaders/lora_pipeline.py, FluxLoraLoaderMixin @2026-08-23',
    },
  ],
  encodersInDiffusers: { kohya: 'read', comfyui: 'read' },
  completeness: [],
  modules: pathsOfRows(ROWS),
  rename: renameByRows(ROWS),
}
