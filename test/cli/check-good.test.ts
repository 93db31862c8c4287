import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ggufChunks, layoutGguf } from '../../src/formats/gguf-writer.ts'
import { moduleNames } from '../../src/lora/families/modules.ts'
import type { Naming } from '../../src/lora/families/types.ts'
import { planGgufAdapter } from '../../src/lora/write/gguf.ts'
import { ggufModel } from '../../src/lora/write/gguf-names.ts'
import { weightsOf } from '../lora/families/hollow.ts'
import { layoutOfAll, SMALL } from '../lora/families/whole.ts'
import { fileOf, folderWith, type Weights } from './apply-support.ts'
import {
  adapterFile,
  checkedDocument,
  KOHYA,
  LLAMA_LAYERS,
  LORA_A,
  llamaAdapter,
  pairs,
  peftConfig,
  peftFolder,
  peftPairs,
  some,
  type Tensors,
} from './check-support.ts'
import { temporaryFolder } from './run.ts'

type Shapes = Readonly<Record<string, readonly [number, number]>>
/** A good file: its path, made when it is asked for, and the loaders that it is good for where those aren't all it is meant for. */
type Good = readonly [what: string, make: () => string | Promise<string>, loaders?: string]

const folder = (layers: Shapes, config: object = {}, more: Tensors = {}) =>
  peftFolder({ ...peftPairs(layers), ...more }, peftConfig(layers, config))
const cast = (dtype: Weights['dtype']) => (tensors: Tensors) => {
  for (const [name, tensor] of Object.entries(tensors)) tensors[name] = { ...tensor, dtype }
}

const PHI3: Shapes = {
  'model.layers.0.self_attn.qkv_proj': [32, 16],
  'model.layers.0.self_attn.o_proj': [16, 16],
  'model.layers.0.mlp.gate_up_proj': [48, 16],
  'model.layers.0.mlp.down_proj': [16, 24],
}
const GPT2: Shapes = {
  'transformer.h.0.attn.c_attn': [48, 16],
  'transformer.h.0.attn.c_proj': [16, 16],
  'transformer.h.0.mlp.c_fc': [64, 16],
  'transformer.h.0.mlp.c_proj': [16, 64],
}
const experts = (path: string, names: readonly string[]): Shapes =>
  Object.fromEntries(
    [0, 1, 2, 3].flatMap((e) =>
      names.map((name) => [`model.layers.0.${path}.experts.${e}.${name}`, [24, 16]]),
    ),
  )
const BERT: Shapes = { 'bert.encoder.layer.0.attention.self.query': [16, 16] }
const QV = Object.fromEntries(Object.entries(LLAMA_LAYERS).filter(([path]) => /[qv]_proj$/.test(path)))
const MULTIMODAL = Object.fromEntries(
  Object.entries(LLAMA_LAYERS).map(([path, shape]) => [
    path.replace('model.', 'model.language_model.'),
    shape,
  ]),
) as Shapes
const PEFT_STEM = 'base_model.model.model.layers.0.self_attn.q_proj'

const llamaBase = (): string =>
  folderWith(join(temporaryFolder('check'), 'base'), {
    'model.safetensors': fileOf({
      ...Object.fromEntries(
        Object.entries(LLAMA_LAYERS).map(([path, shape]) => [`${path}.weight`, some(...shape)]),
      ),
      'lm_head.weight': some(10, 16),
    }),
    'config.json': { model_type: 'llama', architectures: ['LlamaForCausalLM'] },
  })

