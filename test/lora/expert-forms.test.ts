import { describe, expect, test } from 'vitest'
import { type ExpertForm, withExperts } from '../../src/lora/expert-forms.ts'
import { takesSecondAsInput } from '../../src/lora/stack-order.ts'
import { errorOf } from '../formats/fixtures.ts'
import { checkpointOf } from './support.ts'

const OWNER = 'model.layers.0.mlp.experts'
type Shapes = Record<string, readonly number[]>

/** The names and shapes of a base in a form. */
async function formed(shapes: Shapes, form: ExpertForm, type = 'qwen3_moe'): Promise<Shapes> {
  const tensors = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, { shape }]))
  const base = await checkpointOf({ tensors, config: { model_type: type } })
  return Object.fromEntries([...withExperts(base, form).tensors].map(([name, { shape }]) => [name, shape]))
}

const NORM = { 'model.norm.weight': [6] }
const STACKS = { ...NORM, [`${OWNER}.gate_up_proj`]: [2, 8, 6], [`${OWNER}.down_proj`]: [2, 6, 4] }
const singles = (owner: string, [gate, up, down]: readonly string[], experts = [0, 1]): Shapes => ({
  ...NORM,
  ...Object.fromEntries(
    experts.flatMap((e) => [
      [`${owner}.${e}.${gate}.weight`, [4, 6]],
      [`${owner}.${e}.${up}.weight`, [4, 6]],
      [`${owner}.${e}.${down}.weight`, [6, 4]],
    ]),
  ),
})
const LETTERS = ['gate_proj', 'up_proj', 'down_proj']
const NUMBERS = ['w1', 'w3', 'w2']

describe('a base with its experts in the other form', () => {
  test.each([
    ['qwen3_moe', singles(OWNER, LETTERS)],
    ['mixtral', singles('model.layers.0.block_sparse_moe.experts', NUMBERS)],
    ['phimoe', singles(OWNER, NUMBERS)],
  ])('%s: there, back, and as it is', async (type, apart) => {
    expect(await formed(STACKS, 'separate', type)).toEqual(apart)
    expect(await formed(apart, 'stacked', type)).toEqual(STACKS)
    expect(await formed(apart, 'stacked-0.18', type)).toEqual(STACKS)
    expect(await formed(STACKS, 'stacked', type)).toEqual(STACKS)
    expect(await formed(apart, 'separate', type)).toEqual(apart)
  })

  test('stacks [experts, in, out], told by both of their shapes, or by the type of the model', async () => {
    const stacks = { ...NORM, [`${OWNER}.gate_up_proj`]: [2, 6, 8], [`${OWNER}.down_proj`]: [2, 4, 6] }
    expect(await formed(stacks, 'separate')).toEqual(singles(OWNER, LETTERS))
    const { [`${OWNER}.gate_up_proj`]: _, ...down } = stacks
    expect(await formed(down, 'separate', 'gpt_oss')).toMatchObject({
      [`${OWNER}.1.down_proj.weight`]: [6, 4],
    })
    expect(await formed(down, 'separate')).toMatchObject({ [`${OWNER}.1.down_proj.weight`]: [4, 6] })
  })

  test('experts that lack a projection, or one of themselves, stay apart', async () => {
    const { [`${OWNER}.1.up_proj.weight`]: _, ...lacking } = singles(OWNER, LETTERS)
    const gap = singles(OWNER, LETTERS, [0, 2])
    const others = singles('model.layers.1.mlp.experts', LETTERS)
    for (const own of [lacking, gap]) {
      const found = await formed({ ...own, ...others }, 'stacked')
      expect(found).toMatchObject({ ...own, 'model.layers.1.mlp.experts.down_proj': [2, 6, 4] })
      expect(found).not.toHaveProperty([`${OWNER}.down_proj`])
    }
  })

  test('no experts', async () => {
    const error = await errorOf(async () => formed(NORM, 'stacked'))
    expect(error).toMatchObject({ code: 'bad-input' })
    expect(error.message).toContain('has no experts that are known by their names')
  })
})

/** `in_features` of ParamWrapper for a parameter [experts, d1, d2] (huggingface/peft: tuners/lora/layer.py at each of these). */
test.each([
  ['0.18.0', 'd1', 'd1'],
  ['0.18.1', 'd1', 'd1'],
  ['0.18.2.dev0@a1b2c3', 'd1', 'd1'],
  ['0.19.0', 'd1', 'd2'],
  ['0.19.1', 'd2', 'd1'],
  ['0.20.0', 'd2', 'd1'],
  ['0.20.1.dev0', 'd2', 'd1'],
  ['1.0.0', 'd2', 'd1'],
  [undefined, 'd2', 'd1'],
])('PEFT %s takes as input %s, and where is_transposed is said %s', (version, plain, transposed) => {
  expect(takesSecondAsInput(version, { expertsInOut: false })).toBe(plain === 'd1')
  expect(takesSecondAsInput(version, { expertsInOut: true })).toBe(transposed === 'd1')
})
