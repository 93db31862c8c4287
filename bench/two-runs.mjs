// Two runs of every command that writes, on one output at the same time, begun with all delays between them: one ends well, and the other is told that another is at work or that the
// output exists, or with --force and where both may write both end well; at no moment may anything but a whole result stand under a final name, and nothing may be left beside it.
// Usage: node bench/two-runs.mjs [--trials 12] [--only extract,…] [--seed 0]; exits with 1 on the first failure.
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { trialsIn } from './trial-commands.mjs'
import { assert, expectDone, isOneLine, optionsOf, runCommand, stream } from './trial-runs.mjs'

const { trials, only, seed } = optionsOf({ trials: 12, only: '', seed: 0 })
const random = stream(seed)
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-two-'))
/** Milliseconds between looks at the final names, and the most that one run begins after the other. */
const [LOOK, DELAY] = [2, 250]

const REFUSAL =
  /: process \d+ is at work here; |exists already; |something else has this name|is no longer this process's|was removed while|is what an earlier run was about to replace|can't|missing|holds no shard/

const inodesOf = ({ paths }) => paths.map((path) => statSync(path, { throwIfNoEntry: false })?.ino).join(' ')

async function trial(one, withOld) {
  one.prepare({ withOld })
  const command = withOld ? one.forced : one.command
  const states = [one.whole, withOld ? one.old : undefined]
  const strange = []
  const look = setInterval(() => {
    const before = inodesOf(one)
    try {
      const found = one.strangeTo(...states)
      // what was replaced while it was looked at was seen in parts
      if (inodesOf(one) === before) strange.push(...found)
    } catch {
      // it is being replaced at this moment
    }
  }, LOOK)
  const second = async () => {
    await sleep(random() * DELAY)
    return runCommand(command)
  }
  const results = await Promise.all([runCommand(command), second()])
  clearInterval(look)
  const said = results.map(({ code, signal, stderr }) => `\n  ${code ?? signal}: ${stderr.trim()}`).join('')
  const done = results.filter(({ code }) => code === 0)
  assert(strange.length === 0, `half a result stood at ${strange[0]}${said}`)
  assert(done.length > 0, `neither succeeded${said}`)
  for (const { code, stderr } of results.filter((result) => result.code !== 0)) {
    assert((code === 2 || code === 3) && isOneLine(stderr) && REFUSAL.test(stderr), `no clear refusal${said}`)
  }
  for (const more of one.after) await expectDone(more)
  assert(one.isIn(one.whole), `other bytes${said}`)
  const left = readdirSync(one.room).filter((name) => !one.paths.includes(join(one.room, name)))
  assert(left.length === 0, `left behind: ${left.join(' ')}${said}`)
  return done.length
}

try {
  const tally = { both: 0, one: 0 }
  for (const one of (await trialsIn(folder, only)).filter(({ stdout }) => !stdout)) {
    for (const withOld of one.hasOld ? [false, true] : [false]) {
      const name = `${one.name}${withOld ? ' --force' : ''}`
      const own = { both: 0, one: 0 }
      for (let i = 0; i < trials; i++) {
        const done = await trial(one, withOld).catch((error) => {
          throw new Error(`${name}: ${error.message}`)
        })
        own[done === 2 ? 'both' : 'one']++
      }
      tally.both += own.both
      tally.one += own.one
      console.log(
        `${name}: ${own.one} times one succeeded and the other was told, ${own.both} times both succeeded`,
      )
    }
  }
  console.log(
    `${tally.both + tally.one} times two runs at once: ${tally.one} times one succeeded and the other was told why not, ${tally.both} times both, ` +
      'one after the other: the whole result each time, nothing half at any moment, nothing left',
  )
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
} finally {
  if (existsSync(folder)) rmSync(folder, { recursive: true, force: true })
}
