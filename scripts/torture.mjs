// npm run torture: what takes minutes and so is no part of `npm test`. Each is a program that ends with 0 where all holds.
// Usage: node scripts/torture.mjs [name …] [--option value …]; without names all, one after the other; options are given to each of them
// (`kill-extract kill-apply --kills 500`). `--list` says what there is, and docs/reliability.md what came of it.
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
  { name: 'disk-full', does: 'a full disk at every write', run: 'node bench/disk-full.mjs', needs: ['gcc'] },
  {
    name: 'changed-inputs',
    does: 'inputs changed while they are read',
    run: 'node bench/changed-inputs.mjs',
    needs: ['gcc'],
  },
  { name: 'two-runs', does: 'two runs on one output', run: 'node bench/two-runs.mjs' },
  { name: 'clock-jumps', does: 'a clock that is set', run: 'node bench/clock-jumps.mjs', needs: ['gcc'] },
  {
    name: 'library-calls',
    does: 'ten thousand calls, flat memory',
    run: 'node --expose-gc bench/library-calls.mjs',
  },
  { name: 'small-heap', does: 'all commands in 64 MB of heap', run: 'node bench/small-heap.mjs' },
  { name: 'few-files', does: 'all commands with few open files', run: 'node bench/few-files.mjs' },
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
  {
    name: 'fuzz',
    does: 'a million broken inputs',
    run: 'node bench/fuzz.mjs',
    needs: ['npm'],
  },
  { name: 'scale', does: 'what a weight costs up to a billion', run: 'node bench/scale.mjs' },
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
function outcomeOf({ name, does, run, needs = [], env = {} }, options) {
  const missing = missingTools(needs)
  if (missing.length > 0) return `left out: there is no ${missing.join(', no ')}`
  const set = Object.entries(env).map(([variable, value]) => `${variable}=${value} `)
  const [command, ...args] = [...run.split(' '), ...options]
  console.log(`\n=== ${name}: ${does}\n    ${set.join('')}${[command, ...args].join(' ')}`)
  const program = command === 'node' ? process.execPath : command
  const { status, signal } = spawnSync(program, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...env },
  })
  return status === 0 ? 'holds' : `does not hold (${signal ?? `exit code ${status}`})`
}

function main(given) {
  const first = given.findIndex((arg) => arg.startsWith('--'))
  const [names, options] = first < 0 ? [given, []] : [given.slice(0, first), given.slice(first)]
  if (options.includes('--list')) {
    for (const { name, does, run } of TRIALS) console.log(`${name.padEnd(16)} ${does.padEnd(40)} ${run}`)
    return 0
  }
  const unknown = names.find((name) => TRIALS.every((trial) => trial.name !== name))
  if (unknown !== undefined) {
    console.error(`no trial '${unknown}': there is ${TRIALS.map(({ name }) => name).join(', ')}`)
    return 2
  }
  const chosen = names.length > 0 ? TRIALS.filter(({ name }) => names.includes(name)) : TRIALS
  const outcomes = chosen.map((trial) => ({ name: trial.name, outcome: outcomeOf(trial, options) }))
  console.log('')
  for (const { name, outcome } of outcomes) console.log(`${name.padEnd(16)} ${outcome}`)
  return outcomes.every(({ outcome }) => outcome === 'holds') ? 0 : 1
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main(process.argv.slice(2))
