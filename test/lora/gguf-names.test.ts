import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { GGUF_ARCHITECTURES } from '../../src/lora/write/gguf-architectures.ts'
import {
  type GgufModel,
  type GgufPart,
  ggufModel,
  ggufPlace,
  peftModule,
} from '../../src/lora/write/gguf-names.ts'
import { inverseRows, rowsOfB, takeRows } from '../../src/lora/write/gguf-rows.ts'
import { fixture } from '../checkpoint/support.ts'
import { errorOf } from '../formats/fixtures.ts'

type GoldenPart =
  | string
  | { to: string; rowsOfBFrom?: 'rope' | number[]; lora_a?: number[]; lora_b?: number[] }
interface GoldenCase {
  readonly architecture?: string
  readonly 'general.architecture'?: string
  readonly modules?: Readonly<Record<string, 'dropped' | { refused: string } | readonly GoldenPart[]>>
  readonly asUsual?: readonly string[]
}
const golden: { cases: GoldenCase[] } = JSON.parse(readFileSync(fixture('goldens/ggufnames.json'), 'utf8'))
const converted = golden.cases.filter((one) => one.architecture !== undefined)

/** The model of the goldens: 16 wide, two heads of 8 that share one key. */
const CONFIG = { hidden_size: 16, num_attention_heads: 2, num_key_value_heads: 1, tie_word_embeddings: false }
const modelOf = (architecture: string, config = {}) =>
  ggufModel({ ...CONFIG, ...config, architectures: [architecture] }, 'base')

/** Where the converter puts what it converts under the names that most architectures have. */
const USUAL: Readonly<Record<string, string>> = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
}

/** Rows of B by the module's name: 16 of a query, 8 of a key, 32 of InternLM2's and Falcon's fused rows, 48 of GPT-NeoX'. */
function rowsOf(path: string, architecture: string): number {
  if (/k_proj$/.test(path)) return 8
  if (/wqkv$/.test(path) || architecture === 'FalconForCausalLM') return 32
  return /query_key_value$/.test(path) ? 48 : 16
}

const ROPE = [0, 4, 1, 5, 2, 6, 3, 7]
const rope = (rows: number) => Array.from({ length: rows }, (_, i) => 8 * Math.floor(i / 8) + ROPE[i % 8])
const parts = (place: ReturnType<typeof ggufPlace>): readonly GgufPart[] => {
  if ('refusal' in place) throw new Error(place.refusal)
  return place.parts
}

describe('as llama.cpp’s converter has them', () => {
  test('every architecture of the golden is known', () => {
    expect(converted.length).toBeGreaterThan(25)
    for (const { architecture } of converted) {
      expect(Object.keys(GGUF_ARCHITECTURES)).toContain(architecture!.replace(', tied', ''))
    }
  })

  describe.each(converted.filter(({ architecture }) => !architecture!.includes('tied')))(
    '$architecture',
    (one) => {
      const architecture = one.architecture!
      const model = modelOf(architecture)

      test('its name in GGUF', () => {
        expect(model.of.name).toBe(one['general.architecture'])
      })

      test.each([...(one.asUsual ?? [])])('%s as usual', (path) => {
        if (path === 'model.embed_tokens') {
          expect(parts(ggufPlace(path, 16, model, true))).toEqual([
            { tensor: 'token_embd.weight', isEmbedding: true },
          ])
        } else if (path === 'lm_head') {
          expect(parts(ggufPlace(path, 32, model))).toEqual([{ tensor: 'output.weight' }])
        } else {
          const found = parts(ggufPlace(`model.layers.0.${path}`, rowsOf(path, architecture), model))
          expect(found).toEqual([{ tensor: `blk.0.${USUAL[path]}.weight` }])
        }
      })

      test.each(Object.entries(one.modules ?? {}))('%s', (path, expected) => {
        if (path === 'experts, all of them') {
          for (const part of expected as { to: string }[]) {
            const leaf = /ffn_(\w+)_exps/.exec(part.to)![1]
            for (const expert of [0, 1]) {
              const place = ggufPlace(`model.layers.0.mlp.experts.${expert}.${leaf}_proj`, 24, model)
              expect(parts(place)).toEqual([{ tensor: part.to, expert }])
            }
          }
          return
        }
        if (!Array.isArray(expected)) {
          // the golden's model lacked the vocabulary that Gemma 3's converter asks for; Gemma 2's head is dropped without a word
          if (path !== 'model.embed_tokens') expect(ggufPlace(path, 16, model)).toHaveProperty('refusal')
          return
        }
        const rows = rowsOf(path, architecture)
        const found = parts(ggufPlace(path, rows, model))
        expect(found.map(({ tensor }) => tensor)).toEqual(
          expected.map((part) => (typeof part === 'string' ? part : part.to)),
        )
        for (const [i, part] of (expected as GoldenPart[]).entries()) {
          const from = typeof part === 'string' ? undefined : part.rowsOfBFrom
          const wanted =
            from === 'rope' ? rope(typeof part === 'object' && part.lora_b ? part.lora_b[0] : rows) : from
          expect(found[i].rows && Array.from(found[i].rows)).toEqual(wanted)
        }
      })
    },
  )
})

