import type { RowOrder } from './gguf-rows.ts'

/**
 * What llama.cpp calls the layers of the models that transformers names so: conversion/*.py (the architecture, the order of rows) and
 * gguf-py/gguf/tensor_mapping.py@0024aa74 (names), each seen in what its converter for adapters wrote at v0.5.0 of 2026-09-28
 * (test/fixtures/goldens/ggufnames.json), but for Mixtral, Gemma 1, OLMo 1, Arcee and GPT-2, which are read there. What isn't listed is refused: a
 * wrong name is refused by the loader, and a wrong order of rows by nobody.
 */
export interface GgufArchitecture {
  /** `general.architecture`, which has to be the base's. */
  readonly name: string
  /** What stands before the number of a layer. */
  readonly layers: string
  /** Where the weights of a layer's modules go, as `blk.N.….weight`; `*` is the number of an expert. */
  readonly modules: Readonly<Record<string, Place | readonly Place[]>>
  readonly embedding: string
  readonly head: string
  /** Why the head has no place, where it has none even in a model that doesn't tie it. */
  readonly headless?: string
  /** Whether transformers' configuration ties the head to the embedding where config.json doesn't say. */
  readonly isTiedByDefault: boolean
}

export interface Place {
  readonly to: string
  readonly rows?: RowOrder
}

type Modules = GgufArchitecture['modules']

const to = (names: Readonly<Record<string, string>>): Modules =>
  Object.fromEntries(Object.entries(names).map(([path, name]) => [path, { to: name }]))

const VALUE_AND_OUTPUT = to({ 'self_attn.v_proj': 'attn_v', 'self_attn.o_proj': 'attn_output' })
const ATTENTION: Modules = {
  ...to({ 'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k' }),
  ...VALUE_AND_OUTPUT,
}
const INTERLEAVED: Modules = {
  'self_attn.q_proj': { to: 'attn_q', rows: 'query' },
  'self_attn.k_proj': { to: 'attn_k', rows: 'key' },
  ...VALUE_AND_OUTPUT,
}
const UNGATED = to({ 'mlp.up_proj': 'ffn_up', 'mlp.down_proj': 'ffn_down' })
const GATED: Modules = { ...to({ 'mlp.gate_proj': 'ffn_gate' }), ...UNGATED }
const EXPERTS = to({
  'mlp.gate': 'ffn_gate_inp',
  'mlp.experts.*.gate_proj': 'ffn_gate_exps',
  'mlp.experts.*.up_proj': 'ffn_up_exps',
  'mlp.experts.*.down_proj': 'ffn_down_exps',
})
const SHARED_EXPERT = to({
  'mlp.shared_expert_gate': 'ffn_gate_inp_shexp',
  'mlp.shared_expert.gate_proj': 'ffn_gate_shexp',
  'mlp.shared_expert.up_proj': 'ffn_up_shexp',
  'mlp.shared_expert.down_proj': 'ffn_down_shexp',
})

type Settings = Partial<Omit<GgufArchitecture, 'name' | 'modules'>>

/** An architecture with the names of Llama, where it doesn't say others. */
const model = (name: string, modules: Modules, settings: Settings = {}): GgufArchitecture => ({
  ...{ name, modules, layers: 'model.layers.', embedding: 'model.embed_tokens', head: 'lm_head' },
  ...{ isTiedByDefault: false, ...settings },
})

const TIED = { isTiedByDefault: true } as const
const HEAD_IS_EMBEDDING =
  'the head is the embedding in every model of this architecture: llama.cpp has no tensor for it'
const TRANSFORMER = { layers: 'transformer.h.', embedding: 'transformer.wte' } as const

