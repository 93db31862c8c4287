import { withBytes } from '../checkpoint/read.ts'
import { withWorkspace } from '../engine/wasm/workspace.ts'
import { bytesPerElement, type FloatDtype } from '../formats/dtype.ts'
import { rowRange } from '../linalg/matrix/matrix.ts'
import type { RoundingAccount } from './account.ts'
import { openUpdate } from './add-rounded.ts'
import type { Change } from './change.ts'
import { panelSum, type RowRange, stored } from './dense.ts'
import { estimated, isSure } from './estimate.ts'
import { keptFactors, productSquared } from './factors.ts'
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

/** Rows beside each other that are looked at together: one read. The figures of each such batch say how sure those of all are. */
const BATCH_ROWS = 4
/** The first look. */
const FIRST_BATCHES = 16

/** A stride of this share of the batches spreads any number of them evenly: the golden section. */
const STRIDE = (Math.sqrt(5) - 1) / 2

/**
 * Rounds some rows as `writePiece` will, and as many more as it takes until the standard errors of gain and rounding error are small, up
 * to all. Throws as `writePiece` does on what can't be written.
 */
export const sampleChange = (job: SampleJob): Promise<RowSample> =>
  withRounding(job, async (round) => {
    const { matrices, rows } = job.change
    const all = matrices * rows
    const batchOf = spread(matrices, rows)
    const count = matrices * Math.ceil(rows / BATCH_ROWS)
    const deltaSquared = await wholeDelta(job)
    const batches: RoundingAccount[] = []
    let done = 0
    while (batches.length < count && !isSure(batches, done / all, deltaSquared)) {
      const wanted = Math.min(count, Math.max(FIRST_BATCHES, 2 * batches.length))
      while (batches.length < wanted) {
        const range = batchOf(batches.length)
        batches.push(await round(range))
        done += range.count
      }
    }
    return { account: estimated(batches, done / all, deltaSquared), rows: done, of: all }
  })

/** ‖Δ‖² of all rows, where that follows from the factors alone. */
async function wholeDelta({ change, run }: SampleJob): Promise<number | undefined> {
  if (kernelDtype(change) === undefined || change.matrices > 1) return undefined
  return productSquared(await keptFactors(run, change, 0))
}

/** An order of all batches of which every beginning is spread over the matrices, and over the rows of each. */
function spread(matrices: number, rows: number): (index: number) => RowRange {
  const ofMatrices = permutation(matrices)
  const ofBatches = permutation(Math.ceil(rows / BATCH_ROWS))
  return (index) => {
    const first = BATCH_ROWS * ofBatches(Math.floor(index / matrices))
    return { matrix: ofMatrices(index % matrices), first, count: Math.min(BATCH_ROWS, rows - first) }
  }
}

function permutation(count: number): (index: number) => number {
  let step = Math.max(1, Math.round(STRIDE * count))
  while (commonDivisor(step, count) > 1) step++
  return (index) => Math.floor(count / 2 + index * step) % count
}

const commonDivisor = (a: number, b: number): number => (b === 0 ? a : commonDivisor(b, a % b))

/** Rounds some rows of one matrix. */
type Round = (range: RowRange) => Promise<RoundingAccount>

/** Gives `use` what rounds rows: of one matrix that kernels change, with its factors made ready once. */
function withRounding<T>(job: SampleJob, use: (round: Round) => Promise<T>): Promise<T> {
  const { change, dtype, run, base } = job
  const checked =
    (round: Round): Round =>
    async (range) => {
      const account = await round(range)
      await refuseLost(account, { change, dtype, range }, { run, base })
      return account
    }
  const from = kernelDtype(change)
  if (from === undefined) return use(checked((range) => plainRows(job, range)))
  if (change.matrices === 1) return withKernel(job, 0, from, (round) => use(checked(round)))
  return use(checked((range) => withKernel(job, range.matrix, from, (round) => round(range))))
}

async function plainRows(
  { change, dtype, run, columnFactors }: SampleJob,
  range: RowRange,
): Promise<RoundingAccount> {
  const factors = change.factors.length === 0 ? undefined : await keptFactors(run, change, range.matrix)
  return stored(await panelSum(change, range, factors, columnFactors), dtype).account
}

async function withKernel<T>(
  { change, dtype, run }: SampleJob,
  index: number,
  from: FloatDtype,
  use: (round: Round) => Promise<T>,
): Promise<T> {
  const { base, columns, rows } = change
  const rowBytes = columns * bytesPerElement(from)
  const { B, A } = await keptFactors(run, change, index)
  return withWorkspace((workspace) =>
    withBytes(base!.source, base!.name, (_, fill) => {
      const update = openUpdate(workspace, { A, dtype: from, out: dtype, panelRows: BATCH_ROWS })
      return use(async ({ matrix, first, count }) => {
        await fill(update.input(count), (matrix * rows + first) * rowBytes)
        return update.add(rowRange(B, first, first + count)).account
      })
    }),
  )
}
