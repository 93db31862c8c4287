import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { fileOf, folderWith } from './apply-support.ts'
import { adapterFile, checkedDocument, KOHYA, LORA_A, pairs, some } from './check-support.ts'
import { temporaryFolder } from './run.ts'

const BLOCK = 'transformer_blocks_0_attn2_to_k'
const SDXL = {
  [`lora_unet_input_blocks_4_1_${BLOCK}`]: [64, 2048],
  [`lora_unet_output_blocks_3_1_${BLOCK}`]: [64, 2048],
  lora_te1_text_model_encoder_layers_0_mlp_fc1: [64, 16],
}
const DIFFUSERS = {
  'unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k': [64, 2048],
  'unet.up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k': [64, 2048],
}
const FLUX = { 'transformer.single_transformer_blocks.0.proj_mlp': [64, 16] }

type Modules = Readonly<Record<string, readonly number[]>>
const renamed = (modules: Modules, rename: (name: string) => string): Modules =>
  Object.fromEntries(Object.entries(modules).map(([name, shape]) => [rename(name), shape]))

async function checked(modules: Modules, spelling = KOHYA, args: readonly string[] = []) {
  const { document, code } = await checkedDocument([adapterFile(pairs(modules, spelling)), ...args])
  return {
    code,
    rules: document.defects.map(({ rule }: { rule: string }) => rule),
    message: document.defects[0]?.message,
    names: document.defects[0]?.names,
    verdicts: Object.fromEntries(
      document.loaders.map(({ loader, verdict }: { loader: string; verdict: string }) => [loader, verdict]),
    ),
  }
}

describe('names that no loader can know are errors, and nothing of them is loaded', () => {
  test('letters before all of kohya’s names', async () => {
    const { code, rules, verdicts } = await checked(renamed(SDXL, (name) => `x_${name}`))
    expect([code, rules]).toEqual([1, ['names-of-nobody']])
    expect(new Set(Object.values(verdicts))).toEqual(new Set(['loads nothing']))
  })

  test('some of kohya’s names under another prefix', async () => {
    const rename = (name: string) => name.replace('lora_te1_', 'foo.lora-te1-')
    const { rules, names, verdicts } = await checked(renamed(SDXL, rename))
    expect([rules, names]).toEqual([
      ['names-of-nobody'],
      ['foo.lora-te1-text_model_encoder_layers_0_mlp_fc1'],
    ])
    expect(new Set(Object.values(verdicts))).toEqual(new Set(['loads part']))
  })

  test('a whole difference under nobody’s prefix, beside one under ComfyUI’s', async () => {
    const path = adapterFile({
      ...pairs({ lora_te1_text_model_encoder_layers_0_mlp_fc1: [64, 16] }, KOHYA),
      'diffusion_model.input_blocks.4.1.norm.diff': some(16),
      'foo.diffusion_model.input_blocks.4.1.norm.diff': some(16),
    })
    const { document } = await checkedDocument([path])
    expect(document.loaders).toMatchObject([{ loader: 'ComfyUI', verdict: 'loads part' }])
    expect(document.defects).toMatchObject([
      { rule: 'names-of-nobody', names: ['foo.diffusion_model.input_blocks.4.1.norm.diff'] },
    ])
  })

  test('letters that changed places', async () => {
    const { code, rules, message, verdicts } = await checked(
      renamed(SDXL, (name) => name.replace('input_blocks', 'inptu_blocks')),
    )
    expect([code, rules]).toEqual([1, ['names-not-of-family']])
    expect(message).toMatch(/none of Stable Diffusion XL’s; .* input_blocks\.N\.N\./)
    expect(new Set(Object.values(verdicts))).toEqual(new Set(['loads part']))
  })

  test('blocks that no U-Net has', async () => {
    const some = await checked(
      renamed(DIFFUSERS, (name) => name.replace('up_blocks', 'up_sideways')),
      LORA_A,
    )
    expect([some.code, some.rules, some.verdicts.diffusers]).toEqual([
      1,
      ['names-not-of-family'],
      'loads part',
    ])
    const all = await checked(
      renamed(DIFFUSERS, (name) => name.replace(/(?:up|down)_blocks/, 'sideways')),
      LORA_A,
    )
    expect([all.rules, all.verdicts.diffusers]).toEqual([['names-not-of-family'], 'loads nothing'])
  })

  test('letters before some of diffusers’ names', async () => {
    const rename = (name: string) => (name.includes('up_blocks') ? `banana.${name}` : name)
    const { rules, verdicts } = await checked(renamed(DIFFUSERS, rename), LORA_A)
    expect([rules, verdicts.diffusers]).toEqual([['names-of-nobody'], 'loads part'])
  })

  test('whole differences too', async () => {
    const file = adapterFile({ 'x_lora_unet_out_0.diff': some(4), 'x_lora_unet_out_0.diff_b': some(4) })
    const { document } = await checkedDocument([file, '--for', 'comfyui'])
    const [{ rule, names }] = document.defects
    expect([rule, names]).toEqual(['names-of-nobody', ['x_lora_unet_out_0.diff', 'x_lora_unet_out_0.diff_b']])
    expect(document.loaders[0].verdict).toBe('loads nothing')
    const good = adapterFile({ 'diffusion_model.out.0.diff': some(4), 'time_embed.0.diff': some(4, 4) })
    expect((await checkedDocument([good, '--for', 'comfyui'])).document.defects).toEqual([])
  })

  test('no layer of a text encoder', async () => {
    const { rules, names } = await checked({ ...SDXL, lora_te1_text_model_cellar_0_mlp_fc1: [16, 16] })
    expect([rules, names]).toEqual([['names-not-of-family'], ['text_model_cellar_0_mlp_fc1']])
  })
})

describe('names that may be a relative’s are no errors', () => {
  test('modules besides a family’s: a warning', async () => {
    const modules = { ...FLUX, 'transformer.distilled_guidance_layer.layers.0.linear_1': [16, 16] }
    const { code, rules, verdicts } = await checked(modules, LORA_A)
    expect([code, rules, verdicts.diffusers]).toEqual([0, ['names-not-known'], 'loads'])
  })

  test('a slip in a family’s: an error', async () => {
    const modules = { ...FLUX, 'transformer.single_transfromer_blocks.0.proj_out': [16, 64] }
    expect((await checked(modules, LORA_A)).rules).toEqual(['names-not-of-family'])
  })

  test('a family that is not known: a note', async () => {
    const { code, rules } = await checked({ 'diffusion_model.caption_projection.linear_1': [16, 16] }, LORA_A)
    expect([code, rules]).toEqual([0, ['family-not-known']])
  })

  test.each([
    ['layers over time', { 'unet.down_blocks.0.motion_modules.0.temporal_transformer.proj_in': [16, 16] }],
    ['attention without blocks', { 'unet.down_blocks.1.attentions.0.to_q': [16, 16] }],
    [
      'names as diffusers wrote them up to 2023',
      { 'unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q': [16, 16] },
    ],
  ])('%s', async (_, modules) => {
    expect((await checked({ ...DIFFUSERS, ...modules }, LORA_A)).rules).toEqual([])
  })
})

test('beside a base its own names are what counts', async () => {
  const base = folderWith(join(temporaryFolder('check'), 'base'), {
    'model.safetensors': fileOf({ 'model.diffusion_model.strange_blocks.0.proj.weight': some(16, 16) }),
  })
  const modules = { 'diffusion_model.strange_blocks.0.proj': [16, 16] }
  expect((await checked(modules, LORA_A)).rules).toEqual(['family-not-known'])
  expect((await checked(modules, LORA_A, ['--base', base])).rules).toEqual([])
})
