import { beforeAll, describe, expect, test } from 'vitest'
import { matricesOf } from '../../src/checkpoint/matrices.ts'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { readBytes, readWeight } from '../../src/checkpoint/read.ts'
import type { Checkpoint, MatrixPair, WeightMatrix } from '../../src/checkpoint/types.ts'
import { type BlockWeight, energyOf, isInBlocks, roundingOf } from '../../src/delta/blocks.ts'
import { forEachPanel, type StoredDifference, withDifference } from '../../src/delta/difference.ts'
import { isSwept } from '../../src/delta/sweep.ts'
import { jsEngine } from '../../src/engine/js/js-engine.ts'
import { encodeFloats } from '../../src/formats/dtype.ts'
import { type Matrix, matrix, toFloat64, transpose } from '../../src/linalg/matrix/matrix.ts'
import { addMultiple, frobeniusNorm } from '../../src/linalg/matrix/norms.ts'
import { subtract } from '../../src/linalg/matrix/subtract.ts'
import { noiseFloor } from '../../src/linalg/spectrum/noise-floor.ts'
import { mostCarried, quantisationShare, roundingShare } from '../../src/linalg/spectrum/quantisation.ts'
import { torchNormals } from '../../src/random/torch.ts'
import { ggufFixture } from '../formats/gguf-support.ts'
import { wasmEngine } from '../linalg/truncation/engines.ts'

const TYPES = ['q8_0', 'q4_0', 'q4_k', 'q6_k'] as const
const [ROWS, COLUMNS] = [64, 256]

/** What scripts/golden-gguf-quantised.py had llama.cpp quantise. */
const W = matrix(
  ROWS,
  COLUMNS,
  Float32Array.from(torchNormals(13).normals(ROWS * COLUMNS, 'f32'), (x) => x * Math.fround(0.02)),
)
let file: Checkpoint
beforeAll(async () => {
  file = await openCheckpoint(ggufFixture('quantised.gguf'))
})

const stored = (A: Matrix, dtype: 'f32' | 'bf16' = 'f32'): WeightMatrix => {
  const bytes = encodeFloats(A.data, dtype).slice()
  const { rows, columns } = A
  return {
    ...{ name: 'w', tensor: 'w', rows, columns, dtype, bytes: bytes.length, view: 'matrix' },
    ...{ source: { kind: 'bytes', bytes }, storedShape: [rows, columns] },
  }
}

function quantised(dtype: (typeof TYPES)[number]): BlockWeight {
  const [weight] = matricesOf(file, { include: [dtype] }).matrices
  if (!isInBlocks(weight)) throw new Error(`${dtype} is not in blocks`)
  return weight
}

/** A product of two directions, of entries with this root mean square. */
function signal(rms: number): Matrix {
  const normals = (rows: number, columns: number, seed: number) =>
    matrix(rows, columns, torchNormals(seed).normals(rows * columns, 'f64'))
  const product = jsEngine.multiply(normals(ROWS, 2, 1), normals(2, COLUMNS, 2))
  return matrix(
    ROWS,
    COLUMNS,
    Float64Array.from(product.data, (x) => (x * rms) / Math.SQRT2),
  )
}

const copied = (pair: MatrixPair, withNoise = true) =>
  withDifference(
    pair,
    { withNoise },
    ({ delta, ...rest }): StoredDifference => ({ ...rest, delta: { ...delta, data: delta.data.slice() } }),
  )
const square = (x: number) => x * x

