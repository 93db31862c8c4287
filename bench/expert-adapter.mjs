// A LoRA adapter of a mixture of experts, one pair of factors an expert, with tiny shapes: what grows with the number of modules.
// Usage: node bench/expert-adapter.mjs FOLDER [--layers 48] [--experts 128] [--rank 2]
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

/** The projections of an expert, [out, in]. */
const PROJECTIONS = [
  ['gate_proj', 6, 8],
  ['up_proj', 6, 8],
  ['down_proj', 8, 6],
]

/** Writes it, by default of 48·128·3 = 18,432 modules, as of Qwen3-30B-A3B. */
export function makeExpertAdapter(folder, { layers = 48, experts = 128, rank = 2 } = {}) {
  const tensors = []
  for (let layer = 0; layer < layers; layer++) {
    for (let expert = 0; expert < experts; expert++) {
      for (const [name, out, into] of PROJECTIONS) {
        const stem = `base_model.model.model.layers.${layer}.mlp.experts.${expert}.${name}`
        tensors.push([`${stem}.lora_A.weight`, [rank, into]], [`${stem}.lora_B.weight`, [out, rank]])
      }
    }
  }
  let end = 0
  const entries = tensors.map(([name, shape]) => {
    const begin = end
    end += 4 * shape[0] * shape[1]
    return [name, { dtype: 'F32', shape, data_offsets: [begin, end] }]
  })
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  const data = Float32Array.from({ length: end / 4 }, (_, i) => Math.sin(i * i + 1))
  mkdirSync(folder, { recursive: true })
  const file = join(folder, 'adapter_model.safetensors')
  writeFileSync(file, Buffer.concat([length, header, Buffer.from(data.buffer)]))
  const config = {
    ...{ peft_type: 'LORA', task_type: 'CAUSAL_LM', r: rank, lora_alpha: rank, bias: 'none' },
    ...{ target_modules: PROJECTIONS.map(([name]) => name), base_model_name_or_path: 'org/experts' },
  }
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(config, null, 2))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { layers: { type: 'string' }, experts: { type: 'string' }, rank: { type: 'string' } },
  })
  if (positionals.length !== 1) throw new Error('name the folder that the adapter is to be written to')
  const numbers = Object.entries(values).map(([name, value]) => [name, Number(value)])
  makeExpertAdapter(positionals[0], Object.fromEntries(numbers))
}
