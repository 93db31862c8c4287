// npm run torture: what takes minutes and so is no part of `npm test`. Each is a program that ends with 0 where all holds.
// Usage: node scripts/torture.mjs [name …]; without names all, one after the other. `--list` says what there is.
import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const anySeed = String(Date.now() % 2 ** 31)

/** One line each: name, what it does, command line (`node` is this one), tools that it needs, variables. */
export const TRIALS = [
  { name: 'kill-extract', does: 'kills an extraction at any time', run: 'node bench/kill-extract.mjs' },
  { name: 'kill-apply', does: 'kills a merge at any time', run: 'node bench/kill-apply.mjs' },
  { name: 'kill-sums', does: 'kills resize and merge at any time', run: 'node bench/kill-sums.mjs' },
  { name: 'kill-shards', does: 'kills shards and their join at any time', run: 'node bench/kill-shards.mjs' },
  { name: 'restart-races', does: 'four at once', run: 'node bench/restart-races.mjs', needs: ['taskset'] },
  {
    name: 'inject-errors',
    does: 'each rename and fsync fails once',
    run: 'node bench/inject-errors.mjs',
    needs: ['gcc'],
  },
  {
    name: 'two-namespaces',
    does: 'two containers, one output',
    run: 'node bench/two-namespaces.mjs',
    needs: ['unshare'],
  },
  {
    name: 'slurm',
    does: 'shards in a real Slurm, killed too',
    run: 'node bench/slurm.mjs',
    needs: ['slurmctld', 'slurmd', 'sbatch', 'munged'],
  },
  { name: 'module-scaling', does: 'time grows with modules', run: 'node bench/module-scaling.mjs' },
  {
    name: 'llama-cpp',
    does: 'a merged model in llama.cpp',
    run: 'node bench/llama-cpp.mjs',
    needs: ['npm'],
  },
  {
    name: 'llama-adapters',
    does: 'GGUF adapters in llama.cpp',
    run: 'node bench/llama-adapters.mjs',
    needs: ['npm'],
  },
  {
    name: 'weighted',
    does: '6,000 problems weighed by moments',
    run: 'npx vitest run test/linalg/weighting',
    env: { WEIGHTED_PROBLEMS: '6000' },
  },
  { name: 'seed', does: 'all tests, any seed', run: 'npx vitest run', env: { FAST_CHECK_SEED: anySeed } },
]

/** Those of the tools that aren't in the folders of PATH. */
export function missingTools(needs, path = process.env.PATH ?? '') {
  const isThere = (tool) => path.split(delimiter).some((folder) => canRun(join(folder, tool)))
  return needs.filter((tool) => !isThere(tool))
}

function canRun(file) {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** What became of a trial: 'holds', 'does not hold', or what it lacks. */
function outcomeOf({ name, does, run, needs = [], env = {} }) {
  const missing = missingTools(needs)
  if (missing.length > 0) return `left out: there is no ${missing.join(', no ')}`
  const set = Object.entries(env).map(([variable, value]) => `${variable}=${value} `)
  console.log(`\n=== ${name}: ${does}\n    ${set.join('')}${run}`)
  const [command, ...args] = run.split(' ')
  const program = command === 'node' ? process.execPath : command
  const { status, signal } = spawnSync(program, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...env },
  })
  return status === 0 ? 'holds' : `does not hold (${signal ?? `exit code ${status}`})`
}

function main(names) {
  if (names.includes('--list')) {
    for (const { name, does, run } of TRIALS) console.log(`${name.padEnd(16)} ${does.padEnd(40)} ${run}`)
    return 0
  }
  const unknown = names.find((name) => TRIALS.every((trial) => trial.name !== name))
  if (unknown !== undefined) {
    console.error(`no trial '${unknown}': there is ${TRIALS.map(({ name }) => name).join(', ')}`)
    return 2
  }
  const chosen = names.length > 0 ? TRIALS.filter(({ name }) => names.includes(name)) : TRIALS
  const outcomes = chosen.map((trial) => ({ name: trial.name, outcome: outcomeOf(trial) }))
  console.log('')
  for (const { name, outcome } of outcomes) console.log(`${name.padEnd(16)} ${outcome}`)
  return outcomes.every(({ outcome }) => outcome === 'holds') ? 0 : 1
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main(process.argv.slice(2))
