// How long whole processes take against an empty `node -e 0`: medians of one run, so that only the ratios count.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { median } from './timing.mjs'

const ROUNDS = 10
const RUNS_A_ROUND = 5
const EMPTY = 'node -e 0'
const COMMANDS = {
  demo: { command: 'node bin/lora-svd.js demo', limit: 2.0 },
  '--help': { command: 'node bin/lora-svd.js --help', limit: 1.6 },
}

export function benchStartup() {
  console.log('Start-up, as multiples of an empty node process')
  const medians = measure([EMPTY, ...Object.values(COMMANDS).map(({ command }) => command)])
  if (medians === null) {
    console.log('  left out: hyperfine is not installed (apt-get install hyperfine)')
    return
  }
  Object.entries(COMMANDS).forEach(([name, { limit }], i) => {
    console.log(`  ${name.padEnd(8)} ${(medians[i + 1] / medians[0]).toFixed(2)}   (limit ${limit})`)
  })
}

/** The median time of each command. Rounds take turns, so that a machine that gets slower or faster does so for all. */
function measure(commands) {
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-bench-'))
  const report = join(folder, 'times.json')
  const args = [
    '--shell=none',
    '--warmup=1',
    `--runs=${RUNS_A_ROUND}`,
    `--export-json=${report}`,
    ...commands,
  ]
  const times = commands.map(() => [])
  try {
    for (let round = 0; round < ROUNDS; round++) {
      if (spawnSync('hyperfine', args, { stdio: 'ignore' }).status !== 0) return null
      JSON.parse(readFileSync(report, 'utf8')).results.forEach((result, i) => {
        times[i].push(...result.times)
      })
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
  return times.map(median)
}