/** By the first of config.json's `architectures`. */
export const GGUF_ARCHITECTURES: Readonly<Record<string, GgufArchitecture>> = {
  LlamaForCausalLM: model('llama', { ...INTERLEAVED, ...GATED }),
  MistralForCausalLM: model('llama', { ...INTERLEAVED, ...GATED }),
  MixtralForCausalLM: model('llama', {
    ...INTERLEAVED,
    ...to({
      'block_sparse_moe.gate': 'ffn_gate_inp',
      'block_sparse_moe.experts.*.w1': 'ffn_gate_exps',
      'block_sparse_moe.experts.*.w3': 'ffn_up_exps',
      'block_sparse_moe.experts.*.w2': 'ffn_down_exps',
    }),
  }),
  InternLM3ForCausalLM: model('llama', { ...INTERLEAVED, ...GATED }),
  GraniteForCausalLM: model('granite', { ...INTERLEAVED, ...GATED }),
  SmolLM3ForCausalLM: model('smollm3', { ...INTERLEAVED, ...GATED }, TIED),
  MiniCPMForCausalLM: model('minicpm', { ...INTERLEAVED, ...GATED }, TIED),
  ArceeForCausalLM: model('arcee', { ...INTERLEAVED, ...UNGATED }),
  OlmoForCausalLM: model('olmo', { ...INTERLEAVED, ...GATED }),
  Qwen2ForCausalLM: model('qwen2', { ...ATTENTION, ...GATED }),
  Qwen3ForCausalLM: model('qwen3', { ...ATTENTION, ...GATED }),
  Qwen2MoeForCausalLM: model('qwen2moe', { ...ATTENTION, ...GATED, ...EXPERTS, ...SHARED_EXPERT }),
  Qwen3MoeForCausalLM: model('qwen3moe', { ...ATTENTION, ...GATED, ...EXPERTS }),
  GemmaForCausalLM: model('gemma', { ...ATTENTION, ...GATED }, { ...TIED, headless: HEAD_IS_EMBEDDING }),
  Gemma2ForCausalLM: model('gemma2', { ...ATTENTION, ...GATED }, { ...TIED, headless: HEAD_IS_EMBEDDING }),
  Gemma3ForCausalLM: model('gemma3', { ...ATTENTION, ...GATED }, TIED),
  Phi3ForCausalLM: model('phi3', {
    ...to({ 'self_attn.qkv_proj': 'attn_qkv', 'self_attn.o_proj': 'attn_output' }),
    // gate and up together, under the name of up
    ...to({ 'mlp.gate_up_proj': 'ffn_up', 'mlp.down_proj': 'ffn_down' }),
  }),
  PhiForCausalLM: model('phi2', {
    ...to({ 'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k', 'self_attn.v_proj': 'attn_v' }),
    ...to({ 'self_attn.dense': 'attn_output', 'mlp.fc1': 'ffn_up', 'mlp.fc2': 'ffn_down' }),
  }),
  StableLmForCausalLM: model('stablelm', { ...ATTENTION, ...GATED }),
  Starcoder2ForCausalLM: model(
    'starcoder2',
    { ...ATTENTION, ...to({ 'mlp.c_fc': 'ffn_up', 'mlp.c_proj': 'ffn_down' }) },
    TIED,
  ),
  Olmo2ForCausalLM: model('olmo2', { ...ATTENTION, ...GATED }),
  CohereForCausalLM: model('command-r', { ...ATTENTION, ...GATED }, { ...TIED, headless: HEAD_IS_EMBEDDING }),
  NemotronForCausalLM: model('nemotron', { ...ATTENTION, ...UNGATED }),
  ApertusForCausalLM: model('apertus', { ...ATTENTION, ...UNGATED }),
  SeedOssForCausalLM: model('seed_oss', { ...ATTENTION, ...GATED }),
  Llama4ForCausalLM: model('llama4', {
    ...ATTENTION,
    ...to({
      'feed_forward.gate_proj': 'ffn_gate',
      'feed_forward.up_proj': 'ffn_up',
      'feed_forward.down_proj': 'ffn_down',
    }),
  }),
  InternLM2ForCausalLM: model(
    'internlm2',
    {
      'attention.wqkv': [
        { to: 'attn_q', rows: 'queries of a group' },
        { to: 'attn_k', rows: 'keys of a group' },
        { to: 'attn_v', rows: 'values of a group' },
      ],
      ...to({ 'attention.wo': 'attn_output', 'feed_forward.w1': 'ffn_gate' }),
      ...to({ 'feed_forward.w3': 'ffn_up', 'feed_forward.w2': 'ffn_down' }),
    },
    { embedding: 'model.tok_embeddings', head: 'output' },
  ),
  GPTNeoXForCausalLM: model(
    'gptneox',
    {
      'attention.query_key_value': { to: 'attn_qkv', rows: 'by head' },
      ...to({ 'attention.dense': 'attn_output' }),
      ...to({ 'mlp.dense_h_to_4h': 'ffn_up', 'mlp.dense_4h_to_h': 'ffn_down' }),
    },
    { layers: 'gpt_neox.layers.', embedding: 'gpt_neox.embed_in', head: 'embed_out' },
  ),
  FalconForCausalLM: model(
    'falcon',
    {
      'self_attention.query_key_value': { to: 'attn_qkv', rows: 'by group' },
      ...to({ 'self_attention.dense': 'attn_output' }),
      ...to({ 'mlp.dense_h_to_4h': 'ffn_up', 'mlp.dense_4h_to_h': 'ffn_down' }),
    },
    { ...TRANSFORMER, ...TIED, embedding: 'transformer.word_embeddings' },
  ),
  ExaoneForCausalLM: model(
    'exaone',
    {
      ...to({ 'attn.attention.q_proj': 'attn_q', 'attn.attention.k_proj': 'attn_k' }),
      ...to({ 'attn.attention.v_proj': 'attn_v', 'attn.attention.out_proj': 'attn_output' }),
      ...to({ 'mlp.c_fc_0': 'ffn_gate', 'mlp.c_fc_1': 'ffn_up', 'mlp.c_proj': 'ffn_down' }),
    },
    { ...TRANSFORMER, ...TIED },
  ),
  // PEFT's factors of a Conv1D are [out, in] already: the converter turns them, and so breaks them
  GPT2LMHeadModel: model(
    'gpt2',
    to({
      'attn.c_attn': 'attn_qkv',
      'attn.c_proj': 'attn_output',
      'mlp.c_fc': 'ffn_up',
      'mlp.c_proj': 'ffn_down',
    }),
    { ...TRANSFORMER, ...TIED },
  ),
}
