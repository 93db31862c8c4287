import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import {
  adapterGguf,
  ggufFile,
  ggufName,
  modelGguf,
  neighbouringRows,
  q4_0,
  wholeTensors,
} from '../../bench/gguf.mjs'
import { torchNormals } from '../../src/random/torch.ts'
import { safetensorsFile } from '../cli/files.ts'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import { temporaryFolder } from '../temporary.ts'
import { floatsOf, readGguf } from './read-gguf.ts'

// bench/gguf.mjs writes what bench/llama-cpp.mjs gives to a real llama.cpp; here its bytes, without one.

const fixture = (path: string) => fileURLToPath(new URL(`../fixtures/digits-llama/${path}`, import.meta.url))
const BASE = fixture('base')
const [HEADS, HEAD] = [4, 24]
const [STRING, U32, I32, F32] = [8, 4, 5, 6]

/** Rows 0, d/2, 1, d/2 + 1, … of each head. */
const neighbours = (heads: number, size: number) =>
  Array.from({ length: heads * size }, (_, row) => {
    const [head, inHead] = [Math.floor(row / size), row % size]
    return head * size + (inHead % 2 === 0 ? inHead / 2 : size / 2 + (inHead - 1) / 2)
  })

const rowsOf = (values: Float64Array, columns: number) =>
  Array.from({ length: values.length / columns }, (_, row) => [
    ...values.subarray(row * columns, (row + 1) * columns),
  ])

test('a file, byte by byte', () => {
  const file = ggufFile(
    [
      ['n', 'u32', 7],
      ['é', 'string', 'ab'],
      ['l', 'f32', [1, -2]],
    ],
    [
      { name: 't', shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) },
      { name: 'u', shape: [1], data: Float32Array.of(0.5) },
    ],
  )
  const parts = [
    '47475546 03000000 0200000000000000 0300000000000000',
    '0100000000000000 6e 04000000 07000000',
    '0200000000000000 c3a9 08000000 0200000000000000 6162',
    '0100000000000000 6c 09000000 06000000 0200000000000000 0000803f 000000c0',
    // the fastest dimension first
    '0100000000000000 74 02000000 0300000000000000 0200000000000000 00000000 0000000000000000',
    '0100000000000000 75 01000000 0100000000000000 00000000 2000000000000000',
  ]
  const head = Buffer.from(parts.join('').replaceAll(' ', ''), 'hex')
  const padding = Buffer.alloc(32 - (head.length % 32))
  const first = `0000803f 00000040 00004040 00008040 0000a040 0000c040 ${'00'.repeat(8)}`
  const second = `0000003f ${'00'.repeat(28)}`
  const data = Buffer.from(`${first}${second}`.replaceAll(' ', ''), 'hex')
  expect(file).toEqual(Buffer.concat([head, padding, data]))
})

test('four bits are those of llama.cpp’s own quantiser', () => {
  // scripts/golden-gguf-quantised.py: torch.randn with seed 13, times 0.02
  const numbers = torchNormals(13).normals(64 * 256, 'f32')
  const bytes = q4_0(Float32Array.from(numbers, (x) => x * Math.fround(0.02)))
  const file = readFileSync(fileURLToPath(new URL('../fixtures/gguf/quantised.gguf', import.meta.url)))
  expect(bytes).toHaveLength(512 * 18)
  expect(file.includes(bytes)).toBe(true)
  expect(q4_0(new Float32Array(32))).toEqual(Buffer.from([0, 0x80, ...Array(16).fill(0x88)]))
})

test('rows that llama.cpp rotates are neighbours, as its converter orders them', () => {
  // ggufnames.json, LlamaForCausalLM: "rope" of heads of 8 rows, by convert_lora_to_gguf.py
  const order = [0, 4, 1, 5, 2, 6, 3, 7]
  const { data } = neighbouringRows(
    { shape: [16, 1], data: Float32Array.from({ length: 16 }, (_, i) => i) },
    2,
  )
  expect([...data]).toEqual([...order, ...order.map((row) => 8 + row)])
})

