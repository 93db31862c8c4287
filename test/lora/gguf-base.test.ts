import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { matricesOfView } from '../../src/checkpoint/matrices.ts'
import { sameNumbers } from '../../src/checkpoint/models.ts'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { forEachChunk, readWeight } from '../../src/checkpoint/read.ts'
import type { Checkpoint } from '../../src/checkpoint/types.ts'
import { inNamesOf, refuseGguf } from '../../src/lora/read/gguf-base.ts'
import { checkpoint, folderOf, type TensorSpec } from '../checkpoint/support.ts'
import { noise } from '../cli/checkpoints.ts'
import { errorOf } from '../formats/fixtures.ts'
import { type RawTensor, raw, rawGguf } from '../formats/gguf-support.ts'

// Each tensor of a model as transformers has it, and what conversion/*.py of llama.cpp (@de3ff815) makes of it, written from there.

interface Named {
  readonly shape: readonly number[]
  readonly data: Float32Array
}

let seed = 1
const random = (...shape: number[]): Named => ({
  shape,
  data: Float32Array.from(
    noise(
      shape.reduce((a, b) => a * b, 1),
      seed++,
    ),
  ),
})

/** Rows in another order: row i is row `order[i]`. */
function reordered({ shape, data }: Named, order: readonly number[]): Named {
  const width = data.length / shape[0]
  const rows = order.map((row) => [...data.subarray(row * width, (row + 1) * width)])
  return { shape: [order.length, ...shape.slice(1)], data: Float32Array.from(rows.flat()) }
}

/** reshape(heads, 2, size / 2, …).swapaxes(1, 2): the rows that come after each other. */
function neighbours(rows: readonly number[], heads: number): number[] {
  const size = rows.length / heads
  const at = (head: number, half: number, i: number) => rows[head * size + half * (size / 2) + i]
  return Array.from({ length: heads }, (_, head) =>
    Array.from({ length: size / 2 }, (_, i) => [at(head, 0, i), at(head, 1, i)]),
  ).flat(2)
}

const upTo = (n: number, from = 0) => Array.from({ length: n }, (_, i) => from + i)
const rotated = (tensor: Named, heads: number) => reordered(tensor, neighbours(upTo(tensor.shape[0]), heads))
const plusOne = ({ shape, data }: Named): Named => ({ shape, data: data.map((x) => x + 1) })
const stacked = (all: readonly Named[]): Named => ({
  shape: [all.length, ...all[0].shape],
  data: Float32Array.from(all.flatMap(({ data }) => [...data])),
})

const as = (dims: Named): TensorSpec => ['F32', dims.shape, dims.data]

async function ggufOf(architecture: string, tensors: Readonly<Record<string, Named>>): Promise<Checkpoint> {
  let offset = 0
  const listed: RawTensor[] = []
  const parts: Buffer[] = []
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    listed.push({ name, dims: [...shape].reverse(), offset })
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    parts.push(bytes, Buffer.alloc(-bytes.length & 31))
    offset += bytes.length + (-bytes.length & 31)
  }
  const keys = [['general.architecture', ...raw.string(architecture)]] as const
  const file = rawGguf({ keys, tensors: listed, data: Buffer.concat(parts) })
  return openCheckpoint(join(folderOf({ 'base.gguf': file }), 'base.gguf'))
}

const tunedOf = async (
  tensors: Readonly<Record<string, Named>>,
  config: Record<string, unknown>,
): Promise<Checkpoint> => ({
  ...(await checkpoint(Object.fromEntries(Object.entries(tensors).map(([name, one]) => [name, as(one)])))),
  config,
})

async function numbersOf(found: Checkpoint, name: string): Promise<number[]> {
  const numbers: number[] = []
  await forEachChunk(found.tensors.get(name)!, (chunk) => void numbers.push(...chunk))
  return numbers
}

/** A model as both have it, and what of the GGUF has no other name. */
interface Case {
  readonly architecture: string
  readonly gguf: string
  readonly config?: Record<string, unknown>
  readonly pairs: readonly (readonly [name: string, ggufName: string, own: Named, converted?: Named])[]
}

async function expectSameModel({ architecture, gguf, config = {}, pairs }: Case) {
  const own = Object.fromEntries(pairs.map(([name, , tensor]) => [name, tensor]))
  const converted = Object.fromEntries(pairs.map(([, name, tensor, other]) => [name, other ?? tensor]))
  const tuned = await tunedOf(own, { architectures: [architecture], ...config })
  const base = await inNamesOf(await ggufOf(gguf, converted), tuned)
  expect([...base.tensors.keys()].sort()).toEqual([...tuned.tensors.keys()].sort())
  expect(base.isGguf).toBeUndefined()
  for (const [name, tensor] of base.tensors) {
    expect([name, tensor.name, tensor.shape]).toEqual([name, name, own[name].shape])
    expect(await numbersOf(base, name)).toEqual([...own[name].data])
    expect(await sameNumbers(tensor, tuned.tensors.get(name)!)).toBe(true)
  }
  return base
}

