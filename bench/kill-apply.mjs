// Kills a merge over and over, as bench/kill-trials.mjs says.
// Usage: node bench/kill-apply.mjs [--kills 150] [--hidden 512] [--layers 4] [--seed 0] [--rules 0,1,2]; exits with 1 on the
// first difference.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { killResumable } from './kill-trials.mjs'
import { makePair, recipeOf } from './tinyllama-pair.mjs'
import { expectDone, loraSvd, optionsOf, stream } from './trial-runs.mjs'

/** What is merged into, and flags: as the base is; in another type; and one file. */
const RULES = [
  ['base'],
  ['base', '--dtype', 'f32', '--max-shard-size', '4MB'],
  ['base/model.safetensors', '--weights', '0.5'],
]

const { kills, hidden, layers, seed, rules } = optionsOf({
  ...{ kills: 150, hidden: 512, layers: 4, seed: 0, rules: '0,1,2' },
})
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-kills-apply-'))
const adapter = join(folder, 'adapter')
const of = (side) => join(folder, 'pair', side)

function piecesDone(out) {
  try {
    return readFileSync(join(`${out}.partial`, 'done.jsonl'), 'utf8').split('\n').length - 1
  } catch {
    return 0
  }
}

try {
  makePair(join(folder, 'pair'), recipeOf({ layers, hidden }))
  await expectDone(loraSvd('extract', of('base'), of('tuned'), '-o', adapter, '--quiet', '--rank', '16'))
  await killResumable({
    ...{ folder, kills, random: stream(seed), nouns: { piece: 'piece', runs: 'merges' } },
    rules: rules.split(',').map((index) => RULES[index]),
    commandOf: (out, [base, ...flags]) => loraSvd('apply', of(base), adapter, '-o', out, '--quiet', ...flags),
    doneOf: piecesDone,
  })
} finally {
  rmSync(folder, { recursive: true, force: true })
}
