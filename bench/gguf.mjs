// Checkpoints, of float32 or in 4 bits, and LoRA adapters of the Llama family as GGUF files, for bench/llama-cpp.mjs; with nothing of src/.
// Source: ggml's docs/gguf.md (version 3), and llama.cpp's conversion/llama.py and convert_lora_to_gguf.py for what is in them.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const VERSION = 3
const ALIGNMENT = 32
const F32 = 0
const Q4_0 = 2
/** Numbers and bytes of a block of Q4_0. */
const [BLOCK, BLOCK_BYTES] = [32, 18]
/** Of llama_ftype: all tensors in float32. */
const ALL_F32 = 0
/** GGUF's codes for the types of values. */
const TYPES = { u32: 4, i32: 5, f32: 6, string: 8, array: 9 }
/** Of llama_token_type. */
const NORMAL = 1
/** A space, as SentencePiece writes it, a line feed and letters. */
const CHARACTERS = '\u2581\nabcdefghijklmnopqrstuvwxyz'
/** What transformers takes where config.json does not say it. */
const ROPE_THETA = 10000

const CHECKPOINT_FILE = 'model.safetensors'
const ADAPTER_FILE = 'adapter_model.safetensors'
const PEFT_PREFIX = 'base_model.model.'
const FACTOR = /\.lora_([AB])\.weight$/

const NAMES = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  lm_head: 'output',
}
const LAYER_NAMES = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  'block_sparse_moe.gate': 'ffn_gate_inp',
  ...{ 'experts.w1': 'ffn_gate_exps', 'experts.w3': 'ffn_up_exps', 'experts.w2': 'ffn_down_exps' },
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
}

/** llama.cpp's name of a module. */
export function ggufName(module) {
  const [, layer, rest] = /^model\.layers\.(\d+)\.(.+)$/.exec(module) ?? []
  const name = layer === undefined ? NAMES[module] : LAYER_NAMES[rest]
  if (name === undefined) throw new Error(`llama.cpp's Llama has no module ${module}`)
  return layer === undefined ? name : `blk.${layer}.${name}`
}

/** How many heads share the rows of a module that llama.cpp turns by neighbours; none for all others. */
function turnedHeads(module, config) {
  if (module.endsWith('.q_proj')) return config.num_attention_heads
  if (module.endsWith('.k_proj')) return config.num_key_value_heads ?? config.num_attention_heads
  return undefined
}

/**
 * Rows in llama.cpp's order: transformers rotates row i of a head with row i + d/2, llama.cpp with its neighbour. So the rows
 * of a head are 0, d/2, 1, d/2 + 1, …
 */
export function neighbouringRows({ shape, data }, heads) {
  const [rows, columns] = shape
  const half = rows / heads / 2
  const turned = new Float32Array(data.length)
  for (let row = 0; row < rows; row++) {
    const [head, inHead] = [Math.floor(row / (2 * half)), row % (2 * half)]
    const from = head * 2 * half + (inHead % 2) * half + Math.floor(inHead / 2)
    turned.set(data.subarray(from * columns, (from + 1) * columns), row * columns)
  }
  return { shape, data: turned }
}

/** Integers and floats, little-endian; strings behind their lengths. */
const u32 = (value) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
const u64 = (value) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}
const f32 = (value) => {
  const bytes = Buffer.alloc(4)
  bytes.writeFloatLE(value)
  return bytes
}
const i32 = u32
const string = (text) => Buffer.concat([u64(Buffer.byteLength(text)), Buffer.from(text)])
const encode = { u32, i32, f32, string }

function valueBytes(type, value) {
  if (!Array.isArray(value)) return Buffer.concat([u32(TYPES[type]), encode[type](value)])
  return Buffer.concat([u32(TYPES.array), u32(TYPES[type]), u64(value.length), ...value.map(encode[type])])
}

const padded = (length) => Math.ceil(length / ALIGNMENT) * ALIGNMENT
const pad = (bytes) => Buffer.concat([bytes, Buffer.alloc(padded(bytes.length) - bytes.length)])

/** The bits of a float16, rounded to nearest, ties to even. */
function halfBits(x) {
  const magnitude = Math.abs(x)
  const exponent = Math.max(-14, Math.floor(Math.log2(magnitude)))
  const units = magnitude === 0 ? 0 : magnitude / 2 ** (exponent - 10)
  const down = Math.floor(units)
  const rest = units - down
  const rounded = rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down
  // a carry goes into the exponent, as it should
  const bits = rounded < 1024 ? rounded : ((exponent + 14) << 10) + rounded
  return bits | (x < 0 || Object.is(x, -0) ? 0x8000 : 0)
}

