import { describe, expect, test } from 'vitest'
import type { ExtractSettings } from '../../src/commands/extract/options.ts'
import { planExtraction } from '../../src/commands/extract/plan.ts'
import { leftText } from '../../src/commands/extract/sentences.ts'
import type { TargetModule } from '../../src/lora/model.ts'
import { planAdapter } from '../../src/lora/write/peft.ts'
import { extractOptions } from '../commands/extract/extract-options.ts'
import { type ModuleClass, mergePeft } from './peft-rules.ts'
import { checkpointOf } from './support.ts'
import { modelOf, numbers, randomFactors, writtenAdapter } from './write-support.ts'

interface Family {
  readonly config?: Record<string, unknown>
  readonly shapes: Readonly<Record<string, readonly number[]>>
  /** The classes of modules that are no Linear, by the ends of their paths, as transformers, torch and timm have them. */
  readonly classes: Readonly<Record<string, ModuleClass>>
  /** What is left out, by the ends of paths. */
  readonly left: readonly string[]
}

const attention = (layer: string) =>
  Object.fromEntries(
    ['q_proj', 'k_proj', 'v_proj', 'o_proj'].map((name) => [`${layer}.self_attn.${name}.weight`, [8, 8]]),
  )
const llama = 'model.layers.0'

/** Modules of each family, by the names and shapes of its checkpoints. */
const FAMILIES: Readonly<Record<string, Family>> = {
  'gpt-oss': {
    config: { model_type: 'gpt_oss', architectures: ['GptOssForCausalLM'] },
    shapes: {
      ...attention(llama),
      [`${llama}.mlp.router.weight`]: [4, 8],
      [`${llama}.mlp.router.bias`]: [4],
      [`${llama}.mlp.experts.gate_up_proj`]: [4, 8, 20],
      [`${llama}.mlp.experts.down_proj`]: [4, 20, 8],
    },
    classes: { 'mlp.router': 'other' },
    left: ['mlp.router'],
  },
  'DeepSeek-V3': {
    config: { model_type: 'deepseek_v3', architectures: ['DeepseekV3ForCausalLM'] },
    shapes: {
      [`${llama}.self_attn.kv_a_proj_with_mqa.weight`]: [8, 8],
      [`${llama}.mlp.gate.weight`]: [4, 8],
      [`${llama}.mlp.gate.e_score_correction_bias`]: [4],
      [`${llama}.mlp.experts.0.gate_proj.weight`]: [6, 8],
      [`${llama}.mlp.experts.0.up_proj.weight`]: [6, 8],
      [`${llama}.mlp.shared_experts.up_proj.weight`]: [6, 8],
      [`${llama}.mlp.shared_experts.gate_proj.weight`]: [6, 8],
    },
    classes: { 'mlp.gate': 'other' },
    left: ['mlp.gate'],
  },
  'Mixtral of transformers 5': {
    config: { model_type: 'mixtral', architectures: ['MixtralForCausalLM'] },
    shapes: {
      ...attention(llama),
      [`${llama}.block_sparse_moe.gate.weight`]: [4, 8],
      [`${llama}.block_sparse_moe.experts.0.w1.weight`]: [6, 8],
    },
    classes: { 'block_sparse_moe.gate': 'other' },
    left: ['block_sparse_moe.gate'],
  },
  'Qwen2-MoE, whose shared expert has a gate that is a Linear': {
    config: { model_type: 'qwen2_moe', architectures: ['Qwen2MoeForCausalLM'] },
    shapes: {
      ...attention(llama),
      [`${llama}.mlp.gate.weight`]: [4, 8],
      [`${llama}.mlp.shared_expert_gate.weight`]: [2, 8],
      [`${llama}.mlp.experts.0.down_proj.weight`]: [8, 6],
    },
    classes: { 'mlp.gate': 'other' },
    left: ['mlp.gate'],
  },
  'a router beside experts in a block of another name': {
    shapes: { 'b.0.sparse.router.weight': [4, 8], 'b.0.sparse.experts.0.w.weight': [6, 8] },
    classes: { 'sparse.router': 'other' },
    left: ['sparse.router'],
  },
  Mamba: {
    config: { model_type: 'mamba', architectures: ['MambaForCausalLM'] },
    shapes: {
      'backbone.layers.0.mixer.A_log': [16, 4],
      'backbone.layers.0.mixer.conv1d.weight': [16, 1, 4],
      'backbone.layers.0.mixer.in_proj.weight': [32, 8],
      'backbone.layers.0.mixer.out_proj.weight': [8, 16],
      'backbone.layers.0.mixer.x_proj.weight': [9, 16],
    },
    classes: { conv1d: 'other', out_proj: 'other' },
    left: ['conv1d', 'out_proj'],
  },
  'Mamba without its config': {
    shapes: {
      'layers.0.mixer.A_log': [16, 4],
      'layers.0.mixer.conv1d.weight': [16, 1, 4],
      'layers.0.mixer.in_proj.weight': [32, 8],
      'layers.0.mixer.out_proj.weight': [8, 16],
    },
    classes: { conv1d: 'other', out_proj: 'other' },
    left: ['conv1d', 'out_proj'],
  },
  'Falcon-H1': {
    config: { model_type: 'falcon_h1', architectures: ['FalconH1ForCausalLM'] },
    shapes: {
      ...attention(llama),
      [`${llama}.mamba.A_log`]: [4],
      [`${llama}.mamba.conv1d.weight`]: [16, 1, 4],
      [`${llama}.mamba.in_proj.weight`]: [32, 8],
      [`${llama}.mamba.out_proj.weight`]: [8, 16],
    },
    classes: { conv1d: 'other', out_proj: 'other' },
    left: ['conv1d', 'out_proj'],
  },
  'Qwen3-Next, whose out_proj PEFT takes': {
    config: { model_type: 'qwen3_next', architectures: ['Qwen3NextForCausalLM'] },
    shapes: {
      [`${llama}.linear_attn.A_log`]: [4],
      [`${llama}.linear_attn.conv1d.weight`]: [16, 1, 4],
      [`${llama}.linear_attn.in_proj_qkvz.weight`]: [32, 8],
      [`${llama}.linear_attn.out_proj.weight`]: [8, 16],
      [`${llama}.mlp.gate.weight`]: [4, 8],
      [`${llama}.mlp.experts.0.up_proj.weight`]: [6, 8],
      [`${llama}.mlp.experts.0.gate_proj.weight`]: [6, 8],
    },
    classes: { conv1d: 'DepthwiseConv', 'mlp.gate': 'other' },
    left: ['conv1d', 'mlp.gate'],
  },
  ConvNeXt: {
    config: { model_type: 'convnext', architectures: ['ConvNextForImageClassification'] },
    shapes: {
      'convnext.embeddings.patch_embeddings.weight': [8, 3, 4, 4],
      'convnext.encoder.stages.0.layers.0.dwconv.weight': [8, 1, 7, 7],
      'convnext.encoder.stages.0.layers.0.pwconv1.weight': [32, 8],
    },
    classes: { dwconv: 'DepthwiseConv' },
    left: ['dwconv'],
  },
  RegNet: {
    config: { model_type: 'regnet' },
    shapes: { 'encoder.layer.0.convolution.weight': [16, 4, 3, 3], 'classifier.1.weight': [5, 16] },
    classes: { convolution: 'other' },
    left: ['convolution'],
  },
  'a decoder of transposed convolutions': {
    shapes: { 'up.deconv1.weight': [8, 4, 2, 2], 'down.conv1.weight': [8, 4, 2, 2] },
    classes: { deconv1: 'other' },
    left: ['deconv1'],
  },
  'OpenCLIP: MultiheadAttention': {
    shapes: {
      'transformer.resblocks.0.attn.in_proj_weight': [24, 8],
      'transformer.resblocks.0.attn.out_proj.weight': [8, 8],
      'transformer.resblocks.0.mlp.c_fc.weight': [32, 8],
    },
    classes: { 'attn.out_proj': 'NeverCalled' },
    left: ['attn.out_proj'],
  },
  'Gemma 3n': {
    config: { model_type: 'gemma3n_text', architectures: ['Gemma3nForCausalLM'] },
    shapes: {
      ...attention(llama),
      'model.embed_tokens.weight': [20, 8],
      'model.embed_tokens_per_layer.weight': [20, 8],
    },
    classes: { embed_tokens: 'Embedding', embed_tokens_per_layer: 'Embedding' },
    left: [],
  },
  'tables of rows under names that tell nothing': {
    shapes: Object.fromEntries(
      ['emb', 'pos_emb', 'class_emb', 'quantizer.codebook', 'y.embedding_table', 'fc'].map((name) => [
        `net.${name}.weight`,
        [20, 8],
      ]),
    ),
    classes: {
      emb: 'Embedding',
      pos_emb: 'Embedding',
      class_emb: 'Embedding',
      codebook: 'Embedding',
      embedding_table: 'Embedding',
    },
    left: ['emb', 'pos_emb', 'class_emb', 'quantizer.codebook', 'y.embedding_table'],
  },
}

