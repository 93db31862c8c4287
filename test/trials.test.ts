import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { runCli, temporaryFolder } from './cli/run.ts'

const repository = fileURLToPath(new URL('..', import.meta.url))
const run = (args: string) => promisify(execFile)(process.execPath, args.split(' '), { cwd: repository })
/** The trials that preload a library build it. */
const hasCompiler = spawnSync('gcc', ['--version']).status === 0
const digits = (name: string) => fileURLToPath(new URL(`fixtures/digits-llama/${name}`, import.meta.url))

/**
 * A short form of what `npm run torture` does for minutes. Those of other trials are tests of their own: kill-extract in cli/extract-resume, kill-shards in
 * cli/extract-shards, kill-apply in cli/apply-resume, changed-inputs and few-files in cli/.
 */
const SHORT: readonly (readonly [args: string, says: RegExp])[] = [
  [
    'bench/kill-sums.mjs --kills 2 --size 64 --modules 2 --rank 8 --commands 1',
    /^2 kills .* and 2 file-size limits: never half a result/,
  ],
  ['bench/two-runs.mjs --only factor --trials 1', /2 times two runs at once/],
  [
    '--expose-gc bench/library-calls.mjs --calls 20 --blocks 2 --workers 4',
    /20 calls, and 4 with worker threads: open files, handles and threads stay what they were/,
  ],
]

const WITH_COMPILER: typeof SHORT = [
  [
    'bench/disk-full.mjs --only factor --ways calls --every 4',
    /4 runs on a full disk, of which \d+ ended well/,
  ],
  ['bench/clock-jumps.mjs --only factor', /^factor: 5 clocks/],
]

/** On a machine that does much besides, in milliseconds. */
const LIMIT = 120_000

describe('in short', () => {
  test.for(SHORT)('%s', { timeout: LIMIT }, async ([args, says]) => {
    expect((await run(args)).stdout).toMatch(says)
  })

  describe.runIf(hasCompiler)('with a preloaded library', () => {
    test.for(WITH_COMPILER)('%s', { timeout: LIMIT }, async ([args, says]) => {
      expect((await run(args)).stdout).toMatch(says)
    })
  })

  test('an extraction in 64 MB of heap', async () => {
    const folder = temporaryFolder()
    const args = ['extract', digits('base'), digits('tuned'), '-o', 'out', '--rank', '4', '-q']
    const env = { NODE_OPTIONS: '--max-old-space-size=64' }
    expect(await runCli(args, { cwd: folder, env })).toMatchObject({ code: 0, stderr: '' })
  })
})
