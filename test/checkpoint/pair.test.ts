import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { pairMatrices } from '../../src/checkpoint/pair.ts'
import { readWeight } from '../../src/checkpoint/read.ts'
import { subtract } from '../../src/linalg/matrix/subtract.ts'
import { errorOf } from '../formats/fixtures.ts'
import { checkpoint, fixture, folderOf, safetensors, type TensorSpec } from './support.ts'

type Tensors = Record<string, TensorSpec>
const W = ['F32', [2, 3]] as const
const pairing = async (base: Tensors, tuned: Tensors, filter = {}) =>
  pairMatrices(
    await checkpoint(base, 'base.safetensors'),
    await checkpoint(tuned, 'tuned.safetensors'),
    filter,
  )
const reasons = (unmatched: readonly { name: string; reason: string }[]) =>
  Object.fromEntries(unmatched.map(({ name, reason }) => [name, reason]))

describe('two models', () => {
  test('digits-llama: every matrix is paired, and its change is NumPy’s', async () => {
    const { tensors } = JSON.parse(readFileSync(fixture('digits-llama/reference.json'), 'utf8'))
    const base = await openCheckpoint(fixture('digits-llama/base'))
    for (const [folder, tolerance] of [
      ['tuned', 1e-6],
      // half a unit in the last of 8 bits
      ['tuned-bf16-sharded', 2 ** -8],
    ] as const) {
      const tuned = await openCheckpoint(fixture(`digits-llama/${folder}`))
      const { pairs, unmatched, warnings } = pairMatrices(base, tuned)
      expect(pairs).toHaveLength(23)
      expect(warnings).toEqual([])
      expect(unmatched).toHaveLength(7)
      for (const { name, reason } of unmatched)
        expect([name.includes('norm'), reason]).toEqual([true, 'not-a-matrix'])
      let compared = 0
      for (const { name, base: before, tuned: after } of pairs) {
        if (tensors[name] === undefined) continue
        const { frobenius, delta } = subtract(await readWeight(after), await readWeight(before))
        expect([delta.rows, delta.columns]).toEqual(tensors[name].shape)
        const rounding = tolerance * (folder === 'tuned' ? tensors[name].delta_frobenius : frobenius.tuned)
        expect(Math.abs(frobenius.delta - tensors[name].delta_frobenius)).toBeLessThan(rounding)
        compared++
      }
      expect(compared).toBe(Object.keys(tensors).length)
    }
  })

  test('what gives no pair is listed with its reason, and with both tensors', async () => {
    const { pairs, unmatched } = await pairing(
      {
        'a.weight': W,
        'a.bias': ['F32', [3]],
        'b.weight': W,
        'gone.weight': W,
        'model.embed_tokens.weight': ['F32', [10, 3]],
        'lm_head.weight': ['F32', [10, 3]],
        'q.weight': ['I8', [2, 3]],
        'q_proj.weight': ['F32', [4, 3]],
      },
      {
        'a.weight': ['BF16', [2, 3]],
        'a.bias': ['F32', [3]],
        'b.weight': ['F32', [3, 2]],
        'new.weight': W,
        'model.embed_tokens.weight': ['F32', [12, 3]],
        'lm_head.weight': ['F32', [8, 3]],
        'q.weight': ['F32', [2, 3]],
        'q_proj.weight': ['F32', [8, 3]],
      },
    )
    expect(pairs.map(({ name, base, tuned }) => [name, base.dtype, tuned.dtype])).toEqual([
      ['a.weight', 'f32', 'bf16'],
    ])
    expect(reasons(unmatched)).toEqual({
      'a.bias': 'not-a-matrix',
      'b.weight': 'shape',
      'new.weight': 'missing-in-base',
      'model.embed_tokens.weight': 'grown-vocabulary',
      'lm_head.weight': 'shrunk-vocabulary',
      'q.weight': 'dtype',
      'q_proj.weight': 'shape',
      'gone.weight': 'missing-in-tuned',
    })
    const [bias] = unmatched.filter(({ name }) => name === 'a.bias')
    expect(bias).toMatchObject({ base: { shape: [3] }, tuned: { shape: [3] }, detail: 'a vector, F32 [3]' })
    const [grown] = unmatched.filter(({ reason }) => reason === 'grown-vocabulary')
    expect(grown.detail).toMatch(/^\[10, 3\] in .*base\.safetensors, \[12, 3\] in .*tuned\.safetensors$/)
    const [gone] = unmatched.filter(({ name }) => name === 'gone.weight')
    expect([gone.tuned, gone.base?.name]).toEqual([undefined, 'gone.weight'])
  })

  test('experts are paired one by one', async () => {
    const { pairs } = await pairing({ e: ['F32', [3, 2, 20]] }, { e: ['BF16', [3, 2, 20]] })
    expect(pairs.map(({ name, base, tuned }) => [name, base.bytes, tuned.bytes])).toEqual([
      ['e[0]', 160, 80],
      ['e[1]', 160, 80],
      ['e[2]', 160, 80],
    ])
  })

  test('the filter is for both: what it leaves out is not missing', async () => {
    const base = { 'a.weight': W, 'b.weight': W, 'c.weight': W }
    const { pairs, unmatched } = await pairing(
      base,
      { 'a.weight': W, 'b.weight': W },
      { exclude: ['c*', 'b*'] },
    )
    expect([pairs.map(({ name }) => name), unmatched]).toEqual([['a.weight'], []])
    const only = await pairing(base, { 'a.weight': W }, { include: ['c*'] })
    expect(reasons(only.unmatched)).toEqual({ 'c.weight': 'missing-in-tuned' })
  })

  test.each(['base', 'tuned'])('F8 with its scales in %s is refused', async (where) => {
    const plain: Tensors = { 'a.weight': ['F32', [2, 3]] }
    const scaled: Tensors = { 'a.weight': ['F8_E4M3', [2, 3]], 'a.weight_scale': ['F32', [1]] }
    const of = (name: string) => (name === where ? scaled : plain)
    const error = await errorOf(() => pairing(of('base'), of('tuned')))
    expect(error.message).toMatch(
      new RegExp(`${where}\\.safetensors: tensor "a\\.weight" is stored as F8_E4M3, .* "a\\.weight_scale"`),
    )
    expect((await pairing(of('base'), of('tuned'), { exclude: ['a.weight*'] })).pairs).toEqual([])
  })
})

