import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { withWorkspace } from '../../src/engine/wasm/workspace.ts'
import { bytesPerElement } from '../../src/formats/dtype.ts'
import { matrix, rowRange } from '../../src/linalg/matrix/matrix.ts'
import { joinAccounts } from '../../src/update/account.ts'
import { openUpdate, updateBytes, updatePanelRows } from '../../src/update/add-rounded.ts'
import { addRoundedPlainly, type Rounded } from '../../src/update/plain.ts'
import { generator } from '../engine/support.ts'
import {
  add,
  DTYPES,
  expectSame,
  expectSameAccount,
  factors,
  KERNEL_DTYPES,
  pairsOf,
  storedRows,
  weights,
} from './support.ts'

/** Rows and columns, multiples of no tile; 300 columns are three blocks. */
const SHAPES = [
  [0, 5],
  [5, 0],
  [1, 1],
  [3, 5],
  [17, 33],
  [5, 128],
  [6, 300],
] as const
const RANKS = [0, 1, 3, 16, 65]

describe('W + B·A rounded once', () => {
  test.each(pairsOf(DTYPES))('has the bits of plain loops: %s → %s', async (dtype, out) => {
    const random = generator(7)
    for (const [rows, columns] of SHAPES) {
      for (const rank of RANKS) {
        const W = weights(rows, columns, dtype, random)
        const { B, A } = factors(rows, columns, rank, random)
        expectSame(await add(W, B, A, out), addRoundedPlainly(W, B, A, out))
      }
    }
  })

  test('has the bits of plain loops whatever the numbers are', async () => {
    const anything = fc.oneof(
      fc.double(),
      fc.float(),
      fc.constantFrom(0, -0, 65504, 65520, 2 ** -126, 2 ** -14, 3e38, 2 ** -24, 2 ** -133),
      fc.integer({ min: -300, max: 300 }).map((n) => n / 256),
    )
    const column = fc.tuple(anything, anything)
    const cases = fc.tuple(
      fc.constantFrom(...pairsOf(KERNEL_DTYPES)),
      fc.array(column, { minLength: 1, maxLength: 40 }),
    )
    await fc.assert(
      fc.asyncProperty(cases, async ([[dtype, out], list]) => {
        const columns = list.length
        const W = storedRows(
          Float64Array.from(list, ([w]) => w),
          dtype,
          1,
          columns,
        )
        const B = matrix(1, 1, Float64Array.of(1))
        const A = matrix(
          1,
          columns,
          Float64Array.from(list, ([, a]) => a),
        )
        const [found, expected] = [await add(W, B, A, out), addRoundedPlainly(W, B, A, out)]
        expect([...found.bytes]).toEqual([...expected.bytes])
        const { changed, overflowed, nonFinite } = expected.account
        expect(found.account).toMatchObject({ changed, overflowed, nonFinite })
      }),
      { numRuns: 2000 },
    )
  })

  test('takes factors in float32 as the numbers that they are', async () => {
    const random = generator(3)
    const W = weights(6, 20, 'bf16', random)
    const { B, A } = factors(6, 20, 5, random)
    const [B32, A32] = [matrix(6, 5, Float32Array.from(B.data)), matrix(5, 20, Float32Array.from(A.data))]
    expectSame(await add(W, B32, A32, 'bf16'), addRoundedPlainly(W, B32, A32, 'bf16'))
  })

  test('refuses factors and bytes that do not fit', async () => {
    const W = weights(4, 6, 'bf16', generator(1))
    const { B, A } = factors(4, 6, 2, generator(1))
    for (const dtype of ['bf16', 'f64'] as const) {
      await expect(add(W, A, B, dtype)).rejects.toThrow('2×6 times 4×2 cannot be added to 4×6')
      await expect(add({ ...W, bytes: W.bytes.subarray(2) }, B, A, dtype)).rejects.toThrow('48 bytes, got 46')
    }
  })
})

describe('panels', () => {
  test.each(pairsOf(DTYPES))(
    'give the bytes of the whole, however rows are split: %s → %s',
    async (dtype, out) => {
      const [rows, columns, rank] = [23, 141, 7]
      const random = generator(5)
      const W = weights(rows, columns, dtype, random)
      const { B, A } = factors(rows, columns, rank, random)
      const whole = await add(W, B, A, out)
      const rowBytes = columns * bytesPerElement(dtype)
      for (const panelRows of [1, 2, 4, 5, 22, 40]) {
        const panels: Rounded[] = []
        await withWorkspace(async (workspace) => {
          const update = openUpdate(workspace, { A, dtype, out, panelRows })
          for (let first = 0; first < rows; first += panelRows) {
            const end = Math.min(rows, first + panelRows)
            update.input(end - first).set(W.bytes.subarray(first * rowBytes, end * rowBytes))
            const { bytes, account } = update.add(rowRange(B, first, end))
            panels.push({ bytes: bytes.slice(), account })
          }
        })
        expect(Buffer.concat(panels.map(({ bytes }) => bytes)).equals(whole.bytes)).toBe(true)
        expectSameAccount(joinAccounts(panels.map(({ account }) => account)), whole.account)
      }
    },
  )

  test('can be had again: what lies in the input stays', async () => {
    const { B, A } = factors(3, 9, 2, generator(2))
    const W = weights(3, 9, 'f16', generator(2))
    await withWorkspace(async (workspace) => {
      const update = openUpdate(workspace, { A, dtype: 'f16', out: 'f16', panelRows: 5 })
      update.input(3).set(W.bytes)
      const first = update.add(B).bytes.slice()
      expect(update.add(B).bytes).toEqual(first)
      expect(Buffer.compare(update.input(3), W.bytes)).toBe(0)
      expect(() => update.input(6)).toThrow('a panel has 5 rows, not 6')
      const { B: tall } = factors(6, 9, 2, generator(2))
      expect(() => update.add(tall)).toThrow('a panel has 5 rows, not 6')
    })
  })

  test('are of at least one row and at most all, in whole groups, and their memory is told', async () => {
    expect(updatePanelRows(2048, 5632)).toBe(20)
    expect(updatePanelRows(2048, 2 ** 16)).toBe(2)
    expect(updatePanelRows(3, 10)).toBe(3)
    expect(updatePanelRows(8, 2 ** 24)).toBe(1)
    for (const [dtype, out] of pairsOf(KERNEL_DTYPES)) {
      const { A } = factors(0, 100, 16, generator(1))
      let allocated = 0
      await withWorkspace(async (workspace) => {
        const allocate = (bytes: number) => {
          allocated += bytes
          return workspace.allocate(bytes)
        }
        openUpdate({ ...workspace, allocate }, { A, dtype, out, panelRows: 10 })
      })
      expect(updateBytes(16, 100, { dtype, out, panelRows: 10 })).toBe(allocated)
    }
  })
})
