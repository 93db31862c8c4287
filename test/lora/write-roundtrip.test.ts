import fc from 'fast-check'
import { expect, test } from 'vitest'
import '../property-seed.ts'
import type { FloatDtype } from '../../src/formats/dtype.ts'
import type { Factors } from '../../src/linalg/svd/svd.ts'
import type { TargetModule } from '../../src/lora/model.ts'
import { modelCard } from '../../src/lora/write/card.ts'
import type { AdapterLayout } from '../../src/lora/write/peft.ts'
import { adapterSize, planAdapter } from '../../src/lora/write/peft.ts'
import { savedModules } from '../../src/lora/write/targets.ts'
import { noFigures } from './card-figures.ts'
import { LOADER_SCALES, type MergeOptions, mergePeft, type Tensor } from './peft-rules.ts'
import {
  deltaOf,
  f32Shapes,
  modelOf,
  moduleOf,
  randomFactors,
  traitsOf,
  writtenAdapter,
} from './write-support.ts'

const LAYOUTS = ['portable', 'pattern'] as const

/** Entries of the factors are below 1, so a product's error is at most about 2·rank units of the dtype. */
const TOLERANCE: Record<FloatDtype, number> = { f64: 1e-14, f32: 1e-6, f16: 1e-2, bf16: 8e-2 }

/** Writes an adapter of the modules, merges it by PEFT's rules, and compares with W + B·A. */
async function expectMerged(
  base: ReadonlyMap<string, Tensor>,
  ranks: ReadonlyMap<TargetModule, number>,
  {
    layout,
    dtype = 'f64' as FloatDtype,
    config = {},
  }: { layout: AdapterLayout; dtype?: FloatDtype; config?: object },
  options: MergeOptions = {},
) {
  const traits = traitsOf(base, config as Record<string, unknown>)
  const plan = planAdapter({ ranks, layout, dtype, base: f32Shapes(base), traits })
  const factors = new Map<TargetModule, Factors[]>(
    [...ranks].map(([module, rank], i) => [module, randomFactors(module, rank, 100 * i)]),
  )
  const adapter = await writtenAdapter(plan, factors, new Map(), traits)
  const { weights, missing, unexpected } = mergePeft(base, adapter, { prefix: traits.prefix, ...options })
  expect({ missing, unexpected }).toEqual({ missing: [], unexpected: [] })
  const deltas = new Map([...factors].map(([{ tensor }, values]) => [tensor, deltaOf(values)]))
  for (const [name, W] of base) {
    const merged = weights.get(name)!.data
    const delta = deltas.get(name) ?? [...W.data].fill(0)
    const worst = Math.max(...merged.map((value, i) => Math.abs(value - W.data[i] - delta[i])))
    expect(worst, name).toBeLessThanOrEqual(TOLERANCE[dtype])
    expect(
      delta.some((value) => Math.abs(value) > 0.1),
      name,
    ).toBe(deltas.has(name))
  }
  return { plan, adapter }
}

test.each(LAYOUTS)('linear layers of different ranks, %s', async (layout) => {
  const base = modelOf({
    'model.embed_tokens.weight': [11, 6],
    'model.layers.0.self_attn.q_proj.weight': [6, 6],
    'model.layers.0.self_attn.k_proj.weight': [4, 6],
    'model.layers.0.self_attn.o_proj.weight': [6, 6],
    'model.layers.1.self_attn.q_proj.weight': [6, 6],
    'model.layers.1.self_attn.o_proj.weight': [6, 6],
    'model.layers.11.self_attn.o_proj.weight': [6, 6],
    'model.norm.weight': [6],
    'lm_head.weight': [11, 6],
  })
  const module = (name: string) => moduleOf(name, base.get(name)!.shape)
  const ranks = new Map([
    [module('model.layers.0.self_attn.q_proj.weight'), 3],
    [module('model.layers.0.self_attn.o_proj.weight'), 1],
    [module('model.layers.1.self_attn.o_proj.weight'), 2],
    [module('lm_head.weight'), 4],
  ])
  for (const dtype of ['f64', 'f32', 'f16', 'bf16'] as const) {
    const { plan, adapter } = await expectMerged(base, ranks, { layout, dtype })
    expect(plan.r).toBe(4)
    expect(plan.rankPattern.size).toBe(layout === 'portable' ? 0 : 4)
    // k_proj is unchanged, yet SGLang stacks it with q_proj
    const k = adapter.tensors.get('base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight')!
    expect(k.shape).toEqual([4, layout === 'portable' ? 4 : 3])
    expect(k.data.every((value) => value === 0)).toBe(true)
  }
})

