// Kills shards of one extraction, two at a time on one folder, and then its join, at pseudo-random times: the same commands must always go on, a join must
// never take a part for the whole, and the end must have the bytes of one process.
// Usage: node bench/kill-shards.mjs [--kills 120] [--of 3] [--hidden 256] [--seed 0]; exits with 1 on the first difference.
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makePair, recipeOf } from './tinyllama-pair.mjs'
import {
  assert,
  assertSame,
  expectDone,
  filesOf,
  killing,
  loraSvd,
  optionsOf,
  runCommand,
  stream,
} from './trial-runs.mjs'

/** One round, and ranks that take a second one. */
const RULES = [
  ['--rank', '16'],
  ['--energy', '0.5', '--uniform', '--embeddings'],
]

const { kills, of, hidden, seed } = optionsOf({ kills: 120, of: 3, hidden: 256, seed: 0 })
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-shard-kills-'))
const out = join(folder, 'out')
const random = stream(seed)

const extraction = (path, rule, ...more) =>
  loraSvd(
    ...['extract', ...['base', 'tuned'].map((side) => join(folder, 'pair', side)), '-o', path],
    ...['--engine', 'wasm', '--threads', '1', '-q', ...rule, ...more],
  )

const tally = { shards: 0, joins: 0, placed: 0, jobs: 0 }

/** Runs a command, killed again and again while kills are left. Gives whether it was killed after the output was placed. */
async function through(rule, more, milliseconds, kind) {
  for (;;) {
    const isLeft = tally.shards + tally.joins < kills
    const { code, signal, stderr } = await runCommand(
      extraction(out, rule, ...more),
      isLeft ? { onStart: killing(random() * milliseconds) } : {},
    )
    if (signal === 'SIGKILL') {
      tally[kind]++
      if (existsSync(out)) {
        tally.placed++
        if (!existsSync(`${out}.partial`)) return
      }
      continue
    }
    assert(code === 0, `${more.join(' ')} of ${rule.join(' ')}: exit ${code}: ${stderr}`)
    return
  }
}

async function job({ rule, files, milliseconds }) {
  tally.jobs++
  const left = Array.from({ length: of }, (_, i) => i + 1)
  const worker = async () => {
    for (let index = left.shift(); index !== undefined; index = left.shift()) {
      const isLast = left.length === 0 && index === of
      if (isLast) {
        const { code, stderr } = await runCommand(extraction(out, rule, '--join'))
        const isRefused = code === 2 && /missing|holds no shard/.test(stderr) && !existsSync(out)
        assert(isRefused, `a join of parts: exit ${code}: ${stderr}`)
      }
      await through(rule, ['--shard', `${index}/${of}`], milliseconds, 'shards')
    }
  }
  await Promise.all([worker(), worker()])
  await through(rule, ['--join'], milliseconds / 2, 'joins')
  assertSame(out, files, rule.join(' '))
  // what was being removed when it was killed has a temporary name, and goes with the next run there
  const named = readdirSync(folder).filter((name) => name.startsWith('out'))
  assert(named.join() === 'out', `left behind: ${named.join(' ')}`)
  rmSync(out, { recursive: true })
}

async function main() {
  makePair(join(folder, 'pair'), recipeOf({ layers: 2, hidden }))
  const references = []
  for (const [i, rule] of RULES.entries()) {
    const path = join(folder, `reference-${i}`)
    const { milliseconds } = await expectDone(extraction(path, rule))
    references.push({ rule, files: filesOf(path), milliseconds })
  }
  for (let i = 0; tally.shards + tally.joins < kills || i < RULES.length; i++)
    await job(references[i % RULES.length])
  console.log(
    `${tally.shards} kills of shards and ${tally.joins} of joins (${tally.placed} after the renaming) over ${tally.jobs} jobs of ${of} shards: every one ended with the bytes of one process`,
  )
}

try {
  await main()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
