import fc from 'fast-check'
import { expect, test } from 'vitest'
import '../property-seed.ts'
import { LoraSvdError } from '../../src/errors.ts'
import type { SavedModule } from '../../src/lora/model.ts'
import { type CardFigures, modelCard } from '../../src/lora/write/card.ts'
import { adapterConfig, baseModelName, taskTypeOf } from '../../src/lora/write/config.ts'
import type { AdapterLayout } from '../../src/lora/write/peft.ts'
import { planAdapter } from '../../src/lora/write/peft.ts'
import { noFigures } from './card-figures.ts'
import { moduleOf, traitsOf } from './write-support.ts'

function planOf(ranks: Record<string, number>, layout: AdapterLayout, saved: SavedModule[] = []) {
  const entries = Object.entries(ranks).map(
    ([path, rank]) => [moduleOf(`${path}.weight`, [6, 4]), rank] as const,
  )
  const base = new Map(entries.map(([{ tensor, shape }]) => [tensor, { dtype: 'BF16' as const, shape }]))
  return planAdapter({ ranks: new Map(entries), layout, dtype: 'bf16', base, traits: traitsOf(), saved })
}

const RANKS = { 'l.0.o_proj': 4, 'l.1.o_proj': 16, 'l.11.o_proj': 1, 'l.2.o_proj': 0 }

test('adapter_config.json, word for word', () => {
  const facts = { baseModel: 'org/base', taskType: 'CAUSAL_LM' }
  expect(adapterConfig(planOf(RANKS, 'pattern'), facts)).toBe(
    `{
  "alpha_pattern": {
    "^l\\\\.0\\\\.o_proj": 4,
    "^l\\\\.11\\\\.o_proj": 1
  },
  "base_model_name_or_path": "org/base",
  "bias": "none",
  "fan_in_fan_out": false,
  "inference_mode": true,
  "init_lora_weights": true,
  "lora_alpha": 16,
  "lora_dropout": 0,
  "modules_to_save": null,
  "peft_type": "LORA",
  "r": 16,
  "rank_pattern": {
    "^l\\\\.0\\\\.o_proj": 4,
    "^l\\\\.11\\\\.o_proj": 1
  },
  "target_modules": [
    "l.0.o_proj",
    "l.1.o_proj",
    "l.11.o_proj"
  ],
  "task_type": "CAUSAL_LM",
  "use_dora": false,
  "use_rslora": false
}
`,
  )
  const portable = JSON.parse(
    adapterConfig(planOf(RANKS, 'portable'), { baseModel: undefined, taskType: undefined }),
  )
  expect(portable).toMatchObject({
    r: 16,
    lora_alpha: 16,
    rank_pattern: {},
    alpha_pattern: {},
    base_model_name_or_path: null,
    task_type: null,
  })
})

test('an adapter of nothing is refused', () => {
  expect(() => planOf({ 'l.0.o_proj': 0 }, 'portable')).toThrow(LoraSvdError)
})

test('a pattern layout says who scales it wrongly, and by how much', () => {
  expect(planOf(RANKS, 'portable').warnings).toEqual([])
  const { warnings } = planOf({ ...RANKS, 'l.0.q_proj': 8, 'l.0.k_proj': 16 }, 'pattern')
  expect(warnings).toHaveLength(2)
  expect(warnings[0]).toMatch(/llama.cpp and TensorRT-LLM .* 3 modules too strong, by up to 16×/)
  expect(warnings[1]).toMatch(/SGLang/)
  expect(planOf({ a: 600 }, 'portable').warnings).toEqual([expect.stringMatching(/vLLM .* above 512.* 600/)])
})

