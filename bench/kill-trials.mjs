// Kills a run that keeps what it has done, over and over at pseudo-random times, every second time soon after a piece is done, and lets it run
// into file-size limits: the same command must always go on and end with the bytes of an undisturbed run, and the final name must never
// stand for less.
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { assert, assertSame, expectDone, filesOf, killing, limited, runCommand } from './trial-runs.mjs'

/** In KiB: too little for anything, for a piece, and for half of what the largest file takes. */
const limitsOf = (files) => [0, 8, Math.floor(Math.max(...files.map(([, { length }]) => length)) / 2048)]

/**
 * `rules` are lists of flags; `commandOf` gives the command for an output and a rule, `doneOf` how many pieces an output's unfinished run has done.
 * `nouns` are what a piece and a run are called. All lies in `folder`.
 */
export async function killResumable({ folder, rules, commandOf, doneOf, kills, random, nouns }) {
  const out = join(folder, 'out')
  const trials = []
  for (const [i, rule] of rules.entries()) {
    const path = join(folder, `reference-${i}`)
    const { milliseconds } = await expectDone(commandOf(path, rule))
    trials.push({ rule, command: commandOf(out, rule), files: filesOf(path), milliseconds })
  }
  const tally = { kills: 0, begun: 0, midway: 0, placed: 0, runs: 0 }
  for (let at = 0; tally.kills < kills; at = (at + 1) % rules.length) {
    tally.runs++
    await untilDone(trials[at])
  }
  const refusals = await intoLimits(trials)
  assert(tally.midway > 0 && refusals > 0, 'nothing was interrupted amid its work')
  console.log(
    `${tally.kills} kills (${tally.begun} before the first ${nouns.piece} was done, ${tally.midway} later, ${tally.placed} after the renaming) ` +
      `over ${tally.runs} ${nouns.runs}, and ${refusals} file-size limits: every one ended with the uninterrupted run's bytes`,
  )

  /** Kills the same command until it ends, is killed when all was done, or no kill is left. */
  async function untilDone({ rule, command, files, milliseconds }) {
    for (;;) {
      const when = `${rule.join(' ')}, after ${tally.kills} kills`
      const { signal, code, stderr } = await runCommand(command, { onStart: killOf(milliseconds) })
      if (signal !== 'SIGKILL') {
        assert(code === 0, `${when}: exit ${code}: ${stderr}`)
        return accept(files, when)
      }
      tally.kills++
      tally[existsSync(out) ? 'placed' : doneOf(out) > 0 ? 'midway' : 'begun']++
      if (existsSync(out)) assertSame(out, files, when)
      // killed when all was done: another run would rightly refuse to replace it
      if (existsSync(out) && !existsSync(`${out}.partial`)) return accept(files, when)
      if (tally.kills < kills) continue
      await expectDone(command)
      return accept(files, when)
    }
  }

  function killOf(milliseconds) {
    if (tally.kills % 2 === 0) return killing(random() * milliseconds)
    const least = doneOf(out) + 1 + Math.floor(random() * 3)
    return killing((random() * milliseconds) / 10, () => doneOf(out) >= least)
  }

  async function intoLimits(all) {
    let refused = 0
    for (const { command, files } of all) {
      for (const limit of limitsOf(files)) {
        const { code, stderr } = await runCommand(limited('-f', limit, command))
        refused++
        assert(code === 3 && stderr.includes('EFBIG'), `limit ${limit} KiB: exit ${code}: ${stderr}`)
        assert(!existsSync(out), `limit ${limit} KiB: the final name is there`)
      }
      await expectDone(command)
      accept(files, 'after file-size limits')
    }
    return refused
  }

  /** The output is whole, and nothing else of its name is left. */
  function accept(files, when) {
    assertSame(out, files, when)
    const left = readdirSync(folder).filter((name) => name.startsWith('out') && join(folder, name) !== out)
    assert(left.length === 0, `${when}: left behind: ${left.join(' ')}`)
    rmSync(out, { recursive: true })
  }
}