describe('otherwise than the converter', () => {
  test('a tied base: neither its embedding nor its head', () => {
    const tied = modelOf('LlamaForCausalLM', { tie_word_embeddings: true })
    expect(ggufPlace('model.embed_tokens', 16, tied, true)).toEqual({
      refusal:
        'is the embedding of a model whose head is tied to it: llama.cpp loads such an adapter, and its process ends when it is used',
    })
    expect(ggufPlace('lm_head', 32, tied)).toEqual({
      refusal: 'is the head of a model that ties it to the embedding: the GGUF has no output.weight',
    })
    expect(parts(ggufPlace('model.layers.3.mlp.up_proj', 32, tied))).toEqual([
      { tensor: 'blk.3.ffn_up.weight' },
    ])
  })

  test('what ties where config.json does not say: the class, unless the caller knows', () => {
    const { tie_word_embeddings: _, ...silent } = CONFIG
    const of = (architecture: string, isTied?: boolean) =>
      ggufModel({ ...silent, architectures: [architecture] }, 'base', isTied).isTied
    expect([of('LlamaForCausalLM'), of('SmolLM3ForCausalLM'), of('GPT2LMHeadModel')]).toEqual([
      false,
      true,
      true,
    ])
    expect([of('LlamaForCausalLM', true), of('SmolLM3ForCausalLM', false)]).toEqual([true, false])
  })

  test('GPT-2: the factors as PEFT has them, no rows exchanged', () => {
    const model = modelOf('GPT2LMHeadModel')
    const names = {
      'attn.c_attn': 'attn_qkv',
      'attn.c_proj': 'attn_output',
      'mlp.c_fc': 'ffn_up',
      'mlp.c_proj': 'ffn_down',
    }
    for (const [path, name] of Object.entries(names)) {
      expect(parts(ggufPlace(`transformer.h.11.${path}`, 48, model))).toEqual([
        { tensor: `blk.11.${name}.weight` },
      ])
    }
    expect(ggufPlace('transformer.wpe', 16, model, true)).toHaveProperty('refusal')
  })

  test('Mixtral’s experts', () => {
    const model = modelOf('MixtralForCausalLM')
    const names = { w1: 'ffn_gate_exps', w2: 'ffn_down_exps', w3: 'ffn_up_exps' }
    for (const [w, name] of Object.entries(names)) {
      const path = `model.layers.2.block_sparse_moe.experts.7.${w}`
      expect(parts(ggufPlace(path, 8, model))).toEqual([{ tensor: `blk.2.${name}.weight`, expert: 7 }])
    }
    expect(parts(ggufPlace('model.layers.2.block_sparse_moe.gate', 8, model))).toEqual([
      { tensor: 'blk.2.ffn_gate_inp.weight' },
    ])
  })

  test('Falcon with several keys: queries, keys and values of all groups', () => {
    const model = modelOf('FalconForCausalLM', {
      new_decoder_architecture: true,
      num_kv_heads: 2,
      num_attention_heads: 4,
    })
    const [{ rows }] = parts(ggufPlace('transformer.h.0.self_attention.query_key_value', 16, model))
    // two groups of two queries, a key and a value, of two rows each
    expect(Array.from(rows!)).toEqual([0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15])
    expect(modelOf('FalconForCausalLM', { num_kv_heads: 71 }).heads).toEqual({ queries: 2, keys: 1 })
    expect(modelOf('FalconForCausalLM', { multi_query: false }).heads).toEqual({ queries: 2, keys: 2 })
  })

  test('the layer below wrappers of target_parameters', () => {
    const model = modelOf('Qwen2ForCausalLM')
    expect(parts(ggufPlace('model.layers.0.mlp.up_proj.base_layer', 16, model))).toEqual([
      { tensor: 'blk.0.ffn_up.weight' },
    ])
  })
})

