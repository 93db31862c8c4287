// Small Llamas and Mixtrals of random weights, and PEFT adapters, from seeds: what bench/llama-adapters.mjs gives to a real llama.cpp.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readTensors } from './gguf.mjs'
import { normals, writeSafetensors } from './tensors.mjs'

const PEFT_PREFIX = 'base_model.model.'
const ADAPTER_FILE = 'adapter_model.safetensors'

const bytesOf = ({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)

/** Writes float32 tensors `[name, { shape, data }]`. */
export function writeTensors(path, tensors) {
  const listed = [...tensors].map(([name, { shape, data }]) => ({
    ...{ name, dtype: 'F32', shape, data, bytes: data.byteLength },
  }))
  writeSafetensors(path, listed, bytesOf)
}

/** The linear modules of a layer, [out, in]. */
export function modulesOf(config) {
  const { hidden_size: h, intermediate_size: ff, num_attention_heads: heads } = config
  const keys = (h / heads) * (config.num_key_value_heads ?? heads)
  const experts = Array.from({ length: config.num_local_experts ?? 0 }, (_, e) => [
    [`block_sparse_moe.experts.${e}.w1`, ff, h],
    [`block_sparse_moe.experts.${e}.w3`, ff, h],
    [`block_sparse_moe.experts.${e}.w2`, h, ff],
  ]).flat()
  return [
    ...[
      ['self_attn.q_proj', h, h],
      ['self_attn.k_proj', keys, h],
      ['self_attn.v_proj', keys, h],
    ],
    ['self_attn.o_proj', h, h],
    ...(experts.length > 0
      ? [['block_sparse_moe.gate', config.num_local_experts, h], ...experts]
      : [
          ['mlp.gate_proj', ff, h],
          ['mlp.up_proj', ff, h],
          ['mlp.down_proj', h, ff],
        ]),
  ]
}

const SMALL = {
  ...{ architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_size: 64, intermediate_size: 96 },
  ...{ num_hidden_layers: 2, num_attention_heads: 8, num_key_value_heads: 2, vocab_size: 28 },
  ...{ max_position_embeddings: 66, tie_word_embeddings: false, rms_norm_eps: 1e-6, torch_dtype: 'float32' },
}

/** Writes a model with eight heads that share two keys, and with what `settings` say otherwise. Gives its config. */
export function makeModel(folder, settings = {}, seed = 1) {
  const config = { ...SMALL, ...settings }
  const { hidden_size: h, vocab_size: vocabulary } = config
  let next = seed * 1000
  const random = (shape, deviation) => ({
    ...{
      shape,
      data: normals(
        shape.reduce((a, b) => a * b),
        deviation,
        next++,
      ),
    },
  })
  const ones = () => ({ shape: [h], data: new Float32Array(h).fill(1) })
  const tensors = new Map([['model.embed_tokens.weight', random([vocabulary, h], 1)]])
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const stem = `model.layers.${layer}`
    for (const norm of ['input_layernorm', 'post_attention_layernorm'])
      tensors.set(`${stem}.${norm}.weight`, ones())
    for (const [module, out, into] of modulesOf(config)) {
      tensors.set(`${stem}.${module}.weight`, random([out, into], 1.5 / Math.sqrt(into)))
    }
  }
  tensors.set('model.norm.weight', ones())
  if (!config.tie_word_embeddings) tensors.set('lm_head.weight', random([vocabulary, h], 2 / Math.sqrt(h)))
  writeModel(folder, config, tensors)
  return config
}

function writeModel(folder, config, tensors) {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config, null, 2))
  writeTensors(join(folder, 'model.safetensors'), tensors)
}