const HEADS = { num_attention_heads: 4, num_key_value_heads: 2 }
const [q, k, qBias, kBias] = [random(32, 8), random(16, 8), random(32), random(16)]

describe('a GGUF base in the names of transformers', () => {
  test('Llama: rows of queries and keys, their biases, norms, head', async () => {
    await expectSameModel({
      architecture: 'LlamaForCausalLM',
      gguf: 'llama',
      config: HEADS,
      pairs: [
        ['model.embed_tokens.weight', 'token_embd.weight', random(9, 8)],
        ['lm_head.weight', 'output.weight', random(9, 8)],
        ['model.norm.weight', 'output_norm.weight', random(8)],
        ['model.layers.11.self_attn.q_proj.weight', 'blk.11.attn_q.weight', q, rotated(q, 4)],
        ['model.layers.11.self_attn.k_proj.weight', 'blk.11.attn_k.weight', k, rotated(k, 2)],
        ['model.layers.11.self_attn.q_proj.bias', 'blk.11.attn_q.bias', qBias, rotated(qBias, 4)],
        ['model.layers.11.self_attn.k_proj.bias', 'blk.11.attn_k.bias', kBias, rotated(kBias, 2)],
        ['model.layers.11.self_attn.v_proj.weight', 'blk.11.attn_v.weight', random(16, 8)],
        ['model.layers.11.self_attn.o_proj.weight', 'blk.11.attn_output.weight', random(8, 32)],
        ['model.layers.11.mlp.down_proj.weight', 'blk.11.ffn_down.weight', random(8, 12)],
        ['model.layers.11.input_layernorm.weight', 'blk.11.attn_norm.weight', random(8)],
        ['model.layers.11.post_attention_layernorm.weight', 'blk.11.ffn_norm.weight', random(8)],
      ],
    })
  })

  test('Qwen 3 keeps its rows, and has norms of heads', async () => {
    await expectSameModel({
      architecture: 'Qwen3ForCausalLM',
      gguf: 'qwen3',
      config: HEADS,
      pairs: [
        ['model.layers.0.self_attn.q_proj.weight', 'blk.0.attn_q.weight', q],
        ['model.layers.0.self_attn.q_norm.weight', 'blk.0.attn_q_norm.weight', random(8)],
        ['model.layers.0.self_attn.k_norm.weight', 'blk.0.attn_k_norm.weight', random(8)],
        ['model.layers.0.post_attention_layernorm.weight', 'blk.0.ffn_norm.weight', random(8)],
      ],
    })
  })

  test('Gemma 2: four norms, stored plus 1, and no head', async () => {
    // of such weights 1 + w loses bits in float32
    const norms = [1, 2, 3, 4, 5].map(() => {
      const { shape, data } = random(6)
      return { shape, data: data.map((x, i) => x * 10 ** -i) }
    })
    const names = [
      ['input_layernorm', 'attn_norm'],
      ['post_attention_layernorm', 'post_attention_norm'],
      ['pre_feedforward_layernorm', 'ffn_norm'],
      ['post_feedforward_layernorm', 'post_ffw_norm'],
    ]
    await expectSameModel({
      architecture: 'Gemma2ForCausalLM',
      gguf: 'gemma2',
      pairs: [
        ['model.norm.weight', 'output_norm.weight', norms[4], plusOne(norms[4])],
        ...names.map(
          ([own, name], i) =>
            [`model.layers.3.${own}.weight`, `blk.3.${name}.weight`, norms[i], plusOne(norms[i])] as const,
        ),
        ['model.embed_tokens.weight', 'token_embd.weight', random(9, 6)],
      ],
    })
  })

  test('a norm that was trained is the stored one less 1', async () => {
    const stored = { shape: [2], data: Float32Array.of(1.5, 0.75) }
    const tuned = await tunedOf({ 'model.norm.weight': random(2) }, { architectures: ['GemmaForCausalLM'] })
    const base = await inNamesOf(await ggufOf('gemma', { 'output_norm.weight': stored }), tuned)
    expect(await numbersOf(base, 'model.norm.weight')).toEqual([0.5, -0.25])
  })

  test('Phi 3 has its fused weights as they are', async () => {
    await expectSameModel({
      architecture: 'Phi3ForCausalLM',
      gguf: 'phi3',
      pairs: [
        ['model.layers.0.self_attn.qkv_proj.weight', 'blk.0.attn_qkv.weight', random(24, 8)],
        ['model.layers.0.mlp.gate_up_proj.weight', 'blk.0.ffn_up.weight', random(24, 8)],
      ],
    })
  })

  test('GPT-NeoX: query, key and value of each head', async () => {
    const qkv = random(24, 8)
    // reshape(heads, 3, size, …): heads of 4 rows
    const part = (i: number) => [0, 1].flatMap((head) => upTo(4, head * 12 + i * 4))
    const order = [part(0), part(1), part(2)].flat()
    await expectSameModel({
      architecture: 'GPTNeoXForCausalLM',
      gguf: 'gptneox',
      config: { num_attention_heads: 2 },
      pairs: [
        [
          'gpt_neox.layers.1.attention.query_key_value.weight',
          'blk.1.attn_qkv.weight',
          qkv,
          reordered(qkv, order),
        ],
        ['gpt_neox.final_layer_norm.bias', 'output_norm.bias', random(8)],
        ['gpt_neox.layers.1.post_attention_layernorm.bias', 'blk.1.ffn_norm.bias', random(8)],
        ['embed_out.weight', 'output.weight', random(9, 8)],
      ],
    })
  })

  test('InternLM2: three tensors make one', async () => {
    const wqkv = random(32, 8)
    // two groups of 16 rows: two queries of 4, a key, a value
    const part = (from: number, size: number) => [0, 16].flatMap((group) => upTo(size, group + from))
    const own = { architectures: ['InternLM2ForCausalLM'], ...HEADS }
    const tuned = await tunedOf({ 'model.layers.0.attention.wqkv.weight': wqkv }, own)
    const converted = {
      'blk.0.attn_q.weight': reordered(wqkv, neighbours(part(0, 8), 4)),
      'blk.0.attn_k.weight': reordered(wqkv, neighbours(part(8, 4), 2)),
      'blk.0.attn_v.weight': reordered(wqkv, part(12, 4)),
    }
    const base = await inNamesOf(await ggufOf('internlm2', converted), tuned)
    expect([...base.tensors.keys()]).toEqual(['model.layers.0.attention.wqkv.weight'])
    expect(await numbersOf(base, 'model.layers.0.attention.wqkv.weight')).toEqual([...wqkv.data])
  })

  const experts = ['gate', 'up', 'down'].map((name) =>
    [0, 1, 2].map(() => random(...(name === 'down' ? [8, 4] : [4, 8]))),
  )
  const stacks = {
    'blk.0.ffn_gate_exps.weight': stacked(experts[0]),
    'blk.0.ffn_up_exps.weight': stacked(experts[1]),
    'blk.0.ffn_down_exps.weight': stacked(experts[2]),
    'blk.0.ffn_gate_inp.weight': random(3, 8),
  }

  test.each([
    ['Qwen3MoeForCausalLM', 'qwen3moe', 'mlp', ['gate_proj', 'up_proj', 'down_proj']],
    ['MixtralForCausalLM', 'llama', 'block_sparse_moe', ['w1', 'w3', 'w2']],
  ])('%s: experts of their own are parts of stacks', async (architecture, gguf, block, names) => {
    const own = names.flatMap((name, i) =>
      experts[i].map((tensor, e) => [`model.layers.0.${block}.experts.${e}.${name}.weight`, tensor] as const),
    )
    const router = [`model.layers.0.${block}.gate.weight`, stacks['blk.0.ffn_gate_inp.weight']] as const
    const tuned = await tunedOf(Object.fromEntries([...own, router]), { architectures: [architecture] })
    const base = await inNamesOf(await ggufOf(gguf, stacks), tuned)
    expect([...base.tensors.keys()].sort()).toEqual([...tuned.tensors.keys()].sort())
    for (const [name, { shape, data }] of own) {
      expect(base.tensors.get(name)!.shape).toEqual(shape)
      expect(await numbersOf(base, name)).toEqual([...data])
    }
  })

  test('experts that transformers 5 has fused: gate and up of each together', async () => {
    const both = stacked(
      experts[0].map(({ data }, e) => ({
        shape: [8, 8],
        data: Float32Array.from([...data, ...experts[1][e].data]),
      })),
    )
    const own = {
      'model.layers.0.mlp.experts.gate_up_proj': both,
      'model.layers.0.mlp.experts.down_proj': stacked(experts[2]),
      'model.layers.0.mlp.gate.weight': stacks['blk.0.ffn_gate_inp.weight'],
    }
    const tuned = await tunedOf(own, { architectures: ['Qwen3MoeForCausalLM'] })
    const base = await inNamesOf(await ggufOf('qwen3moe', stacks), tuned)
    expect([...base.tensors.keys()].sort()).toEqual(Object.keys(own).sort())
    for (const [name, { shape, data }] of Object.entries(own)) {
      expect(base.tensors.get(name)!.shape).toEqual(shape)
      expect(await numbersOf(base, name)).toEqual([...data])
    }
    const tensor = base.tensors.get('model.layers.0.mlp.experts.gate_up_proj')!
    const view = { kind: 'expert', count: 3, rows: 8, columns: 8 } as const
    for (const [e, matrix] of matricesOfView(tensor, view, 'f32').entries()) {
      const { data } = (await readWeight(matrix)) as { data: Float32Array }
      expect([...data]).toEqual([...both.data.subarray(64 * e, 64 * (e + 1))])
    }
  })

  test('names with parts of wrappers in them', async () => {
    const name = 'model.layers.0._orig_mod.self_attn.q_proj.weight'
    const tuned = await tunedOf(
      { [name]: q, '_orig_mod.model.norm.weight': random(8) },
      { architectures: ['LlamaForCausalLM'], ...HEADS },
    )
    const norm = random(8)
    const base = await inNamesOf(
      await ggufOf('llama', { 'blk.0.attn_q.weight': rotated(q, 4), 'output_norm.weight': norm }),
      tuned,
    )
    expect([...base.tensors.keys()]).toEqual(['model.layers.0.self_attn.q_proj.weight', 'model.norm.weight'])
    expect(await numbersOf(base, 'model.layers.0.self_attn.q_proj.weight')).toEqual([...q.data])
    expect(await numbersOf(base, 'model.norm.weight')).toEqual([...norm.data])
  })

  test('what has no counterpart keeps its name; frequencies are no weights', async () => {
    const tuned = await tunedOf(
      { 'model.norm.weight': random(8), 'model.extra.weight': random(2, 2) },
      { architectures: ['LlamaForCausalLM'] },
    )
    const base = await inNamesOf(
      await ggufOf('llama', {
        'rope_freqs.weight': random(4),
        'blk.0.attn_new.weight': random(2, 2),
        'blk.0.attn_q.weight': q,
      }),
      tuned,
    )
    expect([...base.tensors.keys()]).toEqual(['blk.0.attn_new.weight', 'blk.0.attn_q.weight'])
  })

  test('heads that don’t divide the rows leave them under llama.cpp’s name', async () => {
    const name = 'model.layers.0.self_attn.q_proj.weight'
    for (const heads of [3, 1e9, '4', undefined]) {
      const config = { architectures: ['LlamaForCausalLM'], num_attention_heads: heads }
      const base = await inNamesOf(
        await ggufOf('llama', { 'blk.0.attn_q.weight': q }),
        await tunedOf({ [name]: q }, config),
      )
      expect([...base.tensors.keys()]).toEqual(['blk.0.attn_q.weight'])
    }
  })
})

