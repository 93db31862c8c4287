import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { readWeight } from '../../src/checkpoint/read.ts'
import type { MatrixPair, WeightMatrix } from '../../src/checkpoint/types.ts'
import { forEachPanel, type StoredDifference, withDifference } from '../../src/delta/difference.ts'
import { isSwept, panelRows, sweep } from '../../src/delta/sweep.ts'
import { jsEngine } from '../../src/engine/js/js-engine.ts'
import { createWasmEngine } from '../../src/engine/wasm/wasm-engine.ts'
import { withWorkspace } from '../../src/engine/wasm/workspace.ts'
import { bytesPerElement, encodeFloats, type FloatDtype } from '../../src/formats/dtype.ts'
import { subtract } from '../../src/linalg/matrix/subtract.ts'
import { noiseFloor, type RoundedDtype } from '../../src/linalg/spectrum/noise-floor.ts'
import { entriesDigest } from '../../src/linalg/truncation/streams.ts'
import { generator } from '../engine/support.ts'

const folder = mkdtempSync(join(tmpdir(), 'lora-svd-delta-'))
afterAll(() => rmSync(folder, { recursive: true }))

// not a multiple of four columns, a last panel of fewer rows, and enough entries for the kernels
const [ROWS, COLUMNS] = [733, 1021]

/** Bytes of values around 0.02, with zeros, subnormals of every type and large ones among them. */
function stored(dtype: FloatDtype, seed: number, change?: (values: Float64Array) => void): Uint8Array {
  const random = generator(seed)
  const values = Float64Array.from({ length: ROWS * COLUMNS }, () => random() * 0.02)
  for (let i = 0; i < values.length; i += 97) values[i] *= 2 ** (Math.floor(random() * 10) * 2)
  for (let i = 5; i < values.length; i += 89) values[i] = i % 2 === 0 ? 0 : random() * 2 ** -24
  change?.(values)
  return encodeFloats(values, dtype).slice()
}

function weight(bytes: Uint8Array, dtype: FloatDtype, rows = ROWS, columns = COLUMNS): WeightMatrix {
  return {
    name: 'w',
    tensor: 'w',
    rows,
    columns,
    dtype,
    bytes: rows * columns * bytesPerElement(dtype),
    source: { kind: 'bytes', bytes },
    view: 'matrix',
    storedShape: [rows, columns],
  }
}

/** The same in the middle of a file. */
function inFile(name: string, of: WeightMatrix): WeightMatrix {
  const file = join(folder, name)
  const { source } = of
  if (source.kind !== 'bytes') throw new Error('has no bytes')
  writeFileSync(file, Buffer.concat([Buffer.alloc(9), source.bytes, Buffer.alloc(3)]))
  return { ...of, source: { kind: 'range', file, begin: 9, end: 9 + of.bytes } }
}

/** Rows 3 and 4 are the same on both sides. */
const pairOf = (ofBase: FloatDtype, ofTuned: FloatDtype): MatrixPair => {
  const keep = (values: Float64Array) => values.fill(0.25, 3 * COLUMNS, 5 * COLUMNS)
  const base = weight(stored(ofBase, 1, keep), ofBase)
  const tuned = weight(stored(ofTuned, 2, keep), ofTuned)
  return { name: 'w', base, tuned }
}

/** A copy, as the difference itself is gone when it has been used. */
const copied = (pair: MatrixPair, withNoise = true) =>
  withDifference(
    pair,
    { withNoise },
    ({ delta, ...rest }): StoredDifference => ({ ...rest, delta: { ...delta, data: delta.data.slice() } }),
  )

