// A base and a fine-tune of it as two Hugging Face folders, with TinyLlama's shapes and bfloat16, made from a seed: what
// inspect and extract are measured on. Only the vocabulary is small, and embeddings stay as they were, so that the files
// hold the layers. Usage: node bench/tinyllama-pair.mjs FOLDER [--layers 4] [--seed 0] [--hidden 2048] [--shards 1]
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { multiply } from '../dist/index.js'

const VOCABULARY = 1000
const WEIGHT_DEVIATION = 0.02
/** ‖tuned − base‖_F / ‖base‖_F is drawn from this range: two to five units in bfloat16's last place for the usual entry. */
const RELATIVE_CHANGE = [0.015, 0.03]
/** The change is Σ σ_i u_i v_iᵀ with σ_i ∝ i^−1.2 over this many directions, … */
const DIRECTIONS = 300
const DECAY = 1.2
/** … and noise of full rank with this share of its Frobenius norm. */
const NOISE_SHARE = 0.2
const NORM_CHANGE = 0.01

/** The folder's recipe: a pair on disk can be used again where this is equal. */
export function recipeOf({ layers = 4, seed = 0, hidden = 2048, shards = 1 } = {}) {
  return { version: 1, layers, seed, hidden, shards, vocabulary: VOCABULARY }
}

export function holdsPair(folder, recipe) {
  try {
    return readFileSync(join(folder, 'pair.json'), 'utf8') === JSON.stringify(recipe)
  } catch {
    return false
  }
}

/** Writes base/, tuned/ and, when both are whole, pair.json into `folder`. Holds a few matrices at a time. */
export function makePair(folder, recipe) {
  rmSync(join(folder, 'pair.json'), { force: true })
  const tensors = tensorsOf(recipe)
  const sides = ['base', 'tuned'].map((side) => createModel(join(folder, side), recipe, tensors))
  const random = randomStream(recipe.seed)
  for (const [index, { shape, kind }] of tensors.entries()) {
    const [base, tuned] = kind === 'linear' ? linearPair(shape, random) : vectorPair(shape, kind, random)
    sides[0].write(index, base)
    sides[1].write(index, tuned)
  }
  for (const side of sides) side.close()
  writeFileSync(join(folder, 'pair.json'), JSON.stringify(recipe))
}

function tensorsOf({ layers, hidden, vocabulary }) {
  const keyValue = hidden / 8
  const mlp = (hidden * 11) / 4
  const linear = (name, rows, columns) => ({ name: `${name}.weight`, shape: [rows, columns], kind: 'linear' })
  const norm = (name) => ({ name: `${name}.weight`, shape: [hidden], kind: 'norm' })
  const frozen = (name) => ({ name: `${name}.weight`, shape: [vocabulary, hidden], kind: 'frozen' })
  const layer = (i) => {
    const at = (module) => `model.layers.${i}.${module}`
    return [
      norm(at('input_layernorm')),
      linear(at('self_attn.q_proj'), hidden, hidden),
      linear(at('self_attn.k_proj'), keyValue, hidden),
      linear(at('self_attn.v_proj'), keyValue, hidden),
      linear(at('self_attn.o_proj'), hidden, hidden),
      norm(at('post_attention_layernorm')),
      linear(at('mlp.gate_proj'), mlp, hidden),
      linear(at('mlp.up_proj'), mlp, hidden),
      linear(at('mlp.down_proj'), hidden, mlp),
    ]
  }
  const all = Array.from({ length: layers }, (_, i) => layer(i)).flat()
  return [frozen('model.embed_tokens'), ...all, norm('model.norm'), frozen('lm_head')]
}

function linearPair(shape, { normals, uniform }) {
  const base = toBfloat16(normals(shape[0] * shape[1], WEIGHT_DEVIATION))
  const [least, most] = RELATIVE_CHANGE
  const relativeChange = least + (most - least) * uniform()
  const change = lowRankChange(shape, normals)
  const noise = normals(change.length, 1)
  const size = relativeChange * Math.sqrt(sumOfSquares(fromBfloat16(base)))
  const changeScale = (size * Math.sqrt(1 - NOISE_SHARE ** 2)) / Math.sqrt(sumOfSquares(change))
  const noiseScale = (size * NOISE_SHARE) / Math.sqrt(sumOfSquares(noise))
  const tuned = fromBfloat16(base)
  for (let i = 0; i < tuned.length; i++) tuned[i] += changeScale * change[i] + noiseScale * noise[i]
  return [base, toBfloat16(tuned)]
}

/** Random directions of so many dimensions are nearly orthogonal, so that σ are nearly the singular values. */
function lowRankChange([rows, columns], normals) {
  const directions = Math.min(DIRECTIONS, rows, columns)
  const left = normals(rows * directions, 1)
  for (let at = 0; at < left.length; at++) left[at] *= (1 + (at % directions)) ** -DECAY
  const U = { rows, columns: directions, data: left }
  const V = { rows: directions, columns, data: normals(directions * columns, 1) }
  return multiply(U, V).data
}

