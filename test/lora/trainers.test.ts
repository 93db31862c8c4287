import { describe, expect, test } from 'vitest'
import { matchToBase } from '../../src/lora/match.ts'
import { adapterFrom, checkpointOf, type TestTensor } from './support.ts'

const D = 4
const one = (shape: readonly number[]): TestTensor => ({ shape })

/** Flux's single file, with both text encoders, as ComfyUI packs them. */
const FLUX = Object.fromEntries([
  ...Object.entries({
    'double_blocks.0.img_mod.lin.weight': [6 * D, D],
    'double_blocks.0.img_attn.norm.key_norm.scale': [2],
    'double_blocks.0.img_attn.qkv.weight': [3 * D, D],
    'single_blocks.0.linear1.weight': [7 * D, D],
    'single_blocks.0.modulation.lin.weight': [3 * D, D],
  }).map(([name, shape]) => [`model.diffusion_model.${name}`, one(shape)] as const),
  ['text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight', one([6, D])] as const,
  ['text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.weight', one([D, D])] as const,
])

const QKV = 'model.diffusion_model.double_blocks.0.img_attn.qkv.weight'
const CLIP = 'text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight'
const T5 = 'text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.weight'

type Spelling = readonly [down: string, up: string]
const KOHYA: Spelling = ['lora_down.weight', 'lora_up.weight']
const PEFT: Spelling = ['lora_A.weight', 'lora_B.weight']

const pair = (
  stem: string,
  [down, up]: Spelling,
  [out, inputs]: readonly [number, number],
  alpha?: number,
) => ({
  [`${stem}.${down}`]: one([2, inputs]),
  [`${stem}.${up}`]: one([out, 2]),
  ...(alpha !== undefined && { [`${stem}.alpha`]: { shape: [], data: Float64Array.of(alpha) } }),
})

/** The base's tensor and rows that each module changes, and its scale. */
async function places(tensors: Record<string, TestTensor>) {
  const adapter = await adapterFrom({ tensors })
  const { matched, unmatched } = matchToBase(adapter, await checkpointOf({ tensors: FLUX }))
  expect(unmatched).toEqual([])
  expect(adapter.warnings).toEqual([])
  return matched.map(({ module, base }) => [
    base.name,
    module.scale,
    ...(module.fit ?? []).map(({ weight, count }) => [weight, weight + count]),
  ])
}

// the namings of OneTrainer's savers (modules/modelSaver/mixin/LoRASaverMixin.py@2026-08-19), and of others that differ in them
describe('names of trainers on one file of Flux', () => {
  test.each<[string, Record<string, TestTensor>, unknown[]]>([
    [
      "OneTrainer's legacy: the component, diffusers' path with underscores, T5 as the second encoder",
      {
        ...pair('lora_transformer_transformer_blocks_0_attn_to_k', KOHYA, [D, D], 1),
        ...pair('lora_te1_text_model_encoder_layers_0_mlp_fc1', KOHYA, [6, D], 1),
        ...pair('lora_te2_encoder_block_0_layer_0_SelfAttention_q', KOHYA, [D, D], 1),
      },
      [
        [QKV, 0.5, [D, 2 * D]],
        [CLIP, 0.5],
        [T5, 0.5],
      ],
    ],
    [
      "kohya's: T5 as the third",
      {
        ...pair('lora_unet_double_blocks_0_img_attn_qkv', KOHYA, [3 * D, D], 1),
        ...pair('lora_te3_encoder_block_0_layer_0_SelfAttention_q', KOHYA, [D, D], 1),
      },
      [
        [QKV, 0.5],
        [T5, 0.5],
      ],
    ],
    [
      "OneTrainer's for ComfyUI, with alphas beside lora_A",
      {
        ...pair('diffusion_model.double_blocks.0.img_attn.qkv', PEFT, [3 * D, D], 1),
        ...pair('text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1', PEFT, [6, D], 1),
        ...pair('text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q', PEFT, [D, D], 1),
      },
      [
        [QKV, 0.5],
        [CLIP, 0.5],
        [T5, 0.5],
      ],
    ],
    [
      "OneTrainer's of the original names, with nothing before them",
      pair('double_blocks.0.img_attn.qkv', PEFT, [3 * D, D], 1),
      [[QKV, 0.5]],
    ],
    [
      "SimpleTuner's of LyCORIS",
      pair('lycoris_transformer_blocks_0_attn_to_v', KOHYA, [D, D], 4),
      [[QKV, 2, [2 * D, 3 * D]]],
    ],
    [
      "ai-toolkit's, without an alpha",
      pair('transformer.single_transformer_blocks.0.proj_mlp', PEFT, [4 * D, D]),
      [['model.diffusion_model.single_blocks.0.linear1.weight', 1, [3 * D, 7 * D]]],
    ],
  ])('%s', async (_, tensors, wanted) => {
    const sorted = (all: unknown[]) => [...all].map((entry) => JSON.stringify(entry)).sort()
    expect(sorted(await places(tensors))).toEqual(sorted(wanted))
  })
})

describe('DoRA of trainers', () => {
  const stem = 'transformer.transformer_blocks.0.attn.to_q'
  test.each([
    ["ai-toolkit's magnitude", 'magnitude', [D]],
    ["PEFT's", 'lora_magnitude_vector', [D]],
    ["OneTrainer's, of inputs by default", 'dora_scale', [1, D]],
    ["OneTrainer's, of outputs", 'dora_scale', [D, 1]],
  ])('%s', async (_, end, shape) => {
    const { modules, ignored } = await adapterFrom({
      tensors: { ...pair(stem, PEFT, [D, D]), [`${stem}.${end}`]: one(shape) },
    })
    expect(modules.map(({ magnitude }) => magnitude?.shape)).toEqual([shape])
    expect(ignored).toEqual([])
  })
})

test('words that OneTrainer bundles are left out by name, and take no tensor’s place', async () => {
  const { replaced, ignored } = await adapterFrom({
    tensors: {
      ...pair('double_blocks.0.img_attn.qkv', PEFT, [3 * D, D], 1),
      'bundle_emb.word.clip_l': one([2, D]),
      '_aux.0af1': one([1]),
    },
  })
  expect(replaced).toEqual([])
  expect(ignored).toEqual([
    { name: '_aux.0af1', reason: 'no weight' },
    { name: 'bundle_emb.word.clip_l', reason: expect.stringContaining('OneTrainer bundles') },
  ])
})

test.each(['lora_te4_x', 'lora_transformer_x', 'lora_prior_unet_x', 'lycoris_x'])(
  '%s is of kohya’s kind',
  async (stem) => {
    const { format, modules } = await adapterFrom({ tensors: pair(stem, KOHYA, [D, D], 2) })
    expect({ format, path: modules[0].path }).toEqual({ format: 'kohya', path: 'x' })
  },
)
