import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { ggufChunks, layoutGguf } from '../../src/formats/gguf-writer.ts'
import { readFactors } from '../../src/lora/factors.ts'
import { adapterOf } from '../../src/lora/read/adapter.ts'
import { type GgufModuleToWrite, planGgufAdapter } from '../../src/lora/write/gguf.ts'
import { type GgufModel, ggufModel } from '../../src/lora/write/gguf-names.ts'
import { fixture, folderOf } from '../checkpoint/support.ts'
import { readRaw } from '../formats/gguf-support.ts'

const LLAMA = { architectures: ['LlamaForCausalLM'], num_attention_heads: 2, num_key_value_heads: 1 }
const llama = ggufModel(LLAMA, 'base')

const numbers = (length: number, seed: number) =>
  Float64Array.from({ length }, (_, i) => (((i * 7 + seed * 13) % 31) - 15) / 2)

function module(
  path: string,
  rank: number,
  out: number,
  columns: number,
  isEmbedding = false,
): GgufModuleToWrite {
  const factors = { A: numbers(rank * columns, path.length), B: numbers(out * rank, path.length + rank) }
  return { path, isEmbedding, rank, out, columns, factors: () => factors }
}

async function bytesOf(modules: readonly GgufModuleToWrite[], model: GgufModel, name?: string) {
  const plan = planGgufAdapter(modules, model, { dtype: 'f32', ...(name !== undefined && { name }) })
  const chunks: Uint8Array[] = []
  for await (const chunk of ggufChunks(layoutGguf(plan.tensors, plan.metadata))) chunks.push(chunk)
  return { bytes: new Uint8Array(Buffer.concat(chunks)), refused: plan.refused }
}

/** What is read of a written adapter, by the names of its modules: scale·B·A in float64. */
async function readBack(modules: readonly GgufModuleToWrite[], model: GgufModel) {
  const { bytes } = await bytesOf(modules, model)
  const folder = folderOf({ 'a.gguf': bytes })
  const adapter = (await adapterOf(await openCheckpoint(join(folder, 'a.gguf'))))!
  const products = new Map<string, Float64Array>()
  for (const one of adapter.modules) {
    const { A, B, scale } = await readFactors(one)
    products.set(one.label, times(B.data, A.data, one.rows, one.rank, one.columns, scale))
  }
  return { adapter, products }
}

function times(
  B: ArrayLike<number>,
  A: ArrayLike<number>,
  rows: number,
  rank: number,
  columns: number,
  scale = 1,
) {
  const out = new Float64Array(rows * columns)
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      for (let k = 0; k < rank; k++) out[i * columns + j] += scale * B[i * rank + k] * A[k * columns + j]
    }
  }
  return out
}

const deltaOf = async ({ rank, out, columns, factors }: GgufModuleToWrite) => {
  const { A, B } = await factors()
  return times(B, A, out, rank, columns)
}

test('the keys, types and tensors of the converter’s plain file', async () => {
  const golden: {
    cases: { what?: string; metadata: Record<string, { type: string[]; value: unknown }>; tensors: object }[]
  } = JSON.parse(readFileSync(fixture('goldens/ggufnames.json'), 'utf8'))
  const { metadata, tensors } = golden.cases.find(({ what }) => what?.startsWith('a plain file'))!
  const { bytes } = await bytesOf([module('model.layers.0.self_attn.q_proj', 2, 16, 16)], llama, 'L')
  const { keys, infos } = readRaw(bytes)
  const TYPES: Record<string, number> = { STRING: 8, FLOAT32: 6, UINT32: 4 }
  const expected = Object.entries(metadata).filter(([key]) => !key.startsWith('GGUF.'))
  // its alpha is 4 with the scale left to llama.cpp, ours the rank with the scale in the factors
  expect(Object.entries(keys)).toEqual(
    expected.map(([key, { type, value }]) => [
      key,
      [TYPES[type[0]], key === 'adapter.lora.alpha' ? 2 : value],
    ]),
  )
  expect(Object.fromEntries(infos.map(({ name, dims }) => [name, ['F32', ...dims.reverse()]]))).toEqual(
    tensors,
  )
})

