import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { MOMENTS, REFERENCE } from '../moments-fixture.ts'
import { BASE, TUNED } from './extract-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder()
const ARGS = ['inspect', TUNED, '--base', BASE, '--include', '*layers.1.*proj*', '--moments', MOMENTS]

test('spectra of Δ·C^½ stand beside those of Δ: the errors at each rank are those of PyTorch', async () => {
  const html = join(folder, 'report.html')
  const { stdout, stderr, code } = await runInProcess([...ARGS, '--html', html, '--json'], {})
  expect([code, stderr]).toEqual([0, ''])
  const { matrices } = documentOf(stdout, 'inspect-1')
  const errorAt = (values: readonly number[], rank: number) => {
    const squares = values.map((s) => s * s)
    const sum = (all: readonly number[]) => all.reduceRight((a, b) => a + b, 0)
    return Math.sqrt(sum(squares.slice(rank)) / sum(squares))
  }
  for (const { name, singularValues, output, energyRanks } of matrices) {
    expect(output.complete).toBe(true)
    for (const [rank, { full, plain }] of Object.entries(REFERENCE)) {
      expect(errorAt(output.singularValues, Number(rank))).toBeCloseTo(full.errors[name].weighted, 6)
      expect(errorAt(singularValues, Number(rank))).toBeCloseTo(plain.errors[name].plain, 6)
    }
    // data live in fewer directions than the change
    expect(output.energyRanks['0.99']).toBeLessThan(energyRanks['0.99'])
  }
  const page = readFileSync(html, 'utf8')
  expect(page).toContain('<div id="norm"></div>')
  const data = JSON.parse(/<script type="application\/json" id="data">(.*?)<\/script>/s.exec(page)![1])
  for (const [i, felt] of data.felt.matrices.entries()) {
    expect(felt.name).toBe(data.matrices[i].name)
    expect(felt.spectrum.sigma[0]).not.toBe(data.matrices[i].spectrum.sigma[0])
  }
})

test('a table has both, and moments need a base', async () => {
  const { stdout } = await runInProcess(ARGS, { columns: 200 })
  expect(stdout).toMatch(/99 % felt/)
  const { code, stderr } = await runInProcess(['inspect', TUNED, '--moments', MOMENTS], {})
  expect([code, stderr.trim().split('\n').length]).toEqual([2, 1])
  expect(stderr).toContain('--moments says what inputs feel of a change: give the --base that it is from')
})
