import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { BASE, TUNED } from '../cli/extract-support.ts'
import { runInProcess, temporaryFolder } from '../cli/run.ts'
import { digits, IMATRIX, MOMENTS, REFERENCE } from '../moments-fixture.ts'
import { pythonWith } from '../python.ts'

const FORWARD = fileURLToPath(new URL('./digits_forward.py', import.meta.url))
const python = pythonWith('numpy')
const folder = temporaryFolder()

describe.runIf(python !== undefined)('what the model says with the factors', () => {
  test('KL divergence to the tuned model and accuracy are those of PyTorch', async () => {
    const cases = [
      { rank: 16, kind: 'full', flags: ['--moments', MOMENTS] },
      { rank: 4, kind: 'diagonal', flags: ['--moments', IMATRIX] },
    ] as const
    const adapters: string[] = []
    for (const { rank, kind, flags } of cases) {
      const out = join(folder, `${kind}-${rank}`)
      adapters.push(out)
      const only = ['--rank', String(rank), '--include', '*proj*', '-q', ...flags]
      const { code, stderr } = await runInProcess(['extract', BASE, TUNED, '-o', out, ...only], {})
      expect([code, stderr]).toEqual([0, ''])
    }
    const { stdout, stderr } = spawnSync(
      python!,
      [FORWARD, 'kl', BASE, TUNED, digits('held-out.json'), ...adapters],
      { encoding: 'utf8', env: { ...process.env, OPENBLAS_NUM_THREADS: '1' } },
    )
    expect(stderr).toBe('')
    for (const [i, { kl, accuracy }] of JSON.parse(stdout).entries()) {
      const { rank, kind } = cases[i]
      const expected = REFERENCE[rank][kind]
      expect(Math.abs(kl / expected.kl - 1), `${kind} ${rank}`).toBeLessThan(0.02)
      expect(accuracy).toBeCloseTo(expected.accuracy, 6)
    }
  })
})
