import { expect } from 'vitest'
import { withWorkspace } from '../../src/engine/wasm/workspace.ts'
import { encodeFloats, type FloatDtype } from '../../src/formats/dtype.ts'
import { type Matrix, matrix } from '../../src/linalg/matrix/matrix.ts'
import type { RoundingAccount } from '../../src/update/account.ts'
import { addRounded } from '../../src/update/add-rounded.ts'
import type { Rounded, StoredRows } from '../../src/update/plain.ts'
import { randomMatrix } from '../engine/support.ts'

export const DTYPES = ['f64', 'f32', 'f16', 'bf16'] as const
/** The types that the kernel takes. */
export const KERNEL_DTYPES = ['f32', 'f16', 'bf16'] as const

export const pairsOf = <T>(dtypes: readonly T[]) =>
  dtypes.flatMap((dtype) => dtypes.map((out) => [dtype, out] as const))

export const storedRows = (
  values: Float64Array,
  dtype: FloatDtype,
  rows: number,
  columns: number,
): StoredRows => ({ bytes: encodeFloats(values, dtype).slice(), dtype, rows, columns })

/** Weights around 0.02, among them zeros, subnormals of every type and large ones. */
export function weights(rows: number, columns: number, dtype: FloatDtype, random: () => number): StoredRows {
  const values = Float64Array.from({ length: rows * columns }, () => random() * 0.02)
  for (let i = 3; i < values.length; i += 19) values[i] *= 2 ** (Math.floor(random() * 10) * 2)
  for (let i = 5; i < values.length; i += 23) values[i] = i % 2 === 0 ? 0 : random() * 2 ** -24
  return storedRows(values, dtype, rows, columns)
}

const scaled = ({ rows, columns, data }: Matrix, factor: number) =>
  matrix(
    rows,
    columns,
    Float64Array.from(data, (x) => x * factor),
  )

/** Factors whose product is around 10⁻³. */
export function factors(rows: number, columns: number, rank: number, random: () => number) {
  const B = scaled(randomMatrix(rows, rank, 'f64', random), 0.02 / Math.sqrt(rank + 1))
  const A = scaled(randomMatrix(rank, columns, 'f64', random), 0.05)
  return { B, A }
}

/** What the kernel says, of one panel. */
export const add = (W: StoredRows, B: Matrix, A: Matrix, out: FloatDtype) =>
  withWorkspace(async (workspace) => addRounded(workspace, W, B, A, out))

const COUNTS = ['entries', 'changed', 'overflowed', 'nonFinite'] as const
const SUMS = ['deltaSquared', 'kept', 'residualSquared'] as const

/** The same counts, and sums that differ by what as many roundings as there are entries may do. */
export function expectSameAccount(found: RoundingAccount, expected: RoundingAccount): void {
  for (const key of COUNTS) expect([key, found[key]]).toEqual([key, expected[key]])
  const [delta, residual] = [expected.deltaSquared, expected.residualSquared].map(Math.sqrt)
  const magnitudes = {
    deltaSquared: delta ** 2,
    kept: delta * (delta + residual),
    residualSquared: residual ** 2,
  }
  for (const key of SUMS) {
    const allowed = (expected.entries + 4) * Number.EPSILON * magnitudes[key]
    expect(Math.abs(found[key] - expected[key])).toBeLessThanOrEqual(allowed)
  }
}

export function expectSame(found: Rounded, expected: Rounded): void {
  expect(Buffer.from(found.bytes).toString('hex')).toBe(Buffer.from(expected.bytes).toString('hex'))
  expectSameAccount(found.account, expected.account)
}