test.each([
  ['LlamaForCausalLM', {}, [], 'CAUSAL_LM'],
  ['GPT2LMHeadModel', {}, [], 'CAUSAL_LM'],
  ['T5ForConditionalGeneration', { is_encoder_decoder: true }, [], 'SEQ_2_SEQ_LM'],
  ['LlavaForConditionalGeneration', {}, [], undefined],
  ['LlamaModel', {}, [], undefined],
  // PEFT would miss the head in the file
  ['LlamaForSequenceClassification', {}, [], undefined],
  ['LlamaForSequenceClassification', {}, [{ path: 'score', tensors: ['score.weight'] }], 'SEQ_CLS'],
  ['BertForQuestionAnswering', {}, [{ path: 'score', tensors: ['score.weight'] }], undefined],
] as const)('the task of %s %j with %j saved is %s', (architecture, rest, saved, task) => {
  const config = { architectures: [architecture], ...rest }
  expect(taskTypeOf(config, { saved }, ['l.0.o_proj.weight', 'score.weight'], traitsOf())).toBe(task)
})

test('the base model’s name', () => {
  expect(baseModelName('given', { _name_or_path: 'org/it' })).toBe('given')
  expect(baseModelName(undefined, { _name_or_path: 'org/it' })).toBe('org/it')
  expect(baseModelName(undefined, { _name_or_path: '' })).toBeUndefined()
  expect(baseModelName(undefined, undefined)).toBeUndefined()
})

const measured: CardFigures = {
  baseModel: 'org/base-7b',
  taskType: 'CAUSAL_LM',
  tool: { version: '0.3.0', command: 'lora-svd extract base tuned -o "a`b"' },
  layers: new Map([['l.1.o_proj.weight', { relativeError: 0.012345, optimalError: 1.2e-7 }]]),
  relativeError: 0.02,
  unchanged: 1,
  notCarried: [{ name: 'l.0.norm.weight', reason: 'not a matrix | so', relativeChange: 0.5 }],
}

test('the card tells each layer’s figures, what is left out, how to load it and how it was made', () => {
  const card = modelCard(planOf(RANKS, 'pattern'), measured)
  expect(card).toMatch(
    /^---\nbase_model: "org\/base-7b"\nbase_model_relation: adapter\nlibrary_name: peft\npipeline_tag: text-generation\n# license: .*\ntags:\n- lora\n- lora-svd\n---\n\n# /,
  )
  expect(card).toContain('| `l.1.o_proj.weight` | 6 × 4 | 16 |   0.0123 |   1.2e-7 |')
  expect(card).toContain('| `l.0.o_proj.weight` | 6 × 4 | 4 |        - |        - |')
  expect(card).toContain('| `l.0.norm.weight` | not a matrix \\| so |    0.500 |')
  expect(card).toContain('(Frobenius):   0.0200\n')
  expect(card).toContain('`--max-lora-rank 16`')
  expect(card).toContain('AutoModelForCausalLM.from_pretrained("org/base-7b")')
  expect(card).toContain('llama.cpp and TensorRT-LLM divide')
  expect(card).toContain('```sh\nlora-svd extract base tuned -o "a`b"\n```\n')
})

test('a name that is Markdown, HTML or YAML stays a name', () => {
  const plan = planOf({ 'a|b`c<script>*x*\n# d': 1 }, 'portable')
  const card = modelCard(plan, { ...measured, baseModel: 'x"\nlicense: mit', notCarried: [] })
  expect(card).not.toMatch(/^license|^# d|[^\\]<script|[^\\]\|b/m)
  expect(card).not.toMatch(/^base_model:/m)
  expect(card).toContain('a\\|b\\`c\\<script\\>\\*x\\*\\\\u{000a}# d.weight')
})

test('a card is as long with its figures as without', () => {
  const figure = fc.oneof(
    fc.double({ min: 0, max: 10 }),
    fc.constantFrom(0, 5e-324, 1e-99, 9.9999e-100, 9.9999e99, 1e300, Number.NaN),
  )
  fc.assert(
    fc.property(figure, figure, figure, (relativeError, optimalError, change) => {
      const plan = planOf(RANKS, 'portable')
      const notCarried = [{ ...noFigures.notCarried[0], relativeChange: change }]
      const layers = new Map(
        plan.modules.map(({ module }) => [module.tensor, { relativeError, optimalError }]),
      )
      const card = modelCard(plan, { ...noFigures, layers, relativeError, notCarried })
      expect(Buffer.byteLength(card)).toBe(Buffer.byteLength(modelCard(plan, noFigures)))
    }),
    { numRuns: 300 },
  )
})
