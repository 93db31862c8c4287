import { withBytes } from '../checkpoint/read.ts'
import type { Workspace } from '../engine/wasm/workspace.ts'
import { bytesPerElement, type FloatDtype } from '../formats/dtype.ts'
import { floatDtypeOf } from '../formats/safetensors-dtype.ts'
import { rowRange } from '../linalg/matrix/matrix.ts'
import type { RoundingAccount } from './account.ts'
import { openUpdate, updateBytes, updatePanelRows } from './add-rounded.ts'
import { type Change, isPlainSum, rankOf } from './change.ts'
import { panelSum, type RowRange, stored } from './dense.ts'
import { keptFactors } from './factors.ts'

/** Rows of a tensor that is changed. */
export interface ChangeWork {
  readonly kind: 'change'
  readonly change: Change
  readonly range: RowRange
  readonly dtype: FloatDtype
}

export interface ChangeContext {
  /** What tells one state of the inputs from another. */
  readonly run: string
  /** Of a change that rescales columns: by what. */
  readonly columnFactors?: Float64Array
}

/** Entries of a panel of what goes by plain loops in float64. */
const DENSE_ENTRIES = 2 ** 17

/**
 * Gives the rows of a change as they are to be stored, panel by panel; the bytes are valid until `use` is done, and what kernels made
 * lies in the workspace.
 */
export async function forEachPanel(
  work: ChangeWork,
  { run, columnFactors }: ChangeContext,
  workspace: Workspace,
  use: (bytes: Uint8Array, account: RoundingAccount) => Promise<void>,
): Promise<void> {
  const { change, range, dtype } = work
  const { rows, columns } = change
  const factors = change.factors.length === 0 ? undefined : await keptFactors(run, change, range.matrix)
  const from = kernelDtype(change)
  if (factors !== undefined && from !== undefined) {
    const { base } = change
    const rowBytes = columns * bytesPerElement(from)
    const begin = (range.matrix * rows + range.first) * rowBytes
    const add = async (_: unknown, fill: (target: Uint8Array, begin: number) => Promise<void>) => {
      const panelRows = updatePanelRows(range.count, columns)
      const update = openUpdate(workspace, { A: factors.A, dtype: from, out: dtype, panelRows })
      for (const { first, count } of panels(range, panelRows)) {
        await fill(update.input(count), (range.matrix * rows + first) * rowBytes)
        const { bytes, account } = update.add(rowRange(factors.B, first, first + count))
        await use(bytes, account)
      }
    }
    await withBytes(base!.source, base!.name, add, begin + range.count * rowBytes)
    return
  }
  for (const panel of densePanels(range, columns)) {
    const { bytes, account } = stored(await panelSum(change, panel, factors, columnFactors), dtype)
    await use(bytes, account)
  }
}

/** The type of the base's entries where kernels read and change them. */
export const kernelDtype = (change: Change): FloatDtype | undefined =>
  isPlainSum(change) && change.base !== undefined ? floatDtypeOf(change.base.dtype) : undefined

/** Rows as they go by plain loops. */
export const densePanels = (range: RowRange, columns: number): Iterable<RowRange> =>
  panels(range, Math.max(1, Math.floor(DENSE_ENTRIES / columns)))

function* panels({ matrix, first, count }: RowRange, rows: number): Generator<RowRange> {
  for (let at = 0; at < count; at += rows) {
    yield { matrix, first: first + at, count: Math.min(rows, count - at) }
  }
}

/** The most memory that panels of a change take at one time, with its factors. */
export function panelBytes({ change, range, dtype }: Omit<ChangeWork, 'kind'>): number {
  const { rows, columns } = change
  const rank = rankOf(change)
  const from = kernelDtype(change)
  const panel =
    from === undefined
      ? 64 * Math.max(columns, DENSE_ENTRIES)
      : updateBytes(rank, columns, {
          dtype: from,
          out: dtype,
          panelRows: updatePanelRows(range.count, columns),
        })
  // factors as they are stored, as they are read, and B with its scales
  return panel + 20 * rank * (rows + columns)
}
