import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadPeftAdapter, type MergeOptions, type ModuleClass, mergePeft } from '../lora/peft-rules.ts'
import {
  errorLeft,
  extracted,
  type NewModel,
  type NewTensor,
  numbers,
  tunedBy,
  weight,
  weightsOf,
  writeModel,
} from './extract-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder()
const at = (...names: string[]) => join(folder, ...names)

/** A model by its shapes, and a fine-tune of it: matrices by a change of rank 2 and some noise, vectors by noise. */
function pairOf(name: string, shapes: Readonly<Record<string, readonly number[]>>, config: object) {
  const before = Object.fromEntries(
    Object.entries(shapes).map(([tensor, shape], i) => [tensor, weight(shape, i + 1)]),
  )
  const after = Object.fromEntries(
    Object.entries(before).map(([tensor, value], i) => [tensor, tunedBy(value, 2, 100 + 3 * i, 1e-4)]),
  )
  return written(name, before, after, config)
}

function written(name: string, before: NewModel, after: NewModel, config?: object) {
  const layout = config === undefined ? {} : { config }
  return {
    base: writeModel(at(name, 'base'), before, layout),
    tuned: writeModel(at(name, 'tuned'), after, layout),
    out: at(name, 'adapter'),
  }
}

interface Layer {
  readonly name: string
  readonly relativeError: number
}

/** Extracts, verifies and merges by PEFT's rules: all three must tell of the same errors. */
async function carried(
  { base, tuned, out }: { base: string; tuned: string; out: string },
  args: readonly string[],
  options: MergeOptions = {},
) {
  const document = await extracted(base, tuned, out, args)
  const { stdout } = await runInProcess(['verify', out, base, tuned, '--json'])
  const verified = documentOf(stdout, 'verify-1')
  const errors = new Map(verified.layers.map(({ name, relativeError }: Layer) => [name, relativeError]))
  expect([...errors.keys()].sort()).toEqual(document.layers.map(({ name }: Layer) => name).sort())
  for (const { name, relativeError } of document.layers as Layer[])
    expect(Math.abs(Number(errors.get(name)) - relativeError), name).toBeLessThan(1e-12 * (1 + relativeError))
  expect(verified.replaced.map(({ name }: Layer) => name).sort()).toEqual(
    document.saved.map(({ name }: Layer) => name).sort(),
  )
  expect(verified.totals.wholeRelativeError).toBeCloseTo(document.totals.wholeRelativeError, 12)
  const [before, after] = [base, tuned].map(weightsOf)
  const adapter = loadPeftAdapter(out)
  const { weights, missing, unexpected } = mergePeft(before, adapter, options)
  expect({ missing, unexpected }).toEqual({ missing: [], unexpected: [] })
  for (const { name, relativeError } of document.layers as Layer[]) {
    if (name.endsWith(']')) continue
    const left = errorLeft(name, weights.get(name)!, after.get(name)!, before.get(name)!)
    expect(Math.abs(left - relativeError), name).toBeLessThan(2 ** -24 * (1 + relativeError))
  }
  for (const { name } of document.saved) expect(weights.get(name)!.data, name).toEqual(after.get(name)!.data)
  return { document, verified, config: adapter.config, tensors: adapter.tensors, weights, before, after }
}

const GPT2_SHAPES = {
  'wte.weight': [50, 16],
  'wpe.weight': [12, 16],
  'h.0.attn.c_attn.weight': [16, 48],
  'h.0.attn.c_attn.bias': [48],
  'h.0.attn.c_proj.weight': [16, 16],
  'h.0.mlp.c_fc.weight': [16, 64],
  'h.0.mlp.c_proj.weight': [64, 16],
  'h.0.ln_1.weight': [16],
  'ln_f.weight': [16],
}
const GPT2 = { architectures: ['GPT2LMHeadModel'], model_type: 'gpt2', vocab_size: 50 }
const gpt2Class = (path: string, shape: readonly number[]): ModuleClass =>
  /wte|wpe/.test(path)
    ? 'Embedding'
    : /c_attn|q_attn|c_fc|c_proj/.test(path)
      ? 'Conv1D'
      : shape.length === 2
        ? 'Linear'
        : 'other'

