import { describe, expect, test } from 'vitest'
import { cardFigures, commandOf } from '../../../src/commands/extract/card.ts'
import type { ExtractSettings } from '../../../src/commands/extract/options.ts'
import { planExtraction } from '../../../src/commands/extract/plan.ts'
import { modelCard } from '../../../src/lora/write/card.ts'
import { planAdapter } from '../../../src/lora/write/peft.ts'
import { checkpointOf, type TestTensor } from '../../lora/support.ts'
import { numbers } from '../../lora/write-support.ts'
import { extractOptions } from './extract-options.ts'

const OPTIONS = extractOptions()

const tensors = (seed: number, names: readonly string[]): Record<string, TestTensor> =>
  Object.fromEntries(names.map((name, i) => [name, { shape: [6, 5], data: numbers(30, seed + i) }]))

/** The card of an extraction of two models, before anything is measured. */
async function cardOf(
  options: Partial<ExtractSettings>,
  names: readonly string[],
  config?: Record<string, unknown>,
) {
  const asked = { ...OPTIONS, ...options }
  const with_ = config === undefined ? {} : { config }
  const base = await checkpointOf({ tensors: tensors(1, names), ...with_ })
  const tuned = await checkpointOf({ tensors: tensors(99, names), ...with_ })
  const plan = await planExtraction({ ...base, path: asked.base }, { ...tuned, path: asked.tuned }, asked)
  const adapterPlan = planAdapter({
    ranks: new Map(plan.layers.map(({ module }) => [module, 2])),
    layout: 'portable',
    dtype: 'f32',
    base: base.tensors,
    traits: plan.traits,
  })
  return modelCard(adapterPlan, cardFigures(plan, asked, adapterPlan))
}

const Q = ['model.layers.0.self_attn.q_proj.weight']

describe('the card tells nothing of the machine it was made on', () => {
  const secret = '/home/alice/secret project'
  test.each([
    ['whole paths', { base: `${secret}/base-7b`, tuned: `${secret}/it's mine/` }, {}],
    ['a path as the base’s name', { baseName: `${secret}/base-7b` }, {}],
    ['paths up and home', { base: '../alice/base', tuned: '~/alice/tuned' }, {}],
    ['a path in the base’s config', {}, { _name_or_path: `${secret}/base-7b` }],
    ['Windows', { base: 'C:\\Users\\alice\\base', tuned: 'D:\\alice\\tuned' }, {}],
    ['an output', { output: `${secret}/out` }, {}],
  ])('%s', async (_, options, config) => {
    const card = await cardOf(options, Q, config)
    expect(card).not.toMatch(/alice|secret|\/home|C:/)
  })

  test('names stay: of folders, of the Hub, and of its cache', () => {
    const cached = '/root/.cache/huggingface/hub/models--org--base/snapshots/0123abc'
    expect(commandOf({ ...OPTIONS, dtype: undefined, base: cached, tuned: '/x/tuned-1' })).toBe(
      'lora-svd extract org/base tuned-1 -o ADAPTER --rank 2',
    )
    expect(commandOf({ ...OPTIONS, dtype: undefined, base: 'org/base', tuned: './tuned' })).toBe(
      'lora-svd extract org/base tuned -o ADAPTER --rank 2',
    )
  })
})

test('the command is quoted for a shell', () => {
  const odd = { base: "it's", tuned: '-x', include: ['*.q_proj', "a'b"], exclude: ['-y'], saveFull: ['$(x)'] }
  expect(commandOf({ ...OPTIONS, dtype: undefined, ...odd })).toBe(
    "lora-svd extract 'it'\\''s' ./-x -o ADAPTER --rank 2 --save-full '$(x)' --include '*.q_proj' --include 'a'\\''b' --exclude=-y",
  )
})

describe('diffusion models', () => {
  const names = [
    'model.diffusion_model.double_blocks.0.img_mod.lin.weight',
    'model.diffusion_model.single_blocks.0.linear1.weight',
  ]

  test('--format peft writes them, and the card advises no loader that finds nothing', async () => {
    const card = await cardOf({ format: 'peft' }, names)
    expect(card).not.toMatch(/AutoModel|vLLM:|llama\.cpp:/)
    expect(card).toContain('diffusion model (Flux.1)')
    expect(card).toContain('--format peft')
  })

  test('a language model’s card is as it was', async () => {
    const card = await cardOf({}, Q, { architectures: ['LlamaForCausalLM'], model_type: 'llama' })
    expect(card).toContain('AutoModelForCausalLM.from_pretrained(')
    expect(card).toContain('vLLM: `--max-lora-rank')
  })
})