/** The plain loops, which other tests check. */
async function expectSame(found: StoredDifference, { base, tuned }: MatrixPair) {
  const [B, T] = [await readWeight(base), await readWeight(tuned)]
  const expected = subtract(T, B)
  expect(found.changed).toBe(expected.changed)
  expect(Buffer.compare(bytesOf(found.delta.data), bytesOf(expected.delta.data))).toBe(0)
  for (const key of ['base', 'tuned', 'delta'] as const) {
    expect(Math.abs(found.frobenius[key] / expected.frobenius[key] - 1)).toBeLessThan(1e-14)
  }
  const floor = noiseFloor(
    { matrix: B, dtype: base.dtype as RoundedDtype },
    { matrix: T, dtype: tuned.dtype as RoundedDtype },
  )
  // plain loops add the entries of a row one by one, and each sum may be off by half a unit
  const rounding = Math.max(1e-14, base.columns * 2 ** -53)
  expect(Math.abs(found.noise!.floor / floor.floor - 1)).toBeLessThan(rounding)
  expect(found.noise).toMatchObject({ changedShare: floor.changedShare, isSubUlp: floor.isSubUlp })
}

const bytesOf = ({ buffer, byteOffset, byteLength }: NodeJS.TypedArray) =>
  Buffer.from(buffer, byteOffset, byteLength)

const HALVES_AND_SINGLES = ['f32', 'f16', 'bf16'] as const

