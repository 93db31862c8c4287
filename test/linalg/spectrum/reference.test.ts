import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { readTensor } from '../../../src/formats/safetensors.ts'
import { readSafetensorsHeader } from '../../../src/formats/safetensors-header.ts'
import { openFile } from '../../../src/io/source.ts'
import { type Matrix, toFloat64 } from '../../../src/linalg/matrix/matrix.ts'
import { addMultiple } from '../../../src/linalg/matrix/norms.ts'
import {
  effectiveRankOf,
  energyRanks,
  errorAt,
  numericalRankOf,
  stableRankOf,
} from '../../../src/linalg/spectrum/measures.ts'
import { spectrumOf } from '../../../src/linalg/spectrum/spectrum.ts'
import { engines, wasmEngine } from '../truncation/engines.ts'

interface Reference {
  readonly shape: [number, number]
  readonly delta_singular_values: number[]
  readonly tuned_singular_values: number[]
  readonly delta_frobenius: number
  readonly delta_matrix_rank_f32: number
  readonly stable_rank: number
  readonly effective_rank: number
  readonly rank_for_energy: Record<string, number>
  readonly relative_error_at_rank: Record<string, number>
}

const FOLDER = 'test/fixtures/digits-llama'
const reference: Record<string, Reference> = JSON.parse(
  readFileSync(`${FOLDER}/reference.json`, 'utf8'),
).tensors
const names = Object.keys(reference)

async function readAll(path: string): Promise<Map<string, Matrix>> {
  const source = await openFile(`${FOLDER}/${path}`)
  const header = await readSafetensorsHeader(source)
  const found = new Map<string, Matrix>()
  for (const name of names) {
    if (header.tensors.has(name)) found.set(name, (await readTensor(source, header, name)).matrix)
  }
  await source.close()
  return found
}

let base: Map<string, Matrix>
let tuned: Map<string, Matrix>
let rounded: Map<string, Matrix>
beforeAll(async () => {
  base = await readAll('base/model.safetensors')
  tuned = await readAll('tuned/model.safetensors')
  const shards = ['model-00001-of-00002', 'model-00002-of-00002']
  const parts = await Promise.all(shards.map((shard) => readAll(`tuned-bf16-sharded/${shard}.safetensors`)))
  rounded = new Map(parts.flatMap((part) => [...part]))
})

const get = (tensors: Map<string, Matrix>, name: string): Matrix => {
  const found = tensors.get(name)
  if (found === undefined) throw new Error(`no tensor ${name}`)
  return found
}
const difference = (A: Matrix, B: Matrix) => addMultiple(toFloat64(A), toFloat64(B), -1)
const full = { kind: 'full' } as const

test('the reference has all 23 weights', () => {
  expect(names).toHaveLength(23)
  expect([base.size, tuned.size, rounded.size]).toEqual([23, 23, 23])
})

describe.each(engines)('%s engine', (_, engine) => {
  test.each(names)('%s: every figure of NumPy’s SVD', (name) => {
    const expected = reference[name]
    const delta = spectrumOf(difference(get(tuned, name), get(base, name)), { engine, extent: full })
    const weight = spectrumOf(get(tuned, name), { engine, extent: full })
    // Relative agreement of all values above float32's rounding of the largest.
    for (const [s, values] of [
      [delta, expected.delta_singular_values],
      [weight, expected.tuned_singular_values],
    ] as const) {
      expect(s.singularValues).toHaveLength(values.length)
      values.forEach((value, i) => {
        if (value > 1e-6 * values[0]) expect(s.singularValues[i] / value).toBeCloseTo(1, 6)
      })
    }
    expect([delta.rows, delta.columns]).toEqual(expected.shape)
    expect(delta.frobenius / expected.delta_frobenius).toBeCloseTo(1, 6)
    expect(stableRankOf(delta).atLeast / expected.stable_rank).toBeCloseTo(1, 6)
    expect((effectiveRankOf(delta) ?? 0) / expected.effective_rank).toBeCloseTo(1, 6)
    for (const [share, rank] of Object.entries(expected.rank_for_energy)) {
      expect(energyRanks(delta, Number(share))).toEqual({ atLeast: rank, atMost: rank })
    }
    for (const [rank, error] of Object.entries(expected.relative_error_at_rank)) {
      expect(errorAt(delta, Number(rank)).atMost / error).toBeCloseTo(1, 6)
    }
    const rank = expected.delta_matrix_rank_f32
    expect(numericalRankOf({ ...delta, epsilon: 2 ** -23 })).toEqual({ atLeast: rank, atMost: rank })
  })
})

test('the bfloat16 copy agrees to the rounding of bfloat16', () => {
  for (const name of names) {
    const expected = reference[name]
    const { singularValues: S, frobenius } = spectrumOf(difference(get(rounded, name), get(base, name)), {
      engine: wasmEngine,
      extent: full,
    })
    const error = difference(get(rounded, name), get(tuned, name))
    const norm = spectrumOf(error, { engine: wasmEngine, extent: full }).singularValues[0]
    // Rounding to 8 bits moves an entry by 2⁻⁹ of itself at most, and singular values by its norm (Weyl).
    expect(norm).toBeLessThan(2 ** -9 * Math.hypot(...expected.tuned_singular_values))
    expected.delta_singular_values.forEach((value, i) => {
      expect(Math.abs(S[i] - value)).toBeLessThan(norm + 1e-6)
    })
    expect(Math.abs(frobenius / expected.delta_frobenius - 1)).toBeLessThan(0.01)
  }
})
