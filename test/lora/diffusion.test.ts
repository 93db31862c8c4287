import { describe, expect, test } from 'vitest'
import { diffusionFamily } from '../../src/lora/diffusion.ts'

describe('diffusion models are known by a tensor', () => {
  test.each([
    ['model.diffusion_model.input_blocks.0.0.weight', 'Stable Diffusion'],
    ['model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight', 'Stable Diffusion 3'],
    ['double_blocks.0.img_attn.norm.key_norm.scale', 'Flux'],
    ['model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale', 'Flux'],
    ['head.modulation', 'Wan'],
    ['diffusion_model.cap_embedder.1.weight', 'Lumina 2 or Z-Image'],
    ['txt_norm.weight', 'Qwen-Image'],
    ['down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight', 'Stable Diffusion'],
    ['single_transformer_blocks.0.attn.to_q.weight', 'Flux'],
  ])('%s: %s', (name, family) => {
    expect(diffusionFamily(['a.weight', name], undefined)).toBe(family)
  })

  test('HunyuanVideo has Flux’s blocks too', () => {
    const names = [
      'double_blocks.0.img_attn.qkv.weight',
      'txt_in.individual_token_refiner.blocks.0.norm1.weight',
    ]
    expect(diffusionFamily(names, undefined)).toBe('HunyuanVideo')
  })

  test('a family that is not listed is told by diffusers’ config', () => {
    const config = { _class_name: 'PixArtTransformer2DModel', _diffusers_version: '0.30.0' }
    expect(diffusionFamily(['a.weight'], config)).toBe('PixArtTransformer2DModel')
    expect(
      diffusionFamily(['a.weight'], { _class_name: 'AutoencoderKL', _diffusers_version: '0.30.0' }),
    ).toBeUndefined()
  })

  test.each([
    'model.layers.0.self_attn.q_proj.weight',
    'transformer.h.0.attn.c_attn.weight',
    'vision_tower.blocks.0.attn.qkv.weight',
    'encoder.block.0.layer.0.SelfAttention.q.weight',
  ])('%s is of none', (name) => {
    expect(
      diffusionFamily([name], { model_type: 'llama', architectures: ['LlamaForCausalLM'] }),
    ).toBeUndefined()
  })
})
