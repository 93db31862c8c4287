import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import type { GgufArray, GgufScalar } from '../../src/formats/gguf-types.ts'
import { type GgufTensorToWrite, ggufChunks, layoutGguf } from '../../src/formats/gguf-writer.ts'
import { readFactors } from '../../src/lora/factors.ts'
import { loaderScales, loaderWarnings } from '../../src/lora/loader-scales.ts'
import { matchToBase } from '../../src/lora/match.ts'
import type { Adapter } from '../../src/lora/model.ts'
import { adapterOf } from '../../src/lora/read/adapter.ts'
import { ggufModel, ggufPlace, peftModule } from '../../src/lora/write/gguf-names.ts'
import { takeRows } from '../../src/lora/write/gguf-rows.ts'
import { fixture, folderOf } from '../checkpoint/support.ts'
import { errorOf } from '../formats/fixtures.ts'
import { raw, rawGguf } from '../formats/gguf-support.ts'

type Values = Readonly<Record<string, GgufScalar | GgufArray>>

const KEYS: Values = {
  'general.architecture': { type: 'string', value: 'llama' },
  'general.type': { type: 'string', value: 'adapter' },
  'adapter.type': { type: 'string', value: 'lora' },
}
const alpha = (value: number): Values => ({ 'adapter.lora.alpha': { type: 'f32', value } })

const count = (shape: readonly number[]) => shape.reduce((product, n) => product * n, 1)
/** Halves of small whole numbers, the same in every float type. */
const numbers = (shape: readonly number[], seed = 1) =>
  Float64Array.from({ length: count(shape) }, (_, i) => (((i * 7 + seed * 13) % 31) - 15) / 2)

const tensor = (
  name: string,
  shape: readonly number[],
  dtype: GgufTensorToWrite['dtype'] = 'f32',
  data: GgufTensorToWrite['data'] = numbers(shape, name.length),
): GgufTensorToWrite => ({ name, dtype, shape, data })

let written = 0
async function file(tensors: readonly GgufTensorToWrite[], keys: Values = { ...KEYS, ...alpha(8) }) {
  const chunks: Uint8Array[] = []
  for await (const chunk of ggufChunks(layoutGguf(tensors, new Map(Object.entries(keys))))) chunks.push(chunk)
  const name = `${written++}.gguf`
  return join(folderOf({ [name]: Buffer.concat(chunks) }), name)
}

async function adapter(tensors: readonly GgufTensorToWrite[], keys?: Values): Promise<Adapter> {
  const found = await adapterOf(await openCheckpoint(await file(tensors, keys)))
  if (found === undefined) throw new Error('no adapter')
  return found
}

const pair = (
  name: string,
  rank: number,
  out: number,
  columns: number,
  dtype: GgufTensorToWrite['dtype'] = 'f32',
) => [tensor(`${name}.lora_a`, [rank, columns], dtype), tensor(`${name}.lora_b`, [out, rank], dtype)]
const Q = 'blk.0.attn_q.weight'
const V = 'blk.0.attn_v.weight'