describe('what can’t be told is refused', () => {
  const tensors = { 'token_embd.weight': random(2, 2) }
  const own = { 'model.embed_tokens.weight': random(2, 2) }
  test.each([
    [
      'an unknown architecture',
      'llama',
      { architectures: ['BrandNewForCausalLM'] },
      '"BrandNewForCausalLM" is none of those',
    ],
    [
      'another one',
      'qwen2',
      { architectures: ['LlamaForCausalLM'] },
      'of the architecture "qwen2", and the tuned one is LlamaForCausalLM',
    ],
    [
      'transposed weights',
      'gpt2',
      { architectures: ['GPT2LMHeadModel'] },
      'holds the weights of GPT2LMHeadModel transposed',
    ],
    ['no architecture', 'llama', {}, 'no config.json that tells its architecture'],
    [
      'a name that objects have',
      'llama',
      { architectures: ['constructor'] },
      '"constructor" is none of those',
    ],
  ])('%s', async (_, gguf, config, message) => {
    const [base, tuned] = [await ggufOf(gguf, tensors), await tunedOf(own, config)]
    const error = await errorOf(() => inNamesOf(base, tuned))
    expect(error).toMatchObject({ code: 'bad-input' })
    expect(error.message).toContain(message)
    expect(() => refuseGguf(base)).toThrow('as the tuned model name the safetensors checkpoint')
    expect(await inNamesOf(tuned, base)).toBe(tuned)
  })
})