test.each(LAYOUTS)('the Conv1D of GPT-2, and its checkpoint without the prefix, %s', async (layout) => {
  const base = modelOf({
    'wte.weight': [9, 4],
    'h.0.attn.c_attn.weight': [4, 12],
    'h.0.attn.c_attn.bias': [12],
    'h.0.attn.c_proj.weight': [4, 4],
    'h.0.mlp.c_fc.weight': [4, 16],
    'ln_f.weight': [4],
  })
  const config = { model_type: 'gpt2', architectures: ['GPT2LMHeadModel'] }
  const traits = traitsOf(base, config)
  const ranks = new Map([
    [moduleOf('h.0.attn.c_attn.weight', [4, 12], { traits }), 2],
    [moduleOf('h.0.attn.c_proj.weight', [4, 4], { traits }), 3],
    [moduleOf('wte.weight', [9, 4], { traits, embeddings: true }), 1],
  ])
  const { adapter } = await expectMerged(
    base,
    ranks,
    { layout, config },
    {
      classOf: (path) => (path.endsWith('wte') ? 'Embedding' : /\.c_/.test(path) ? 'Conv1D' : 'other'),
    },
  )
  expect(adapter.config.fan_in_fan_out).toBe(true)
  expect([...adapter.tensors.keys()]).toContain('base_model.model.transformer.wte.lora_embedding_A')
})

test.each(LAYOUTS)('convolutions of one, two and three dimensions, %s', async (layout) => {
  const base = modelOf({
    'a.weight': [5, 3, 4],
    'down.conv.weight': [6, 3, 2, 3],
    'up.conv.weight': [4, 6, 1, 1],
    'c.weight': [3, 2, 2, 1, 2],
  })
  const ranks = new Map(
    [...base].map(([name, { shape }], i) => [moduleOf(name, shape, { view: 'conv' }), i + 1] as const),
  )
  const { adapter } = await expectMerged(base, ranks, { layout })
  const r = layout === 'portable' ? 4 : 2
  expect(adapter.tensors.get('base_model.model.down.conv.lora_A.weight')!.shape).toEqual([r, 3, 2, 3])
  expect(adapter.tensors.get('base_model.model.down.conv.lora_B.weight')!.shape).toEqual([6, r, 1, 1])
})

test.each(LAYOUTS)('stacked experts, nested, of both storage orders, %s', async (layout) => {
  const base = modelOf({
    'model.layers.0.mlp.experts.gate_up_proj': [3, 4, 6],
    'model.layers.0.mlp.experts.down_proj': [3, 5, 4],
    'model.layers.1.mlp.experts.down_proj': [3, 5, 4],
    'model.layers.0.self_attn.o_proj.weight': [4, 4],
  })
  for (const config of [{ model_type: 'qwen3_moe' }, { model_type: 'gpt_oss' }]) {
    const traits = traitsOf(base, config)
    const ranks = new Map(
      [...base].map(([name, { shape }], i) => {
        const view = shape.length === 3 ? ('expert' as const) : ('matrix' as const)
        return [moduleOf(name, shape, { view, traits, experts: true }), i + 1] as const
      }),
    )
    const { adapter, plan } = await expectMerged(
      base,
      ranks,
      { layout, config },
      {
        expertsAreTransposed: config.model_type === 'gpt_oss',
      },
    )
    expect(adapter.config.target_parameters).toHaveLength(3)
    expect(plan.warnings.join()).toContain('3-D experts')
    expect([...adapter.tensors.keys()]).toContain(
      'base_model.model.model.layers.0.mlp.experts.base_layer.lora_A.weight',
    )
  }
})

test('experts of lower rank than their neighbours', async () => {
  const base = modelOf({ 'mlp.experts.down_proj': [2, 4, 3] })
  const module = moduleOf('mlp.experts.down_proj', [2, 4, 3], { view: 'expert', experts: true })
  const plan = planAdapter({
    ranks: new Map([[module, 3]]),
    layout: 'portable',
    dtype: 'f64',
    base: f32Shapes(base),
    traits: traitsOf(),
  })
  const [high] = randomFactors(module, 3, 1)
  const [, low] = randomFactors(module, 1, 7)
  const adapter = await writtenAdapter(plan, new Map([[module, [high, low]]]))
  const { weights } = mergePeft(base, adapter)
  const W = base.get('mlp.experts.down_proj')!
  const delta = deltaOf([high, low])
  weights.get('mlp.experts.down_proj')!.data.forEach((value, i) => {
    expect(value).toBeCloseTo(W.data[i] + delta[i], 13)
  })
})

