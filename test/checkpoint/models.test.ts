import { describe, expect, test } from 'vitest'
import { pairModels } from '../../src/checkpoint/models.ts'
import type { StoredTensor } from '../../src/checkpoint/types.ts'
import { errorOf } from '../formats/fixtures.ts'
import { filled, fillOf, inMemory } from './in-memory.ts'

const STRICT = { allowUnpaired: false }
const W = [4, 4]
const layer = (value: number) => filled('model.layers.0.q_proj.weight', W, value)
const embedding = (value: number) => filled('model.embed_tokens.weight', [9, 4], value)
const head = (value: number) => filled('lm_head.weight', [9, 4], value)
const integers = (name: string, shape: readonly number[], numbers: readonly number[]): StoredTensor => {
  const bytes = new Uint8Array(BigInt64Array.from(numbers, BigInt).buffer)
  return { name, dtype: 'I64', shape, bytes: bytes.length, source: { kind: 'bytes', bytes } }
}

async function paired(
  base: readonly StoredTensor[],
  tuned: readonly StoredTensor[],
  config: { base?: Record<string, unknown>; tuned?: Record<string, unknown> } = {},
) {
  const found = await pairModels(
    inMemory('base', base, config.base),
    inMemory('tuned', tuned, config.tuned),
    STRICT,
  )
  return {
    pairs: found.pairs.map(({ name, base: b, tuned: t }) => [name, fillOf(b), fillOf(t)]),
    unmatched: found.unmatched.map(({ name, reason }) => [name, reason]),
    lost: [...found.lost].map(({ name }) => name),
    matched: found.matched,
    warnings: found.warnings,
  }
}

describe('a head that only the base has', () => {
  const base = [embedding(1), layer(2), head(3)]
  const tuned = [embedding(1.5), layer(2)]

  test.each([
    [undefined, 'no config'],
    [{ tie_word_embeddings: true }, 'tied'],
    [{ architectures: ['LlamaForCausalLM'] }, 'a class with a head'],
  ])('%j, %s: the embedding is the head of the fine-tune', async (config, _) => {
    const found = await paired(base, tuned, config && { tuned: config })
    expect(found.pairs).toEqual([
      ['model.embed_tokens.weight', 1, 1.5],
      ['model.layers.0.q_proj.weight', 2, 2],
      ['lm_head.weight', 3, 1.5],
    ])
    expect([found.lost, found.matched]).toEqual([[], 3])
    expect(found.warnings).toEqual([
      expect.stringContaining('tuned: has no "lm_head.weight", as its head is tied'),
    ])
  })

  test.each([
    [{ tie_word_embeddings: false }],
    [{ architectures: ['LlamaModel'] }],
    [{ architectures: ['LlamaForSequenceClassification'] }],
  ])('%j: it is lost', async (config) => {
    const { lost, matched } = await paired(base, tuned, { tuned: config })
    expect([lost, matched]).toEqual([['lm_head.weight'], 2])
  })

  test('of two names of one tensor one is kept by each', async () => {
    const one = await paired([layer(2), head(3)], [embedding(4), layer(2)])
    expect([one.pairs.slice(-1), one.lost]).toEqual([[['lm_head.weight', 3, 4]], []])
    const other = await paired([embedding(3), layer(2)], [layer(2), head(4)])
    expect([other.pairs.slice(-1), other.lost, other.unmatched]).toEqual([[['lm_head.weight', 3, 4]], [], []])
  })
})

test.each(['base', 'tuned'])('a second name of an embedding in %s is no loss', async (where) => {
  const once = [filled('shared.weight', [9, 4], 1), layer(2)]
  const twice = [...once, filled('encoder.embed_tokens.weight', [9, 4], 1)]
  const other = [...once, filled('encoder.embed_tokens.weight', [9, 4], 7)]
  const [found, changed] =
    where === 'base'
      ? [await paired(twice, once), await paired(other, once)]
      : [await paired(once, twice), await paired(once, other)]
  expect([found.lost, found.unmatched, found.matched]).toEqual([[], [], 2])
  expect(found.warnings).toEqual([
    `${where}: "encoder.embed_tokens.weight" is "shared.weight" under another name, and is left aside`,
  ])
  expect(changed.lost).toEqual(['encoder.embed_tokens.weight'])
})

