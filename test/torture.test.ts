import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { expect, test } from 'vitest'
import { missingTools, TRIALS } from '../scripts/torture.mjs'

test('each trial of npm run torture has a name of its own and a script that is there', () => {
  expect(new Set(TRIALS.map(({ name }) => name)).size).toBe(TRIALS.length)
  for (const { run } of TRIALS) {
    const [command, ...args] = run.split(' ')
    const script = args.find((arg) => !arg.startsWith('--'))
    if (command === 'node') expect(existsSync(script!), run).toBe(true)
  }
})

test('a tool counts as there where it can be run', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-tools-'))
  writeFileSync(join(folder, 'tool'), '', { mode: 0o755 })
  expect(missingTools(['tool', 'absent'], ['/nowhere', folder].join(delimiter))).toEqual(['absent'])
  rmSync(folder, { recursive: true })
})

test('options go to the trials that are named', () => {
  const args = ['scripts/torture.mjs', 'kill-shards', '--kill', '1']
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  expect(status).toBe(1)
  expect(stdout).toContain('\n    node bench/kill-shards.mjs --kill 1\n')
  expect(stderr).toContain("Unknown option '--kill'")
})

test('names are checked, and listed', () => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/torture.mjs', 'kil'], { encoding: 'utf8' })
  expect([status, stderr]).toEqual([
    2,
    `no trial 'kil': there is ${TRIALS.map(({ name }) => name).join(', ')}\n`,
  ])
  const list = execFileSync(process.execPath, ['scripts/torture.mjs', '--list'], { encoding: 'utf8' })
  expect(list.trim().split('\n')).toHaveLength(TRIALS.length)
})