/** Writes a Mixtral's folder with its experts stacked, as transformers 5 has them at run time: gate's rows above up's. */
export function makeStacked(folder, config, apart) {
  const tensors = new Map()
  const experts = new Map()
  for (const [name, tensor] of readTensors(join(apart, 'model.safetensors'))) {
    const [, layer, e, leaf] = /^(.+)\.block_sparse_moe\.experts\.(\d+)\.(w[123])\.weight$/.exec(name) ?? []
    if (layer === undefined) tensors.set(name, tensor)
    else experts.set(`${layer} ${leaf} ${e}`, tensor)
  }
  const count = config.num_local_experts
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const layer = `model.layers.${i}`
    const of = (leaf, e) => experts.get(`${layer} ${leaf} ${e}`).data
    const all = (parts) => Float32Array.from(parts.flatMap((part) => [...part]))
    const { hidden_size: h, intermediate_size: ff } = config
    const indices = Array.from({ length: count }, (_, e) => e)
    const owner = `${layer}.mlp.experts`
    tensors.set(`${owner}.gate_up_proj`, {
      ...{ shape: [count, 2 * ff, h], data: all(indices.flatMap((e) => [of('w1', e), of('w3', e)])) },
    })
    tensors.set(`${owner}.down_proj`, { shape: [count, h, ff], data: all(indices.map((e) => of('w2', e))) })
  }
  writeModel(folder, config, tensors)
}

/** Random factors of a module, as large as changes its weight by a good part. */
export function randomPair([out, into], rank, seed) {
  return {
    A: { shape: [rank, into], data: normals(rank * into, 1 / Math.sqrt(into), 2 * seed) },
    B: { shape: [out, rank], data: normals(out * rank, 0.7, 2 * seed + 1) },
  }
}

/**
 * Writes a PEFT adapter.
 * @param pairs by the modules' paths: `{ A, B }`, and `isEmbedding`
 * @param config what of adapter_config.json isn't told by the pairs
 */
export function writeAdapter(folder, pairs, config) {
  const tensors = [...pairs].flatMap(([module, { A, B, isEmbedding }]) => {
    const name = (side) => (isEmbedding ? `lora_embedding_${side}` : `lora_${side}.weight`)
    return [
      [`${PEFT_PREFIX}${module}.${name('A')}`, A],
      [`${PEFT_PREFIX}${module}.${name('B')}`, B],
    ]
  })
  mkdirSync(folder, { recursive: true })
  writeTensors(join(folder, ADAPTER_FILE), tensors)
  const targets = [...new Set([...pairs.keys()].map((path) => path.split('.').at(-1)))]
  const whole = { peft_type: 'LORA', task_type: 'CAUSAL_LM', target_modules: targets, ...config }
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(whole, null, 2))
}

/** The factors of a PEFT adapter of linear layers, by their paths. */
export function readPairs(folder) {
  const pairs = new Map()
  for (const [name, tensor] of readTensors(join(folder, ADAPTER_FILE))) {
    const [, module, side] = /^base_model\.model\.(.+)\.lora_([AB])\.weight$/.exec(name)
    pairs.set(module, { ...pairs.get(module), [side]: tensor })
  }
  return pairs
}

/** The first `rank` directions of factors. */
export function firstDirections({ A, B }, rank) {
  const [r, into] = A.shape
  const [out] = B.shape
  return {
    A: { shape: [rank, into], data: A.data.slice(0, rank * into) },
    B: {
      shape: [out, rank],
      data: Float32Array.from(
        { length: out * rank },
        (_, i) => B.data[Math.floor(i / rank) * r + (i % rank)],
      ),
    },
  }
}

/**
 * Pairs of all experts as PEFT's `target_parameters` has them: A [experts·r, in], one expert after the other, and B [out, r·experts], in
 * which the expert is the fastest index (peft 0.20: tuners/lora/layer.py, ParamWrapper.get_delta_weight).
 */
export function stackedPair(pairs) {
  const [{ A, B }] = pairs
  const [[r, into], [out]] = [A.shape, B.shape]
  const count = pairs.length
  const data = new Float32Array(out * r * count)
  for (const [e, pair] of pairs.entries()) {
    for (let row = 0; row < out; row++) {
      for (let k = 0; k < r; k++) data[row * r * count + k * count + e] = pair.B.data[row * r + k]
    }
  }
  return {
    A: { shape: [count * r, into], data: Float32Array.from(pairs.flatMap((pair) => [...pair.A.data])) },
    B: { shape: [out, r * count], data },
  }
}
