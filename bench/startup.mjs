// How long whole processes take against an empty `node -e 0`: medians of one run, so that only the ratios count.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { median } from './timing.mjs'

const ROUNDS = 10
const RUNS_A_ROUND = 5
const ROOT = fileURLToPath(new URL('..', import.meta.url))
const NODE = JSON.stringify(process.execPath)
const CLI = `${NODE} ${JSON.stringify(join(ROOT, 'bin/lora-svd.js'))}`
const EMPTY = `${NODE} -e 0`
/** A small Llama and its fine-tune, of 1.3 MB each: 22 matrices of up to 96 × 256. */
const [BASE, TUNED] = ['base', 'tuned'].map((name) =>
  JSON.stringify(join(ROOT, 'test/fixtures/digits-llama', name)),
)

/** Goals before Node 22 and from it on, whose own start is shorter. */
const goalsFor = (old, fresh) => (Number(process.versions.node.split('.')[0]) < 22 ? old : fresh)

const commands = (folder) => ({
  '--help': { command: `${CLI} --help`, goal: goalsFor(1.6, 1.8) },
  demo: { command: `${CLI} demo`, goal: goalsFor(1.7, 2.2) },
  inspect: { command: `${CLI} inspect ${TUNED} --base ${BASE}`, goal: goalsFor(3.5, 5) },
  extract: {
    command: `${CLI} extract ${BASE} ${TUNED} --rank 16 -o ${JSON.stringify(join(folder, 'adapter'))}`,
    goal: goalsFor(3.5, 5),
  },
})

export function benchStartup() {
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-bench-'))
  try {
    const measured = commands(folder)
    console.log(
      `Start-up and small jobs on Node ${process.versions.node}, as multiples of an empty node process`,
    )
    const [empty, ...medians] =
      measure([EMPTY, ...Object.values(measured).map(({ command }) => command)], folder) ?? []
    if (empty === undefined) {
      console.log('  left out: hyperfine is not installed (apt-get install hyperfine)')
      return
    }
    Object.entries(measured).forEach(([name, { goal }], i) => {
      const [wall, processor] = ['wall', 'processor'].map((time) =>
        (medians[i][time] / empty[time]).toFixed(2),
      )
      console.log(`  ${name.padEnd(8)} ${wall.padStart(5)}   (goal ${goal}), in processor time ${processor}`)
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** The median times of each command. Rounds take turns, so that a machine that gets slower or faster does so for all. */
function measure(commands, folder) {
  const report = join(folder, 'times.json')
  const args = [
    '--shell=none',
    '--warmup=1',
    `--prepare=rm -rf ${JSON.stringify(join(folder, 'adapter'))}`,
    `--runs=${RUNS_A_ROUND}`,
    `--export-json=${report}`,
    ...commands,
  ]
  const times = commands.map(() => ({ wall: [], processor: [] }))
  for (let round = 0; round < ROUNDS; round++) {
    if (spawnSync('hyperfine', args, { stdio: 'ignore' }).status !== 0) return null
    JSON.parse(readFileSync(report, 'utf8')).results.forEach((result, i) => {
      times[i].wall.push(...result.times)
      // hyperfine has the means of a round
      times[i].processor.push(result.user + result.system)
    })
  }
  return times.map(({ wall, processor }) => ({ wall: median(wall), processor: median(processor) }))
}
