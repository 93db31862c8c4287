// After a crash (kill -9) the same command is given four times at once: exactly one may succeed, the others must refuse by what is
// the case, the adapter must have the bytes of an undisturbed run, and whatever someone else put beside it must stay.
// Usage: node bench/restart-races.mjs [--trials 200] [--cpus 1] [--at-once 4]; Linux (taskset). Exits with 1 on the first failure.
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { crash, extraction } from './extract-trials.mjs'
import { filesOf, isSame, runCommand } from './trial-runs.mjs'

const number = (initial) => ({ type: 'string', default: initial })
const { values } = parseArgs({
  options: { trials: number('200'), cpus: number('1'), 'at-once': number('4') },
})
const [trials, cpus, atOnce] = [values.trials, values.cpus, values['at-once']].map(Number)
/** The CPUs that all four share. */
const PINNED = ['taskset', '-c', cpus === 1 ? '0' : `0-${cpus - 1}`]
/** A crash of its own for every so many trials; the others begin with a copy of what the last one left. */
const CRASH_EVERY = 10
const REFUSAL = /: process \d+ is at work here; |: exists already; /

const folder = mkdtempSync(join(tmpdir(), 'lora-svd-races-'))
const crashed = join(folder, 'crashed')
const room = join(folder, 'room')
const out = join(room, 'out')
const FOREIGN = { 'notes.txt': 'mine', 'out.partial.txt': 'mine too', '.lora-svd-notes.tmp': 'and this' }

function fail(trial, what, results) {
  console.error(`trial ${trial}: ${what}`)
  for (const { code, signal, stderr } of results) console.error(`  ${code ?? signal}: ${stderr.trim()}`)
  console.error(`  left: ${readdirSync(room).join(' ')}`)
  process.exitCode = 1
}

try {
  const reference = join(folder, 'reference')
  const undisturbed = await runCommand(extraction(reference))
  if (undisturbed.code !== 0) throw new Error(undisturbed.stderr)
  const expected = filesOf(reference)
  const tally = { working: 0, placed: 0 }
  let done = 0
  for (; done < trials; done++) {
    if (done % CRASH_EVERY === 0) {
      do {
        for (const path of [crashed, `${crashed}.partial`]) rmSync(path, { recursive: true, force: true })
      } while (!(await crash(crashed)))
    }
    rmSync(room, { recursive: true, force: true })
    mkdirSync(room)
    cpSync(`${crashed}.partial`, `${out}.partial`, { recursive: true })
    for (const [name, text] of Object.entries(FOREIGN)) writeFileSync(join(room, name), text)
    const runs = Array.from({ length: atOnce }, () => runCommand([...PINNED, ...extraction(out)]))
    const results = await Promise.all(runs)
    const others = results.filter(({ code }) => code !== 0)
    if (others.length !== atOnce - 1) fail(done, `${atOnce - others.length} succeeded`, results)
    else if (others.some(({ code, stderr }) => code !== 2 || !REFUSAL.test(stderr)))
      fail(done, 'not refused clearly', results)
    else if (!isSame(out, expected)) fail(done, 'other bytes', results)
    else if (existsSync(`${out}.partial`)) fail(done, 'something is left', results)
    else if (readdirSync(room).length !== 1 + Object.keys(FOREIGN).length)
      fail(done, 'something is left', results)
    else if (Object.entries(FOREIGN).some(([name, text]) => readFileSync(join(room, name), 'utf8') !== text))
      fail(done, 'something foreign is gone', results)
    if (process.exitCode === 1) break
    for (const { stderr } of others) tally[stderr.includes('at work') ? 'working' : 'placed']++
  }
  console.log(
    `${done} trials of ${atOnce} restarts at once on ${cpus} CPU${cpus > 1 ? 's' : ''}: one succeeded in each; the others were told ` +
      `that another is at work (${tally.working}) or that the output exists (${tally.placed})`,
  )
} finally {
  rmSync(folder, { recursive: true, force: true })
}
