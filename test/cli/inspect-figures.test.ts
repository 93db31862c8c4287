import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

const FOLDER = fileURLToPath(new URL('../fixtures/digits-llama/', import.meta.url))
/** NumPy's figures of every weight, in float64. */
const reference: Record<string, Reference> = JSON.parse(
  readFileSync(`${FOLDER}/reference.json`, 'utf8'),
).tensors

/** The issue asks for this agreement of values above the rounding of float32. */
const TOLERANCE = 1e-5

interface Reference {
  readonly shape: [rows: number, columns: number]
  readonly delta_singular_values: number[]
  readonly tuned_singular_values: number[]
  readonly delta_frobenius: number
  readonly delta_matrix_rank_f32: number
  readonly stable_rank: number
  readonly effective_rank: number
  readonly rank_for_energy: Record<string, number>
  readonly relative_error_at_rank: Record<string, number>
}

async function inspected(...args: string[]) {
  const result = await runInProcess(['inspect', ...args, '--json'], { cwd: FOLDER })
  expect({ code: result.code, stderr: result.stderr }).toEqual({ code: 0, stderr: '' })
  return documentOf(result.stdout, 'inspect-1')
}

/** Relative where a value is above the rounding of float32, as NumPy's matrix_rank counts, absolute below it. */
function expectValues(
  found: readonly number[],
  expected: readonly number[],
  [rows, columns]: readonly number[],
) {
  expect(found).toHaveLength(expected.length)
  const rounding = 2 ** -23 * Math.max(rows, columns) * expected[0]
  for (const [i, value] of expected.entries())
    expect(Math.abs(found[i] - value)).toBeLessThan(TOLERANCE * Math.max(value, rounding))
}
const expectClose = (found: number, expected: number) =>
  expect(Math.abs(found / expected - 1)).toBeLessThan(TOLERANCE)

describe.concurrent('a trained model of 23 matrices and its fine-tune', () => {
  test.for(['wasm', 'auto'])('--full, engine %s: every figure is NumPy’s', async (engine) => {
    const document = await inspected('tuned', '--base', 'base', '--full', '--engine', engine)
    expect(document.subject).toBe('delta')
    expect(document.matrices).toHaveLength(Object.keys(reference).length)
    for (const matrix of document.matrices) {
      const expected = reference[matrix.name]
      expect(matrix).toMatchObject({
        shape: expected.shape,
        dtype: 'f32',
        complete: true,
        method: 'full',
        rank: expected.delta_matrix_rank_f32,
        energyRanks: expected.rank_for_energy,
      })
      expectValues(matrix.singularValues, expected.delta_singular_values, expected.shape)
      expectClose(matrix.spectral, expected.delta_singular_values[0])
      expectClose(matrix.frobenius, expected.delta_frobenius)
      expectClose(matrix.stableRank, expected.stable_rank)
      expectClose(matrix.effectiveRank, expected.effective_rank)
      expectClose(matrix.base.relativeChange * matrix.base.frobenius, expected.delta_frobenius)
    }
  })

  test('the errors at each rank over the whole model are those of the sum of squares', async () => {
    const { costs, totals } = await inspected('tuned', '--base', 'base', '--full')
    const all = Object.values(reference)
    const energy = all.reduce((sum, { delta_frobenius }) => sum + delta_frobenius ** 2, 0)
    expectClose(totals.frobenius, Math.sqrt(energy))
    for (const rank of [1, 2, 4, 8, 16]) {
      const left = all.reduce(
        (sum, { delta_frobenius, relative_error_at_rank }) =>
          sum + (delta_frobenius * relative_error_at_rank[rank]) ** 2,
        0,
      )
      const { relativeError } = costs.find((cost: { rank: number }) => cost.rank === rank)
      expectClose(relativeError.atMost, Math.sqrt(left / energy))
      expectClose(relativeError.atLeast, Math.sqrt(left / energy))
    }
  })

  test('one error at a rank is the reference’s', async () => {
    const name = 'model.layers.1.mlp.up_proj.weight'
    const { costs, matrices } = await inspected('tuned', '--base', 'base', '--include', name)
    expect(matrices.map((matrix: { name: string }) => matrix.name)).toEqual([name])
    for (const [rank, error] of Object.entries(reference[name].relative_error_at_rank)) {
      const { relativeError } = costs.find((cost: { rank: number }) => cost.rank === Number(rank))
      expectClose(relativeError.atMost, error)
    }
  })

  test('weights without a base', async () => {
    const document = await inspected('tuned', '--full')
    expect(document.subject).toBe('weights')
    for (const { name, singularValues, ...matrix } of document.matrices) {
      expectValues(singularValues, reference[name].tuned_singular_values, reference[name].shape)
      expect(matrix).not.toHaveProperty('base')
      expect(matrix).not.toHaveProperty('noise')
    }
    expect(document.skipped).toHaveLength(7)
    expect(document.skipped[0]).toEqual({
      name: 'model.layers.0.input_layernorm.weight',
      reason: expect.stringContaining('a vector'),
    })
  })

  test('the bfloat16 copy in shards agrees to the rounding of bfloat16', async () => {
    const document = await inspected('tuned-bf16-sharded', '--base', 'base', '--full')
    expect(document.matrices).toHaveLength(Object.keys(reference).length)
    for (const { name, dtype, base, singularValues, noise } of document.matrices) {
      const expected = reference[name]
      expect([dtype, base.dtype]).toEqual(['bf16', 'f32'])
      // An entry moves by 2⁻⁹ of itself at most, and no singular value by more than the norm of that (Weyl).
      const most = 2 ** -9 * Math.hypot(...expected.tuned_singular_values)
      for (const [i, value] of expected.delta_singular_values.entries())
        expect(Math.abs(singularValues[i] - value)).toBeLessThan(most)
      // the floor is that of the rounding, neither nothing nor the change itself
      expect(noise.floor).toBeGreaterThan(most / 100)
      expect(noise.floor).toBeLessThan(most)
      expect(noise.isSubUlp).toBe(false)
    }
  })
})
