import { withBytes } from '../checkpoint/read.ts'
import { withWorkspace } from '../engine/wasm/workspace.ts'
import { bytesPerElement, type FloatDtype } from '../formats/dtype.ts'
import { matrix } from '../linalg/matrix/matrix.ts'
import { gain, joinAccounts, type RoundingAccount, roundingError } from './account.ts'
import { openUpdate } from './add-rounded.ts'
import type { Change } from './change.ts'
import { panelSum, stored } from './dense.ts'
import { keptFactors, type StackedFactors } from './factors.ts'
import { refuseLost } from './lost.ts'
import { type ChangeContext, kernelDtype } from './panels.ts'

/** What rounding will do to a tensor, from some of its rows: told before anything is written. */

export interface SampleJob extends ChangeContext {
  readonly change: Change
  readonly dtype: FloatDtype
  /** As messages call the base. */
  readonly base: string
}

export interface RowSample {
  /** Of the rows that were looked at. */
  readonly account: RoundingAccount
  readonly rows: number
  /** Of so many. */
  readonly of: number
}

/** Rows that are looked at together; the figures of each such batch say how sure those of all are. */
const BATCH_ROWS = 8
/** With fewer batches their spread says little. */
const LEAST_BATCHES = 8
/** The standard error that is aimed at, relative to each figure: half of what is promised. */
const STANDARD_ERROR = 0.005
/** Where next to nothing is kept, its share is known well enough to so much. */
const LEAST_GAIN_ERROR = 0.0005

/** A stride of this share of the rows spreads any number of them evenly: the golden section. */
const STRIDE = (Math.sqrt(5) - 1) / 2

/**
 * Rounds some rows as `writePiece` will, and as many more as it takes until the standard errors of gain and rounding error are small, up
 * to all. Throws as `writePiece` does on what can't be written.
 */
export async function sampleChange(job: SampleJob): Promise<RowSample> {
  const { change } = job
  const all = change.matrices * change.rows
  const rowOf = spread(change.matrices, change.rows)
  const batches: RoundingAccount[] = []
  let done = 0
  while (done < all && !isSure(batches, done / all)) {
    const wanted = Math.min(all, Math.max(BATCH_ROWS * LEAST_BATCHES, 2 * done))
    while (done < wanted) {
      const count = Math.min(BATCH_ROWS, wanted - done)
      batches.push(
        ...(await accountsOf(
          job,
          Array.from({ length: count }, (_, i) => rowOf(done + i)),
        )),
      )
      done += count
    }
  }
  return { account: joinAccounts(batches), rows: done, of: all }
}

interface Row {
  readonly matrix: number
  readonly row: number
}

/** An order of all rows of which every beginning is spread over them, batch by batch over the matrices too. */
function spread(matrices: number, rows: number): (index: number) => Row {
  const [ofMatrices, ofRows] = [permutation(matrices), permutation(rows)]
  return (index) => {
    // all rows are met once: each round of the matrices goes on by a batch of rows
    const round = Math.floor(index / (matrices * BATCH_ROWS))
    const size = Math.min(BATCH_ROWS, rows - round * BATCH_ROWS)
    const within = index - round * matrices * BATCH_ROWS
    return {
      matrix: ofMatrices(Math.floor(within / size)),
      row: ofRows(round * BATCH_ROWS + (within % size)),
    }
  }
}

function permutation(count: number): (index: number) => number {
  let step = Math.max(1, Math.round(STRIDE * count))
  while (commonDivisor(step, count) > 1) step++
  return (index) => Math.floor(count / 2 + index * step) % count
}

const commonDivisor = (a: number, b: number): number => (b === 0 ? a : commonDivisor(b, a % b))

/** Whether the spread of the batches says that more of them would change little. */
export function isSure(batches: readonly RoundingAccount[], share: number): boolean {
  if (batches.length < LEAST_BATCHES) return false
  const all = joinAccounts(batches)
  if (all.deltaSquared === 0) return false
  const kept = gain(all)
  const error = roundingError(all)
  const errorOf = (part: 'kept' | 'residualSquared', ratio: number) => {
    const squares = batches.reduce((sum, one) => sum + (one[part] - ratio * one.deltaSquared) ** 2, 0)
    const n = batches.length
    return Math.sqrt((squares / (n - 1) / n) * (1 - share)) / (all.deltaSquared / n)
  }
  const ofGain = errorOf('kept', kept)
  // the error is a root: half the relative error of what is under it
  const ofError = error === 0 ? 0 : errorOf('residualSquared', error ** 2) / (2 * error)
  return ofGain <= Math.max(STANDARD_ERROR * kept, LEAST_GAIN_ERROR) && ofError <= STANDARD_ERROR * error
}

async function accountsOf(job: SampleJob, rows: readonly Row[]): Promise<RoundingAccount[]> {
  const accounts: RoundingAccount[] = []
  for (const [index, of] of byMatrix(rows)) {
    const { change, run, dtype, base } = job
    const factors = change.factors.length === 0 ? undefined : await keptFactors(run, change, index)
    const account = await roundedRows(job, index, of, factors)
    await refuseLost(account, { change, dtype, range: { matrix: index, first: 0, count: 1 } }, { run, base })
    accounts.push(account)
  }
  return accounts
}

function byMatrix(rows: readonly Row[]): Map<number, number[]> {
  const groups = new Map<number, number[]>()
  for (const { matrix, row } of rows) groups.set(matrix, [...(groups.get(matrix) ?? []), row])
  return groups
}

async function roundedRows(
  { change, dtype, columnFactors }: SampleJob,
  index: number,
  rows: readonly number[],
  factors: StackedFactors | undefined,
): Promise<RoundingAccount> {
  const from = kernelDtype(change)
  if (factors === undefined || from === undefined) {
    const accounts: RoundingAccount[] = []
    for (const first of rows) {
      const sum = await panelSum(change, { matrix: index, first, count: 1 }, factors, columnFactors)
      accounts.push(stored(sum, dtype).account)
    }
    return joinAccounts(accounts)
  }
  const { base, columns } = change
  const rowBytes = columns * bytesPerElement(from)
  const { B, A } = factors
  return withWorkspace((workspace) =>
    withBytes(base!.source, base!.name, async (_, fill) => {
      const update = openUpdate(workspace, { A, dtype: from, out: dtype, panelRows: rows.length })
      const own = new Float64Array(rows.length * B.columns)
      const input = update.input(rows.length)
      for (const [i, row] of rows.entries()) {
        own.set(B.data.subarray(row * B.columns, (row + 1) * B.columns), i * B.columns)
        const target = input.subarray(i * rowBytes, (i + 1) * rowBytes)
        await fill(target, (index * change.rows + row) * rowBytes)
      }
      return update.add(matrix(rows.length, B.columns, own)).account
    }),
  )
}