describe('refused with the reason', () => {
  test.each<[string, Record<string, unknown> | undefined, string]>([
    ['no config.json', undefined, 'hang on the model’s architecture'.replace('’', "'")],
    ['one without an architecture', { num_attention_heads: 2 }, 'which no config.json beside it tells'],
    [
      'an architecture that is not known',
      { architectures: ['LlamaForCausalLm'] },
      'the architecture "LlamaForCausalLm" is none of those whose GGUF names and order of rows are known; use llama.cpp',
    ],
    [
      'a name of every object',
      { architectures: ['constructor'] },
      'the architecture "constructor" is none of those',
    ],
    ['MLA', { architectures: ['DeepseekV3ForCausalLM'] }, "use llama.cpp's convert_lora_to_gguf.py"],
  ])('%s', async (_, config, says) => {
    const error = await errorOf(async () => ggufModel(config, 'base'))
    expect(error).toMatchObject({ code: 'bad-input', file: 'base' })
    expect(error.message).toContain(says)
  })

  const llama = modelOf('LlamaForCausalLM')
  test.each<[string, string, number, GgufModel, boolean, string]>([
    [
      'a path of another model',
      'transformer.h.0.attn.c_attn',
      16,
      llama,
      false,
      'has no place in llama.cpp’s llama',
    ],
    ['no layer', 'model.norm', 16, llama, false, 'has no place'],
    ['a layer by a word', 'model.layers.x.mlp.up_proj', 16, llama, false, 'has no place'],
    ['toString', 'model.layers.0.toString', 16, llama, false, 'has no place'],
    [
      'stacked experts of one parameter',
      'model.layers.0.mlp.experts',
      16,
      modelOf('Qwen3MoeForCausalLM'),
      false,
      'has no place',
    ],
    [
      'linear factors of the embedding',
      'model.embed_tokens',
      16,
      llama,
      false,
      'with factors of a linear layer',
    ],
    [
      'rows that are no heads',
      'model.layers.0.self_attn.q_proj',
      18,
      llama,
      false,
      'has 18 rows, which are not of the 2 heads with 1 keys',
    ],
    [
      'heads that are not told',
      'model.layers.0.self_attn.q_proj',
      16,
      ggufModel({ architectures: ['LlamaForCausalLM'] }, 'base'),
      false,
      "config.json doesn't say how many heads",
    ],
    [
      'Gemma’s head',
      'lm_head',
      16,
      modelOf('GemmaForCausalLM'),
      false,
      'the head is the embedding in every model',
    ],
    [
      'Command R’s head',
      'lm_head',
      16,
      modelOf('CohereForCausalLM'),
      false,
      'the head is the embedding in every model',
    ],
  ])('%s', (_, path, rows, model, isEmbedding, says) => {
    const place = ggufPlace(path, rows, model, isEmbedding)
    expect('refusal' in place && place.refusal).toContain(says.replace('’', "'"))
  })
})

describe('and back', () => {
  /** All modules of an architecture, its embedding and head. */
  const paths = ({ of }: GgufModel) => [
    of.embedding,
    ...(of.headless === undefined ? [of.head] : []),
    ...Object.keys(of.modules).map((path) => `${of.layers}5.${path}`),
  ]

  test.each(Object.keys(GGUF_ARCHITECTURES))('every module of %s', (architecture) => {
    const model = modelOf(architecture)
    for (const path of paths(model)) {
      const rows = rowsOf(path, architecture)
      const places = parts(ggufPlace(path.replace('*', '3'), rows, model, path === model.of.embedding))
      for (const { tensor, rows: order } of places) {
        const back = peftModule(tensor, order?.length ?? rows, model)
        if (places.length > 1) {
          expect(back).toHaveProperty('refusal')
          continue
        }
        if ('refusal' in back) throw new Error(back.refusal)
        expect(back.path).toBe(path)
        const numbers = Float64Array.from({ length: 2 * rows }, (_, i) => i)
        const there = order === undefined ? numbers : takeRows(numbers, 2, order)
        expect(back.rows === undefined ? there : takeRows(there, 2, back.rows)).toEqual(numbers)
      }
    }
  })

  test('a tensor that no module has', () => {
    const model = modelOf('LlamaForCausalLM')
    for (const name of [
      'blk.0.ssm_in.weight',
      'blk.0.attn_q.bias',
      'rope_freqs.weight',
      'blk.x.attn_q.weight',
    ]) {
      expect(peftModule(name, 16, model)).toHaveProperty('refusal')
    }
  })

  test('orders of rows are permutations that their inverses undo; the parts of a group together hold each row once', () => {
    const heads = fc.record({
      keys: fc.integer({ min: 1, max: 4 }),
      perKey: fc.integer({ min: 1, max: 4 }),
      half: fc.integer({ min: 1, max: 5 }),
    })
    fc.assert(
      fc.property(heads, ({ keys, perKey, half }) => {
        const shared = { queries: keys * perKey, keys }
        const size = 2 * half
        const sorted = (rows: Iterable<number>) => [...rows].sort((a, b) => a - b)
        const all = (n: number) => Array.from({ length: n }, (_, i) => i)
        const whole = [
          ['query', shared.queries * size],
          ['key', keys * size],
          ['by head', 3 * shared.queries * size],
          ['by group', keys * (perKey + 2) * size],
        ] as const
        for (const [order, rows] of whole) {
          const found = rowsOfB(order, rows, shared)!
          expect(sorted(found)).toEqual(all(rows))
          expect(Array.from(takeRows(Float64Array.from(found), 1, inverseRows(found)))).toEqual(all(rows))
        }
        const rows = keys * (perKey + 2) * size
        const three = (['queries of a group', 'keys of a group', 'values of a group'] as const).map(
          (order) => rowsOfB(order, rows, shared)!,
        )
        expect(sorted(three.flatMap((one) => [...one]))).toEqual(all(rows))
        expect(rowsOfB('query', shared.queries * size + 1, shared)).toBeUndefined()
      }),
    )
  })
})
