// Kills shards of one extraction, two at a time on one folder, and then its join, at pseudo-random times: the same commands must always go on, a join must
// never take a part for the whole, and the end must have the bytes of one process.
// Usage: node bench/kill-shards.mjs [--kills 60] [--of 3] [--hidden 256] [--seed 0]; exits with 1 on the first difference.
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { makePair, recipeOf } from './tinyllama-pair.mjs'

const ENTRY = fileURLToPath(new URL('../bin/lora-svd.js', import.meta.url))
/** One round, and ranks that take a second one. */
const RULES = [
  ['--rank', '16'],
  ['--energy', '0.5', '--uniform', '--embeddings'],
]

const text = { type: 'string' }
const { values } = parseArgs({ options: { kills: text, of: text, hidden: text, seed: text } })
const { kills, of, hidden, seed } = {
  ...{ kills: 60, of: 3, hidden: 256, seed: 0 },
  ...Object.fromEntries(Object.entries(values).map(([name, value]) => [name, Number(value)])),
}
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-shard-kills-'))
const out = join(folder, 'out')

/** Numbers in [0, 1): mulberry32. */
let state = seed
function random() {
  state = (state + 0x6d2b79f5) | 0
  let z = Math.imul(state ^ (state >>> 15), state | 1)
  z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
  return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32
}

/** Runs extract, and kills it after so many milliseconds. */
function extract(path, rule, more, killAfter) {
  const [base, tuned] = ['base', 'tuned'].map((side) => join(folder, 'pair', side))
  const args = [
    ENTRY,
    'extract',
    base,
    tuned,
    '-o',
    path,
    '--engine',
    'wasm',
    '--threads',
    '1',
    '-q',
    ...rule,
  ]
  const start = performance.now()
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...args, ...more])
    const timer = killAfter === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfter)
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (part) => {
      stderr += part
    })
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      resolve({ code, signal, stderr, milliseconds: performance.now() - start })
    })
  })
}

const filesOf = (path) => readdirSync(path).map((name) => [name, readFileSync(join(path, name), 'base64')])

const tally = { shards: 0, joins: 0, placed: 0, jobs: 0 }

/** Runs a command, killed again and again while kills are left. Gives whether it was killed after the output was placed. */
async function through(rule, more, milliseconds, kind) {
  for (;;) {
    const isLeft = tally.shards + tally.joins < kills
    const { code, signal, stderr } = await extract(
      out,
      rule,
      more,
      isLeft ? random() * milliseconds : undefined,
    )
    if (signal === 'SIGKILL') {
      tally[kind]++
      if (existsSync(out)) {
        tally.placed++
        if (!existsSync(`${out}.partial`)) return
      }
      continue
    }
    if (code !== 0) throw new Error(`${more.join(' ')} of ${rule.join(' ')}: exit ${code}: ${stderr}`)
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
        const { code, stderr } = await extract(out, rule, ['--join'])
        if (code !== 2 || !/missing/.test(stderr) || existsSync(out)) {
          throw new Error(`a join of parts: exit ${code}: ${stderr}`)
        }
      }
      await through(rule, ['--shard', `${index}/${of}`], milliseconds, 'shards')
    }
  }
  await Promise.all([worker(), worker()])
  await through(rule, ['--join'], milliseconds / 2, 'joins')
  if (JSON.stringify(filesOf(out)) !== JSON.stringify(files)) {
    throw new Error(`${rule.join(' ')}: not the bytes of one process`)
  }
  // what was being removed when it was killed has a temporary name, and goes with the next run there
  const named = readdirSync(folder).filter((name) => name.startsWith('out'))
  if (named.join() !== 'out') throw new Error(`left behind: ${named.join(' ')}`)
  rmSync(out, { recursive: true })
}

async function main() {
  makePair(join(folder, 'pair'), recipeOf({ layers: 2, hidden }))
  const references = []
  for (const [i, rule] of RULES.entries()) {
    const path = join(folder, `reference-${i}`)
    const { code, stderr, milliseconds } = await extract(path, rule, [])
    if (code !== 0) throw new Error(`one process: exit ${code}: ${stderr}`)
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