test('one rank: alpha is it; several: none. Both count the factors as they are', async () => {
  const q = module('model.layers.0.self_attn.q_proj', 2, 16, 16)
  const up = module('model.layers.0.mlp.up_proj', 2, 24, 16)
  const down = module('model.layers.0.mlp.down_proj', 3, 16, 24)
  const one = await readBack([q, up], llama)
  expect(one.adapter.modules.map(({ alpha, scale }) => [alpha, scale])).toEqual([
    [2, 1],
    [2, 1],
  ])
  const several = await readBack([q, up, down], llama)
  expect(several.adapter.modules.map(({ alpha, scale }) => [alpha, scale])).toEqual([
    [undefined, 1],
    [undefined, 1],
    [undefined, 1],
  ])
  expect(several.products.get('blk.0.ffn_down')).toEqual(await deltaOf(down))
  const order = [0, 4, 1, 5, 2, 6, 3, 7].flatMap((i) => [i]).concat([8, 12, 9, 13, 10, 14, 11, 15])
  const delta = await deltaOf(q)
  const permuted = several.products.get('blk.0.attn_q')!
  for (const [row, from] of order.entries()) {
    expect(permuted.subarray(16 * row, 16 * (row + 1))).toEqual(delta.subarray(16 * from, 16 * (from + 1)))
  }
})

test('an embedding is turned', async () => {
  const embedding = module('model.embed_tokens', 2, 6, 10, true)
  const { products, adapter } = await readBack([embedding], llama)
  expect(adapter.modules[0]).toMatchObject({ kind: 'embedding', rows: 10, columns: 6 })
  const delta = await deltaOf(embedding)
  const found = products.get('token_embd')!
  for (let i = 0; i < 6; i++) for (let t = 0; t < 10; t++) expect(found[t * 6 + i]).toBe(delta[i * 10 + t])
})

test('InternLM2’s fused rows go to three tensors, which share lora_a', async () => {
  const model = ggufModel({ ...LLAMA, architectures: ['InternLM2ForCausalLM'] }, 'base')
  const fused = module('model.layers.0.attention.wqkv', 2, 32, 16)
  const { products } = await readBack([fused], model)
  expect([...products.keys()]).toEqual(['blk.0.attn_q', 'blk.0.attn_k', 'blk.0.attn_v'])
  expect(products.get('blk.0.attn_v')).toEqual((await deltaOf(fused)).subarray(24 * 16))
})

test('experts are stacked, with zeros for smaller ranks and for those without factors', async () => {
  const model = ggufModel({ ...LLAMA, architectures: ['Qwen3MoeForCausalLM'], num_experts: 4 }, 'base')
  const of = (expert: number, rank: number) =>
    module(`model.layers.0.mlp.experts.${expert}.up_proj`, rank, 6, 8)
  const experts = [of(2, 3), of(0, 1)]
  const { adapter, products } = await readBack(experts, model)
  expect(adapter.modules.map(({ label, rank, scale }) => [label, rank, scale])).toEqual(
    [0, 1, 2, 3].map((e) => [`blk.0.ffn_up_exps[${e}]`, 3, 1]),
  )
  expect(products.get('blk.0.ffn_up_exps[2]')).toEqual(await deltaOf(experts[0]))
  expect(products.get('blk.0.ffn_up_exps[0]')).toEqual(await deltaOf(experts[1]))
  expect(products.get('blk.0.ffn_up_exps[1]')).toEqual(new Float64Array(48))
})

