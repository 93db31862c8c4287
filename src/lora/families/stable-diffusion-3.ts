import { CLIP_G, CLIP_L, filePlaces, T5_OF_SD3 } from './encoders.ts'
import { fused, pathsOfRows, type Row, renameByRows, same, within } from './rows.ts'
import { DIFFUSERS, KOHYA } from './targets.ts'
import type { Family } from './types.ts'

/** comfy/utils.py: mmdit_to_diffusers @2025-10-12. */
const ROWS: readonly Row[] = [
  ...same('context_embedder'),
  ['x_embedder.proj', 'pos_embed.proj'],
  ['pos_embed', 'pos_embed.pos_embed'],
  ['t_embedder.mlp.0', 'time_text_embed.timestep_embedder.linear_1'],
  ['t_embedder.mlp.2', 'time_text_embed.timestep_embedder.linear_2'],
  ['y_embedder.mlp.0', 'time_text_embed.text_embedder.linear_1'],
  ['y_embedder.mlp.2', 'time_text_embed.text_embedder.linear_2'],
  ['final_layer.linear', 'proj_out'],
  ['final_layer.adaLN_modulation.1', 'norm_out.linear', 'swapped'],
  ...within('joint_blocks.N.', 'transformer_blocks.N.', [
    ['x_block.adaLN_modulation.1', 'norm1.linear'],
    ['x_block.attn.qkv', fused('attn.to_q', 'attn.to_k', 'attn.to_v')],
    ['x_block.attn.ln_q', 'attn.norm_q'],
    ['x_block.attn.ln_k', 'attn.norm_k'],
    ['x_block.attn.proj', 'attn.to_out.0'],
    // of SD 3.5 medium
    ['x_block.attn2.qkv', fused('attn2.to_q', 'attn2.to_k', 'attn2.to_v')],
    ['x_block.attn2.ln_q', 'attn2.norm_q'],
    ['x_block.attn2.ln_k', 'attn2.norm_k'],
    ['x_block.attn2.proj', 'attn2.to_out.0'],
    ['x_block.mlp.fc1', 'ff.net.0.proj'],
    ['x_block.mlp.fc2', 'ff.net.2'],
    ['context_block.adaLN_modulation.1', 'norm1_context.linear', 'swapped if two'],
    ['context_block.attn.qkv', fused('attn.add_q_proj', 'attn.add_k_proj', 'attn.add_v_proj')],
    ['context_block.attn.ln_q', 'attn.norm_added_q'],
    ['context_block.attn.ln_k', 'attn.norm_added_k'],
    ['context_block.attn.proj', 'attn.to_add_out'],
    ['context_block.mlp.fc1', 'ff_context.net.0.proj'],
    ['context_block.mlp.fc2', 'ff_context.net.2'],
  ]),
]

export const STABLE_DIFFUSION_3: Family = {
  id: 'sd3',
  name: 'Stable Diffusion 3',
  component: 'transformer',
  marks: [
    { form: 'original', tensors: ['joint_blocks.0.context_block.attn.qkv.weight'] },
    {
      form: 'diffusers',
      tensors: [
        'transformer_blocks.0.attn.add_q_proj.weight',
        'transformer_blocks.0.norm1_context.linear.weight',
        'pos_embed.proj.weight',
      ],
    },
  ],
  encoders: [CLIP_L, CLIP_G, T5_OF_SD3],
  encoderPlaces: filePlaces(CLIP_L, CLIP_G, T5_OF_SD3),
  targets: {
    kohya: { form: 'original', ...KOHYA },
    comfyui: { form: 'original', ...KOHYA },
    diffusers: { form: 'diffusers', ...DIFFUSERS },
  },
  portable: 'diffusers',
  loaders: ['ComfyUI', 'diffusers', 'kohya'],
  gaps: [
    ...(['kohya', 'comfyui'] as const).map((naming) => ({
      loader: 'diffusers' as const,
      naming,
      effect: 'dropped' as const,
      reason: 'diffusers has no converter for SD 3, and takes its own transformer. names alone',
      source: 'diffusers: loaders/lora_pipeline.py, SD3LoraLoaderMixin @2026-08-23',
    })),
    {
      loader: 'kohya',
      naming: 'kohya',
      paths: /^(?!joint_blocks\.)/,
      effect: 'dropped',
      reason: 'kohya builds modules inside SingleDiTBlock alone',
      source: 'sd-scripts: networks/lora_sd3.py, SD3_TARGET_REPLACE_MODULE @2026-02-16',
    },
  ],
  encodersInDiffusers: { kohya: 'dropped', comfyui: 'dropped' },
  completeness: [],
  modules: pathsOfRows(ROWS),
  rename: renameByRows(ROWS),
}