/** As quantize_row_q4_0_ref of ggml/src/ggml-quants.c (llama.cpp@de3ff815) does, in float32: steps of an eighth of the largest number. */
export function q4_0(data) {
  const bytes = Buffer.alloc((data.length / BLOCK) * BLOCK_BYTES)
  for (let block = 0; block < data.length / BLOCK; block++) {
    const numbers = data.subarray(block * BLOCK, (block + 1) * BLOCK)
    const largest = numbers.reduce((most, x) => (Math.abs(x) > Math.abs(most) ? x : most), 0)
    const step = Math.fround(largest / -8)
    const inverse = step === 0 ? 0 : Math.fround(1 / step)
    bytes.writeUInt16LE(halfBits(step), block * BLOCK_BYTES)
    const code = (i) => Math.min(15, Math.trunc(Math.fround(Math.fround(numbers[i] * inverse) + 8.5)))
    for (let i = 0; i < BLOCK / 2; i++) {
      bytes[block * BLOCK_BYTES + 2 + i] = code(i) | (code(i + BLOCK / 2) << 4)
    }
  }
  return bytes
}

/** A tensor's type, and its bytes. */
function storedAs({ data, inBlocks }) {
  if (inBlocks) return { type: Q4_0, bytes: q4_0(data) }
  return { type: F32, bytes: Buffer.from(data.buffer, data.byteOffset, data.byteLength) }
}

/**
 * The bytes of a GGUF file.
 * @param keys `[key, 'u32' | 'i32' | 'f32' | 'string', value]`, in this order; an array as a value is one of that type
 * @param tensors float32, row-major; those with `inBlocks` are stored as Q4_0
 */
export function ggufFile(keys, tensors) {
  let offset = 0
  const stored = tensors.map(storedAs)
  const infos = tensors.map(({ name, shape }, i) => {
    const { type, bytes } = stored[i]
    // the fastest dimension comes first
    const dims = [...shape].reverse().map(u64)
    const info = [string(name), u32(shape.length), ...dims, u32(type), u64(offset)]
    offset += padded(bytes.length)
    return Buffer.concat(info)
  })
  const pairs = keys.map(([key, type, value]) => Buffer.concat([string(key), valueBytes(type, value)]))
  const counts = [u32(VERSION), u64(tensors.length), u64(keys.length)]
  return Buffer.concat([
    pad(Buffer.concat([Buffer.from('GGUF'), ...counts, ...pairs, ...infos])),
    ...stored.map(({ bytes }) => pad(bytes)),
  ])
}

/** The tensors of a safetensors file of float32 or bfloat16, widened. */
export function readTensors(path) {
  const file = readFileSync(path)
  const start = 8 + Number(file.readBigUInt64LE())
  const header = JSON.parse(file.toString('utf8', 8, start))
  delete header.__metadata__
  return new Map(
    Object.entries(header).map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [begin, end],
        },
      ]) => {
        const bytes = file.subarray(start + begin, start + end)
        if (dtype === 'F32')
          return [
            name,
            {
              shape,
              data: Float32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i)),
            },
          ]
        if (dtype !== 'BF16') throw new Error(`${path}: ${name} is ${dtype}`)
        // the upper half of a float32
        const words = Uint32Array.from(
          { length: bytes.length / 2 },
          (_, i) => bytes.readUInt16LE(2 * i) << 16,
        )
        return [name, { shape, data: new Float32Array(words.buffer) }]
      },
    ),
  )
}

const moduleOf = (tensor) => tensor.replace(/\.weight$/, '')
const readJson = (...path) => JSON.parse(readFileSync(join(...path), 'utf8'))

/**
 * Token ids go in and come out, but llama.cpp asks for the token of a line feed, and node-llama-cpp tokenizes a sentence as it
 * loads: a character that no token has would end the process.
 */
function vocabulary(size) {
  const tokens = Array.from({ length: size }, (_, id) => CHARACTERS[id] ?? `<${id}>`)
  return [
    ['tokenizer.ggml.model', 'string', 'llama'],
    ['tokenizer.ggml.tokens', 'string', tokens],
    ['tokenizer.ggml.scores', 'f32', tokens.map(() => 0)],
    ['tokenizer.ggml.token_type', 'i32', tokens.map(() => NORMAL)],
  ]
}

const EXPERT = /^(model\.layers\.\d+\.)block_sparse_moe\.experts\.(\d+)\.(w[123])\.weight$/