describe('an adapter of llama.cpp', () => {
  test('its modules, under its names, with its own scale', async () => {
    const found = await adapter([...pair(Q, 4, 16, 8), ...pair(V, 4, 8, 8)])
    expect(found).toMatchObject({ format: 'gguf', replaced: [], ignored: [], warnings: [] })
    expect(
      found.modules.map(({ path, tensor, rank, alpha, scale }) => [path, tensor, rank, alpha, scale]),
    ).toEqual([
      ['blk.0.attn_q', Q, 4, 8, 2],
      ['blk.0.attn_v', V, 4, 8, 2],
    ])
    const { A, B, scale } = await readFactors(found.modules[0])
    expect([A.rows, A.columns, B.rows, B.columns, scale]).toEqual([4, 8, 16, 4, 2])
    expect(Array.from(A.data)).toEqual(Array.from(numbers([4, 8], `${Q}.lora_a`.length)))
    expect(Array.from(B.data)).toEqual(Array.from(numbers([16, 4], `${Q}.lora_b`.length)))
  })

  test('alpha is divided by the rank of each; without one, and where it is 0, the scale is 1', async () => {
    const ranks = [...pair(Q, 2, 16, 8), ...pair(V, 4, 8, 8)]
    const scales = async (keys: Values) => (await adapter(ranks, keys)).modules.map(({ scale }) => scale)
    expect(await scales({ ...KEYS, ...alpha(8) })).toEqual([4, 2])
    expect(await scales(KEYS)).toEqual([1, 1])
    expect(await scales({ ...KEYS, ...alpha(0) })).toEqual([1, 1])
  })

  test.each(['f32', 'f16', 'bf16'] as const)('factors in %s, and of two types', async (dtype) => {
    const found = await adapter([tensor(`${Q}.lora_a`, [2, 8]), tensor(`${Q}.lora_b`, [4, 2], dtype)])
    const { A, B } = await readFactors(found.modules[0])
    expect(Array.from(A.data)).toEqual(Array.from(numbers([2, 8], `${Q}.lora_a`.length)))
    expect(Array.from(B.data)).toEqual(Array.from(numbers([4, 2], `${Q}.lora_b`.length)))
  })

  test('factors in Q8_0', async () => {
    const block = (bytes: readonly number[]) => Buffer.from([0, 0x38, ...bytes])
    const rows = (n: number) =>
      Array.from({ length: n }, (_, r) => block(Array.from({ length: 32 }, (_, i) => (i * 5 + r * 3) & 127)))
    const values = (n: number) =>
      Array.from({ length: 32 * n }, (_, i) => (((i % 32) * 5 + Math.floor(i / 32) * 3) & 127) / 2)
    const padTo32 = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc((32 - (bytes.length % 32)) % 32)])
    const [a, b] = [padTo32(Buffer.concat(rows(32))), padTo32(Buffer.concat(rows(3)))]
    const bytes = rawGguf({
      keys: [
        ['general.type', ...raw.string('adapter')],
        ['adapter.type', ...raw.string('lora')],
      ],
      tensors: [
        { name: `${Q}.lora_a`, type: 8, dims: [32, 32] },
        { name: `${Q}.lora_b`, type: 8, dims: [32, 3], offset: a.length },
      ],
      data: Buffer.concat([a, b]),
    })
    const folder = folderOf({ 'q8.gguf': bytes })
    const { modules } = (await adapterOf(await openCheckpoint(join(folder, 'q8.gguf'))))!
    const { A, B } = await readFactors(modules[0])
    expect(Array.from(A.data)).toEqual(values(32))
    expect(Array.from(B.data)).toEqual(values(3))
  })

  test('the embedding: lora_a [vocabulary, r], lora_b [dim, r]', async () => {
    const [a, b] = [numbers([10, 2], 3), numbers([6, 2], 4)]
    const { modules } = await adapter([
      tensor('token_embd.weight.lora_a', [10, 2], 'f16', a),
      tensor('token_embd.weight.lora_b', [6, 2], 'f32', b),
    ])
    const [module] = modules
    expect(module).toMatchObject({
      kind: 'embedding',
      rows: 10,
      columns: 6,
      rank: 2,
      scale: 4,
      isTransposed: true,
    })
    const { A, B } = await readFactors(module)
    // the row of a token gains its row of lora_a times lora_bᵀ
    for (let token = 0; token < 10; token++) {
      for (let i = 0; i < 6; i++) {
        const sum = B.data[2 * token] * A.data[i] + B.data[2 * token + 1] * A.data[6 + i]
        expect(sum).toBe(a[2 * token] * b[2 * i] + a[2 * token + 1] * b[2 * i + 1])
      }
    }
  })

  test('stacked experts are a module each', async () => {
    const name = 'blk.3.ffn_up_exps.weight'
    const { modules } = await adapter([
      tensor(`${name}.lora_a`, [3, 2, 8]),
      tensor(`${name}.lora_b`, [3, 5, 2], 'f16'),
    ])
    expect(
      modules.map(({ label, tensor, rows, columns, rank }) => [label, tensor, rows, columns, rank]),
    ).toEqual([0, 1, 2].map((e) => [`blk.3.ffn_up_exps[${e}]`, `${name}[${e}]`, 5, 8, 2]))
    const { A, B } = await readFactors(modules[2])
    expect(Array.from(A.data)).toEqual(Array.from(numbers([3, 2, 8], `${name}.lora_a`.length).subarray(32)))
    expect(Array.from(B.data)).toEqual(Array.from(numbers([3, 5, 2], `${name}.lora_b`.length).subarray(20)))
  })

  test('llama.cpp alone scales it', async () => {
    const found = await adapter(pair(Q, 4, 16, 8))
    const scales = loaderScales(found, found.modules[0])
    expect(scales.filter((one) => 'scale' in one)).toEqual([{ loader: 'llama.cpp', scale: 2 }])
    expect(loaderWarnings(found)).toEqual([])
  })

  test('applies to the GGUF model whose names it has', async () => {
    const shapes = { [Q]: [16, 8], [V]: [8, 8], 'token_embd.weight': [10, 8] }
    const base = await openCheckpoint(
      await file(
        Object.entries(shapes).map(([name, shape]) => tensor(name, shape, 'f16')),
        {},
      ),
    )
    expect(await adapterOf(base)).toBeUndefined()
    const found = await adapter([
      ...pair(Q, 4, 16, 8),
      tensor('token_embd.weight.lora_a', [10, 2]),
      tensor('token_embd.weight.lora_b', [8, 2]),
      ...pair('blk.9.attn_q.weight', 4, 16, 8),
    ])
    const { matched, unmatched } = matchToBase(found, base)
    expect(matched.map(({ module, base }) => [module.kind, base.name])).toEqual([
      ['linear', Q],
      ['embedding', 'token_embd.weight'],
    ])
    expect(unmatched.map(({ module }) => module.label)).toEqual(['blk.9.attn_q'])
  })
})

