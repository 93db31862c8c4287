import { doJobs, type RunContext } from '../../jobs/context.ts'
import { joinAccounts, type RoundingAccount } from '../../update/account.ts'
import type { Change } from '../../update/change.ts'
import { factorsOf, isOfColumns, magnitudeOf, normRanges } from '../../update/dense.ts'
import type { RowSample } from '../../update/sample.ts'
import { jobKind } from './apply-jobs.ts'
import type { ApplyPlan } from './plan.ts'

/** What the columns of changes are multiplied by, by the changes' names. */
export type ColumnFactors = ReadonlyMap<string, Float64Array>

/** DoRA along columns needs the norms of whole columns before the first row can be written: reads those tensors once. */
export async function columnFactorsOf(
  changes: readonly Change[],
  context: RunContext,
): Promise<ColumnFactors> {
  const jobs = changes
    .filter(isOfColumns)
    .flatMap((change) => normRanges(change).map((range) => ({ job: 'norms' as const, change, range })))
  const squares = new Map<string, Float64Array>()
  let at = 0
  for await (const part of doJobs(jobs, jobKind('norms'), context)) {
    const { name } = jobs[at++].change
    const sum = squares.get(name)
    if (sum === undefined) squares.set(name, part)
    else for (let i = 0; i < sum.length; i++) sum[i] += part[i]
  }
  const factors = new Map<string, Float64Array>()
  for (const { name, rescale } of changes.filter(isOfColumns)) {
    factors.set(name, factorsOf(rescale, await magnitudeOf(rescale), squares.get(name)!))
  }
  return factors
}

/** What rounding will do to each change, from some of its rows. */
export async function sampled(
  { base, tensors }: ApplyPlan,
  run: string,
  columnFactors: ColumnFactors,
  context: RunContext,
): Promise<Map<string, RowSample>> {
  const jobs = tensors.flatMap(({ content }) => {
    if (content.kind !== 'change') return []
    const { change, dtype } = content
    const factors = columnFactors.get(change.name)
    return [
      {
        job: 'sample' as const,
        change,
        dtype,
        run,
        base: base.path,
        ...(factors && { columnFactors: factors }),
      },
    ]
  })
  const samples = new Map<string, RowSample>()
  let at = 0
  for await (const sample of doJobs(jobs, jobKind('sample'), context))
    samples.set(jobs[at++].change.name, sample)
  return samples
}

/** What is expected of all changes together. */
export const expectedOver = (samples: Iterable<RowSample>): RoundingAccount =>
  joinAccounts([...samples].map(({ account }) => account))
