// Kills an extraction over and over, as bench/kill-trials.mjs says.
// Usage: node bench/kill-extract.mjs [--kills 150] [--hidden 256] [--layers 4] [--seed 0] [--engine wasm]
// [--rules 0,1,2]; exits with 1 on the first difference.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { layersDone } from './extract-trials.mjs'
import { killResumable } from './kill-trials.mjs'
import { makePair, recipeOf } from './tinyllama-pair.mjs'
import { loraSvd, optionsOf, stream } from './trial-runs.mjs'

/** One rank for all in one round; and ranks that take several rounds. */
const RULES = [
  ['--rank', '16'],
  ['--energy', '0.5', '--layout', 'pattern', '--carry-rest'],
  ['--budget', '300KiB', '--layout', 'pattern', '--embeddings'],
]

const { kills, hidden, layers, seed, engine, rules } = optionsOf({
  ...{ kills: 150, hidden: 256, layers: 4, seed: 0, engine: 'wasm', rules: '0,1,2' },
})
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-kills-'))
const [base, tuned] = ['base', 'tuned'].map((side) => join(folder, 'pair', side))

try {
  makePair(join(folder, 'pair'), recipeOf({ layers, hidden }))
  await killResumable({
    ...{ folder, kills, random: stream(seed), nouns: { piece: 'layer', runs: 'extractions' } },
    rules: rules.split(',').map((index) => RULES[index]),
    commandOf: (out, rule) => loraSvd('extract', base, tuned, '-o', out, '-q', '--engine', engine, ...rule),
    doneOf: layersDone,
  })
} finally {
  rmSync(folder, { recursive: true, force: true })
}
