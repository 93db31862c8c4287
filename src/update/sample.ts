import { withBytes } from '../checkpoint/read.ts'
import { withWorkspace } from '../engine/wasm/workspace.ts'
import { bytesPerElement, type FloatDtype } from '../formats/dtype.ts'
import { matrix } from '../linalg/matrix/matrix.ts'
import { joinAccounts, type RoundingAccount } from './account.ts'
import { openUpdate } from './add-rounded.ts'
import type { Change } from './change.ts'
import { panelSum, stored } from './dense.ts'
import { estimated, isSure } from './estimate.ts'
import { keptFactors, productSquared, type StackedFactors } from './factors.ts'
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
  /** Of all rows, as far as those that were looked at tell. */
  readonly account: RoundingAccount
  /** How many were looked at, of so many. */
  readonly rows: number
  readonly of: number
}

/** Rows that are looked at together; the figures of each such batch say how sure those of all are. */
const BATCH_ROWS = 8
/** The first look: with fewer batches their spread says little. */
const FIRST_BATCHES = 8
/** A stride of this share of the rows spreads any number of them evenly: the golden section. */
const STRIDE = (Math.sqrt(5) - 1) / 2

/**
 * Rounds some rows as `writePiece` will, and as many more as it takes until the standard errors of gain and rounding error are small, up
 * to all. Throws as `writePiece` does on what can't be written.
 */
export const sampleChange = (job: SampleJob): Promise<RowSample> =>
  withRounding(job, async (round) => {
    const { change } = job
    const all = change.matrices * change.rows
    const rowOf = spread(change.matrices, change.rows)
    const deltaSquared = await wholeDelta(job)
    const batches: RoundingAccount[] = []
    let done = 0
    while (done < all && !isSure(batches, done / all, deltaSquared)) {
      const wanted = Math.min(all, Math.max(BATCH_ROWS * FIRST_BATCHES, 2 * done))
      while (done < wanted) {
        const count = Math.min(BATCH_ROWS, wanted - done)
        const rows = Array.from({ length: count }, (_, i) => rowOf(done + i))
        batches.push(joinAccounts(await roundEach(rows, round)))
        done += count
      }
    }
    return { account: estimated(batches, done / all, deltaSquared), rows: done, of: all }
  })

/** ‖Δ‖² of all rows, where that follows from the factors alone. */
async function wholeDelta({ change, run }: SampleJob): Promise<number | undefined> {
  if (kernelDtype(change) === undefined || change.matrices > 1) return undefined
  return productSquared(await keptFactors(run, change, 0))
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

/** Rounds rows of one matrix. */
type Round = (index: number, rows: readonly number[]) => Promise<RoundingAccount>

async function roundEach(rows: readonly Row[], round: Round): Promise<RoundingAccount[]> {
  const accounts: RoundingAccount[] = []
  for (const [index, of] of byMatrix(rows)) accounts.push(await round(index, of))
  return accounts
}

function byMatrix(rows: readonly Row[]): Map<number, number[]> {
  const groups = new Map<number, number[]>()
  for (const { matrix, row } of rows) groups.set(matrix, [...(groups.get(matrix) ?? []), row])
  return groups
}

/** Gives `use` what rounds rows: of one matrix that kernels change, with its factors made ready once. */
function withRounding<T>(job: SampleJob, use: (round: Round) => Promise<T>): Promise<T> {
  const { change, dtype, run, base } = job
  const checked =
    (round: Round): Round =>
    async (index, rows) => {
      const account = await round(index, rows)
      await refuseLost(
        account,
        { change, dtype, range: { matrix: index, first: 0, count: 1 } },
        { run, base },
      )
      return account
    }
  const from = kernelDtype(change)
  if (from === undefined) return use(checked((index, rows) => plainRows(job, index, rows)))
  if (change.matrices === 1)
    return withKernel(job, 0, from, (round) => use(checked((_, rows) => round(rows))))
  return use(checked((index, rows) => withKernel(job, index, from, (round) => round(rows))))
}

async function plainRows(
  { change, dtype, run, columnFactors }: SampleJob,
  index: number,
  rows: readonly number[],
): Promise<RoundingAccount> {
  const factors = change.factors.length === 0 ? undefined : await keptFactors(run, change, index)
  const accounts: RoundingAccount[] = []
  for (const first of rows) {
    const sum = await panelSum(change, { matrix: index, first, count: 1 }, factors, columnFactors)
    accounts.push(stored(sum, dtype).account)
  }
  return joinAccounts(accounts)
}

async function withKernel<T>(
  { change, dtype, run }: SampleJob,
  index: number,
  from: FloatDtype,
  use: (round: (rows: readonly number[]) => Promise<RoundingAccount>) => Promise<T>,
): Promise<T> {
  const { base, columns } = change
  const rowBytes = columns * bytesPerElement(from)
  const { B, A }: StackedFactors = await keptFactors(run, change, index)
  return withWorkspace((workspace) =>
    withBytes(base!.source, base!.name, (_, fill) => {
      const update = openUpdate(workspace, { A, dtype: from, out: dtype, panelRows: BATCH_ROWS })
      return use(async (rows) => {
        const own = new Float64Array(rows.length * B.columns)
        const input = update.input(rows.length)
        for (const [i, row] of rows.entries()) {
          own.set(B.data.subarray(row * B.columns, (row + 1) * B.columns), i * B.columns)
          const target = input.subarray(i * rowBytes, (i + 1) * rowBytes)
          await fill(target, (index * change.rows + row) * rowBytes)
        }
        return update.add(matrix(rows.length, B.columns, own)).account
      })
    }),
  )
}