function vectorPair([rows, columns = 1], kind, { normals }) {
  if (kind === 'frozen') {
    const bits = toBfloat16(normals(rows * columns, WEIGHT_DEVIATION))
    return [bits, bits]
  }
  const base = toBfloat16(normals(rows, 0.1).map((value) => 1 + value))
  const change = normals(rows, NORM_CHANGE)
  return [base, toBfloat16(fromBfloat16(base).map((value, i) => value * (1 + change[i])))]
}

/**
 * Numbers by the hundred million: 16 random bits (mulberry32) choose from a table of 65536 normal draws, standardized.
 * One stream serves the whole pair, so that no two matrices share their noise.
 */
export function randomStream(seed) {
  let state = seed
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let z = Math.imul(state ^ (state >>> 15), state | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return (z ^ (z >>> 14)) >>> 0
  }
  const uniform = () => (next() + 0.5) / 2 ** 32
  const draws = Array.from(
    { length: 2 ** 15 },
    () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  )
  const deviation = Math.sqrt(sumOfSquares(draws) / draws.length)
  const table = Float32Array.from({ length: 2 ** 16 }, (_, i) => {
    const draw = draws[i >> 1] / deviation
    return i % 2 === 0 ? draw : -draw
  })
  const normals = (count, scale) => {
    const values = new Float32Array(count)
    for (let i = 0; i < count; i += 2) {
      const bits = next()
      values[i] = scale * table[bits & 0xffff]
      if (i + 1 < count) values[i + 1] = scale * table[bits >>> 16]
    }
    return values
  }
  return { normals, uniform }
}

function sumOfSquares(values) {
  let sum = 0
  for (const value of values) sum += value * value
  return sum
}

/** To the nearest, ties to even. */
export function toBfloat16(values) {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const half = new Uint16Array(values.length)
  for (let i = 0; i < half.length; i++) half[i] = (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) >>> 16
  return half
}

function fromBfloat16(half) {
  const bits = new Uint32Array(half.length)
  for (let i = 0; i < half.length; i++) bits[i] = half[i] << 16
  return new Float32Array(bits.buffer)
}

/** Headers first, then tensors in the order given; several shards get an index. */
function createModel(folder, { layers, hidden, shards, vocabulary }, tensors) {
  mkdirSync(folder, { recursive: true })
  const json = (name, value) => writeFileSync(join(folder, name), JSON.stringify(value, null, 2))
  json('config.json', {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: hidden,
    intermediate_size: (hidden * 11) / 4,
    num_attention_heads: 32,
    num_hidden_layers: layers,
    num_key_value_heads: 4,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: false,
    torch_dtype: 'bfloat16',
    vocab_size: vocabulary,
  })
  const shardOf = (index) => Math.floor((index * shards) / tensors.length)
  const shardName = (shard) => {
    const numbers = [shard + 1, shards].map((number) => String(number).padStart(5, '0'))
    return shards === 1 ? 'model.safetensors' : `model-${numbers.join('-of-')}.safetensors`
  }
  const files = Array.from({ length: shards }, (_, shard) => {
    const file = openSync(join(folder, shardName(shard)), 'w')
    writeFileSync(file, headerOf(tensors.filter((_, index) => shardOf(index) === shard)))
    return file
  })
  if (shards > 1) {
    const total_size = tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0)
    const weight_map = Object.fromEntries(tensors.map(({ name }, index) => [name, shardName(shardOf(index))]))
    json('model.safetensors.index.json', { metadata: { total_size }, weight_map })
  }
  return {
    write: (index, half) => writeFileSync(files[shardOf(index)], half),
    close: () => files.forEach(closeSync),
  }
}

const BYTES = { BF16: 2, F32: 4 }
const bytesOf = ({ shape }, dtype = 'BF16') =>
  BYTES[dtype] * shape.reduce((product, size) => product * size, 1)

/** The header of a safetensors file of these tensors, in their order. */
export function headerOf(tensors, dtype = 'BF16') {
  let end = 0
  const entries = tensors.map((tensor) => {
    const start = end
    end += bytesOf(tensor, dtype)
    return [tensor.name, { dtype, shape: tensor.shape, data_offsets: [start, end] }]
  })
  const text = JSON.stringify({ __metadata__: { format: 'pt' }, ...Object.fromEntries(entries) })
  const padded = Buffer.from(text.padEnd(8 * Math.ceil(text.length / 8)))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(padded.length))
  return Buffer.concat([length, padded])
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const number = { type: 'string' }
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { layers: number, seed: number, hidden: number, shards: number },
  })
  const numbers = Object.fromEntries(Object.entries(values).map(([name, text]) => [name, Number(text)]))
  if (positionals.length !== 1) throw new Error('give the folder that base/ and tuned/ shall be written into')
  makePair(positionals[0], recipeOf(numbers))
}