describe.each(TYPES)('a base in %s, as llama.cpp quantised it', (dtype) => {
  /** What rounding did to it, and its norm. */
  async function truth() {
    const base = quantised(dtype)
    const E = addMultiple(toFloat64(W), toFloat64((await readWeight(base)) as Matrix), -1)
    return { base, E, norm: frobeniusNorm(E.data) }
  }

  test('the energy of its rounding is known from its steps to a tenth', async () => {
    const { base, norm } = await truth()
    const estimated = energyOf(await roundingOf(base))
    expect(Math.abs(estimated / square(norm) - 1)).toBeLessThan(0.1)
    // it is of these very numbers: 8 bits leave less than a percent, 6 less than three, 4 less than ten
    const most = { q8_0: 0.01, q6_k: 0.03, q4_k: 0.1, q4_0: 0.1 }[dtype]
    expect(norm / frobeniusNorm(W.data)).toBeLessThan(most)
  })

  test.each([0, 0.3, 1, 3])(
    'its share of a change, and what a rank carries of it: signal %f times it',
    async (times) => {
      const { base, E, norm } = await truth()
      const tunedNumbers = addMultiple(toFloat64(W), signal((times * norm) / Math.sqrt(W.data.length)), 1)
      const found = await copied({ name: 'w', base, tuned: stored(tunedNumbers) })
      const energy = square(found.frobenius.delta)
      const share = Math.min(1, square(norm) / energy)
      expect(Math.abs(roundingShare(energy, found.quantised!) / share - 1)).toBeLessThan(0.1)

      const { U, S, V } = wasmEngine.svd(found.delta, 'thin')
      for (const rank of [2, 8, 32]) {
        const rows = { rows: ROWS, columns: COLUMNS }
        const carried = S.subarray(0, rank)
        const estimated = quantisationShare({ ...rows, energy, rounding: found.quantised!, carried }).carried
        // ‖E‖² less what is outside the kept column and row spaces
        const inRows = frobeniusNorm(jsEngine.multiply(transpose(leading(U, rank)), E).data)
        const inColumns = frobeniusNorm(jsEngine.multiply(E, leading(V, rank)).data)
        const inner = jsEngine.multiply(jsEngine.multiply(transpose(leading(U, rank)), E), leading(V, rank))
        const projected =
          (square(inRows) + square(inColumns) - square(frobeniusNorm(inner.data))) / square(norm)
        expect(Math.abs(estimated / projected - 1)).toBeLessThan(0.15)
        expect(estimated).toBeLessThanOrEqual(1.1 * mostCarried(rank, ROWS, COLUMNS))
      }
      // what stands above the noise is the signal, where it is strong enough, and nothing else
      const above = S.filter((s) => s > found.noise!.floor).length
      if (times === 3) expect(above).toBe(2)
      if (times === 0) expect(above).toBe(0)
    },
  )

  test('a change that began with its numbers holds nothing of its rounding', async () => {
    const { base, norm } = await truth()
    const start = toFloat64((await readWeight(base)) as Matrix)
    const small = signal((0.5 * norm) / Math.sqrt(W.data.length))
    const { frobenius, quantised: rounding } = await copied({
      name: 'w',
      base,
      tuned: stored(addMultiple(start, small, 1)),
    })
    const delta = { rows: ROWS, columns: COLUMNS, energy: square(frobenius.delta), rounding: rounding! }
    expect(quantisationShare({ ...delta, carried: [frobenius.delta] })).toEqual({ share: 0, carried: 0 })
  })

  test('kernels decode it panel by panel, and find what plain loops find', async () => {
    const small = quantised(dtype)
    const bytes = await readBytes(file.tensors.get(dtype)!)
    const TIMES = 20
    const base: BlockWeight = {
      ...small,
      rows: TIMES * ROWS,
      bytes: TIMES * bytes.length,
      source: { kind: 'bytes', bytes: new Uint8Array(Buffer.concat(Array(TIMES).fill(bytes))) },
    }
    const values = torchNormals(3).normals(TIMES * ROWS * COLUMNS, 'f64')
    for (const of of ['f32', 'bf16'] as const) {
      const pair = { name: 'w', base, tuned: stored(matrix(TIMES * ROWS, COLUMNS, values), of) }
      expect(isSwept(pair)).toBe(true)
      const found = await copied(pair)
      const [B, T] = [await readWeight(base), await readWeight(pair.tuned)]
      const expected = subtract(T, B)
      expect(
        Buffer.compare(Buffer.from(found.delta.data.buffer), Buffer.from(expected.delta.data.buffer)),
      ).toBe(0)
      expect(found.quantised! / (TIMES * energyOf(await roundingOf(small))) - 1).toBeCloseTo(0, 12)
      const rounding = await roundingOf(base)
      const floor = noiseFloor({ matrix: B, dtype, rounding }, { matrix: T, dtype: of })
      expect(found.noise!.floor / floor.floor - 1).toBeCloseTo(0, 12)
      expect((await copied(pair, false)).quantised).toBe(found.quantised)
      let rows = 0
      await forEachPanel(pair, (panel) => {
        rows += panel.rows
      })
      expect(rows).toBe(TIMES * ROWS)
    }
  })
})

/** The first columns. */
const leading = (A: Matrix, count: number): Matrix =>
  matrix(
    A.rows,
    count,
    Float64Array.from(
      { length: A.rows * count },
      (_, i) => A.data[Math.floor(i / count) * A.columns + (i % count)],
    ),
  )

test('shares of nothing are none', () => {
  const delta = { rows: 4, columns: 4, rounding: 0, carried: [] }
  expect(quantisationShare({ ...delta, energy: 0 })).toEqual({ share: 0, carried: 0 })
  expect(quantisationShare({ ...delta, energy: 1 })).toEqual({ share: 0, carried: 0 })
  // all directions of noise alone are all of it
  const S = [2, 2, 2, 2]
  expect(quantisationShare({ ...delta, energy: 16, rounding: 16, carried: S })).toEqual({
    share: 1,
    carried: 1,
  })
  expect(mostCarried(4, 4, 4)).toBe(1)
})
