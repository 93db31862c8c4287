import type { JobKind } from '../../jobs/context.ts'
import { type Change, type Rescale, rankOf } from '../../update/change.ts'
import { columnSquares, type RowRange } from '../../update/dense.ts'
import { stackedFactors } from '../../update/factors.ts'
import { panelBytes } from '../../update/panels.ts'
import {
  type CheckJob,
  isAsWritten,
  type PieceJob,
  pieceBytes,
  pieceFlops,
  readsOfPiece,
  type WrittenPiece,
  writePiece,
} from '../../update/piece.ts'
import { type RowSample, type SampleJob, sampleChange } from '../../update/sample.ts'

/** Everything that a merge has workers do. */
export type ApplyJob =
  | ({ readonly job: 'sample' } & SampleJob)
  | ({ readonly job: 'norms' } & NormsJob)
  | ({ readonly job: 'write' } & PieceJob)
  | ({ readonly job: 'check' } & CheckJob)

/** Some rows of a change that rescales columns, whose norms have to be known first. */
export interface NormsJob {
  readonly change: Change & { readonly rescale: Rescale }
  readonly range: RowRange
}

type Results = {
  readonly sample: RowSample
  readonly norms: Float64Array
  readonly write: WrittenPiece
  readonly check: boolean
}

/** Does a job of any kind. */
export async function applyWork(job: ApplyJob): Promise<Results[ApplyJob['job']]> {
  switch (job.job) {
    case 'sample':
      return sampleChange(job)
    case 'norms':
      return columnSquares(job.change, job.range, await factorsFor(job.change, job.range))
    case 'write':
      return writePiece(job)
    case 'check':
      return isAsWritten(job)
  }
}

const factorsFor = (change: Change, { matrix }: RowRange) =>
  change.factors.length === 0 ? undefined : stackedFactors(change, matrix)

type JobOf<K extends ApplyJob['job']> = Extract<ApplyJob, { readonly job: K }>

const KIND = {
  kind: 'apply',
  flopsOf,
  bytesOf: memoryOf,
  nameOf: (job: ApplyJob) =>
    job.job === 'write' ? job.piece.name : job.job === 'check' ? job.name : job.change.name,
  sizeOf: (job: ApplyJob) =>
    job.job === 'write' ? job.piece.to.bytes : job.job === 'check' ? job.to.bytes : flopsOf(job),
  readsOf: (job: ApplyJob) => (job.job === 'write' ? readsOfPiece(job.piece) : []),
} as const

const TASKS = {
  sample: { phase: 'sampling', noun: 'tensors', unit: 'flops' },
  norms: { phase: 'sampling', noun: 'tensors', unit: 'flops' },
  write: { phase: 'applying', noun: 'pieces', unit: 'bytes' },
  check: { phase: 'checking', noun: 'pieces', unit: 'bytes' },
} as const

/** How jobs of one kind are done, and told of. */
export const jobKind = <K extends ApplyJob['job']>(kind: K): JobKind<JobOf<K>, Results[K]> => ({
  ...KIND,
  work: (job) => applyWork(job) as Promise<Results[K]>,
  task: TASKS[kind],
})

/** About as many rows as a sample looks at. */
const SAMPLED_ROWS = 128

function flopsOf(job: ApplyJob): number {
  if (job.job === 'write') return pieceFlops(job)
  if (job.job === 'check') return job.to.bytes
  const { rows, columns } = job.change
  const count = job.job === 'norms' ? job.range.count : Math.min(rows, SAMPLED_ROWS)
  return (count + rows / columns) * columns * (1 + rankOf(job.change))
}

function memoryOf(job: ApplyJob): number {
  if (job.job === 'write') return pieceBytes(job)
  if (job.job === 'check') return Math.min(job.to.bytes, 2 ** 23)
  const { change } = job
  const range = job.job === 'norms' ? job.range : { matrix: 0, first: 0, count: SAMPLED_ROWS }
  const rank = rankOf(change)
  // of a sample also one factor and its inner products in the engine's memory
  const grams = job.job === 'norms' ? 0 : 8 * rank * (Math.max(change.rows, change.columns) + 4 * rank)
  return panelBytes({ change, range, dtype: 'f32' }) + grams
}