const LANGUAGE: readonly Good[] = [
  ['Llama, all linear layers', () => llamaAdapter()],
  ['Llama, scaled by 2', () => llamaAdapter({ lora_alpha: 8 })],
  ['Llama in BF16', () => llamaAdapter({}, cast('BF16'))],
  ['Llama in F16', () => llamaAdapter({}, cast('F16'))],
  ['q_proj and v_proj alone, as PEFT’s default has it', () => folder(QV)],
  ['Llama with rslora', () => llamaAdapter({ use_rslora: true }), 'peft,vllm'],
  [
    'Llama with patterns',
    () =>
      peftFolder(
        peftPairs(LLAMA_LAYERS, (path) => (path.endsWith('o_proj') ? 2 : 4)),
        peftConfig(LLAMA_LAYERS, { rank_pattern: { o_proj: 2 }, alpha_pattern: { o_proj: 2 } }),
      ),
    'peft',
  ],
  [
    'Llama with a regular expression of targets',
    () => llamaAdapter({ target_modules: 'model\\.layers\\.\\d+\\.(?:self_attn|mlp)\\..*_proj' }),
    'peft,vllm,llama.cpp,tensorrt-llm',
  ],
  [
    'Llama with DoRA',
    () =>
      llamaAdapter({ use_dora: true }, (tensors) => {
        for (const [path, [out]] of Object.entries(LLAMA_LAYERS))
          tensors[`base_model.model.${path}.lora_magnitude_vector`] = some(out)
      }),
    'peft',
  ],
  [
    'Llama with a whole head',
    () =>
      folder(
        LLAMA_LAYERS,
        { modules_to_save: ['lm_head'] },
        { 'base_model.model.lm_head.weight': some(10, 16) },
      ),
    'peft',
  ],
  [
    'Llama with an adapted embedding',
    () =>
      folder(
        LLAMA_LAYERS,
        {
          target_modules: [
            'q_proj',
            'k_proj',
            'v_proj',
            'o_proj',
            'gate_proj',
            'up_proj',
            'down_proj',
            'embed_tokens',
          ],
        },
        {
          'base_model.model.model.embed_tokens.lora_embedding_A': some(4, 10),
          'base_model.model.model.embed_tokens.lora_embedding_B': some(16, 4),
        },
      ),
    'peft,llama.cpp',
  ],
  [
    'Llama with lora_bias',
    () =>
      llamaAdapter(
        { lora_bias: true },
        (tensors) => void Object.assign(tensors, { [`${PEFT_STEM}.lora_B.bias`]: some(16) }),
      ),
    'peft',
  ],
  ['of a multimodal model', () => folder(MULTIMODAL)],
  ['Phi-3', () => folder(PHI3)],
  ['GPT-2', () => folder(GPT2, { fan_in_fan_out: true }), 'peft,vllm'],
  ['Mixtral, expert by expert', () => folder(experts('block_sparse_moe', ['w1', 'w2', 'w3']))],
  ['Qwen3-MoE, expert by expert', () => folder(experts('mlp', ['gate_proj', 'up_proj', 'down_proj']))],
  [
    'stacked experts',
    () =>
      peftFolder(
        {
          'base_model.model.model.layers.0.mlp.experts.lora_A.weight': some(12, 16),
          'base_model.model.model.layers.0.mlp.experts.lora_B.weight': some(24, 12),
        },
        peftConfig({}, { target_modules: [], target_parameters: ['mlp.experts.down_proj'] }),
      ),
    'peft',
  ],
  [
    'BERT for classification',
    () =>
      folder(
        BERT,
        { task_type: 'SEQ_CLS', modules_to_save: ['classifier'] },
        {
          'base_model.model.classifier.weight': some(2, 16),
          'base_model.model.classifier.bias': some(2),
        },
      ),
  ],
  [
    'a convolutional model',
    () =>
      peftFolder(
        {
          'base_model.model.stem.conv1.lora_A.weight': some(4, 8, 3, 3),
          'base_model.model.stem.conv1.lora_B.weight': some(16, 4, 1, 1),
        },
        peftConfig({ 'stem.conv1': [] }, { task_type: null }),
      ),
  ],
  [
    'LoHa',
    () =>
      peftFolder(
        Object.fromEntries(
          ['w1_a', 'w2_a'].flatMap((part): [string, Weights][] => [
            [`${PEFT_STEM}.hada_${part}`, some(16, 4)],
            [`${PEFT_STEM}.hada_${part.replace('a', 'b')}`, some(4, 16)],
          ]),
        ),
        {
          peft_type: 'LOHA',
          r: 4,
          alpha: 4,
          target_modules: ['q_proj'],
          base_model_name_or_path: 'org/model',
        },
      ),
  ],
  [
    'LoKr',
    () =>
      peftFolder(
        {
          [`${PEFT_STEM}.lokr_w1`]: some(4, 4),
          [`${PEFT_STEM}.lokr_w2_a`]: some(4, 2),
          [`${PEFT_STEM}.lokr_w2_b`]: some(2, 4),
        },
        {
          peft_type: 'LOKR',
          r: 2,
          alpha: 2,
          target_modules: ['q_proj'],
          base_model_name_or_path: 'org/model',
        },
      ),
  ],
  [
    'MLX',
    () =>
      folderWith(join(temporaryFolder('check'), 'mlx'), {
        'adapters.safetensors': fileOf({
          'model.layers.0.self_attn.q_proj.lora_a': some(16, 4),
          'model.layers.0.self_attn.q_proj.lora_b': some(4, 24),
        }),
        'adapter_config.json': {
          ...{ fine_tune_type: 'lora', num_layers: 4 },
          lora_parameters: { rank: 4, scale: 20, dropout: 0 },
        },
      }),
  ],
  ...([false, true] as const).map(
    (isMixed): Good => [
      `GGUF of ${isMixed ? 'several ranks' : 'one rank'}`,
      async () => {
        const modules = ['self_attn.q_proj', 'self_attn.o_proj', 'mlp.down_proj'].map((name, i) => {
          const rank = isMixed ? i + 2 : 4
          const factors = { A: numbers(rank * 16), B: numbers(16 * rank) }
          return {
            ...{ path: `model.layers.0.${name}`, isEmbedding: false, rank, out: 16, columns: 16 },
            factors: () => factors,
          }
        })
        const model = ggufModel(
          { architectures: ['LlamaForCausalLM'], num_attention_heads: 2, num_key_value_heads: 2 },
          'base',
        )
        const { tensors, metadata } = planGgufAdapter(modules, model, { dtype: 'f32' })
        const chunks: Uint8Array[] = []
        for await (const chunk of ggufChunks(layoutGguf(tensors, metadata))) chunks.push(chunk)
        const path = join(temporaryFolder('check'), 'adapter.gguf')
        writeFileSync(path, Buffer.concat(chunks))
        return path
      },
    ],
  ),
]

