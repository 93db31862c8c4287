// `inspect` and `extract` of a pair of models with TinyLlama's shapes, as whole processes, beside the Python scripts in peers/.
// Usage: node bench/models.mjs [inspect] [extract] [--layers 4] [--more-layers 8] [--rounds 3] [--hidden 2048] [--rank 16] [--quick]
// --quick leaves out the peers that take minutes. A pair in /tmp/lora-svd-pair-LAYERS is used as it lies there.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { median } from './timing.mjs'
import { holdsPair, makePair, recipeOf } from './tinyllama-pair.mjs'
import { wholeProcess } from './whole-process.mjs'

const EXECUTABLE = fileURLToPath(new URL('../bin/lora-svd.js', import.meta.url))
const PEERS = fileURLToPath(new URL('./peers/', import.meta.url))
const ENGINES = ['auto', 'wasm', 'lapack']
const RANK = 16
const ROUNDS = 3
const COMPARED = ['frobenius', 'spectral', 'stableRank']

export function benchModels({
  commands = ['inspect', 'extract'],
  layers = 4,
  moreLayers = 8,
  rounds = ROUNDS,
  hidden = 2048,
  rank = RANK,
  quick = false,
} = {}) {
  const sections = { inspect: inspectSection, extract: extractSection }
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-bench-'))
  try {
    withPair(folder, { layers, hidden }, (pair) => {
      for (const command of commands) {
        const section = sections[command](pair, folder, { quick, rank })
        console.log(
          `\n${section.title}, ${layers} layers, ${availableParallelism()} threads, whole processes, medians of ${rounds} turns (1 of slow peers)`,
        )
        report(measure(section.candidates, rounds))
        section.compare()
      }
    })
    withPair(folder, { layers: moreLayers, hidden }, (pair) => {
      for (const command of commands) {
        console.log(`\n${command}, ${moreLayers} layers`)
        report(measure(sections[command](pair, folder, { quick, rank }).candidates.filter(isOurs), 1))
      }
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Gives `use` the folder of a pair, which is made there unless one lies ready. */
function withPair(folder, options, use) {
  const recipe = recipeOf(options)
  const ready = join(tmpdir(), `lora-svd-pair-${recipe.layers}`)
  if (holdsPair(ready, recipe)) return use(ready)
  const pair = join(folder, `pair-${recipe.layers}`)
  makePair(pair, recipe)
  use(pair)
  rmSync(pair, { recursive: true })
}

function inspectSection(pair, folder, { quick }) {
  const [base, tuned] = [join(pair, 'base'), join(pair, 'tuned')]
  const figures = join(folder, 'figures.json')
  const ours = (engine) => ['inspect', tuned, '--base', base, '--engine', engine]
  const candidates = ENGINES.map((engine) => lorasvd(engine, ours(engine)))
  if (!quick)
    candidates.unshift(slow(peer('torch.linalg.svdvals', 'inspect_svdvals.py', [base, tuned, figures])))
  const compare = () => {
    const peers = fileOrNull(figures)
    if (peers === null) return
    for (const engine of ENGINES) {
      const { status, stdout } = wholeProcess('node', [EXECUTABLE, ...ours(engine), '--json'])
      if (status !== 0) continue
      const matrices = new Map(JSON.parse(stdout).matrices.map((matrix) => [matrix.name, matrix]))
      const differences = COMPARED.map((field) => {
        const each = Object.entries(peers).map(([name, matrix]) =>
          Math.abs(matrices.get(name)?.[field] / matrix[field] - 1),
        )
        return `${field} ${Math.max(...each).toExponential(1)}`
      })
      console.log(`  ${engine}: largest relative difference from svdvals: ${differences.join(', ')}`)
    }
  }
  return { title: 'inspect TUNED --base BASE', candidates, compare }
}

function extractSection(pair, folder, { quick, rank }) {
  const [base, tuned] = [join(pair, 'base'), join(pair, 'tuned')]
  const out = (label) => join(folder, `adapter-${label}`)
  const extracting = (candidate) => ({
    ...candidate,
    prepare: () => rmSync(out(candidate.label), { recursive: true, force: true }),
  })
  const script = (label, file) => extracting(peer(label, file, [base, tuned, out(label), String(rank)]))
  const candidates = [
    ...(quick ? [] : [slow(script('torch.linalg.svd', 'extract_svd.py'))]),
    script('torch.svd_lowrank', 'extract_svd_lowrank.py'),
    ...ENGINES.map((engine) => {
      const args = ['extract', base, tuned, '-o', out(engine), '--rank', String(rank), '--engine', engine]
      return extracting(lorasvd(engine, args))
    }),
  ]
  const compare = () => {
    const measured = candidates.map(({ label }) => {
      const { status, stdout } = python('adapter_errors.py', [base, tuned, out(label)])
      return { label, errors: status === 0 ? JSON.parse(stdout) : null }
    })
    const least = measured.find(({ label }) => label === 'torch.linalg.svd')?.errors
    for (const { label, errors } of measured) {
      if (errors === null) continue
      const ratios = Object.entries(errors.layers).map(([name, error]) => error / least?.layers[name])
      const worst = least ? `, at most ${Math.max(...ratios).toFixed(6)} times the full SVD's in a layer` : ''
      console.log(`  ${label.padEnd(20)} relative error ${errors.total.toFixed(7)}${worst}`)
    }
    for (const { prepare } of candidates) prepare()
  }
  return { title: `extract BASE TUNED --rank ${rank}`, candidates, compare }
}

const lorasvd = (engine, args) => ({
  label: engine,
  isOurs: true,
  run: () => wholeProcess('node', [EXECUTABLE, ...args]),
})
const peer = (label, file, args) => ({ label, isOurs: false, run: () => python(file, args) })
const slow = (candidate) => ({ ...candidate, isSlow: true })
const isOurs = (candidate) => candidate.isOurs

/** PyTorch counts physical cores by default; it gets all that we get. */
function python(file, args) {
  const threads = String(availableParallelism())
  return wholeProcess('/usr/bin/python3', [join(PEERS, file), ...args], {
    OMP_NUM_THREADS: threads,
    OPENBLAS_NUM_THREADS: threads,
    PYTHONDONTWRITEBYTECODE: '1',
  })
}

/** The runs of each candidate, taken in turns. One that fails is not tried again. */
function measure(candidates, rounds) {
  const results = candidates.map((candidate) => ({ ...candidate, runs: [] }))
  for (let round = 0; round < rounds; round++) {
    for (const result of results) {
      if (result.failure !== undefined || (result.isSlow && round > 0)) continue
      result.prepare?.()
      const run = result.run()
      if (run.status === 0) result.runs.push(run)
      else result.failure = `exit ${run.status}, ${run.stderr.trim().split('\n').at(-1)}`
    }
  }
  return results
}

function report(results) {
  const timed = results.map((result) => ({
    ...result,
    seconds: median(result.runs.map((run) => run.seconds)),
  }))
  const peers = timed.filter((result) => !isOurs(result) && result.failure === undefined)
  for (const { label, failure, runs, seconds } of timed) {
    if (failure !== undefined) {
      console.log(`  ${label.padEnd(20)} absent: ${failure}`)
      continue
    }
    const speeds = peers
      .filter((peer) => peer.label !== label)
      .map((peer) => `${(peer.seconds / seconds).toPrecision(3)} times as fast as ${peer.label}`)
    const peak = Math.max(...runs.map((run) => run.peak))
    const memory = Number.isNaN(peak) ? 'unknown without GNU time' : `${peak.toFixed(0)} MiB`
    console.log(
      `  ${label.padEnd(20)} ${seconds.toFixed(2).padStart(7)} s, peak memory ${memory}${speeds.map((speed) => `, ${speed}`).join('')}`,
    )
  }
}

function fileOrNull(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return null
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = { type: 'string' }
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      layers: text,
      'more-layers': text,
      rounds: text,
      hidden: text,
      rank: text,
      quick: { type: 'boolean' },
    },
  })
  const number = (name) => (values[name] === undefined ? undefined : Number(values[name]))
  benchModels({
    commands: positionals.length > 0 ? positionals : undefined,
    layers: number('layers'),
    moreLayers: number('more-layers'),
    rounds: number('rounds'),
    hidden: number('hidden'),
    rank: number('rank'),
    quick: values.quick,
  })
}
