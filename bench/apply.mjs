// What applying an adapter to a whole model takes: beside `cp` of the same bytes, and its memory for 4 and for 22 layers of
// TinyLlama's shapes in bfloat16. Usage: node bench/apply.mjs [folder], some 8 GB of room.
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { normals, writeSafetensors } from './tensors.mjs'
import { wholeProcess } from './whole-process.mjs'

const CLI = fileURLToPath(new URL('../bin/lora-svd.js', import.meta.url))
const [HIDDEN, MLP, KEY_VALUE, VOCABULARY] = [2048, 5632, 256, 32000]
const RANK = 16
const ROUNDS = 3
const LAYERS = [4, 22]
/** Of the weights' size: what a fine-tune changes. */
const CHANGE = 0.02

const modules = (layers) =>
  Array.from({ length: layers }, (_, i) =>
    [
      ['self_attn.q_proj', HIDDEN, HIDDEN],
      ['self_attn.k_proj', KEY_VALUE, HIDDEN],
      ['self_attn.v_proj', KEY_VALUE, HIDDEN],
      ['self_attn.o_proj', HIDDEN, HIDDEN],
      ['mlp.gate_proj', MLP, HIDDEN],
      ['mlp.up_proj', MLP, HIDDEN],
      ['mlp.down_proj', HIDDEN, MLP],
    ].map(([name, rows, columns]) => ({ name: `model.layers.${i}.${name}`, rows, columns })),
  ).flat()

const block = Uint16Array.from(new Uint32Array(normals(2 ** 20, 0.02, 1).buffer), (bits) => bits >>> 16)

function bfloat16(entries) {
  const out = new Uint16Array(entries)
  for (let at = 0; at < entries; at += block.length)
    out.set(block.subarray(0, Math.min(block.length, entries - at)), at)
  return new Uint8Array(out.buffer)
}

function makeModel(folder, layers) {
  mkdirSync(folder, { recursive: true })
  const tensor = (name, ...shape) => ({
    name,
    dtype: 'BF16',
    shape,
    bytes: 2 * shape.reduce((a, b) => a * b),
  })
  const tensors = [
    tensor('model.embed_tokens.weight', VOCABULARY, HIDDEN),
    ...modules(layers).map(({ name, rows, columns }) => tensor(`${name}.weight`, rows, columns)),
    tensor('lm_head.weight', VOCABULARY, HIDDEN),
  ]
  writeSafetensors(join(folder, 'model.safetensors'), tensors, ({ bytes }) => bfloat16(bytes / 2))
  writeFileSync(
    join(folder, 'config.json'),
    JSON.stringify({ model_type: 'llama', architectures: ['LlamaForCausalLM'] }),
  )
}

function makeAdapter(folder, layers) {
  mkdirSync(folder, { recursive: true })
  // ‖B·A‖_F is about √(rows·columns·rank)·deviation²: the change is CHANGE of the weights' 0.02
  const deviation = Math.sqrt((0.02 * CHANGE) / Math.sqrt(RANK))
  const tensor = (name, ...shape) => ({ name, dtype: 'F32', shape, bytes: 4 * shape.reduce((a, b) => a * b) })
  const tensors = modules(layers).flatMap(({ name, rows, columns }) => [
    tensor(`base_model.model.${name}.lora_A.weight`, RANK, columns),
    tensor(`base_model.model.${name}.lora_B.weight`, rows, RANK),
  ])
  let seed = 7
  writeSafetensors(
    join(folder, 'adapter_model.safetensors'),
    tensors,
    ({ bytes }) => new Uint8Array(normals(bytes / 4, deviation, seed++).buffer),
  )
  const config = {
    peft_type: 'LORA',
    r: RANK,
    lora_alpha: RANK,
    target_modules: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
  }
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(config))
}

const median = (all) => [...all].sort((a, b) => a - b)[all.length >> 1]

export function benchApply(parent = tmpdir()) {
  const folder = join(parent, `lora-svd-bench-apply-${process.pid}`)
  const out = join(folder, 'out')
  const took = (command, args) => {
    rmSync(out, { recursive: true, force: true })
    const run = wholeProcess(command, args)
    if (run.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${run.stderr}`)
    return run
  }
  console.log(
    `\nApplying an adapter of rank ${RANK} to bfloat16 weights of TinyLlama's shapes, medians of ${ROUNDS} turns`,
  )
  try {
    for (const layers of LAYERS) {
      const [base, adapter] = [join(folder, `base-${layers}`), join(folder, `adapter-${layers}`)]
      makeModel(base, layers)
      makeAdapter(adapter, layers)
      const turns = Array.from({ length: ROUNDS }, () => ({
        copy: took('cp', ['-r', base, out]),
        apply: took(process.execPath, [CLI, 'apply', base, adapter, '-o', out, '--engine', 'wasm', '--json']),
      }))
      const { size } = statSync(join(base, 'model.safetensors'))
      const ratio = median(turns.map(({ copy, apply }) => apply.seconds / copy.seconds))
      const peak = Math.max(...turns.map(({ apply }) => apply.peak))
      const { totals } = JSON.parse(turns[0].apply.stdout)
      console.log(
        `  ${String(layers).padStart(2)} layers, ${(size / 2 ** 20).toFixed(0)} MiB: ${ratio.toFixed(2)} times cp of the same bytes (cp ${median(turns.map(({ copy }) => copy.seconds)).toFixed(2)} s), peak memory ${Number.isNaN(peak) ? 'unknown without GNU time' : `${peak.toFixed(0)} MiB`}; ${JSON.stringify(totals)}`,
      )
      for (const one of [base, adapter]) rmSync(one, { recursive: true, force: true })
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) benchApply(process.argv[2])
