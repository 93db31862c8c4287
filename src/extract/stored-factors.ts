import { createHash } from 'node:crypto'
import { decodeFloats, encodeFloats, type FloatDtype } from '../formats/dtype.ts'
import { leadingColumns, type Matrix } from '../matrix/matrix.ts'
import { balancedFactors, type Factors, factorsOf } from '../svd/factors.ts'
import type { Svd } from '../svd/types.ts'

/** How factors are made of triplets and stored. */
export interface FactorForm {
  /** √S on both factors; otherwise B = U·S. */
  readonly distributeScale: boolean
  readonly dtype: FloatDtype
}

/** The factors of the leading `rank` triplets, before they are rounded. */
export function factorsFor({ U, S, V }: Svd, rank: number, distributeScale: boolean): Factors {
  const leading = { U: leadingColumns(U, rank), S: S.subarray(0, rank), V: leadingColumns(V, rank) }
  return distributeScale ? balancedFactors(leading, rank) : factorsOf(leading, rank)
}

/** The same as they will be read back: rounded once. */
export function factorsAsStored(svd: Svd, rank: number, { distributeScale, dtype }: FactorForm): Factors {
  const { B, A } = factorsFor(svd, rank, distributeScale)
  return { B: rounded(B, dtype), A: rounded(A, dtype) }
}

/** What tells these numbers from all others. */
export function digestOf({ B, A }: Factors): string {
  const hash = createHash('sha256').update(`${B.rows} ${B.columns} ${A.columns} `)
  for (const { data } of [B, A]) hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  return hash.digest('base64')
}

const rounded = ({ rows, columns, data }: Matrix, dtype: FloatDtype): Matrix => ({
  rows,
  columns,
  data: decodeFloats(encodeFloats(data, dtype), dtype),
})