describe('a stack of experts', () => {
  const OWNER = 'model.layers.0.mlp.experts'
  const settings = { ...LLAMA, num_experts: 2 }
  const qwen = ggufModel({ ...settings, architectures: ['Qwen3MoeForCausalLM'] }, 'base')
  const mixtral = ggufModel({ ...settings, architectures: ['MixtralForCausalLM'] }, 'base')
  const stackOf = (path: string, out: number, columns: number, ranks: readonly number[]) =>
    ranks.map((rank, expert) => ({ ...module(path, rank, out, columns), expert }))

  test.each([
    ['Qwen', qwen, OWNER],
    ['Mixtral, as transformers 5 has it', mixtral, OWNER],
    ['Mixtral, as it is stored', mixtral, 'model.layers.0.block_sparse_moe.experts'],
  ])('%s: gate and up are the halves of its rows', async (_, model, owner) => {
    const [fused, down] = [
      stackOf(`${owner}.gate_up_proj`, 12, 8, [2, 3]),
      stackOf(`${owner}.down_proj`, 8, 6, [2, 2]),
    ]
    const { products } = await readBack([...fused, ...down], model)
    expect([...products.keys()].sort()).toEqual(
      ['down', 'gate', 'up'].flatMap((role) => [0, 1].map((e) => `blk.0.ffn_${role}_exps[${e}]`)),
    )
    for (const e of [0, 1]) {
      const delta = await deltaOf(fused[e])
      expect(products.get(`blk.0.ffn_gate_exps[${e}]`)).toEqual(delta.subarray(0, 48))
      expect(products.get(`blk.0.ffn_up_exps[${e}]`)).toEqual(delta.subarray(48))
      expect(products.get(`blk.0.ffn_down_exps[${e}]`)).toEqual(await deltaOf(down[e]))
    }
  })

  test.each([
    ['no model of experts', llama, `${OWNER}.gate_up_proj`, 12, "has no place in llama.cpp's llama"],
    ['another parameter', qwen, `${OWNER}.gate_proj`, 12, 'has no place'],
    ['no layer', qwen, 'mlp.experts.gate_up_proj', 12, 'has no place'],
    ['no halves', qwen, `${OWNER}.gate_up_proj`, 13, 'has 13 rows, which are no halves of gate and up'],
  ] as const)('%s: one reason for all of them', async (_, model, path, rows, says) => {
    const { refused } = await bytesOf(stackOf(path, rows, 8, [2, 2]), model)
    expect(refused).toHaveLength(1)
    expect(refused[0].path).toBe(path)
    expect(refused[0].reason).toContain(says)
  })

  test('an expert that config.json does not speak of', async () => {
    const { refused } = await bytesOf(stackOf(`${OWNER}.down_proj`, 8, 6, [1, 1, 1]), qwen)
    expect(refused.map(({ reason }) => reason)).toEqual(['is past the 2 experts that config.json speaks of'])
  })
})

test('what has no place is listed, with the reason', async () => {
  const moe = (settings: object) =>
    ggufModel({ ...LLAMA, architectures: ['Qwen3MoeForCausalLM'], ...settings }, 'base')
  const expert = module('model.layers.0.mlp.experts.4.up_proj', 2, 6, 8)
  const reasons = async (modules: readonly GgufModuleToWrite[], model: GgufModel) =>
    (await bytesOf(modules, model)).refused.map(({ path, reason }) => `${path} ${reason}`)
  expect(await reasons([expert], moe({ num_experts: 4 }))).toEqual([
    'model.layers.0.mlp.experts.4.up_proj is past the 4 experts that config.json speaks of',
  ])
  expect((await reasons([expert], moe({})))[0]).toContain('config.json does not say how many there are')
  const tied = ggufModel({ ...LLAMA, tie_word_embeddings: true }, 'base')
  expect(
    await reasons([module('lm_head', 2, 10, 8), module('model.layers.0.mlp.up_proj', 2, 8, 8)], tied),
  ).toEqual(['lm_head is the head of a model that ties it to the embedding: the GGUF has no output.weight'])
})
