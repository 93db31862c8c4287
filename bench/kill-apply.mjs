// Kills a merge over and over at pseudo-random times, every second time soon after a piece is done, and lets it run into file-size limits: the same command must
// always go on and end with the bytes of an uninterrupted run, and the final name must never stand for less.
// Usage: node bench/kill-apply.mjs [--kills 50] [--hidden 512] [--layers 4] [--seed 0] [--rules 0,1,2]; exits with 1 on the
// first difference.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { makePair, recipeOf } from './tinyllama-pair.mjs'

const ENTRY = fileURLToPath(new URL('../bin/lora-svd.js', import.meta.url))
/** As the base is; in another type; and one file. */
const RULES = [
  { base: 'base', flags: [] },
  { base: 'base', flags: ['--dtype', 'f32', '--max-shard-size', '4MB'] },
  { base: 'base/model.safetensors', flags: ['--weights', '0.5'] },
]
/** In KiB: too little for anything, for the list of what is done, and for half of what the largest file takes. */
const limitsOf = (files) => [0, 8, Math.floor(Math.max(...files.map(([, { length }]) => length)) / 2048)]

/** Milliseconds between looks at what is done. */
const POLL = 2

const text = { type: 'string' }
const { values } = parseArgs({
  options: { kills: text, hidden: text, layers: text, seed: text, rules: text },
})
const { kills, hidden, layers, seed } = {
  ...{ kills: 50, hidden: 512, layers: 4, seed: 0 },
  ...Object.fromEntries(Object.entries(values).map(([name, value]) => [name, Number(value)])),
}
const rules = (values.rules ?? '0,1,2').split(',').map((index) => RULES[index])
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-kills-apply-'))

/** Numbers in [0, 1): mulberry32. */
function stream(start) {
  let state = start
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let z = Math.imul(state ^ (state >>> 15), state | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Runs apply; `killAfter` milliseconds, counted from when it has done so many `pieces`; `limit` in KiB a file. */
function apply(out, { base, flags }, { killAfter, pieces = 0, limit } = {}) {
  const args = [
    ENTRY,
    'apply',
    join(folder, 'pair', base),
    join(folder, 'adapter'),
    '-o',
    out,
    '--quiet',
    ...flags,
  ]
  const start = performance.now()
  return new Promise((resolve, reject) => {
    const child =
      limit === undefined
        ? spawn(process.execPath, args)
        : spawn('bash', ['--norc', '-c', `ulimit -f ${limit}; exec "$@"`, 'bash', process.execPath, ...args])
    let timer
    const most = piecesDone(out) + pieces
    const killSoon = () => {
      if (pieces === 0 || piecesDone(out) >= most) timer = setTimeout(() => child.kill('SIGKILL'), killAfter)
      else timer = setTimeout(killSoon, POLL)
    }
    if (killAfter !== undefined) killSoon()
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

const filesOf = (path) =>
  statSync(path).isFile()
    ? [['', readFileSync(path)]]
    : readdirSync(path)
        .sort()
        .map((name) => [name, readFileSync(join(path, name))])

function assertSame(out, expected, when) {
  const found = filesOf(out)
  const names = (files) => files.map(([name]) => name).join(' ')
  if (names(found) !== names(expected)) throw new Error(`${when}: files ${names(found)}`)
  for (const [i, [name, bytes]] of found.entries()) {
    if (!bytes.equals(expected[i][1]))
      throw new Error(`${when}: ${name} differs from the uninterrupted run's`)
  }
}

function assertTidy(out, when) {
  const left = readdirSync(folder).filter((name) => name.startsWith('out') && join(folder, name) !== out)
  if (left.length > 0) throw new Error(`${when}: left behind: ${left.join(' ')}`)
}

function piecesDone(out) {
  try {
    return readFileSync(join(`${out}.partial`, 'done.jsonl'), 'utf8').split('\n').length - 1
  } catch {
    return 0
  }
}

async function finish(out, rule, expected, when) {
  const { code, stderr } = await apply(out, rule)
  if (code !== 0) throw new Error(`${when}: exit ${code}: ${stderr}`)
  assertSame(out, expected, when)
  assertTidy(out, when)
  rmSync(out, { recursive: true })
}

async function main() {
  makePair(join(folder, 'pair'), recipeOf({ layers, hidden }))
  const [base, tuned] = ['base', 'tuned'].map((side) => join(folder, 'pair', side))
  const made = spawnSync(process.execPath, [
    ...[ENTRY, 'extract', base, tuned, '-o', join(folder, 'adapter'), '--quiet', '--rank', '16'],
  ])
  if (made.status !== 0) throw new Error(`the adapter: exit ${made.status}: ${made.stderr}`)
  const references = []
  for (const [i, rule] of rules.entries()) {
    const out = join(folder, `reference-${i}`)
    const { code, stderr, milliseconds } = await apply(out, rule)
    if (code !== 0) throw new Error(`uninterrupted: exit ${code}: ${stderr}`)
    references.push({ rule, files: filesOf(out), milliseconds })
  }
  const random = stream(seed)
  const out = join(folder, 'out')
  const tally = { kills: 0, begun: 0, midway: 0, placed: 0, merges: 0 }
  for (let at = 0; tally.kills < kills; at = (at + 1) % rules.length) {
    const { rule, files, milliseconds } = references[at]
    tally.merges++
    for (;;) {
      const when = `${rule.base} ${rule.flags.join(' ')}, after ${tally.kills} kills`
      const kill =
        tally.kills % 2 === 0
          ? { killAfter: random() * milliseconds }
          : { killAfter: (random() * milliseconds) / 10, pieces: 1 + Math.floor(random() * 3) }
      const { signal, code, stderr } = await apply(out, rule, kill)
      if (signal === 'SIGKILL') {
        tally.kills++
        const done = piecesDone(out)
        tally[existsSync(out) ? 'placed' : done > 0 ? 'midway' : 'begun']++
        if (existsSync(out)) assertSame(out, files, when)
        if (existsSync(out) && !existsSync(`${out}.partial`)) {
          // killed when all was done: another run would rightly refuse to replace it
          assertTidy(out, when)
          rmSync(out, { recursive: true })
          break
        }
        if (tally.kills < kills) continue
        await finish(out, rule, files, when)
        break
      }
      if (code !== 0) throw new Error(`${when}: exit ${code}: ${stderr}`)
      assertSame(out, files, when)
      assertTidy(out, when)
      rmSync(out, { recursive: true })
      break
    }
  }
  let refusals = 0
  for (const { rule, files } of references) {
    for (const limit of limitsOf(files)) {
      const { code, stderr } = await apply(out, rule, { limit })
      refusals++
      if (code !== 3 || !stderr.includes('EFBIG'))
        throw new Error(`limit ${limit} KiB: exit ${code}: ${stderr}`)
      if (existsSync(out)) throw new Error(`limit ${limit} KiB: the final name is there`)
    }
    await finish(out, rule, files, 'after file-size limits')
  }
  if (tally.midway === 0 || refusals === 0) throw new Error('nothing was interrupted amid its work')
  console.log(
    `${tally.kills} kills (${tally.begun} before the first piece was done, ${tally.midway} later, ${tally.placed} after the renaming) ` +
      `over ${tally.merges} merges, and ${refusals} file-size limits: every one ended with the uninterrupted run's bytes`,
  )
}

try {
  await main()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
