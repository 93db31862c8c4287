// What comparing a hundred adapters of a 7B model takes, whole process: DISTINCT adapters on disk, the others links to them, since what
// the numbers are costs nothing. Usage: node bench/compare.mjs [folder] [--modules all|qv] [--adapters N] [--layers N] [--engine NAME …]; 20 MB a distinct adapter
// of q and v alone, 80 MB of all seven modules.
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { normals, writeSafetensors } from './tensors.mjs'
import { wholeProcess } from './whole-process.mjs'

const CLI = fileURLToPath(new URL('../bin/lora-svd.js', import.meta.url))
const [LAYERS, HIDDEN, MLP, RANK] = [32, 4096, 11008, 16]
const DISTINCT = 2
const DEVIATION = 0.01

/** [rows, columns] of the weights of Llama-2-7B; `qv` are PEFT's defaults for it. */
const SETS = {
  qv: { q_proj: [HIDDEN, HIDDEN], v_proj: [HIDDEN, HIDDEN] },
  all: {
    ...{ q_proj: [HIDDEN, HIDDEN], k_proj: [HIDDEN, HIDDEN], v_proj: [HIDDEN, HIDDEN] },
    ...{
      o_proj: [HIDDEN, HIDDEN],
      gate_proj: [MLP, HIDDEN],
      up_proj: [MLP, HIDDEN],
      down_proj: [HIDDEN, MLP],
    },
  },
}

function makeAdapter(folder, shapes, layers, seed) {
  mkdirSync(folder, { recursive: true })
  const tensor = (name, ...shape) => ({ name, dtype: 'BF16', shape, bytes: 2 * shape[0] * shape[1] })
  const tensors = Array.from({ length: layers }, (_, i) =>
    Object.entries(shapes).flatMap(([name, [rows, columns]]) => {
      const part = rows === columns ? 'self_attn' : 'mlp'
      const path = `base_model.model.model.layers.${i}.${part}.${name}`
      return [tensor(`${path}.lora_A.weight`, RANK, columns), tensor(`${path}.lora_B.weight`, rows, RANK)]
    }),
  ).flat()
  let next = seed
  writeSafetensors(join(folder, 'adapter_model.safetensors'), tensors, ({ bytes }) => {
    const wide = new Uint32Array(normals(bytes / 2, DEVIATION, next++).buffer)
    return new Uint8Array(Uint16Array.from(wide, (bits) => bits >>> 16).buffer)
  })
  const config = { peft_type: 'LORA', r: RANK, lora_alpha: RANK, target_modules: Object.keys(shapes) }
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(config))
}

export function benchCompare(
  parent = tmpdir(),
  { modules = 'qv', adapters = 100, layers = LAYERS, engines = ['auto', 'wasm'] } = {},
) {
  const folder = join(parent, `lora-svd-bench-compare-${process.pid}`)
  try {
    for (let i = 0; i < DISTINCT; i++)
      makeAdapter(join(folder, `own-${i}`), SETS[modules], layers, 1 + 1000 * i)
    const paths = Array.from({ length: adapters }, (_, i) => {
      const path = join(folder, `adapter-${i}`)
      symlinkSync(join(folder, `own-${i % DISTINCT}`), path)
      return path
    })
    for (const engine of engines) {
      const run = wholeProcess(process.execPath, [CLI, 'compare', ...paths, '--engine', engine, '--json'])
      if (run.status !== 0) throw new Error(run.stderr)
      const { totals, engine: computed } = JSON.parse(run.stdout)
      console.log(
        `${adapters} adapters of rank ${RANK}, ${totals.layers} layers (${Object.keys(SETS[modules]).join(', ')}), ${totals.pairs} pairs, --engine ${engine} (${computed}): ${run.seconds.toFixed(1)} s, ${run.processor.toFixed(0)} s of all cores, peak memory ${run.peak.toFixed(0)} MiB`,
      )
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      modules: { type: 'string' },
      adapters: { type: 'string' },
      layers: { type: 'string' },
      engine: { type: 'string', multiple: true },
    },
  })
  benchCompare(positionals[0], {
    modules: values.modules,
    adapters: values.adapters && Number(values.adapters),
    layers: values.layers && Number(values.layers),
    engines: values.engine,
  })
}
