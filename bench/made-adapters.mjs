// LoRA adapters of PEFT's form with the shapes of a 7B model, made from a seed: what resize and merge are measured on.
// Usage: node bench/made-adapters.mjs FOLDER [--rank 128] [--layers 32] [--dtype bf16] [--seed 0] [--decay 1]
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { multiply } from '../dist/index.js'
import { headerOf, randomStream, toBfloat16 } from './tinyllama-pair.mjs'

/** The linear layers of a block of Llama 2 7B, [out, in]. */
export const MODULES = [
  ['self_attn.q_proj', 4096, 4096],
  ['self_attn.k_proj', 4096, 4096],
  ['self_attn.v_proj', 4096, 4096],
  ['self_attn.o_proj', 4096, 4096],
  ['mlp.gate_proj', 11008, 4096],
  ['mlp.up_proj', 11008, 4096],
  ['mlp.down_proj', 4096, 11008],
]

/**
 * Writes an adapter of `layers` blocks. A is near to what PEFT begins with, of equal directions; B has the decay of what was trained,
 * σᵢ ∝ i^−decay, each of its columns a mixture of all directions. Each shape is drawn once, and its vectors are turned about from block
 * to block, so that all products differ and none takes other work than a fresh one.
 */
export function makeAdapter(folder, { rank = 128, layers = 32, dtype = 'bf16', seed = 0, decay = 1 } = {}) {
  mkdirSync(folder, { recursive: true })
  const random = randomStream(seed)
  const drawn = MODULES.map(([, out, into]) => drawnFactors(out, into, rank, decay, dtype, random))
  const tensors = Array.from({ length: layers }, (_, layer) =>
    MODULES.flatMap(([module, out, into], which) => {
      const stem = `base_model.model.model.layers.${layer}.${module}`
      const { A, B } = drawn[which]
      return [
        { name: `${stem}.lora_A.weight`, shape: [rank, into], values: A, turn: 0 },
        { name: `${stem}.lora_B.weight`, shape: [out, rank], values: B, turn: rank * (layer * 31) },
      ]
    }),
  ).flat()
  const file = openSync(join(folder, 'adapter_model.safetensors'), 'w')
  const bytes = dtype === 'bf16' ? 2 : 4
  writeWhole(file, headerOf(tensors, dtype === 'bf16' ? 'BF16' : 'F32'))
  for (const { values, turn } of tensors) {
    const raw = Buffer.from(values.buffer, values.byteOffset, values.byteLength)
    writeWhole(file, raw.subarray(turn * bytes))
    writeWhole(file, raw.subarray(0, turn * bytes))
  }
  closeSync(file)
  const config = {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    r: rank,
    lora_alpha: 2 * rank,
    target_modules: MODULES.map(([module]) => module.split('.')[1]),
    bias: 'none',
  }
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(config, null, 2))
}

function drawnFactors(out, into, rank, decay, dtype, { normals }) {
  const stored = (values) => (dtype === 'bf16' ? toBfloat16(values) : values)
  const A = normals(rank * into, into ** -0.5)
  const directions = normals(out * rank, 0.02)
  for (let at = 0; at < directions.length; at++) directions[at] *= (1 + (at % rank)) ** -decay
  const B = multiply({ rows: out, columns: rank, data: directions }, cosines(rank))
  return { A: stored(A), B: stored(B.data) }
}

/** An orthogonal matrix without small entries: the discrete cosine transform, DCT-II. */
function cosines(n) {
  const entry = (i, j) => Math.sqrt((i === 0 ? 1 : 2) / n) * Math.cos((Math.PI * i * (j + 0.5)) / n)
  const data = Float32Array.from({ length: n * n }, (_, at) => entry(Math.floor(at / n), at % n))
  return { rows: n, columns: n, data }
}

function writeWhole(file, bytes) {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = { type: 'string' }
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { rank: text, layers: text, dtype: text, seed: text, decay: text },
  })
  if (positionals.length !== 1) throw new Error('give the folder that the adapter shall be written into')
  const numbers = Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, name === 'dtype' ? value : Number(value)]),
  )
  makeAdapter(positionals[0], numbers)
}
