import { expect, test } from 'vitest'
import { peftModule } from '../../src/lora/kinds.ts'
import { elementsPerRank } from '../../src/lora/model.ts'
import { completeGroups, factorShapes } from '../../src/lora/write/peft.ts'
import { modelOf, moduleOf, traitsOf } from './write-support.ts'

const reasonOf = (...args: Parameters<typeof peftModule>) => {
  const module = peftModule(...args)
  return 'reason' in module ? module.reason : undefined
}

test('what LoRA can not adapt is told with the reason', () => {
  const traits = traitsOf()
  expect(reasonOf('model.norm.weight', 'matrix', [8], traits)).toMatch(/^not a matrix/)
  expect(reasonOf('logit_scale', 'matrix', [], traits)).toMatch(/^not a matrix/)
  expect(reasonOf('visual.positional_embedding', 'matrix', [50, 8], traits)).toMatch(
    /does not end in .weight/,
  )
  expect(reasonOf('model.embed_tokens.weight', 'matrix', [50, 8], traits)).toMatch(/--embeddings/)
  expect(reasonOf('decoder.embed_positions.weight', 'matrix', [50, 8], traits, { embeddings: true })).toMatch(
    /offset/,
  )
  expect(reasonOf('mlp.experts.gate_up_proj', 'expert', [4, 8, 6], traits)).toBe('3-D experts')
  expect(reasonOf('mlp.experts.w1', 'expert', [4, 8, 6], traits, { experts: true })).toMatch(
    /other than gate_up_proj/,
  )
  expect(reasonOf('odd.weight', 'conv', [2, 2, 2, 2, 2, 2], traits)).toBe('a tensor of 6 dimensions')
  expect(reasonOf('none.weight', 'matrix', [0, 4], traits)).toMatch(/empty/)
})

test.each([
  'model.embed_tokens',
  'transformer.wte',
  'transformer.wpe',
  'transformer.word_embeddings',
  'shared',
  'tok_embeddings',
  'gpt_neox.embed_in',
  'tokens_embed',
  'encoder.block.0.layer.0.SelfAttention.relative_attention_bias',
  'text_model.embeddings.token_embedding',
])('%s is an embedding', (path) => {
  const { kind, isTransposed } = moduleOf(`${path}.weight`, [50, 8], { embeddings: true })
  expect({ kind, isTransposed }).toEqual({ kind: 'embedding', isTransposed: true })
})

test.each(['lm_head', 'embed_out', 'context_embedder', 'x_embedder', 'patch_embed.proj', 'time_embed.0'])(
  '%s is a linear layer',
  (path) => {
    expect(moduleOf(`${path}.weight`, [50, 8]).kind).toBe('linear')
  },
)

test.each([
  ['gpt2', [6, 18], 'conv1d'],
  ['openai-gpt', [6, 18], 'conv1d'],
  ['imagegpt', [6, 18], 'conv1d'],
  ['decision_transformer', [6, 18], 'conv1d'],
  // a bare file: only [in, 3·in] can tell
  [undefined, [6, 18], 'conv1d'],
  ['gpt_bigcode', [10, 6], 'linear'],
  [undefined, [18, 6], 'linear'],
] as const)('c_attn of %s in %j is %s', (model_type, shape, kind) => {
  const tensors = modelOf({ 'h.0.attn.c_attn.weight': shape, 'h.0.attn.c_proj.weight': [6, 6] })
  const traits = traitsOf(tensors, model_type === undefined ? undefined : { model_type })
  expect(moduleOf('h.0.attn.c_attn.weight', shape, { traits }).kind).toBe(kind)
  expect(moduleOf('h.0.attn.c_proj.weight', [6, 6], { traits }).kind).toBe(kind)
  expect(moduleOf('h.0.attn.q_proj.weight', [6, 6], { traits }).kind).toBe('linear')
})

test('a Conv1D is found in a part of a model too', () => {
  const traits = traitsOf(new Map(), {
    model_type: 'vision-encoder-decoder',
    decoder: { model_type: 'gpt2' },
  })
  expect(moduleOf('decoder.transformer.h.0.mlp.c_fc.weight', [4, 16], { traits }).kind).toBe('conv1d')
})

test.each([
  ['h.0.ln_1.weight', 'GPT2LMHeadModel', 'wte.weight', 'transformer.wte'],
  ['h.0.ln_1.weight', 'GPT2Model', 'wte.weight', 'wte'],
  ['h.0.ln_1.weight', 'GPT2ForSequenceClassification', 'score.weight', 'score'],
  ['transformer.h.0.ln_1.weight', 'GPT2LMHeadModel', 'transformer.wte.weight', 'transformer.wte'],
  ['layers.0.norm.weight', 'LlamaForCausalLM', 'embed_tokens.weight', 'model.embed_tokens'],
  ['layers.0.norm.weight', 'LlamaForCausalLM', 'lm_head.weight', 'lm_head'],
  ['layers.0.norm.weight', undefined, 'embed_tokens.weight', 'embed_tokens'],
])('of a checkpoint with %s as %s, %s is the module %s', (stored, architecture, tensor, path) => {
  const config = architecture === undefined ? undefined : { architectures: [architecture] }
  const traits = traitsOf(modelOf({ [stored]: [2] }), config)
  expect(moduleOf(tensor, [9, 4], { traits, embeddings: true }).path).toBe(path)
})

test('shapes of the tensors, and the entries each rank takes', () => {
  const kinds = [
    moduleOf('a.weight', [6, 4]),
    moduleOf('a.wte.weight', [6, 4], { embeddings: true }),
    moduleOf('a.weight', [6, 4, 3, 2], { view: 'conv' }),
    moduleOf('a.experts.down_proj', [5, 6, 4], { view: 'expert', experts: true }),
  ]
  expect(kinds.map((module) => factorShapes(module, 2))).toEqual([
    { A: [2, 4], B: [6, 2] },
    { A: [2, 6], B: [4, 2] },
    { A: [2, 4, 3, 2], B: [6, 2, 1, 1] },
    { A: [10, 4], B: [6, 10] },
  ])
  for (const module of kinds) {
    const { A, B } = factorShapes(module, 7)
    const elements = [A, B].map((shape) => shape.reduce((product, n) => product * n, 1))
    expect(elementsPerRank(module) * 7).toBe(elements[0] + elements[1])
  }
})

test('groups are completed with what the base has, once', () => {
  const base = modelOf({
    'l.0.q_proj.weight': [4, 4],
    'l.0.k_proj.weight': [2, 4],
    'l.0.v_proj.weight': [2, 4],
    'l.0.up_proj.weight': [8, 4],
    'l.1.q_proj.weight': [4, 4],
    'l.1.k_proj.weight': [2, 4],
    'l.2.gate_proj.weight': [8, 4],
    'l.2.up_proj.weight': [8, 4],
    'l.2.down_proj.weight': [4, 8],
  })
  const modules = ['l.0.q_proj', 'l.0.v_proj', 'l.0.up_proj', 'l.2.up_proj', 'l.2.down_proj'].map((path) =>
    moduleOf(`${path}.weight`, base.get(`${path}.weight`)!.shape),
  )
  const added = completeGroups(modules, base, traitsOf())
  expect(added.map(({ path, shape }) => [path, shape])).toEqual([
    ['l.0.k_proj', [2, 4]],
    ['l.2.gate_proj', [8, 4]],
  ])
  expect(completeGroups([...modules, ...added], base, traitsOf())).toEqual([])
  expect(completeGroups(modules, base, traitsOf(), new Set(['l.0.k_proj'])).map(({ path }) => path)).toEqual([
    'l.2.gate_proj',
  ])
})
