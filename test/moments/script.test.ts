import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { BASE, TUNED } from '../cli/extract-support.ts'
import { runInProcess, temporaryFolder } from '../cli/run.ts'
import { documentOf } from '../cli/schema.ts'
import { digits } from '../moments-fixture.ts'
import { pythonWith } from '../python.ts'

const [, script] = /```python\n(.*?)```/s.exec(readFileSync('docs/moments.md', 'utf8')) ?? []
const HOOKED = fileURLToPath(new URL('./hooked_digits.py', import.meta.url))
const python = pythonWith('torch')
const folder = temporaryFolder()

test('the script of docs/moments.md has at most 40 lines', () => {
  expect(script?.trimEnd().split('\n').length).toBeLessThanOrEqual(40)
})

describe.runIf(python !== undefined)('the script of docs/moments.md', () => {
  test('accumulates what each layer of the model is given, once for layers that share an input', async () => {
    const [path, out] = [join(folder, 'moments.py'), join(folder, 'moments.safetensors')]
    writeFileSync(path, script!)
    const env = { ...process.env, OPENBLAS_NUM_THREADS: '1', OMP_NUM_THREADS: '1' }
    const { stdout, stderr } = spawnSync(python!, [HOOKED, path, TUNED, digits('held-out.json'), '16', out], {
      encoding: 'utf8',
      env,
    })
    expect(stderr).toBe('')
    const { worst, owners, counted } = JSON.parse(stdout)
    expect(worst).toBeLessThan(1e-5)
    // of seven layers q, k, v and gate, up have one each
    expect([owners, counted]).toEqual([3 * 4, 3 * 7])
    const args = ['--rank', '4', '--include', '*proj*', '--moments', out, '--dry-run', '--json']
    const planned = await runInProcess(['extract', BASE, TUNED, '-o', join(folder, 'adapter'), ...args], {})
    expect(documentOf(planned.stdout, 'extract-plan-1').totals.moments).toEqual({ layers: 21, unweighed: [] })
  })
})