function numbers(length: number): Float64Array {
  return Float64Array.from(some(length).data)
}

/** A file of a family in a naming, of all modules that its loaders take. */
function ofFamily(id: string, naming: Naming, meant: RegExp): string {
  const layout = layoutOfAll(SMALL[id]())
  const namer = moduleNames(layout, naming)
  const tensors: Tensors = {}
  for (const weight of weightsOf(layout.tensors)) {
    const [out, ...rest] = layout.tensors.get(weight)!.shape
    for (const { name, down, up, hasAlpha, gaps } of namer(weight) ?? []) {
      if (gaps.some(({ loader }) => meant.test(loader))) continue
      const spelling = { down, up, ...(hasAlpha && { alpha: () => 2 }) }
      Object.assign(tensors, pairs({ [name]: [out, ...rest] }, spelling, 2))
    }
  }
  return adapterFile(tensors)
}

const TE1 = { lora_te1_text_model_encoder_layers_0_self_attn_q_proj: [16, 16] }
const SD1_TE = { lora_te_text_model_encoder_layers_0_mlp_fc1: [64, 16] }
const SD1_UNET = {
  lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q: [32, 32],
  lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k: [32, 768],
}

const PICTURES: readonly Good[] = [
  ['kohya: SD 1 with its text encoder', () => adapterFile(pairs({ ...SD1_UNET, ...SD1_TE }, KOHYA))],
  [
    'kohya: SD 1 with convolutions (LoCon)',
    () => adapterFile(pairs({ ...SD1_UNET, lora_unet_mid_block_resnets_0_conv1: [32, 32, 3, 3] }, KOHYA)),
  ],
  [
    'kohya: SDXL with both text encoders',
    () =>
      adapterFile(
        pairs(
          {
            lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k: [64, 2048],
            lora_unet_input_blocks_4_1_proj_in: [64, 64],
            ...TE1,
            lora_te2_text_model_encoder_layers_0_mlp_fc2: [16, 64],
          },
          KOHYA,
        ),
        { ss_network_dim: '4', ss_network_alpha: '4.0' },
      ),
  ],
  [
    'kohya: Flux with CLIP-L',
    () => adapterFile(pairs({ lora_unet_double_blocks_0_img_attn_qkv: [48, 16], ...TE1 }, KOHYA)),
  ],
  ...(['sdxl', 'flux', 'sd3', 'qwen-image', 'lumina2'] as const).map(
    (id): Good => [
      `kohya: ${id}, of the blocks`,
      () => ofFamily(id, 'kohya', id === 'sd3' || id === 'lumina2' ? /kohya|ComfyUI/ : /./),
    ],
  ),
  ...(['wan', 'hunyuan-video', 'qwen-image', 'flux', 'lumina2', 'z-image'] as const).map(
    (id): Good => [`ComfyUI: ${id}`, () => ofFamily(id, 'comfyui', /diffusers|ComfyUI/)],
  ),
  ...(['sd1', 'sdxl', 'sd3'] as const).map(
    (id): Good => [`ComfyUI: ${id}`, () => ofFamily(id, 'comfyui', /ComfyUI/), 'comfyui'],
  ),
  ...(['flux', 'sd3', 'qwen-image', 'z-image', 'wan', 'hunyuan-video', 'lumina2'] as const).map(
    (id): Good => [`diffusers: ${id}`, () => ofFamily(id, 'diffusers', /diffusers/)],
  ),
  ['diffusers: sdxl', () => ofFamily('sdxl', 'diffusers', /diffusers/), 'diffusers'],
  [
    'ComfyUI: text encoders under kohya’s names beside its own, and whole differences',
    () =>
      adapterFile({
        ...pairs({ ...TE1, 'diffusion_model.input_blocks.4.1.proj_in': [64, 64] }, KOHYA),
        'diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.diff': some(64, 2048),
        'diffusion_model.input_blocks.4.1.transformer_blocks.0.norm2.diff_b': some(64),
      }),
  ],
  [
    'ComfyUI: a family that is not known here',
    () => adapterFile(pairs({ 'diffusion_model.transformer_blocks.0.attn1.to_q': [16, 16] }, LORA_A)),
  ],
]