test('a checkpoint: its keys', () => {
  const { version, keys } = readGguf(modelGguf(BASE))
  expect(version).toBe(3)
  const scalars = [...keys].filter(([, { isArray }]) => !isArray)
  expect(scalars.map(([key, { type, value }]) => [key, type, value])).toEqual([
    ['general.architecture', STRING, 'llama'],
    ['general.type', STRING, 'model'],
    ['general.file_type', U32, 0],
    ['llama.vocab_size', U32, 28],
    ['llama.context_length', U32, 66],
    ['llama.embedding_length', U32, 96],
    ['llama.block_count', U32, 3],
    ['llama.feed_forward_length', U32, 256],
    ['llama.attention.head_count', U32, 4],
    ['llama.attention.head_count_kv', U32, 4],
    ['llama.attention.layer_norm_rms_epsilon', F32, Math.fround(1e-6)],
    ['llama.rope.dimension_count', U32, 24],
    ['llama.rope.freq_base', F32, 10000],
    ['tokenizer.ggml.model', STRING, 'llama'],
  ])
  const arrays = [...keys].filter(([, { isArray }]) => isArray)
  expect(arrays.map(([key, { type }]) => [key, type])).toEqual([
    ['tokenizer.ggml.tokens', STRING],
    ['tokenizer.ggml.scores', F32],
    ['tokenizer.ggml.token_type', I32],
  ])
  for (const [, { value }] of arrays) expect(value).toHaveLength(28)
  expect(new Set(keys.get('tokenizer.ggml.tokens')!.value as string[]).size).toBe(28)
})

test('a checkpoint: every tensor is there, the rows of q and k in their order', () => {
  const { tensors } = readGguf(modelGguf(BASE))
  const own = readSafetensorsFile(join(BASE, 'model.safetensors'))
  expect(tensors.size).toBe(own.size)
  const layers = {
    attn_q: 'self_attn.q_proj',
    attn_k: 'self_attn.k_proj',
    attn_v: 'self_attn.v_proj',
    attn_output: 'self_attn.o_proj',
    ffn_gate: 'mlp.gate_proj',
    ffn_up: 'mlp.up_proj',
    ffn_down: 'mlp.down_proj',
    attn_norm: 'input_layernorm',
    ffn_norm: 'post_attention_layernorm',
  }
  const names = new Map([
    ['token_embd', 'model.embed_tokens'],
    ['output_norm', 'model.norm'],
    ['output', 'lm_head'],
    ...[0, 1, 2].flatMap((layer) =>
      Object.entries(layers).map(
        ([to, from]) => [`blk.${layer}.${to}`, `model.layers.${layer}.${from}`] as const,
      ),
    ),
  ])
  expect([...tensors.keys()].sort()).toEqual([...names.keys()].map((name) => `${name}.weight`).sort())
  for (const [to, from] of names) {
    const { shape, data } = own.get(`${from}.weight`)!
    const tensor = tensors.get(`${to}.weight`)!
    expect(tensor.dimensions).toEqual([...shape].reverse())
    const rows = rowsOf(data, shape.at(-1)!)
    const isTurned = /[qk]_proj$/.test(from)
    const expected = isTurned ? neighbours(HEADS, HEAD).map((row) => rows[row]) : rows
    expect(floatsOf(tensor), from).toEqual(expected.flat())
  }
})

test('a tensor that an adapter stores whole takes the place of the base’s', () => {
  const norm = { shape: [96], data: Float32Array.from({ length: 96 }, (_, i) => i) }
  const { tensors } = readGguf(modelGguf(BASE, new Map([['model.norm.weight', norm]])))
  expect(floatsOf(tensors.get('output_norm.weight')!)).toEqual([...norm.data])
})

