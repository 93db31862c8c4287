import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import { float32File, IMATRIX, MOMENTS, REFERENCE } from '../moments-fixture.ts'
import { BASE, extracted, TUNED, weightsOf } from './extract-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder()
const [before, after] = [BASE, TUNED].map(weightsOf)
const ONLY = ['--include', '*layers.1.*proj*', '--dtype', 'f32']
const NAMES = Object.keys(REFERENCE['1'].full.errors).filter((name) => name.includes('layers.1.'))

describe('resize', () => {
  // of the whole rank, so that its best of rank 4 is that of the change itself
  const whole = join(folder, 'whole')

  test.each(['full', 'diagonal'] as const)(
    '%s moments: the errors of PyTorch at the new rank',
    async (kind) => {
      const wide = join(folder, `${kind}-whole`)
      await extracted(BASE, TUNED, wide, ['--rank', '96', ...ONLY])
      const out = join(folder, `${kind}-small`)
      const file = kind === 'full' ? MOMENTS : IMATRIX
      const base = kind === 'full' ? [] : ['--base', BASE]
      const { stdout, stderr, code } = await runInProcess(
        ['resize', wide, '-o', out, '--rank', '4', '--dtype', 'f32', '--moments', file, ...base, '--json'],
        {},
      )
      expect([code, stderr]).toEqual([0, ''])
      const { layers, totals } = documentOf(stdout, 'resize-1')
      expect(layers).toHaveLength(NAMES.length)
      for (const { name, relativeError, optimalError, output } of layers) {
        const weight = NAMES.find((one) =>
          one.includes(name.replace(/^base_model\.model\./, '').replace(/\.weight$/, '')),
        )!
        const { weighted, plain } = REFERENCE['4'][kind].errors[weight]
        // the factors that are resized were rounded to float32
        expect(relativeError).toBeCloseTo(plain, 5)
        expect(output.relativeError).toBeCloseTo(weighted, 5)
        expect(output.optimalError.atLeast).toBeLessThanOrEqual(output.relativeError)
        expect(optimalError.atMost).toBeCloseTo(REFERENCE['4'].plain.errors[weight].plain, 5)
      }
      expect(totals.output).toMatchObject({ layers: NAMES.length, unweighed: [] })
      const verified = await runInProcess(
        ['verify', out, BASE, TUNED, ...ONLY.slice(0, 2), '--moments', MOMENTS, '--json'],
        {},
      )
      for (const { name, output } of documentOf(verified.stdout, 'verify-1').layers) {
        expect(output.relativeError).toBeCloseTo(REFERENCE['4'][kind].errors[name].output, 5)
      }
    },
  )

  test('--error is about outputs, and moments of another model are refused', async () => {
    await extracted(BASE, TUNED, whole, ['--rank', '32', ...ONLY])
    const resize = (...flags: string[]) =>
      runInProcess(
        ['resize', whole, '-o', join(folder, `r${Math.random()}`), '--moments', ...flags, '--json'],
        {},
      )
    const { stdout } = await resize(MOMENTS, '--error', '0.2', '--layout', 'pattern')
    for (const { output } of documentOf(stdout, 'resize-1').layers) {
      expect(output.relativeError).toBeLessThanOrEqual(0.2)
      expect(output.optimalError.atMost).toBeGreaterThan(0.02)
    }
    const other = join(folder, 'other.safetensors')
    writeFileSync(
      other,
      float32File({ 'other.weight.second_moment_diagonal': { shape: [96], data: Array(96).fill(1) } }),
    )
    const refused = await resize(other, '--rank', '4')
    expect(refused.code).toBe(2)
    expect(refused.stderr).toContain('none of its 1 entry is of a layer here')
  })
})

describe('factor', () => {
  const name = 'model.layers.1.self_attn.q_proj.weight'
  const { shape, data } = before.get(name)!
  const delta = join(folder, 'delta.safetensors')
  writeFileSync(
    delta,
    float32File({ [name]: { shape, data: data.map((x, i) => after.get(name)!.data[i] - x) } }),
  )
  const own = join(folder, 'own.safetensors')
  const C = readSafetensorsFile(MOMENTS).get(`${name}.second_moment`)!
  writeFileSync(own, float32File({ 'x.second_moment': { shape: C.shape, data: C.data } }))

  test.each([
    ['by its name', MOMENTS],
    ['of a file with one entry', own],
  ])('a matrix of one’s own, moments %s', async (_, file) => {
    const out = join(folder, 'factors.safetensors')
    const { stdout, code, stderr } = await runInProcess(
      ['factor', delta, '-o', out, '-f', '--rank', '8', '--moments', file, '--json'],
      {},
    )
    expect([code, stderr]).toEqual([0, ''])
    const { relativeError, optimalError, outputs } = documentOf(stdout, 'factor-1')
    const { weighted, plain } = REFERENCE['8'].full.errors[name]
    expect(relativeError).toBeCloseTo(plain, 6)
    expect(outputs.relativeError).toBeCloseTo(weighted, 6)
    expect(optimalError.atMost).toBeCloseTo(REFERENCE['8'].plain.errors[name].plain, 6)
    expect(outputs.optimalError.atMost).toBeCloseTo(weighted, 6)
  })

  test('a table says both, and --error is about outputs', async () => {
    const { stdout, code } = await runInProcess(
      ['factor', delta, '-o', join(folder, 'f.npz'), '-f', '--error', '0.1', '--moments', MOMENTS],
      {},
    )
    expect(code).toBe(0)
    expect(stdout).toMatch(/error of outputs.*at best/)
  })
})
