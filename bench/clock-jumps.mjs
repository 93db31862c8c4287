// Sets the clock while commands run, and between runs, by a preloaded library: it swings by a year forth and back twenty times a second, or jumps once amid the run, and what is
// written has its time. The bytes must be those of an undisturbed run; a run that was killed under one clock must go on under another; and a second run whose clock is
// a year off must see that the first is at work.
// Usage: node bench/clock-jumps.mjs [--only extract,…] [--trials 4] [--seed 0]; needs gcc. Exits with 1 on the first failure.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { trialsIn } from './trial-commands.mjs'
import { assert, expectDone, isOneLine, killing, optionsOf, runCommand, stream } from './trial-runs.mjs'

const { only, trials, seed } = optionsOf({ only: '', trials: 4, seed: 0 })
const random = stream(seed)
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-clock-'))
const library = join(folder, 'clock.so')
const YEAR = 365 * 24 * 3600
/** Milliseconds until what a run has written is looked for again. */
const LOOK = 2

const CLOCKS = {
  'a year fast': { CLOCK_SHIFT: YEAR },
  'a year slow': { CLOCK_SHIFT: -YEAR },
  swinging: { CLOCK_SWING: YEAR },
  'set forward amid it': { CLOCK_JUMP: YEAR, CLOCK_AFTER: 150 },
  'set back amid it': { CLOCK_JUMP: -YEAR, CLOCK_AFTER: 150 },
}

const under = (clock) => ({
  env: {
    ...process.env,
    LD_PRELOAD: library,
    ...Object.fromEntries(Object.entries(clock).map(([name, value]) => [name, String(value)])),
  },
})

function assertWhole(one, what) {
  assert(one.isIn(one.whole), `${what}: other bytes`)
  const left = readdirSync(one.room).filter((name) => !one.paths.includes(join(one.room, name)))
  assert(left.length === 0, `${what}: left behind: ${left.join(' ')}`)
}

async function underEachClock(one) {
  for (const [name, clock] of Object.entries(CLOCKS)) {
    one.prepare()
    for (const command of [one.command, ...one.after]) await expectDone(command, under(clock))
    assertWhole(one, name)
  }
  return Object.keys(CLOCKS).length
}

const partialOf = (one) => `${one.paths[0]}.partial`

/** Killed once it has begun to keep what it does, under one clock; then the same command under another. */
async function killedAndGoneOn(one) {
  const pairs = [
    ['a year fast', 'a year slow'],
    ['a year slow', 'a year fast'],
    ['swinging', 'swinging'],
  ]
  let kills = 0
  for (let i = 0; i < trials; i++) {
    for (const [first, second] of pairs) {
      one.prepare()
      const hasBegun = () => existsSync(partialOf(one))
      const onStart = killing(random() * 200, hasBegun)
      const { signal } = await runCommand(one.command, { ...under(CLOCKS[first]), onStart })
      if (signal === 'SIGKILL') kills++
      const isDone = one.isIn(one.whole) && !existsSync(partialOf(one))
      if (!isDone || one.isPart) await expectDone(one.command, under(CLOCKS[second]))
      for (const more of one.after) await expectDone(more, under(CLOCKS[second]))
      assertWhole(one, `${first}, killed, ${second}`)
    }
  }
  return kills
}

/** A second run by another clock, begun while the first is at work. */
async function twoClocks(one) {
  let refused = 0
  for (const second of ['a year fast', 'a year slow']) {
    one.prepare()
    let other
    const onStart = (child) => {
      const look = setInterval(() => {
        if (!existsSync(partialOf(one))) return
        clearInterval(look)
        other = runCommand(one.command, under(CLOCKS[second]))
      }, LOOK)
      child.on('close', () => clearInterval(look))
    }
    const result = await runCommand(one.command, { ...under({}), onStart })
    // the second may be the one that is done first: of a join, whose folder is there before
    const [done, told] = [result, ...((await other) ? [await other] : [])].sort((a, b) => a.code - b.code)
    assert(done.code === 0, `neither of two, ${second} for the second: exit ${done.code}: ${done.stderr}`)
    if (told !== undefined && told.code !== 0) {
      assert(told.code === 2 && isOneLine(told.stderr), `no clear refusal: ${told.stderr}`)
      refused++
    }
    for (const more of one.after) await expectDone(more)
    assertWhole(one, `two at once, the second ${second}`)
  }
  return refused
}

try {
  execFileSync('gcc', [
    ...['-O1', '-shared', '-fPIC', '-o', library],
    ...[fileURLToPath(new URL('clock.c', import.meta.url)), '-ldl'],
  ])
  const total = { runs: 0, kills: 0, refused: 0 }
  for (const one of (await trialsIn(folder, only)).filter(({ stdout }) => !stdout)) {
    const runs = await underEachClock(one).catch((error) => {
      throw new Error(`${one.name}: ${error.message}`)
    })
    const kills = one.kept ? await killedAndGoneOn(one) : 0
    const refused = one.kept ? await twoClocks(one) : 0
    total.runs += runs
    total.kills += kills
    total.refused += refused
    console.log(`${one.name}: ${runs} clocks, ${kills} kills, ${refused} refusals`)
  }
  console.log(
    `${total.runs} runs under clocks that were off or set amid them, ${total.kills} kills under one clock that went on under another, ` +
      `${total.refused} second runs by another clock that were told of the first: the bytes of an undisturbed run each time`,
  )
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
