// What a weight costs as models grow: inspect, extract, verify and apply on pairs of 11, 99 and 1,000 million weights in the same
// shapes, and what opening a checkpoint of 100,000 tensors takes. Needs 8 GB of room. Exits with 1 where a weight of the largest
// pair costs more than MOST_GROWTH of one of the smallest, or a further one more than before, or where memory takes more than MOST_MEMORY_GROWTH.
//   node bench/scale.mjs [--folder FOLDER] [--layers 1,9,91] [--rounds 3] [--svg docs/scale.svg]
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { drawScale } from './scale-picture.mjs'
import { writeSafetensors } from './tensors.mjs'
import { median } from './timing.mjs'
import { holdsPair, makePair, recipeOf } from './tinyllama-pair.mjs'
import { wholeProcess } from './whole-process.mjs'

/** TinyLlama's shapes at half its width: 11 million weights a layer in matrices that are factored. */
const HIDDEN = 1024
const RANK = 16
const TENSORS = 100_000
const FILES = 20
const MOST_GROWTH = 1.15
/** From the second size on. Threads reach their most memory after some hundred matrices, and extract keeps up to 32 MiB of factors: from 99 to 330 million weights it grows, and then no more. */
const MOST_MEMORY_GROWTH = 2

const { values } = parseArgs({
  options: {
    folder: { type: 'string' },
    layers: { type: 'string', default: '1,9,91' },
    rounds: { type: 'string', default: '3' },
    svg: { type: 'string' },
  },
})
const folder = values.folder ?? mkdtempSync(join(tmpdir(), 'lora-svd-scale-'))
const layerCounts = values.layers.split(',').map(Number)
const rounds = Number(values.rounds)

const layerWeights = HIDDEN * HIDDEN * (2 + 2 / 8 + (3 * 11) / 4)
const COMMANDS = {
  inspect: (at) => ['inspect', at('tuned'), '--base', at('base')],
  extract: (at) => ['extract', at('base'), at('tuned'), '-o', at('adapter'), '--rank', `${RANK}`, '--force'],
  verify: (at) => ['verify', at('adapter'), at('base'), at('tuned')],
  apply: (at) => ['apply', at('base'), at('adapter'), '-o', at('applied'), '--force'],
}

function run(args) {
  const result = wholeProcess(process.execPath, ['bin/lora-svd.js', ...args, '--engine', 'wasm', '--quiet'])
  if (result.status !== 0) throw new Error(`${args.join(' ')}: ${result.stderr}`)
  return result
}

/** The command on a pair: the medians of the processor's seconds and of the clock's, and the most memory. */
function measure(name, pair) {
  const at = (part) => join(pair, part)
  const runs = Array.from({ length: rounds }, () => run(COMMANDS[name](at)))
  rmSync(at('applied'), { recursive: true, force: true })
  return {
    processor: median(runs.map(({ processor }) => processor)),
    seconds: median(runs.map(({ seconds }) => seconds)),
    peak: Math.max(...runs.map(({ peak }) => peak)),
  }
}

function pairOf(layers, hidden) {
  const recipe = recipeOf({ layers, hidden })
  const pair = join(folder, `${layers}x${hidden}`)
  mkdirSync(pair, { recursive: true })
  if (!holdsPair(pair, recipe)) makePair(pair, recipe)
  return pair
}

function many(files) {
  const checkpoint = join(folder, `many-${files}`)
  mkdirSync(checkpoint, { recursive: true })
  const tensors = Array.from({ length: TENSORS }, (_, i) => ({
    name: `model.layers.${Math.floor(i / 100)}.mlp.experts.${i % 100}.down_proj.weight`,
    dtype: 'F32',
    shape: [8, 8],
    bytes: 256,
  }))
  const share = Math.ceil(TENSORS / files)
  const weight_map = {}
  for (let file = 0; file < files; file++) {
    const number = (n) => String(n).padStart(5, '0')
    const name =
      files === 1 ? 'model.safetensors' : `model-${number(file + 1)}-of-${number(files)}.safetensors`
    const own = tensors.slice(file * share, (file + 1) * share)
    for (const tensor of own) weight_map[tensor.name] = name
    writeSafetensors(join(checkpoint, name), own, ({ bytes }) => new Uint8Array(bytes).fill(1))
  }
  if (files > 1)
    writeFileSync(
      join(checkpoint, 'model.safetensors.index.json'),
      JSON.stringify({ metadata: { total_size: 256 * TENSORS }, weight_map }),
    )
  return checkpoint
}

try {
  const points = []
  console.log(`${'command'.padEnd(10)}${'weights'.padStart(12)}  seconds for a million weights  memory`)
  console.log(`${''.padEnd(22)}  processor   clock   grown by   MiB`)
  for (const name of Object.keys(COMMANDS)) {
    let before
    for (const layers of layerCounts) {
      const weights = layers * layerWeights
      const { processor, seconds, peak } = measure(name, pairOf(layers, HIDDEN))
      const each = { processor: (1e6 * processor) / weights, clock: (1e6 * seconds) / weights }
      // what a further weight costs: the start, and code that is not yet compiled, are paid once
      const further = before && (1e6 * (processor - before.processor)) / (weights - before.weights)
      points.push({ name, weights, ...each, further, peak })
      console.log(
        `${name.padEnd(10)}${String(Math.round(weights / 1e6)).padStart(10)} M  ${each.processor.toFixed(4).padStart(9)}  ${each.clock.toFixed(4).padStart(6)}   ${(further?.toFixed(4) ?? '').padStart(8)}   ${peak.toFixed(0)}`,
      )
      before = { processor, weights, peak }
    }
    const own = points.filter((point) => point.name === name)
    const [first, last] = [own[0], own.at(-1)]
    const growth = last.processor / first.processor
    const furtherGrowth = own.length > 2 ? last.further / own[1].further : Number.NaN
    const memory = last.peak / own[Math.min(1, own.length - 1)].peak
    console.log(
      `${''.padEnd(10)}a weight of the largest against one of the smallest ×${growth.toFixed(2)}; a further one ×${furtherGrowth.toFixed(2)}; memory ×${memory.toFixed(2)}`,
    )
    if (growth > MOST_GROWTH || furtherGrowth > MOST_GROWTH || memory > MOST_MEMORY_GROWTH)
      process.exitCode = 1
  }
  console.log(`\na checkpoint of ${TENSORS} tensors, one of them asked for`)
  for (const files of [1, FILES]) {
    const checkpoint = many(files)
    const { seconds, peak } = run(['inspect', checkpoint, '--include', '*layers.7.*experts.7.*'])
    console.log(`${String(files).padStart(3)} files: ${seconds.toFixed(2)} s, ${peak.toFixed(0)} MiB`)
  }
  if (values.svg !== undefined) writeFileSync(values.svg, drawScale(points))
} finally {
  if (values.folder === undefined) rmSync(folder, { recursive: true })
}