describe('the cases of the golden, as llama.cpp judges them', () => {
  const golden: { cases: { what: string; ok: boolean }[] } = JSON.parse(
    readFileSync(fixture('goldens/gguf.json'), 'utf8'),
  )
  const plain = [...pair(Q, 4, 16, 8), ...pair(V, 4, 8, 8)]
  const { 'general.architecture': _, ...noArchitecture } = KEYS
  const { 'adapter.type': __, ...noType } = KEYS
  /** What of a file alone decides, by the golden's name for it: what is read, said or refused. */
  const cases: Readonly<Record<string, [tensors: GgufTensorToWrite[], keys: Values, says?: string]>> = {
    'f32, alpha 8 of rank 4': [plain, { ...KEYS, ...alpha(8) }],
    'no adapter.lora.alpha: scale 1': [plain, KEYS],
    'keys in another order, unknown keys, general.name': [
      plain,
      {
        ...alpha(8),
        x: { type: 'bool', value: true },
        'general.name': { type: 'string', value: 'n' },
        ...KEYS,
      },
    ],
    'one module only': [pair(V, 4, 8, 8), KEYS],
    'no general.architecture': [plain, noArchitecture],
    'no adapter.type': [plain, noType, 'llama.cpp does not load this adapter: adapter.type is not "lora"'],
    'a bias beside': [
      [...plain, tensor('blk.0.attn_q.bias', [16])],
      KEYS,
      'tensor "blk.0.attn_q.bias" is left out: no factor',
    ],
    'a whole weight beside': [
      [...plain, tensor('output.weight', [9, 8])],
      KEYS,
      'tensor "output.weight" is left out: no factor',
    ],
    'lora_a alone': [
      plain.slice(0, 3),
      KEYS,
      `"${V}" has the factor "${V}.lora_a" and no other: the file is incomplete`,
    ],
    'lora_b stored [r, out]': [
      [tensor(`${V}.lora_a`, [4, 8]), tensor(`${V}.lora_b`, [4, 8])],
      KEYS,
      'of the shapes [4, 8] and [4, 8] are no pair: [r, in] and [out, r] are',
    ],
    'token_embd: lora_a [r, vocab]': [
      [tensor('token_embd.weight.lora_a', [2, 9]), tensor('token_embd.weight.lora_b', [8, 2])],
      KEYS,
      'of the shapes [2, 9] and [8, 2] are no pair: [vocabulary, r] and [dim, r] are',
    ],
  }
  test.each(Object.entries(cases))('%s', async (what, [tensors, keys, says]) => {
    const { ok } = golden.cases.find((one) => one.what === what)!
    let said: string[]
    try {
      said = [...(await adapter(tensors, keys)).warnings]
    } catch (error) {
      said = [(error as Error).message]
    }
    if (says === undefined) expect(said).toEqual([])
    else expect(said.join()).toContain(says)
    // of a base that it is not for only the base can tell
    if (what !== 'no general.architecture') expect(says === undefined).toBe(ok)
  })

  test('an alpha of another type is read, though llama.cpp ends with it', async () => {
    const keys: Values = { ...KEYS, 'adapter.lora.alpha': { type: 'u32', value: 8 } }
    expect((await adapter(plain, keys)).modules[0].scale).toBe(2)
  })
})

