// What the scripts that crash, race and disturb `extract` have in common: a small one, and what it has done.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loraSvd, runCommand } from './trial-runs.mjs'

const PAIR = fileURLToPath(new URL('../test/fixtures/digits-llama/', import.meta.url))

/** `extract` of the fixture to `out`. */
export const extraction = (out, ...more) => [
  ...loraSvd('extract', join(PAIR, 'base'), join(PAIR, 'tuned')),
  ...['-o', out, '--quiet', '--rank', '2', '--engine', 'wasm', ...more],
]

export const layersDone = (out) => {
  const partial = `${out}.partial`
  return existsSync(partial) ? readdirSync(partial).filter((name) => name.startsWith('layer-')).length : 0
}

/** Kills a run once it has done a layer. Gives whether that left an unfinished run. */
export async function crash(out, ...more) {
  const { signal } = await runCommand(extraction(out, ...more), {
    onStart: (child) => {
      const look = setInterval(() => {
        if (layersDone(out) === 0 && child.exitCode === null) return
        clearInterval(look)
        child.kill('SIGKILL')
      }, 1)
    },
  })
  return signal === 'SIGKILL' && existsSync(`${out}.partial`) && !existsSync(out)
}