describe('a difference read from where it is stored', () => {
  test.each(HALVES_AND_SINGLES.flatMap((base) => HALVES_AND_SINGLES.map((tuned) => [tuned, base] as const)))(
    'is that of plain loops: %s − %s',
    async (ofTuned, ofBase) => {
      const pair = pairOf(ofBase, ofTuned)
      expect(isSwept(pair)).toBe(true)
      await expectSame(await copied(pair), pair)
    },
  )

  test('is that of plain loops where no kernel does it: float64, and little', async () => {
    for (const pair of [pairOf('f64', 'bf16'), pairOf('f32', 'f64')]) {
      expect(isSwept(pair)).toBe(false)
      await expectSame(await copied(pair), pair)
    }
    const { base, tuned } = pairOf('bf16', 'bf16')
    const few = { name: 'w', base: { ...base, rows: 20 }, tuned: { ...tuned, rows: 20 } }
    expect(isSwept(few)).toBe(false)
    expect((await copied(few, false)).noise).toBeUndefined()
  })

  test.each([0, -8, 60, 127, 128, -100, -126, -128, -149])(
    'has the digest that its entries have one by one, around 2^%d',
    async (exponent) => {
      const random = generator(3)
      const values = Float64Array.from({ length: ROWS * COLUMNS }, (_, i) =>
        i % 31 === 0 ? -0 : random() * 2 ** (exponent - (i % 5 === 0 ? 150 : i % 8)),
      )
      const tuned = weight(encodeFloats(values, 'f32'), 'f32')
      const base = weight(encodeFloats(new Float64Array(values.length), 'f32'), 'f32')
      await withDifference({ name: 'w', base, tuned }, {}, ({ delta, digest }) => {
        expect(delta.data.some((x) => Object.is(x, -0))).toBe(true)
        expect(delta.data.every(Number.isFinite)).toBe(true)
        expect(Buffer.from(digest!()).toString('hex')).toBe(Buffer.from(entriesDigest(delta)).toString('hex'))
      })
    },
  )

  test('has the digest of its entries wherever the largest of them is', async () => {
    for (const at of [0, 3, ROWS * COLUMNS - 1]) {
      const { base } = pairOf('bf16', 'bf16')
      const tuned = weight(
        stored('f16', 2, (values) => {
          values[at] = -1000
        }),
        'f16',
      )
      await withDifference({ name: 'w', base, tuned }, {}, ({ delta, digest }) => {
        expect(digest!()).toEqual(entriesDigest(delta))
      })
    }
  })

  test('has the squares of its rows and columns, summed one by one', async () => {
    const pair = pairOf('f32', 'bf16')
    await withWorkspace(async (workspace) => {
      const address = workspace.allocate(ROWS * COLUMNS * 4)
      const { rounding } = await sweep(pair, workspace, true, (row) => address + row * COLUMNS * 4)
      const entries = new Float32Array(workspace.memory.buffer, address, ROWS * COLUMNS)
      const [byRow, byColumn] = [new Float64Array(ROWS), new Float64Array(COLUMNS)]
      entries.forEach((x, at) => {
        byRow[Math.floor(at / COLUMNS)] += x * x
        byColumn[at % COLUMNS] += x * x
      })
      expect(rounding!.delta).toEqual({ byRow, byColumn })
    })
  })

  test('is read from anywhere in a file', async () => {
    const { base, tuned } = pairOf('bf16', 'f32')
    const pair = { name: 'w', base: inFile('base', base), tuned: inFile('tuned', tuned) }
    expect(isSwept(pair)).toBe(true)
    await expectSame(await copied(pair), pair)
  })

  test('has rows longer than a panel', async () => {
    const long = (dtype: FloatDtype, seed: number) => weight(stored(dtype, seed), dtype, 1, ROWS * COLUMNS)
    const pair = { name: 'w', base: long('bf16', 1), tuned: long('bf16', 2) }
    expect(panelRows(pair.tuned) * pair.tuned.columns).toBe(ROWS * COLUMNS)
    await expectSame(await copied(pair), pair)
  })

  test('is not overwritten by one that is read meanwhile, and one after the other needs no more memory', async () => {
    const [one, other] = [pairOf('bf16', 'bf16'), pairOf('f16', 'f32')]
    await withDifference(one, { withNoise: true }, async (found) => {
      await expectSame(await copied(other), other)
      await expectSame(found, one)
    })
    const buffers = new Set<ArrayBufferLike>()
    for (let i = 0; i < 5; i++) {
      await withDifference(one, {}, ({ delta }) => buffers.add(delta.data.buffer))
    }
    expect(buffers.size).toBe(1)
  })

  test('is made in the memory of the engine that computes with it, where that is of WebAssembly', async () => {
    const pair = pairOf('bf16', 'bf16')
    const engine = createWasmEngine()
    for (let i = 0; i < 2; i++) {
      const before = engine.runtime.heap.usedBytes()
      await withDifference(pair, { withNoise: true, engine }, async (found) => {
        expect(engine.runtime.heap.holds(found.delta.data)).toBe(true)
        await expectSame(found, pair)
      })
      expect(engine.runtime.heap.usedBytes()).toBe(before)
    }
    await forEachPanel(
      pair,
      ({ data }) => {
        expect(engine.runtime.heap.holds(data)).toBe(true)
      },
      { engine },
    )
    await withDifference(pair, { engine: jsEngine }, async (found) => {
      expect(engine.runtime.heap.holds(found.delta.data)).toBe(false)
      await expectSame({ ...found, ...(await copied(pair)) }, pair)
    })
  })

  test('names what is not finite', async () => {
    const at = 700 * COLUMNS + 11
    const { base } = pairOf('f16', 'f16')
    const tuned = weight(
      stored('f16', 2, (values) => {
        values[at] = Number.NaN
        values[at + 5] = Number.NEGATIVE_INFINITY
      }),
      'f16',
    )
    const { nonFinite, changed } = await copied({ name: 'w', base, tuned }, false)
    expect(nonFinite).toEqual({ tuned: { count: 2, first: { row: 700, column: 11, value: Number.NaN } } })
    expect(changed).toBeGreaterThan(0)
  })

  test('of a file that was made shorter is refused', async () => {
    const { base, tuned } = pairOf('bf16', 'bf16')
    const short = inFile('short', tuned)
    truncateSync(join(folder, 'short'), 1000)
    await expect(copied({ name: 'w', base, tuned: short })).rejects.toMatchObject({
      code: 'bad-input',
      message: expect.stringContaining('made shorter'),
    })
  })
})

test('panels are the rows of the difference, in order', async () => {
  for (const pair of [pairOf('bf16', 'f16'), pairOf('f64', 'f32')]) {
    const { delta, frobenius } = await copied(pair)
    const joined = delta.data.slice().fill(Number.NaN)
    let rows = 0
    const norms = await forEachPanel(pair, (panel, firstRow) => {
      expect(firstRow).toBe(rows)
      joined.set(panel.data, firstRow * COLUMNS)
      rows += panel.rows
    })
    expect(rows).toBe(ROWS)
    expect(Buffer.compare(bytesOf(joined), bytesOf(delta.data))).toBe(0)
    expect(norms).toEqual(frobenius)
  }
})