const OPTIONS = extractOptions({ embeddings: true })

/** Everything that can be carried, planned as extract plans it, and written with random factors. */
async function adapterOf({ shapes, config }: Family, options: Partial<ExtractSettings> = {}) {
  const [base, tuned] = await Promise.all(
    [1, 1000].map((seed) =>
      checkpointOf({
        tensors: Object.fromEntries(
          Object.entries(shapes).map(([name, shape], i) => [
            name,
            {
              shape,
              data: numbers(
                shape.reduce((product, n) => product * n, 1),
                seed + i,
              ),
            },
          ]),
        ),
        ...(config !== undefined && { config }),
      }),
    ),
  )
  const plan = await planExtraction(base, tuned, { ...OPTIONS, ...options })
  const ranks = new Map<TargetModule, number>(plan.layers.map(({ module }) => [module, 2]))
  const adapterPlan = planAdapter({
    ranks,
    layout: 'portable',
    dtype: 'f32',
    base: base.tensors,
    traits: plan.traits,
    saved: plan.saved,
  })
  const factors = new Map([...ranks.keys()].map((module, i) => [module, randomFactors(module, 2, 7 * i)]))
  const adapter = await writtenAdapter(adapterPlan, factors, modelOf(shapes), plan.traits)
  return { plan, adapter }
}

