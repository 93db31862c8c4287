// How the time of commands grows with the number of modules, their shapes being tiny: linear where the last column stays near 1.
// Exits with 1 where it passes 3.
//   node bench/module-scaling.mjs [modules …]
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { wholeProcess } from './whole-process.mjs'

const SIZES = process.argv.length > 2 ? process.argv.slice(2).map(Number) : [1000, 4000, 16000]
const PROJECTIONS = ['q_proj', 'k_proj', 'v_proj', 'o_proj']
const [OUT, IN, RANK] = [6, 5, 2]
/** A quadratic command would be at 16 from the first size to the last; caches and collections of garbage take less than this. */
const MOST_GROWTH = 3

/** A model of so many matrices, its fine-tune, and an adapter with a pattern for each module. */
function writeCase(folder, modules) {
  const layers = Math.ceil(modules / PROJECTIONS.length)
  const paths = Array.from({ length: layers }, (_, i) =>
    PROJECTIONS.map((name) => `model.layers.${i}.self_attn.${name}`),
  ).flat()
  const norms = Array.from({ length: layers }, (_, i) => `model.layers.${i}.input_layernorm.weight`)
  const weights = (seed) => [
    ...paths.map((path, i) => [`${path}.weight`, [OUT, IN], seed + i]),
    ...norms.map((name, i) => [name, [IN], seed + i]),
  ]
  const config = JSON.stringify({ architectures: ['LlamaForCausalLM'], model_type: 'llama' })
  write(join(folder, 'base'), 'model.safetensors', weights(1), { 'config.json': config })
  write(join(folder, 'tuned'), 'model.safetensors', weights(7), { 'config.json': config })
  const patterns = Object.fromEntries(paths.map((path) => [`^${path.replaceAll('.', '\\.')}`, RANK]))
  const adapter = { peft_type: 'LORA', r: 8, lora_alpha: 8, target_modules: PROJECTIONS }
  const factors = paths.flatMap((path, i) => [
    [`base_model.model.${path}.lora_A.weight`, [RANK, IN], i],
    [`base_model.model.${path}.lora_B.weight`, [OUT, RANK], i],
  ])
  write(join(folder, 'adapter'), 'adapter_model.safetensors', factors, {
    'adapter_config.json': JSON.stringify({ ...adapter, rank_pattern: patterns, alpha_pattern: patterns }),
  })
}

function write(folder, file, tensors, others) {
  mkdirSync(folder, { recursive: true })
  const header = {}
  const parts = []
  let end = 0
  for (const [name, shape, seed] of tensors) {
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) =>
      Math.sin(seed + i * i),
    )
    header[name] = { dtype: 'F32', shape, data_offsets: [end, end + data.byteLength] }
    end += data.byteLength
    parts.push(Buffer.from(data.buffer))
  }
  const text = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  writeFileSync(join(folder, file), Buffer.concat([length, text, ...parts]))
  for (const [name, content] of Object.entries(others)) writeFileSync(join(folder, name), content)
}

const extraction = (at, ...more) => [
  ...['extract', at('base'), at('tuned'), '-o', at('out'), '--rank', '2'],
  ...more,
]
const COMMANDS = {
  'inspect an adapter': (at) => ['inspect', at('adapter')],
  'inspect a delta': (at) => ['inspect', at('tuned'), '--base', at('base')],
  verify: (at) => ['verify', at('adapter'), at('base'), at('tuned')],
  'extract --dry-run': (at) => extraction(at, '--dry-run'),
  'extract --dry-run --carry-rest': (at) => extraction(at, '--dry-run', '--carry-rest'),
  extract: (at) => extraction(at, '--layout', 'pattern'),
}

console.log(
  `${'command'.padEnd(32)}${'modules'.padStart(8)}${'seconds'.padStart(9)}  ms a module against the least`,
)
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-modules-'))
try {
  for (const size of SIZES) writeCase(join(folder, String(size)), size)
  const idle = wholeProcess(process.execPath, ['bin/lora-svd.js', '--version']).seconds
  for (const [name, argsOf] of Object.entries(COMMANDS)) {
    let first
    for (const size of SIZES) {
      const { seconds, status, stderr } = wholeProcess(process.execPath, [
        'bin/lora-svd.js',
        ...argsOf((part) => join(folder, String(size), part)),
      ])
      if (status > 1) throw new Error(`${name}: ${stderr}`)
      const each = (1000 * Math.max(seconds - idle, 0)) / size
      first ??= each
      if (each > MOST_GROWTH * first) process.exitCode = 1
      console.log(
        `${name.padEnd(32)}${String(size).padStart(8)}${seconds.toFixed(2).padStart(9)}  ${each.toFixed(3)}  ×${(each / first).toFixed(2)}`,
      )
    }
  }
} finally {
  rmSync(folder, { recursive: true })
}