/** The matrices of Mixtral's experts as one tensor [experts, out, in] for each projection of a layer; all others as they are. */
function withStackedExperts(tensors) {
  const stacked = new Map()
  for (const [name, tensor] of tensors) {
    const [, layer, expert, projection] = EXPERT.exec(name) ?? []
    if (layer === undefined) {
      stacked.set(name, tensor)
      continue
    }
    const whole = `${layer}experts.${projection}.weight`
    const known = stacked.get(whole) ?? { experts: [] }
    known.experts[Number(expert)] = tensor
    stacked.set(whole, known)
  }
  return [...stacked].map(([name, { experts, ...tensor }]) => {
    if (experts === undefined) return [name, tensor]
    const [{ shape, data }] = experts
    const all = new Float32Array(experts.length * data.length)
    for (const [e, own] of experts.entries()) all.set(own.data, e * data.length)
    return [name, { shape: [experts.length, ...shape], data: all }]
  })
}

/**
 * A checkpoint of a Llama, or of a Mixtral with its experts apart, as GGUF.
 * @param replaced tensors that stand for the checkpoint's own, by name
 * @param isInBlocks whether a tensor, by its name, is stored in 4 bits
 */
export function modelGguf(folder, replaced = new Map(), isInBlocks = () => false) {
  const config = readJson(folder, 'config.json')
  const heads = config.num_attention_heads
  const keys = [
    ['general.architecture', 'string', 'llama'],
    ['general.type', 'string', 'model'],
    ['general.file_type', 'u32', ALL_F32],
    ['llama.vocab_size', 'u32', config.vocab_size],
    ['llama.context_length', 'u32', config.max_position_embeddings],
    ['llama.embedding_length', 'u32', config.hidden_size],
    ['llama.block_count', 'u32', config.num_hidden_layers],
    ['llama.feed_forward_length', 'u32', config.intermediate_size],
    ['llama.attention.head_count', 'u32', heads],
    ['llama.attention.head_count_kv', 'u32', config.num_key_value_heads ?? heads],
    ['llama.attention.layer_norm_rms_epsilon', 'f32', config.rms_norm_eps],
    ['llama.rope.dimension_count', 'u32', config.head_dim ?? config.hidden_size / heads],
    ['llama.rope.freq_base', 'f32', config.rope_theta ?? ROPE_THETA],
    ...(config.num_local_experts === undefined
      ? []
      : [
          ['llama.expert_count', 'u32', config.num_local_experts],
          ['llama.expert_used_count', 'u32', config.num_experts_per_tok],
        ]),
    ...vocabulary(config.vocab_size),
  ]
  const tensors = withStackedExperts(readTensors(join(folder, CHECKPOINT_FILE))).map(([name, own]) => {
    const tensor = replaced.get(name) ?? own
    const turned = turnedHeads(moduleOf(name), config)
    return {
      name: `${ggufName(moduleOf(name))}.weight`,
      ...(turned === undefined ? tensor : neighbouringRows(tensor, turned)),
      inBlocks: isInBlocks(name),
    }
  })
  return ggufFile(keys, tensors)
}

/** What a PEFT folder holds: its factors by module, and whole tensors by the base's names. */
function readAdapter(folder) {
  const factors = []
  const whole = new Map()
  for (const [name, tensor] of readTensors(join(folder, ADAPTER_FILE))) {
    const own = name.slice(PEFT_PREFIX.length)
    const [suffix, half] = FACTOR.exec(own) ?? []
    if (suffix === undefined) whole.set(own, tensor)
    else factors.push({ module: own.slice(0, -suffix.length), half, tensor })
  }
  return { factors, whole }
}

/** The tensors that an adapter stores whole, by the base's names: a GGUF adapter can't hold them, so the base must. */
export const wholeTensors = (folder) => readAdapter(folder).whole

/**
 * The factors of a PEFT adapter of one rank as GGUF.
 * @param base the base's folder: its config.json says how many heads share the rows
 * @param options `turnsRows: false` leaves q's and k's rows as transformers has them, which is wrong
 */
export function adapterGguf(folder, base, { turnsRows = true } = {}) {
  const config = readJson(base, 'config.json')
  const { lora_alpha: alpha } = readJson(folder, 'adapter_config.json')
  const keys = [
    ['general.architecture', 'string', 'llama'],
    ['general.type', 'string', 'adapter'],
    ['adapter.type', 'string', 'lora'],
    // as float32: llama.cpp aborts on any other type
    ['adapter.lora.alpha', 'f32', alpha],
  ]
  const tensors = readAdapter(folder).factors.map(({ module, half, tensor }) => {
    const heads = half === 'B' && turnsRows ? turnedHeads(module, config) : undefined
    return {
      name: `${ggufName(module)}.weight.lora_${half.toLowerCase()}`,
      ...(heads === undefined ? tensor : neighbouringRows(tensor, heads)),
    }
  })
  return ggufFile(keys, tensors)
}
