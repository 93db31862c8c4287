import { randomUUID } from 'node:crypto'
import { badInput } from '../errors.ts'
import {
  bytesPerElement,
  decodeFloats,
  encodeFloats,
  type FloatDtype,
  findOverflow,
  vanishes,
} from '../formats/dtype.ts'
import type { JobKind } from '../jobs/context.ts'
import { isAllFinite, largestAbs } from '../linalg/matrix/norms.ts'
import { quoted } from '../text/quote.ts'
import { NOTHING_ROUNDED } from '../update/account.ts'
import { type Change, type DenseTerm, rankOf } from '../update/change.ts'
import {
  columnSquares,
  factorsOf,
  isOfColumns,
  magnitudeOf,
  normRanges,
  panelSum,
  type RowRange,
} from '../update/dense.ts'
import { stackedFactors } from '../update/factors.ts'
import { refuseLost } from '../update/lost.ts'
import { densePanels, panelBytes } from '../update/panels.ts'

/** Rows of a weight whose change is to be stored whole, or is. Plain data. */
export interface DifferenceJob {
  /** Of the weight. */
  readonly name: string
  readonly change: Change
  readonly range: RowRange
  readonly dtype: FloatDtype
  /** As messages call the base. */
  readonly base: string
}

/** The same with what was read back of it. */
export interface StoredDifferenceJob extends DifferenceJob {
  readonly stored: readonly DenseTerm[]
}

/** How far a stored difference is from the change that it is of. */
export interface StoredDifference {
  /** Each entry is that of the change, rounded once. */
  readonly isAsWritten: boolean
  /** No entry had to be rounded. */
  readonly isExact: boolean
  /** ‖stored − meant‖_F. */
  readonly distance: number
  /** ‖meant‖_F. */
  readonly norm: number
}

/**
 * W' − W in float64, rounded once, as it is stored. Throws LoraSvdError `not-finite` where an entry is no number, and `bad-input` where the
 * dtype can't hold one, or nothing of the change.
 */
export async function differenceBytes(job: DifferenceJob): Promise<Uint8Array> {
  const { change, range, dtype, base, name } = job
  const bytes = new Uint8Array(range.count * change.columns * bytesPerElement(dtype))
  let [at, most] = [0, 0]
  for await (const { delta } of panelsOf(job)) {
    if (!isAllFinite(delta)) {
      // what is kept of factors is of this call alone
      await refuseLost({ ...NOTHING_ROUNDED, nonFinite: 1 }, job, { run: randomUUID(), base })
    }
    if (findOverflow(delta, dtype) >= 0) throw unheld(name, dtype, 'an entry that is too large')
    const encoded = encodeFloats(delta, dtype)
    bytes.set(encoded, at)
    at += encoded.length
    most = Math.max(most, largestAbs(delta))
  }
  if (vanishes(Float64Array.of(most), dtype))
    throw unheld(name, dtype, `no entry beyond ${most.toPrecision(3)}, all of them zero`)
  return bytes
}

const unheld = (name: string, dtype: FloatDtype, what: string) =>
  badInput(
    `the change of ${quoted(name)} has ${what} in ${dtype}; write --dtype ${dtype === 'f16' ? 'bf16 or f32' : 'f32'}`,
    {
      tensor: name,
    },
  )

/** Compares what was read back with the change, which is computed once more. */
export async function compareDifference(job: StoredDifferenceJob): Promise<StoredDifference> {
  const { rescale: _, base: __, ...rest } = job.change
  const added: Change = { ...rest, factors: [], dense: job.stored }
  let [isAsWritten, isExact, distance, norm] = [true, true, 0, 0]
  for await (const { delta, panel } of panelsOf(job)) {
    const { delta: stored } = await panelSum(added, panel, undefined)
    const rounded = decodeFloats(encodeFloats(delta, job.dtype).slice(), job.dtype)
    for (let i = 0; i < delta.length; i++) {
      if (stored[i] !== rounded[i]) isAsWritten = false
      if (stored[i] !== delta[i]) isExact = false
      distance += (stored[i] - delta[i]) ** 2
      norm += delta[i] ** 2
    }
  }
  return { isAsWritten, isExact, distance: Math.sqrt(distance), norm: Math.sqrt(norm) }
}

/** The change of the rows, panel by panel. */
async function* panelsOf({ change, range }: DifferenceJob) {
  const factors = await stackedFactors(change, 0)
  let columnFactors: Float64Array | undefined
  if (isOfColumns(change)) {
    const squares = new Float64Array(change.columns / change.rescale.group)
    for (const rows of normRanges(change)) {
      const part = await columnSquares(change, rows, factors)
      for (let i = 0; i < squares.length; i++) squares[i] += part[i]
    }
    columnFactors = factorsOf(change.rescale, await magnitudeOf(change.rescale), squares)
  }
  for (const panel of densePanels(range, change.columns)) {
    yield { panel, delta: (await panelSum(change, panel, factors, columnFactors)).delta }
  }
}

const ofDifferences = {
  flopsOf: ({ change, range }: DifferenceJob) => 2 * range.count * change.columns * (rankOf(change) + FLOPS),
  nameOf: ({ name }: DifferenceJob) => name,
} as const

/** About what an entry takes besides its product. */
const FLOPS = 16

export const WRITING: JobKind<DifferenceJob, Uint8Array> = {
  ...ofDifferences,
  kind: 'difference',
  work: differenceBytes,
  bytesOf: (job) => panelBytes(job) + job.range.count * job.change.columns * bytesPerElement(job.dtype),
  task: { phase: 'applying', noun: 'tensors', unit: 'flops' },
}

export const CHECKING: JobKind<StoredDifferenceJob, StoredDifference> = {
  ...ofDifferences,
  kind: 'stored-difference',
  work: compareDifference,
  bytesOf: panelBytes,
  task: { phase: 'checking', noun: 'layers', unit: 'flops' },
}