test('buffers that the model computes are no loss, alone or of another length; integers are the floats they equal', async () => {
  const positions = [0, 1, 2, 3, 4]
  const asFloats = {
    ...filled('embeddings.position_ids', [1, 5], 0),
    source: { kind: 'bytes' as const, bytes: new Uint8Array(Float32Array.from(positions).buffer) },
  }
  const base = [
    layer(1),
    integers('embeddings.position_ids', [1, 5], positions),
    filled('h.0.attn.bias', [1, 1, 8, 8], 1),
    filled('model.rotary_emb.inv_freq', [2], 1),
    integers('vision.position_ids', [1, 3], [0, 1, 2]),
  ]
  const tuned = [layer(2), asFloats, integers('vision.position_ids', [1, 4], [0, 1, 2, 3])]
  const found = await paired(base, tuned)
  expect(found.lost).toEqual([])
  expect(Object.fromEntries(found.unmatched)).toEqual({
    'embeddings.position_ids': 'dtype',
    'vision.position_ids': 'computed',
    'h.0.attn.bias': 'computed',
    'model.rotary_emb.inv_freq': 'computed',
  })
  // a bias of that name is one
  const { lost } = await paired([layer(1), filled('h.0.attn.bias', [8], 1)], [layer(2)])
  expect(lost).toEqual(['h.0.attn.bias'])
})

test('experts one by one in the base, fused in the fine-tune: all of them are lost', async () => {
  const experts = [0, 1].flatMap((e) => [
    filled(`mlp.experts.${e}.gate_proj.weight`, [6, 4], e),
    filled(`mlp.experts.${e}.up_proj.weight`, [6, 4], e),
  ])
  const { lost, matched } = await paired(
    [layer(1), ...experts],
    [layer(2), filled('mlp.experts.gate_up_proj', [2, 12, 4], 0)],
  )
  expect([lost.length, matched]).toEqual([5, 1])
})

test('a dtype that isn’t read is lost where the numbers differ', async () => {
  const packed = {
    ...layer(1),
    dtype: 'U8' as const,
    bytes: 16,
    source: { kind: 'bytes' as const, bytes: new Uint8Array(16) },
  }
  const { lost } = await paired([packed, head(1)], [layer(2), head(2)])
  expect(lost).toEqual(['model.layers.0.q_proj.weight'])
})

test('a 1 × 1 kernel and a matrix are one matrix, and other shapes are none', async () => {
  const name = 'proj.weight'
  expect((await paired([filled(name, [4, 3, 1, 1], 1)], [filled(name, [4, 3], 2)])).pairs).toEqual([
    [name, 1, 2],
  ])
  expect((await paired([filled(name, [4, 3], 1)], [filled(name, [4, 3, 1, 1], 2)])).pairs).toEqual([
    [name, 1, 2],
  ])
  const other = await paired([filled(name, [4, 3, 1, 2], 1)], [filled(name, [4, 3], 2)])
  expect([other.pairs, other.lost]).toEqual([[], [name]])
})

describe('weights that ZeRO-3 has left empty', () => {
  const empty = filled('model.layers.0.q_proj.weight', [0], 0)
  test.each([
    ['in base', [empty, head(1)], [layer(1), head(2)]],
    ['in tuned', [layer(1), head(1)], [empty, head(2)]],
    ['in both', [empty, head(1)], [empty, head(2)]],
    ['in one that the other hasn’t', [head(1)], [empty, head(2)]],
  ])('%s: refused', async (_, base, tuned) => {
    const { message } = await errorOf(() =>
      pairModels(inMemory('base', base), inMemory('tuned', tuned), STRICT),
    )
    expect(message).toMatch(
      /: tensor "model\.layers\.0\.q_proj\.weight" is empty, of shape \[0\], as DeepSpeed ZeRO-3 saves/,
    )
  })
})

test('a shape that no name decides is never paired with another', async () => {
  const found = await paired(
    [filled('a.b.weight', [4, 3], 1), head(1)],
    [filled('x.a.b.weight', [3, 4], 2), head(2)],
  )
  expect([found.pairs, found.lost.length]).toEqual([[['lm_head.weight', 1, 2]], 2])
})