describe('a tied head', () => {
  const EMBEDDING = ['F32', [10, 3], Float32Array.from({ length: 30 }, (_, i) => i)] as const
  const tied = async (config: string | undefined, base: Tensors, tuned: Tensors) =>
    pairMatrices(
      await openCheckpoint(
        folderOf({
          'model.safetensors': await safetensors(base),
          ...(config !== undefined && { 'config.json': config }),
        }),
      ),
      await checkpoint(tuned),
    )
  const TUNED: Tensors = { 'model.embed_tokens.weight': EMBEDDING, 'lm_head.weight': EMBEDDING }

  test.each(['{"tie_word_embeddings":true}', '{}', undefined])(
    'config %s: the base of the head is the embedding',
    async (config) => {
      const { pairs, warnings } = await tied(config, { 'model.embed_tokens.weight': EMBEDDING }, TUNED)
      expect(pairs.map(({ name, base }) => [name, base.name])).toEqual([
        ['lm_head.weight', 'model.embed_tokens.weight'],
        ['model.embed_tokens.weight', 'model.embed_tokens.weight'],
      ])
      expect(warnings).toEqual([expect.stringContaining('its head is tied to its embedding')])
    },
  )

  test('not where the config says otherwise, nor of another shape', async () => {
    const no = await tied('{"tie_word_embeddings":false}', { 'model.embed_tokens.weight': EMBEDDING }, TUNED)
    expect(reasons(no.unmatched)).toEqual({ 'lm_head.weight': 'missing-in-base' })
    const other = await tied(
      '{}',
      { 'model.embed_tokens.weight': EMBEDDING },
      { ...TUNED, 'lm_head.weight': ['F32', [9, 3]] },
    )
    expect(reasons(other.unmatched)).toEqual({ 'lm_head.weight': 'missing-in-base' })
  })
})

describe('names that differ by a prefix', () => {
  const layers = (prefix: string, count = 4): Tensors =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`${prefix}layers.${i}.weight`, W]))

  test.each([
    ['', 'model.'],
    ['model.', ''],
    ['', 'model.diffusion_model.'],
    ['base_model.model.', ''],
  ])('base %j, tuned %j: paired, named as tuned, with a warning', async (ofBase, ofTuned) => {
    const { pairs, unmatched, warnings } = await pairing(layers(ofBase), { ...layers(ofTuned), other: W })
    expect(pairs.map(({ name, base }) => [name, base.tensor])).toEqual(
      Array.from({ length: 4 }, (_, i) => [`${ofTuned}layers.${i}.weight`, `${ofBase}layers.${i}.weight`]),
    )
    expect(reasons(unmatched)).toEqual({ other: 'missing-in-base' })
    expect(warnings).toEqual([expect.stringContaining(`begin with "${ofBase}${ofTuned}"`)])
  })

  test('where a name is common too', async () => {
    const { pairs, unmatched } = await pairing({ ...layers(''), x: W }, { ...layers('model.'), x: W })
    expect([pairs.length, unmatched]).toEqual([5, []])
  })

  test('nothing in common: refused, with an example of each', async () => {
    const error = await errorOf(() => pairing(layers('a.'), { 'transformer.h.0.weight': W }))
    expect(error).toMatchObject({ code: 'bad-input' })
    expect(error.message).toMatch(
      /has no tensor of the same name as .* \("transformer\.h\.0\.weight" here, "a\.layers\.0\.weight" there\)/,
    )
  })
})
