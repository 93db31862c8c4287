// What weighing by moments costs: whole extractions of layers with 2048 inputs, plain, with diagonals and with full second moments, taking
// turns. Usage: node bench/moments.mjs [rank …]
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createWasmEngine } from '../dist/wasm-engine.cjs'
import { normals, writeSafetensors } from './tensors.mjs'
import { takeTurns } from './timing.mjs'

const INPUTS = 2048
/** q, k and v have one input, and so have gate and up, as in a Llama of that width. */
const LAYERS = [
  ['self_attn.q_proj', 2048],
  ['self_attn.k_proj', 512],
  ['self_attn.v_proj', 512],
  ['mlp.gate_proj', 5632],
  ['mlp.up_proj', 5632],
]
const OWN_INPUT = ['self_attn.q_proj', 'mlp.gate_proj']
/** Turns; an odd number. */
const ROUNDS = Number(process.env.ROUNDS ?? 3)
const ENTRY = fileURLToPath(new URL('../bin/lora-svd.js', import.meta.url))

const bytesOf = ({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)
const float32 = (name, shape, data) => ({ name, dtype: 'F32', shape, data, bytes: data.byteLength })
const nameOf = (module) => `model.layers.0.${module}.weight`

/** Inputs whose size falls over three decades, in directions of their own: Xᵀ·X of twice as many as there are columns. */
function momentsOf(engine, seed) {
  const samples = 2 * INPUTS
  const X = normals(samples * INPUTS, 1, seed)
  for (let i = 0; i < X.length; i++) X[i] *= 10 ** ((-1.5 * (i % INPUTS)) / INPUTS)
  const { data } = engine.gram({ rows: samples, columns: INPUTS, data: X })
  return Float32Array.from(data, (x) => x / samples)
}

function make(folder) {
  const engine = createWasmEngine({ threads: 1 })
  const weights = LAYERS.map(([module, rows], i) => ({
    ...{ name: nameOf(module), shape: [rows, INPUTS], base: normals(rows * INPUTS, 0.02, i + 1) },
    low: engine.multiply(
      { rows, columns: 48, data: normals(rows * 48, 0.01, i + 31).map((x, at) => x * 0.9 ** (at % 48)) },
      { rows: 48, columns: INPUTS, data: normals(48 * INPUTS, 0.05, i + 61) },
    ).data,
  }))
  for (const side of ['base', 'tuned']) {
    mkdirSync(join(folder, side))
    const tensors = weights.map(({ name, shape, base, low }, i) => {
      const noise = normals(base.length, 0.0005, i + 91)
      return float32(name, shape, side === 'base' ? base : base.map((x, at) => x + low[at] + noise[at]))
    })
    writeSafetensors(join(folder, side, 'model.safetensors'), tensors, bytesOf)
    writeFileSync(
      join(folder, side, 'config.json'),
      '{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}',
    )
  }
  const ofInputs = new Map(OWN_INPUT.map((module, i) => [module, momentsOf(engine, i + 7)]))
  const entries = [...ofInputs].map(([module, C]) => [nameOf(module), C])
  const owner = (module) => (module.startsWith('mlp') ? OWN_INPUT[1] : OWN_INPUT[0])
  const shared = Object.fromEntries(
    LAYERS.filter(([module]) => owner(module) !== module).map(([module]) => [
      nameOf(module),
      nameOf(owner(module)),
    ]),
  )
  const write = (kind, tensors) =>
    writeSafetensors(join(folder, `${kind}.safetensors`), tensors, bytesOf, shared)
  write(
    'full',
    entries.map(([name, C]) => float32(`${name}.second_moment`, [INPUTS, INPUTS], C)),
  )
  write(
    'diagonal',
    entries.map(([name, C]) => {
      const data = Float32Array.from({ length: INPUTS }, (_, i) => C[i * (INPUTS + 1)])
      return float32(`${name}.second_moment_diagonal`, [INPUTS], data)
    }),
  )
  engine.close()
}

/** Processor seconds of one extraction, all threads together: what others do on the machine meanwhile is no part of them. */
function extraction(folder, rank, flags) {
  const program = `
    process.argv.splice(1, 0, ${JSON.stringify(ENTRY)})
    process.on('exit', () => { const { user, system } = process.cpuUsage(); process.stderr.write('\\n' + (user + system) / 1e6) })
    require(${JSON.stringify(ENTRY)})`
  const args = ['extract', join(folder, 'base'), join(folder, 'tuned'), '-o', join(folder, 'out'), '-f', '-q']
  const { status, stderr } = spawnSync(
    process.execPath,
    ['--input-type=commonjs', '-e', program, '--', ...args, '--rank', String(rank), ...flags],
    { encoding: 'utf8' },
  )
  if (status !== 0) throw new Error(`extract ${flags.join(' ')}: exit code ${status}: ${stderr}`)
  return Number(stderr.trim().split('\n').at(-1))
}

async function main(ranks) {
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-bench-'))
  try {
    make(folder)
    console.log(
      `Extraction of ${LAYERS.length} layers with ${INPUTS} inputs: processor seconds, medians of ${ROUNDS} turns`,
    )
    for (const rank of ranks) {
      const medians = await takeTurns(
        {
          plain: () => extraction(folder, rank, []),
          diagonal: () => extraction(folder, rank, ['--moments', join(folder, 'diagonal.safetensors')]),
          full: () => extraction(folder, rank, ['--moments', join(folder, 'full.safetensors')]),
        },
        ROUNDS,
      )
      const cells = Object.entries(medians).map(
        ([name, time]) => `${name} ${time.toFixed(2)} s (${(time / medians.plain).toFixed(2)} ×)`,
      )
      console.log(`  rank ${String(rank).padStart(3)}   ${cells.join('   ')}`)
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const ranks = process.argv.slice(2).map(Number)
await main(ranks.length > 0 ? ranks : [16, 64])