test('modules written whole stand beside factors', async () => {
  const base = modelOf({
    'model.embed_tokens.weight': [7, 4],
    'model.layers.0.self_attn.o_proj.weight': [4, 4],
    'model.norm.weight': [4],
    'model.norm.bias': [4],
    'score.weight': [2, 4],
  })
  const tuned = new Map(
    [...base].map(([name, { shape, data }]) => [
      name,
      { shape, data: data.map((value) => Math.fround(value + 1)) },
    ]),
  )
  const traits = traitsOf(base)
  const module = moduleOf('model.layers.0.self_attn.o_proj.weight', [4, 4])
  const wanted = ['model.norm.bias', 'score.weight', 'model.layers.0.self_attn.o_proj.weight']
  const { saved, notCarried } = savedModules(wanted, tuned.keys(), new Set([module.path]), traits)
  expect(notCarried).toEqual([
    { name: 'model.layers.0.self_attn.o_proj.weight', reason: 'its module gets LoRA factors' },
  ])
  const plan = planAdapter({
    ranks: new Map([[module, 2]]),
    layout: 'portable',
    dtype: 'f32',
    base: f32Shapes(base),
    traits,
    saved,
  })
  const adapter = await writtenAdapter(plan, new Map([[module, randomFactors(module, 2, 3)]]), tuned)
  const { weights, missing, unexpected } = mergePeft(base, adapter)
  expect({ missing, unexpected }).toEqual({ missing: [], unexpected: [] })
  for (const name of ['model.norm.weight', 'model.norm.bias', 'score.weight']) {
    expect(weights.get(name)!.data).toEqual(tuned.get(name)!.data)
  }
  expect(weights.get('model.embed_tokens.weight')).toBe(base.get('model.embed_tokens.weight'))
  expect(plan.warnings.join()).toMatch(/vLLM refuses/)
})

const someRanks = fc.uniqueArray(fc.tuple(fc.nat(40), fc.integer({ min: 0, max: 9 })), {
  minLength: 1,
  maxLength: 8,
  selector: ([layer]) => layer,
})

test('every loader scales a portable adapter by 1; PEFT and vLLM a pattern one too', async () => {
  await fc.assert(
    fc.asyncProperty(someRanks, fc.constantFrom(...LAYOUTS), async (layers, layout) => {
      fc.pre(layers.some(([, rank]) => rank > 0))
      const ranks = new Map(
        layers.map(([layer, rank]) => [
          moduleOf(`model.layers.${layer}.self_attn.q_proj.weight`, [4, 6]),
          rank,
        ]),
      )
      const base = new Map(
        [...ranks.keys()].map(({ tensor, shape }) => [tensor, { dtype: 'F32' as const, shape }]),
      )
      const plan = planAdapter({ ranks, layout, dtype: 'f32', base, traits: traitsOf() })
      const factors = new Map([...ranks].map(([module, rank]) => [module, randomFactors(module, rank, rank)]))
      const { config, tensors } = await writtenAdapter(plan, factors)
      for (const { module, rank, storedRank, names } of plan.modules) {
        expect(storedRank).toBeGreaterThanOrEqual(rank)
        expect(tensors.get(names.A)!.shape[0]).toBe(storedRank)
        for (const [loader, scaleOf] of Object.entries(LOADER_SCALES)) {
          const scale = scaleOf(config, module.path, storedRank)
          const dividesByOwnRank = loader === 'llama.cpp' || loader === 'TensorRT-LLM'
          expect(scale, loader).toBe(dividesByOwnRank ? plan.r / storedRank : 1)
          if (layout === 'portable') expect(scale, loader).toBe(1)
        }
      }
      expect(plan.warnings.some((text) => text.includes('llama.cpp'))).toBe(
        plan.modules.some(({ storedRank }) => storedRank !== plan.r),
      )
    }),
    { numRuns: 50 },
  )
})

test('the size is exact before anything is computed', async () => {
  await fc.assert(
    fc.asyncProperty(
      someRanks,
      fc.constantFrom(...LAYOUTS),
      fc.constantFrom<FloatDtype>('f32', 'f16', 'bf16'),
      async (layers, layout, dtype) => {
        fc.pre(layers.some(([, rank]) => rank > 0))
        const ranks = new Map(
          layers.map(([layer, rank]) => [
            moduleOf(`layers.${layer}.mlp.up_proj.weight`, [5, 30 * layer + 1]),
            rank,
          ]),
        )
        const base = modelOf(
          Object.fromEntries([...ranks.keys()].map(({ tensor, shape }) => [tensor, shape])),
        )
        const tuned = modelOf({ 'norm.weight': [5], 'norm.bias': [5] })
        const traits = traitsOf()
        const { saved } = savedModules(['norm.weight'], tuned.keys(), new Set(), traits)
        const plan = planAdapter({ ranks, layout, dtype, base: f32Shapes(base), traits, saved })
        const facts = { baseModel: 'org/ü', taskType: undefined }
        const card = modelCard(plan, noFigures)
        const size = adapterSize(plan, f32Shapes(tuned), traits, facts, card)
        const factors = new Map(
          [...ranks].map(([module, rank]) => [module, randomFactors(module, rank, rank)]),
        )
        const { bytes } = await writtenAdapter(plan, factors, tuned, traits, facts)
        expect(size.header + size.data).toBe(bytes.weights)
        expect(size.config).toBe(bytes.config)
        expect(size.total).toBe(bytes.weights + bytes.config + Buffer.byteLength(card))
      },
    ),
    { numRuns: 50 },
  )
})
