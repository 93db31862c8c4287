import { describe, expect, test } from 'vitest'
import { diffusionFamily } from '../../src/lora/diffusion.ts'
import { SMALL, singleFile } from './families/whole.ts'

const of = (...names: string[]) => new Map(names.map((name) => [name, { shape: [1] }]))

describe('diffusion models are known by their tensors', () => {
  test.each([
    ['flux', 'Flux.1'],
    ['sd3', 'Stable Diffusion 3'],
    ['wan', 'Wan'],
    ['hunyuan-video', 'HunyuanVideo'],
    ['qwen-image', 'Qwen-Image'],
    ['lumina2', 'Lumina 2'],
    ['z-image', 'Z-Image'],
    ['sd1', 'Stable Diffusion 1'],
    ['sd2', 'Stable Diffusion 2'],
    ['sdxl', 'Stable Diffusion XL'],
  ])('%s: %s, alone and in a single file', (id, family) => {
    expect(diffusionFamily(SMALL[id](), undefined)).toBe(family)
    expect(diffusionFamily(singleFile(id), undefined)).toBe(family)
  })

  test('one whose names have no rules is known by name', () => {
    const name = 'model.diffusion_model.distilled_guidance_layer.in_proj.weight'
    expect(diffusionFamily(of('double_blocks.0.img_attn.qkv.weight', name), undefined)).toBe('Chroma')
  })

  test('a family that is not listed is told by diffusers’ config', () => {
    const config = { _class_name: 'PixArtTransformer2DModel', _diffusers_version: '0.30.0' }
    expect(diffusionFamily(of('a.weight'), config)).toBe('PixArtTransformer2DModel')
    expect(
      diffusionFamily(of('a.weight'), { _class_name: 'AutoencoderKL', _diffusers_version: '0.30.0' }),
    ).toBeUndefined()
  })

  test.each([
    'model.layers.0.self_attn.q_proj.weight',
    'transformer.h.0.attn.c_attn.weight',
    'vision_tower.blocks.0.attn.qkv.weight',
    'encoder.block.0.layer.0.SelfAttention.q.weight',
  ])('%s is of none', (name) => {
    expect(
      diffusionFamily(of(name), { model_type: 'llama', architectures: ['LlamaForCausalLM'] }),
    ).toBeUndefined()
  })
})