/** A ViT that sees and a GPT-2 that tells (transformers: VisionEncoderDecoderModel), of one width: all of their weights are square. */
const VIT_GPT2_SHAPES = {
  'encoder.embeddings.patch_embeddings.projection.weight': [16, 3, 4, 4],
  'encoder.encoder.layer.0.attention.attention.query.weight': [16, 16],
  'encoder.encoder.layer.0.attention.attention.value.weight': [16, 16],
  'encoder.encoder.layer.0.output.dense.weight': [16, 32],
  'decoder.transformer.wte.weight': [50, 16],
  'decoder.transformer.h.0.attn.c_attn.weight': [16, 48],
  'decoder.transformer.h.0.attn.c_proj.weight': [16, 16],
  'decoder.transformer.h.0.crossattention.q_attn.weight': [16, 16],
  'decoder.transformer.h.0.mlp.c_fc.weight': [16, 64],
}
const VIT_GPT2 = {
  architectures: ['VisionEncoderDecoderModel'],
  model_type: 'vision-encoder-decoder',
  encoder: { model_type: 'vit' },
  decoder: { model_type: 'gpt2' },
}

describe.concurrent('models', () => {
  test('GPT-2: Conv1D, and names without the prefix of the model', async () => {
    const pair = pairOf('gpt2', GPT2_SHAPES, GPT2)
    const options = { prefix: 'transformer.', classOf: gpt2Class }
    const { document, config, tensors } = await carried(pair, ['--rank=2'], options)
    expect(document.layers).toHaveLength(4)
    expect(config).toMatchObject({ fan_in_fan_out: true, task_type: 'CAUSAL_LM' })
    const key = 'base_model.model.transformer.h.0.attn.c_attn'
    expect(tensors.get(`${key}.lora_A.weight`)!.shape).toEqual([2, 16])
    expect(tensors.get(`${key}.lora_B.weight`)!.shape).toEqual([48, 2])
    for (const { relativeError } of document.layers) expect(relativeError).toBeLessThan(0.2)
  })

  test.each([
    ['with config.json', VIT_GPT2],
    ['without, by the shape of c_attn', undefined],
  ])('a ViT’s Linear and a GPT-2’s Conv1D in one model, all square: %s', async (_, config) => {
    const before = Object.fromEntries(
      Object.entries(VIT_GPT2_SHAPES).map(([name, shape], i) => [name, weight(shape, i + 1)]),
    )
    const after = Object.fromEntries(
      Object.entries(before).map(([name, value], i) => [
        name,
        /wte|patch/.test(name) ? value : tunedBy(value, 1, 100 + 3 * i),
      ]),
    )
    const pair = written(`vit-gpt2${config === undefined ? '-bare' : ''}`, before, after, config)
    const found = await carried(pair, ['--rank=1'], { classOf: gpt2Class })
    expect(found.config.fan_in_fan_out).toBe(true)
    expect(found.document.layers).toHaveLength(7)
    for (const { name, relativeError } of found.document.layers)
      expect(relativeError, name).toBeLessThan(1e-5)
    expect(found.verified.totals.relativeError).toBeLessThan(1e-5)
  })

  test('GPT-2 with embeddings, and the rest whole', async () => {
    const pair = pairOf('gpt2-whole', GPT2_SHAPES, GPT2)
    const options = { prefix: 'transformer.', classOf: gpt2Class }
    const { document } = await carried(pair, ['--energy=0.9', '--embeddings', '--carry-rest'], options)
    expect(document.layers).toHaveLength(6)
    expect(document.saved.map(({ name }: Layer) => name)).toEqual(['h.0.ln_1.weight', 'ln_f.weight'])
    expect(document.notCarried.map(({ name, reason }: Record<string, string>) => [name, reason])).toEqual([
      ['h.0.attn.c_attn.bias', 'not a matrix: a norm, a bias or a number; its module gets LoRA factors'],
    ])
  })

  test('convolutions, of one dimension and of two', async () => {
    const shapes = {
      'conv_in.weight': [16, 4, 3, 3],
      'down.0.conv.weight': [12, 16, 1, 1],
      'audio.conv.weight': [8, 6, 5],
      'fc.weight': [10, 12],
    }
    const { document, tensors } = await carried(pairOf('conv', shapes, {}), ['--rank=3', '--layout=pattern'])
    expect(document.layers.map(({ name, shape }: Record<string, unknown>) => [name, shape])).toEqual([
      ['audio.conv.weight', [8, 30]],
      ['conv_in.weight', [16, 36]],
      ['down.0.conv.weight', [12, 16]],
      ['fc.weight', [10, 12]],
    ])
    expect(tensors.get('base_model.model.conv_in.lora_A.weight')!.shape).toEqual([3, 4, 3, 3])
    expect(tensors.get('base_model.model.conv_in.lora_B.weight')!.shape).toEqual([16, 3, 1, 1])
  })

  const MOE_SHAPES = {
    'model.layers.0.mlp.experts.gate_up_proj': [3, 36, 20],
    'model.layers.0.mlp.experts.down_proj': [3, 20, 18],
    'model.layers.0.self_attn.o_proj.weight': [20, 20],
  }
  const MOE = { architectures: ['Qwen3MoeForCausalLM'], model_type: 'qwen3_moe' }

  test('stacked experts are left out, and said to be', async () => {
    const { document } = await carried(pairOf('no-experts', MOE_SHAPES, MOE), ['--rank=2'])
    expect(document.layers.map(({ name }: Layer) => name)).toEqual(['model.layers.0.self_attn.o_proj.weight'])
    expect(document.notCarried.map(({ name, reason }: Record<string, string>) => [name, reason])).toEqual([
      ['model.layers.0.mlp.experts.down_proj', '3-D experts'],
      ['model.layers.0.mlp.experts.gate_up_proj', '3-D experts'],
    ])
  })

  // down_proj of gpt-oss is square in the smaller of its two models
  const GPT_OSS_SHAPES = {
    'model.layers.0.mlp.experts.gate_up_proj': [3, 20, 40],
    'model.layers.0.mlp.experts.down_proj': [3, 20, 20],
    'model.layers.0.self_attn.o_proj.weight': [20, 20],
  }
  const GPT_OSS = { architectures: ['GptOssForCausalLM'], model_type: 'gpt_oss' }

  test.each([
    ['of one rank', 'experts', MOE_SHAPES, MOE, ['--rank=2']],
    ['of ranks of their own', 'experts-apart', MOE_SHAPES, MOE, ['--error=0.02', '--layout=pattern']],
    ['stored [in, out], one of them square', 'gpt-oss', GPT_OSS_SHAPES, GPT_OSS, ['--rank=2']],
  ])('--experts: each of its own error, all in one parameter, %s', async (_, name, shapes, model, rule) => {
    const expertsAreTransposed = model.model_type === 'gpt_oss'
    const { document, weights, before, after, config } = await carried(
      pairOf(name, shapes, model),
      [...rule, '--experts'],
      { expertsAreTransposed },
    )
    expect(document.layers).toHaveLength(7)
    for (const { relativeError, optimalError } of document.layers)
      expect(relativeError).toBeCloseTo(optimalError.atMost, 5)
    expect(config.target_parameters.sort()).toEqual([
      'model.layers.0.mlp.experts.down_proj',
      'model.layers.0.mlp.experts.gate_up_proj',
    ])
    for (const { name, relativeError } of document.layers as Layer[]) {
      const match = /^(.*)\[(\d)\]$/.exec(name)
      if (match === null) continue
      const [tensor, expert] = [match[1], Number(match[2])]
      const part = (model: ReadonlyMap<string, { shape: readonly number[]; data: Float64Array }>) => {
        const { shape, data } = model.get(tensor)!
        const size = shape[1] * shape[2]
        return { shape: shape.slice(1), data: data.subarray(expert * size, (expert + 1) * size) }
      }
      const left = errorLeft(name, part(weights), part(after), part(before))
      expect(Math.abs(left - relativeError), name).toBeLessThan(2 ** -24 * (1 + relativeError))
    }
  })

  test('tied embeddings: the head of the fine-tune alone is set beside the embedding', async () => {
    const embedding = weight([40, 16], 1)
    const q = weight([16, 16], 2)
    const before: Record<string, NewTensor> = {
      'model.embed_tokens.weight': embedding,
      'model.layers.0.self_attn.q_proj.weight': q,
    }
    const after = {
      ...before,
      'lm_head.weight': tunedBy(embedding, 2, 7),
      'model.layers.0.self_attn.q_proj.weight': tunedBy(q, 2, 9),
    }
    const config = { architectures: ['LlamaForCausalLM'], model_type: 'llama', tie_word_embeddings: true }
    const pair = written('tied', before, after, config)
    const { layers, warnings, unchanged } = await extracted(pair.base, pair.tuned, pair.out, ['--rank=2'])
    expect(layers.map(({ name }: Layer) => name)).toEqual([
      'lm_head.weight',
      'model.layers.0.self_attn.q_proj.weight',
    ])
    for (const { relativeError } of layers) expect(relativeError).toBeLessThan(1e-4)
    // the embedding itself stays, whether or not it may be factored
    const both = await runInProcess(['verify', pair.out, pair.base, pair.tuned, '--json', '--max-error=1e-4'])
    expect(both.code).toBe(0)
    expect(documentOf(both.stdout, 'verify-1').layers).toHaveLength(2)
    expect(unchanged).toEqual(['model.embed_tokens.weight'])
    expect(warnings.join('\n')).toContain('lm_head.weight')
  })

  test('tied embeddings of which both the embedding and the new head changed: each its own factors', async () => {
    const before = { 'model.embed_tokens.weight': weight([40, 16], 1) }
    const after = {
      'model.embed_tokens.weight': tunedBy(before['model.embed_tokens.weight'], 2, 7),
      'lm_head.weight': tunedBy(before['model.embed_tokens.weight'], 2, 11),
    }
    const { base, tuned, out } = written('tied-both', before, after, { model_type: 'llama' })
    const { layers } = await extracted(base, tuned, out, ['--rank=2', '--embeddings'])
    expect(layers).toHaveLength(2)
    for (const { relativeError } of layers) expect(relativeError).toBeLessThan(1e-4)
  })

  test('counters that no float can be are carried whole, to the bit', async () => {
    const counter = (value: number): NewTensor => ({ shape: [], data: [value], dtype: 'I64' })
    const before = {
      'fc.weight': weight([8, 6], 1),
      'bn.weight': weight([8], 2),
      'bn.num_batches_tracked': counter(3),
    }
    const after = {
      'fc.weight': tunedBy(before['fc.weight'], 2, 5),
      'bn.weight': weight([8], 3),
      'bn.num_batches_tracked': counter(70_000),
    }
    const { base, tuned, out } = written('counter', before, after)
    const { saved, notCarried } = await extracted(base, tuned, out, ['--rank=2', '--carry-rest'])
    expect(saved.map(({ name, relativeError }: Layer) => [name, relativeError])).toEqual([
      ['bn.weight', 0],
      ['bn.num_batches_tracked', 0],
    ])
    expect(notCarried).toEqual([])
  })

  test('float64 on both sides, for which factors are float32', async () => {
    const wide = { ...weight([12, 9], 1), dtype: 'F64' } as const
    const before = { 'fc.weight': wide }
    const after = { 'fc.weight': { ...tunedBy(wide, 2, 5), dtype: 'F64' } as const }
    const { layers } = (await carried(written('wide', before, after), ['--rank=2'])).document
    expect(layers[0].relativeError).toBeLessThan(1e-6)
    expect(layers[0].dtype).toBe('f32')
  })

  test('equal numbers in other dtypes are no change', async () => {
    // multiples of 1/8 below 16 are bfloat16 numbers
    const exact = { shape: [10, 10], data: numbers(100, 3).map((x) => Math.round(64 * x) / 8) }
    const before = { 'a.weight': exact, 'b.weight': weight([10, 10], 4) }
    const after = {
      'a.weight': { ...exact, dtype: 'BF16' } as const,
      'b.weight': tunedBy(before['b.weight'], 1, 5),
    }
    const { unchanged, layers } = (await carried(written('equal', before, after), ['--rank=1'])).document
    expect(unchanged).toEqual(['a.weight'])
    expect(layers).toHaveLength(1)
  })
})
