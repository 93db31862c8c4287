// `resize` of an adapter of a 7B model from rank 128 to 16, and `merge` of four of rank 16, as whole processes, beside what forms each
// product: torch.linalg.svd of it, and kohya's way, torch.svd_lowrank. The peers do three of the 224 modules, one a shape, and are scaled.
// Usage: node bench/adapters.mjs [--rounds 3] [--layers 32] [--dtype bf16] [--decay 1] [--folder F] [--quick]
// --quick leaves out the peer that takes minutes a module. The adapters take 0.9 GB in the folder, and are deleted.
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { MODULES, makeAdapter } from './made-adapters.mjs'
import { median } from './timing.mjs'
import { wholeProcess } from './whole-process.mjs'

const EXECUTABLE = fileURLToPath(new URL('../bin/lora-svd.js', import.meta.url))
const PEER = fileURLToPath(new URL('./peers/resize-peer.py', import.meta.url))
const ENGINES = ['wasm', 'auto']
const [RANK, NEW_RANK, MERGED] = [128, 16, 4]
/** One module a shape, and how many of a block have it. */
const SAMPLES = [
  ['self_attn.q_proj', 4],
  ['mlp.gate_proj', 2],
  ['mlp.down_proj', 1],
].map(([module, count]) => ({ name: `model.layers.0.${module}`, count }))

export function benchAdapters({
  rounds = 3,
  layers = 32,
  dtype = 'bf16',
  decay = 1,
  folder: place = tmpdir(),
  quick = false,
} = {}) {
  const folder = mkdtempSync(join(place, 'lora-svd-adapters-'))
  const path = (name) => join(folder, name)
  try {
    makeAdapter(path('large'), { rank: RANK, layers, dtype, decay })
    const small = Array.from({ length: MERGED }, (_, i) => path(`small-${i}`))
    for (const [i, one] of small.entries())
      makeAdapter(one, { rank: NEW_RANK, layers, dtype, decay, seed: i + 1 })
    const modules = layers * MODULES.length
    const counted = `${modules} modules, ${dtype}, ${availableParallelism()} threads, whole processes, medians of ${rounds} turns`
    console.log(
      `\nresize --rank ${NEW_RANK} of an adapter of rank ${RANK}, and merge of ${MERGED} of rank ${NEW_RANK}: ${counted}`,
    )
    const candidates = ENGINES.flatMap((engine) => [
      ours('resize', engine, [path('large'), '--rank', String(NEW_RANK)], path('out')),
      ours('merge', engine, small, path('out')),
    ])
    const runs = measure(candidates, rounds)
    for (const run of runs) report(run)
    const peers = ['lowrank', ...(quick ? [] : ['svd'])]
    for (const method of peers) compare(method, path('large'), layers, runs)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function ours(command, engine, args, out) {
  const flags = ['-o', out, '-f', '--json', '--engine', engine]
  return {
    command,
    label: `${command}, ${engine}`,
    run: () => wholeProcess('node', [EXECUTABLE, command, ...args, ...flags]),
  }
}

/** The runs of each candidate, taken in turns. */
function measure(candidates, rounds) {
  const results = candidates.map((candidate) => ({ ...candidate, runs: [] }))
  for (let round = 0; round < rounds; round++) {
    for (const result of results) {
      const run = result.run()
      if (run.status !== 0) throw new Error(`${result.label}: exit ${run.status}, ${run.stderr.trim()}`)
      result.document = JSON.parse(run.stdout)
      result.runs.push({ ...run, stdout: '' })
    }
  }
  return results.map((result) => ({ ...result, seconds: median(result.runs.map((run) => run.seconds)) }))
}

function report({ label, runs, seconds, document }) {
  const { relativeError, optimalError } = document.totals
  const peak = Math.max(...runs.map((run) => run.peak))
  const processor = median(runs.map((run) => run.processor))
  console.log(
    `  ${label.padEnd(14)} ${seconds.toFixed(2).padStart(7)} s, of processors ${processor.toFixed(1)} s, peak memory ${peak.toFixed(0)} MiB, error ${relativeError.toPrecision(6)} where the best is ${optimalError.atMost.toPrecision(6)} (${document.engine})`,
  )
}

/** What a peer takes for its three modules, scaled to all, beside ours. */
function compare(method, adapter, layers, ours) {
  const label = method === 'svd' ? 'B·A, torch.linalg.svd' : 'B·A, torch.svd_lowrank'
  const threads = String(availableParallelism())
  const names = SAMPLES.map(({ name }) => name)
  const { status, stdout, stderr } = wholeProcess(
    '/usr/bin/python3',
    [PEER, method, adapter, String(NEW_RANK), ...names],
    {
      OMP_NUM_THREADS: threads,
      OPENBLAS_NUM_THREADS: threads,
      PYTHONDONTWRITEBYTECODE: '1',
    },
  )
  if (status !== 0) return console.log(`  ${label} is absent: ${stderr.trim().split('\n').at(-1)}`)
  const { seconds, errors } = JSON.parse(stdout)
  const all = SAMPLES.reduce((sum, { name, count }) => sum + layers * count * seconds[name], 0)
  const each = names.map((name) => seconds[name].toFixed(1)).join(', ')
  console.log(`  ${label}: ${each} s for three modules, ${all.toFixed(0)} s for all`)
  for (const { command, label, seconds, document } of ours) {
    if (command !== 'resize') continue
    const found = new Map(document.layers.map((layer) => [layer.name, layer]))
    const ratios = names.map((name) => found.get(name).relativeError / errors[name])
    console.log(
      `    ${label} is ${(all / seconds).toFixed(0)} times as fast, its errors ${ratios.map((ratio) => ratio.toFixed(6)).join(', ')} times those`,
    )
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = { type: 'string' }
  const { values } = parseArgs({
    options: {
      rounds: text,
      layers: text,
      dtype: text,
      decay: text,
      folder: text,
      quick: { type: 'boolean' },
    },
  })
  const number = (name) => (values[name] === undefined ? undefined : Number(values[name]))
  benchAdapters({
    ...values,
    rounds: number('rounds'),
    layers: number('layers'),
    decay: number('decay'),
  })
}