/** An adapter of rank 1 for a Llama of two heads, one of keys and values, each of four rows. */
function smallAdapter() {
  const folder = temporaryFolder('gguf')
  const base = join(folder, 'base')
  mkdirSync(base)
  const config = { num_attention_heads: 2, num_key_value_heads: 1 }
  writeFileSync(join(base, 'config.json'), JSON.stringify(config))
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify({ r: 1, lora_alpha: 3 }))
  const layer = 'base_model.model.model.layers.7.self_attn'
  // bfloat16: the upper halves of float32
  const shapes = {
    [`${layer}.q_proj.lora_A.weight`]: [1, 8],
    [`${layer}.q_proj.lora_B.weight`]: [8, 1],
    [`${layer}.k_proj.lora_B.weight`]: [4, 1],
    [`${layer}.v_proj.lora_B.weight`]: [4, 1],
    'base_model.model.model.norm.weight': [8],
  }
  const halves: number[] = []
  const header: Record<string, object> = {}
  for (const [name, shape] of Object.entries(shapes)) {
    const count = shape.reduce((a, b) => a * b)
    const data_offsets = [2 * halves.length, 2 * (halves.length + count)]
    header[name] = { dtype: 'BF16', shape, data_offsets }
    const floats = Buffer.alloc(4)
    for (let i = 0; i < count; i++) {
      floats.writeFloatLE(i)
      halves.push(floats.readUInt16LE(2))
    }
  }
  const data = Buffer.alloc(2 * halves.length)
  halves.forEach((half, i) => {
    data.writeUInt16LE(half, 2 * i)
  })
  writeFileSync(join(folder, 'adapter_model.safetensors'), safetensorsFile(header, data))
  return { folder, base }
}

test('an adapter: alpha in float32, and of B alone the rows of q and k in their order', () => {
  const { folder, base } = smallAdapter()
  const { keys, tensors } = readGguf(adapterGguf(folder, base))
  expect([...keys].map(([key, { type, value }]) => [key, type, value])).toEqual([
    ['general.architecture', STRING, 'llama'],
    ['general.type', STRING, 'adapter'],
    ['adapter.type', STRING, 'lora'],
    ['adapter.lora.alpha', F32, 3],
  ])
  const found = [...tensors].map(([name, tensor]) => [name, tensor.dimensions, floatsOf(tensor)])
  expect(found).toEqual([
    ['blk.7.attn_q.weight.lora_a', [8, 1], [0, 1, 2, 3, 4, 5, 6, 7]],
    ['blk.7.attn_q.weight.lora_b', [1, 8], [0, 2, 1, 3, 4, 6, 5, 7]],
    ['blk.7.attn_k.weight.lora_b', [1, 4], [0, 2, 1, 3]],
    ['blk.7.attn_v.weight.lora_b', [1, 4], [0, 1, 2, 3]],
  ])
  const asTheyAre = readGguf(adapterGguf(folder, base, { turnsRows: false })).tensors
  expect(floatsOf(asTheyAre.get('blk.7.attn_q.weight.lora_b')!)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  expect([...wholeTensors(folder)].map(([name, { data }]) => [name, [...data]])).toEqual([
    ['model.norm.weight', [0, 1, 2, 3, 4, 5, 6, 7]],
  ])
})

test('a module that llama.cpp does not know is refused', () => {
  expect(() => ggufName('model.layers.0.self_attn.rotary_emb')).toThrow(
    "llama.cpp's Llama has no module model.layers.0.self_attn.rotary_emb",
  )
})

test('the held-out images are 400 prompts of 64 pixels with their answers', () => {
  const { answers, images } = JSON.parse(readFileSync(fixture('held-out.json'), 'utf8'))
  expect(answers).toMatch(/^\d{400}$/)
  expect(images).toHaveLength(400)
  for (const image of images) expect(image).toMatch(/^[0-9a-g]{64}$/)
})