describe('refused', () => {
  test.each<[string, GgufTensorToWrite[], Values, string]>([
    [
      'another kind of adapter',
      pair(Q, 2, 4, 4),
      { ...KEYS, 'adapter.type': { type: 'string', value: 'aloha' } },
      'is an adapter of the type "aloha"; only lora is read',
    ],
    ['an adapter of nothing', [], KEYS, 'holds no LoRA tensors'],
    [
      'an alpha that is no number',
      pair(Q, 2, 4, 4),
      { ...KEYS, 'adapter.lora.alpha': { type: 'string', value: 'x' } },
      'adapter.lora.alpha is "x", which is no number; write it anew as f32',
    ],
    ['NaN', pair(Q, 2, 4, 4), { ...KEYS, ...alpha(Number.NaN) }, 'adapter.lora.alpha is "NaN"'],
    ['a rank of 0', pair(Q, 0, 4, 4), KEYS, 'are no pair'],
    [
      'a stack beside a matrix',
      [tensor(`${Q}.lora_a`, [2, 2, 4]), tensor(`${Q}.lora_b`, [4, 2])],
      KEYS,
      'are no pair',
    ],
    [
      'stacks of other lengths',
      [tensor(`${Q}.lora_a`, [2, 2, 4]), tensor(`${Q}.lora_b`, [3, 4, 2])],
      KEYS,
      'are no pair',
    ],
    ['a vector', [tensor(`${Q}.lora_a`, [4]), tensor(`${Q}.lora_b`, [4, 1])], KEYS, 'are no pair'],
  ])('%s', async (_, tensors, keys, says) => {
    const error = await errorOf(() => adapter(tensors, keys))
    expect(error.code).toBe('bad-input')
    expect(error.message).toContain(says)
  })

  test('integers are no factors', async () => {
    const tensors = [
      { name: `${Q}.lora_a`, type: 24, dims: [4, 2] },
      { name: `${Q}.lora_b`, type: 24, dims: [2, 4], offset: 32 },
    ]
    const folder = folderOf({ 'i8.gguf': rawGguf({ tensors, data: Buffer.alloc(64) }) })
    const error = await errorOf(async () => adapterOf(await openCheckpoint(join(folder, 'i8.gguf'))))
    expect(error.message).toContain('is stored as I8; a factor is made of floats')
  })
})

test('PEFT’s factors go out by their names and rows, and come back as they were', async () => {
  const config = { architectures: ['LlamaForCausalLM'], num_attention_heads: 4, num_key_value_heads: 2 }
  const model = ggufModel(config, 'base')
  const shapes: Readonly<Record<string, [out: number, columns: number]>> = {
    'model.layers.0.self_attn.q_proj': [32, 12],
    'model.layers.0.self_attn.k_proj': [16, 12],
    'model.layers.0.self_attn.v_proj': [16, 12],
    'model.layers.1.mlp.down_proj': [12, 20],
    lm_head: [40, 12],
  }
  const factors = new Map(
    Object.entries(shapes).map(([path, [out, columns]], i) => [
      path,
      { A: numbers([3, columns], i), B: numbers([out, 3], i + 9) },
    ]),
  )
  const tensors = [...factors].flatMap(([path, { A, B }]) => {
    const place = ggufPlace(path, B.length / 3, model)
    if ('refusal' in place) throw new Error(place.refusal)
    return place.parts.flatMap(({ tensor: name, rows }) => {
      const own = rows === undefined ? B : takeRows(B, 3, rows)
      return [
        tensor(`${name}.lora_a`, [3, A.length / 3], 'f32', A),
        tensor(`${name}.lora_b`, [own.length / 3, 3], 'f32', own),
      ]
    })
  })
  const { modules } = await adapter(tensors, { ...KEYS, ...alpha(3) })
  expect(modules.map(({ scale }) => scale)).toEqual([1, 1, 1, 1, 1])
  for (const module of modules) {
    const back = peftModule(module.tensor, module.rows, model)
    if ('refusal' in back) throw new Error(back.refusal)
    const { A, B } = await readFactors(module)
    const expected = factors.get(back.path)!
    expect(Array.from(A.data)).toEqual(Array.from(expected.A))
    const own = back.rows === undefined ? B.data : takeRows(B.data, 3, back.rows)
    expect(Array.from(own)).toEqual(Array.from(expected.B))
  }
  const moved = modules.filter(
    ({ tensor }) => 'rows' in peftModule(tensor, shapes[`model.layers.0.self_attn.q_proj`][0], model),
  )
  expect(moved.map(({ path }) => path)).toEqual(['blk.0.attn_q', 'blk.0.attn_k'])
})