const LYCORIS: readonly Good[] = [
  [
    'LoHa of LyCORIS',
    () => {
      const stem = 'lora_unet_mid_block_attentions_0_proj_in'
      return adapterFile({
        ...{ [`${stem}.hada_w1_a`]: some(32, 4), [`${stem}.hada_w1_b`]: some(4, 32) },
        ...{ [`${stem}.hada_w2_a`]: some(32, 4), [`${stem}.hada_w2_b`]: some(4, 32) },
        [`${stem}.alpha`]: { dtype: 'F32', shape: [], data: [4] },
      })
    },
  ],
  [
    'LoKr of LyCORIS, both whole',
    () => {
      const stem = 'lycoris_blocks_0_ffn_0'
      return adapterFile({
        ...{ [`${stem}.lokr_w1`]: some(4, 4), [`${stem}.lokr_w2`]: some(8, 8) },
        [`${stem}.alpha`]: { dtype: 'F32', shape: [], data: [7] },
      })
    },
  ],
  [
    'a DoRA over the inputs',
    () =>
      adapterFile({
        ...pairs({ 'diffusion_model.blocks.0.ffn.0': [32, 16] }, KOHYA),
        'diffusion_model.blocks.0.ffn.0.dora_scale': some(1, 16),
      }),
    'comfyui',
  ],
  [
    'exact parts of ComfyUI',
    () =>
      adapterFile({
        ...pairs({ 'diffusion_model.blocks.0.ffn.0': [32, 16] }, KOHYA),
        'diffusion_model.blocks.0.norm3.diff': some(16),
        'diffusion_model.blocks.0.norm3.diff_b': some(16),
      }),
    'comfyui',
  ],
]

const ALL = [...LANGUAGE, ...PICTURES, ...LYCORIS]

describe('good files of all formats raise no alarm', () => {
  test.each(ALL.map(([what, make, loaders]) => [what, make, loaders] as const))(
    '%s',
    async (_, make, loaders) => {
      const path = await make()
      const { document, code } = await checkedDocument([
        path,
        ...(loaders === undefined ? [] : ['--for', loaders]),
      ])
      const alarms = document.defects.filter(({ severity }: { severity: string }) => severity !== 'note')
      expect(alarms).toEqual([])
      const wrong = document.loaders.filter(({ verdict }: { verdict: string }) => verdict !== 'loads')
      expect(wrong).toEqual([])
      expect(document.loaders.length).toBeGreaterThan(0)
      expect(code).toBe(0)
    },
  )

  test('forty and more', () => {
    expect(ALL.length).toBeGreaterThanOrEqual(40)
  })

  test('an adapter beside its base', async () => {
    const { document, code } = await checkedDocument([llamaAdapter(), '--base', llamaBase()])
    expect([document.defects, code]).toEqual([[], 0])
  })
})
