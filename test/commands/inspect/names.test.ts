import { expect, test } from 'vitest'
import { compareLayers, placeOf } from '../../../src/commands/inspect/html/format.ts'

test.each([
  ['model.layers.12.self_attn.q_proj.weight', 'model.layers', '12', 'self_attn.q_proj'],
  ['transformer.h.3.attn.c_attn.weight', 'transformer.h', '3', 'attn.c_attn'],
  ['blocks.7.mlp.fc1.weight', 'blocks', '7', 'mlp.fc1'],
  ['double_blocks.3.img_attn.qkv.weight', 'double_blocks', '3', 'img_attn.qkv'],
  ['double_blocks.3.img_mlp.0.weight', 'double_blocks', '3', 'img_mlp.0'],
  ['down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight', 'down_blocks', '1.0.0', 'attn1.to_q'],
  [
    'down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0.weight',
    'down_blocks',
    '1.0.0',
    'attn1.to_out.0',
  ],
  ['mid_block.attentions.0.transformer_blocks.2.ff.net.2.weight', 'mid_block.attentions', '0.2', 'ff.net.2'],
  [
    'model.layers.5.block_sparse_moe.experts.5.w1.weight',
    'model.layers',
    '5',
    'block_sparse_moe.experts.*.w1',
  ],
  ['model.layers.5.mlp.experts.gate_up_proj[3]', 'model.layers', '5', 'mlp.experts.gate_up_proj[*]'],
  ['encoder.block.3.layer.1.DenseReluDense.wi.weight', 'encoder.block', '3', 'layer.1.DenseReluDense.wi'],
  ['base_model.model.model.layers.0.mlp.up_proj.base_layer.weight', 'model.layers', '0', 'mlp.up_proj'],
  [
    'lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q',
    'lora_unet_down_blocks',
    '1.0.0',
    'attn1_to_q',
  ],
  ['lora_te1_text_model_encoder_layers_11_mlp_fc1', 'lora_te1_text_model_encoder_layers', '11', 'mlp_fc1'],
])('%s', (name, stack, layer, projection) => {
  expect(placeOf(name)).toEqual({ stack, layer, projection })
})

test.each([
  'lm_head.weight',
  'model.embed_tokens.weight',
  'W',
  '',
  '3',
  'layers.3',
  'layers.3.weight',
  'conv1x1.weight',
  '</script>',
])('no place in %j', (name) => {
  expect(placeOf(name)).toBeUndefined()
})

test('layers are ordered by number', () => {
  const layers = ['10', '2', '1.10.0', '1.9.0', '1', '0']
  expect(layers.sort(compareLayers)).toEqual(['0', '1', '1.9.0', '1.10.0', '2', '10'])
})