const classOf =
  ({ classes }: Family) =>
  (path: string, shape: readonly number[]): ModuleClass =>
    Object.entries(classes).find(([end]) => path === end || path.endsWith(`.${end}`))?.[1] ??
    (shape.length > 2 ? 'ConvNd' : 'Linear')

const ends = (name: string, ending: string) => name.endsWith(`.${ending}.weight`)

describe('PEFT takes all of an adapter, by its own rules on the true classes', () => {
  test.each(Object.entries(FAMILIES))('%s', async (_, family) => {
    const { plan, adapter } = await adapterOf(family)
    const model = modelOf(family.shapes)
    const merge = { classOf: classOf(family), prefix: plan.traits.prefix }
    const { missing, unexpected, weights } = mergePeft(model, adapter, merge)
    expect({ missing, unexpected }).toEqual({ missing: [], unexpected: [] })
    for (const { module } of plan.layers) {
      const changed = weights.get(module.tensor)!.data.some((x, i) => x !== model.get(module.tensor)!.data[i])
      expect(changed, module.tensor).toBe(true)
    }
    // what PEFT can't take is left with a reason, and nothing else is
    const left = plan.notCarried.filter(
      (one) => one.name.endsWith('.weight') && !leftText(one).startsWith('not a matrix'),
    )
    expect(left.map(({ name }) => family.left.find((ending) => ends(name, ending)) ?? name).sort()).toEqual(
      [...family.left].sort(),
    )
    for (const one of left) expect(leftText(one).length).toBeGreaterThan(20)
  })
})

test('what is left out is stored whole where that is asked for', async () => {
  const { plan, adapter } = await adapterOf(FAMILIES['gpt-oss'], { saveFull: ['mlp.router'] })
  expect(plan.saved.map(({ path }) => path)).toEqual([`${llama}.mlp.router`])
  expect(adapter.tensors.has(`base_model.model.${llama}.mlp.router.weight`)).toBe(true)
  expect(plan.notCarried.some(({ name }) => name.includes('router'))).toBe(false)
})
