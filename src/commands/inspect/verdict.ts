import {
  energyKept,
  lowExactRankLimit,
  lowRankLimit,
  orderOf,
  UNRELATED_CHANGE,
} from '../../linalg/spectrum/measures.ts'
import type { IntegerRange } from '../../linalg/spectrum/spectrum.ts'
import { partText } from '../../report/notes.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { grouped, percent, percentDown, percentUp, short } from '../../text/numbers.ts'
import { counted } from '../../text/quote.ts'
import type { InspectResult, MatrixReport, RankCost, Verdict, VerdictKind } from './result.ts'
import { isNotUnderstood } from './work.ts'

/** What is known of a matrix before it is judged. */
export type MatrixFindings = Omit<MatrixReport, 'verdict'>

/** Judges one matrix, delta or product of an adapter: in plain words, with their figures. */
export function verdictOf(matrix: MatrixFindings): Verdict {
  const { spectrum, noise, adapter, base } = matrix
  if (spectrum.frobenius === 0) return { kind: 'zero', text: zeroText(matrix) }
  if (noise?.rankAbove.atMost === 0 && !isNotUnderstood(noise)) {
    return {
      kind: 'below-rounding',
      text: `below the rounding of ${roundingOf(matrix)}: nothing above the noise floor`,
    }
  }
  const verdict = rankVerdict(matrix)
  if (adapter !== undefined) return { kind: verdict.kind, text: adapterText(matrix, adapter) }
  if (base === undefined || base.frobenius === 0 || base.relativeChange < UNRELATED_CHANGE) {
    return verdict.kind !== 'low-rank' && noise !== undefined && isNotUnderstood(noise)
      ? { ...verdict, text: `${verdict.text}; ${hiddenBy(matrix)}` }
      : verdict
  }
  const change = `relative change ${short(base.relativeChange, 2)}`
  return verdict.kind === 'low-rank'
    ? { ...verdict, text: `${verdict.text}; more than the base itself (${change})` }
    : { kind: 'unrelated', text: `these two are not related (${change})` }
}

function zeroText({ adapter, base }: MatrixFindings): string {
  if (adapter !== undefined) return 'all zero: the adapter changes nothing here'
  return base === undefined ? 'all zero' : 'all zero: base and tuned are equal'
}

const hiddenBy = (matrix: MatrixFindings) =>
  `most entries did not move, so that the rounding of ${roundingOf(matrix)} may hide a lower rank`

/** The dtypes whose rounding a delta holds. */
function roundingOf({ dtype, base }: MatrixFindings): string {
  return base === undefined || base.dtype === dtype ? dtype : `${base.dtype} and ${dtype}`
}

function adapterText({ rank, energyRanks }: MatrixFindings, adapter: NonNullable<MatrixReport['adapter']>) {
  const { nominalRank, wasted } = adapter
  if (wasted > 0) {
    const found = rank.atLeast === rank.atMost ? grouped(rank.atLeast) : `at most ${grouped(rank.atMost)}`
    return `rank ${found} of its nominal ${grouped(nominalRank)}: ${counted(wasted, 'direction')} wasted`
  }
  const most = energyRanks['0.99'].atMost
  const less = most < nominalRank ? `, ${grouped(most)} of them keep${most === 1 ? 's' : ''} 99 %` : ''
  return `uses all of its nominal rank ${grouped(nominalRank)}${less}`
}

function rankVerdict(matrix: MatrixFindings): Verdict {
  const { spectrum, rank, energyRanks, noise } = matrix
  const limit = lowRankLimit(spectrum.rows, spectrum.columns)
  const [r90, r99] = [energyRanks['0.9'], energyRanks['0.99']]
  const order = grouped(orderOf(spectrum))
  if (rank.atMost <= lowExactRankLimit(spectrum.rows, spectrum.columns)) {
    const exactly = rank.atLeast === rank.atMost ? 'exactly' : 'at most'
    const enough = r99.atMost < rank.atMost ? `, and rank ${grouped(r99.atMost)} keeps 99 %` : ''
    return {
      kind: 'low-rank',
      text: `low-rank: ${exactly} rank ${grouped(rank.atMost)} of ${order}${enough}`,
    }
  }
  if (r99.atMost <= limit) {
    return { kind: 'low-rank', text: `low-rank: rank ${grouped(r99.atMost)} of ${order} keeps 99 %` }
  }
  if (noise !== undefined && noise.rankAbove.atMost > 0 && noise.rankAbove.atMost <= limit) {
    return { kind: 'low-rank', text: butForRounding(matrix, noise.rankAbove) }
  }
  if (r90.atMost <= limit) {
    const text = `partly low-rank: rank ${grouped(r90.atMost)} of ${order} keeps 90 %, 99 % needs ${needed(r99)}`
    return { kind: 'partly-low-rank', text }
  }
  if (r90.atLeast > limit || energyKept(spectrum, limit).atMost < 0.9) {
    return { kind: 'not-low-rank', text: `not low-rank: ${shortfall(matrix)}` }
  }
  return { kind: 'open', text: `open: ${shortfall(matrix)}; --full tells` }
}

/** What is left once rounding is set aside, with the share of the change it holds at least. */
function butForRounding(matrix: MatrixFindings, rankAbove: IntegerRange): string {
  const { spectrum } = matrix
  const share = energyKept(spectrum, rankAbove.atLeast).atLeast
  const atMost = rankAbove.atLeast < rankAbove.atMost ? 'at most ' : ''
  const stands = `${atMost}rank ${grouped(rankAbove.atMost)} of ${grouped(orderOf(spectrum))} stands above it`
  return `low-rank but for the rounding of ${roundingOf(matrix)}: ${stands}, with ${percentDown(share)} of the change`
}

/** Why the rank isn't low, or not known to be: by the rank that 90 % needs, or by what the leading directions keep. */
function shortfall({ spectrum, energyRanks }: MatrixFindings): string {
  const r90 = energyRanks['0.9']
  const order = grouped(orderOf(spectrum))
  if (r90.atLeast === r90.atMost) return `90 % needs ${grouped(r90.atLeast)} of ${order}`
  const leading = spectrum.singularValues.length
  const { atLeast, atMost } = energyKept(spectrum, leading)
  const which =
    leading === 1 ? `the leading 1 of ${order} keeps` : `the leading ${grouped(leading)} of ${order} keep`
  return atMost < 0.9 ? `${which} ${percentUp(atMost)} at most` : `${which} ${percentDown(atLeast)} at least`
}

const needed = ({ atLeast, atMost }: IntegerRange) =>
  atLeast === atMost ? grouped(atLeast) : `at least ${grouped(atLeast)} (--full tells)`

/** What a verdict is called in a table and in counts. */
export const VERDICT_NAMES: Record<VerdictKind, string> = {
  'low-rank': 'low-rank',
  'partly-low-rank': 'partly',
  'not-low-rank': 'not low-rank',
  unrelated: 'not related',
  'below-rounding': 'rounding',
  zero: 'zero',
  open: 'open',
}

/** What the matrices are called. */
const SUBJECT_NOUNS = { weights: 'matrix', delta: 'delta', adapter: 'module' } as const

/** `count` and the noun of the subject. */
export function countedSubjects(count: number, subject: InspectResult['subject']): string {
  const noun = SUBJECT_NOUNS[subject]
  const plural = noun === 'matrix' ? 'matrices' : `${noun}s`
  return `${grouped(count)} ${count === 1 ? noun : plural}`
}

/** In the order in which they are counted up. */
const PHRASES: readonly (readonly [VerdictKind, string])[] = [
  ['low-rank', 'low-rank'],
  ['partly-low-rank', 'partly low-rank'],
  ['not-low-rank', 'not low-rank'],
  ['unrelated', 'not related to the base'],
  ['below-rounding', 'below rounding'],
  ['zero', 'all zero'],
  ['open', 'open without --full'],
]

/** The shares of ‖·‖_F² that a rank for all matrices is looked for to keep, the best first. */
const LEAST_SHARE = 0.9
const KEPT_SHARES = [0.99, LEAST_SHARE] as const

/** What the verdicts come to over the model, in a sentence or two. */
export function modelVerdict(result: InspectResult): string {
  const { matrices, subject, totals } = result
  const part = partOf(totals)
  if (matrices.length === 0) return [part, nothing(result)].filter(isSaid).join(' ')
  const kinds = PHRASES.map(([kind, phrase]) => ({
    phrase,
    count: matrices.filter(({ verdict }) => verdict.kind === kind).length,
  })).filter(({ count }) => count > 0)
  const shown = matrices.length < totals.matrices ? ' shown' : ''
  const all = `${countedSubjects(matrices.length, subject)}${shown}`
  const counts =
    kinds.length === 1
      ? `${all}: ${matrices.length === 1 ? '' : 'all '}${kinds[0].phrase}.`
      : `${all}: ${listed(kinds.map(({ count, phrase }) => `${grouped(count)} ${phrase}`))}.`
  const whole = wholeModel(result)
  return [part, counts, whole].filter(isSaid).join(' ')
}

const isSaid = (text: string | undefined) => text !== undefined

/** That a verdict is over a part of two models. */
function partOf({ matched = 0, unmatched = 0 }: InspectResult['totals']): string | undefined {
  const part = partText({ matched, unmatched })
  return part === undefined ? undefined : `This is not the whole change: ${part}.`
}

function nothing({ subject, unchanged, nonFinite }: InspectResult): string {
  if (nonFinite.length > 0) return 'No matrix with finite entries.'
  if (subject === 'delta' && unchanged.length > 0) return 'All matrices that were compared are equal in both.'
  return `No ${subject === 'weights' ? 'matrices' : `${SUBJECT_NOUNS[subject]}s`} here.`
}

const listed = (parts: string[]) =>
  parts.length === 1 ? parts[0] : `${parts.slice(0, -1).join(', ')} and ${parts[parts.length - 1]}`

/** The least tabulated rank that keeps 99 %, or else 90 %, and is smaller than the matrices; or that none does. */
function wholeModel({ costs, totals, subject, matrices }: InspectResult): string | undefined {
  const everyOne = matrices.length < totals.matrices ? `all ${grouped(totals.matrices)}` : 'all'
  if (costs.length === 0 || !(totals.frobenius > 0)) return undefined
  // Factors of an adapter are measured against the model's matrices, which says nothing of the adapter.
  const sizeOf = ({ parameters }: RankCost) => (subject === 'adapter' ? 0 : parameters / totals.elements)
  for (const share of KEPT_SHARES) {
    const cost = costs.find(({ relativeError }) => relativeError.atMost ** 2 <= 1 - share)
    if (cost === undefined || sizeOf(cost) >= 1) continue
    const keeps = `Rank ${grouped(cost.rank)} for ${everyOne} keeps ${keptText(cost)}`
    return subject === 'adapter' ? `${keeps}.` : `${keeps} at ${percent(sizeOf(cost))} of the size.`
  }
  const smaller = costs.filter((cost) => sizeOf(cost) < 1)
  if (smaller.length === 0) return 'No tabulated rank is smaller than the matrices.'
  const { rank, relativeError } = smaller[smaller.length - 1]
  const [atLeast, atMost] = [1 - relativeError.atMost ** 2, 1 - relativeError.atLeast ** 2]
  const last = `rank ${grouped(rank)} for ${everyOne} keeps`
  if (atMost >= LEAST_SHARE) {
    return `No tabulated rank is known to keep 90 % and be smaller: ${last} ${percentDown(atLeast)} at least; --full tells.`
  }
  return `No tabulated rank keeps 90 % and is smaller: ${last} ${percentUp(atMost)}${atLeast < atMost ? ' at most' : ''}.`
}

/** The share that a rank keeps, or keeps at least. */
function keptText({ relativeError: { atLeast, atMost } }: RankCost): string {
  const least = percentDown(1 - atMost ** 2)
  return least === percentDown(1 - atLeast ** 2) ? least : `at least ${least}`
}

/** Green is low, yellow partly, magenta not; red is an alarm, and dim what there is nothing to say of. */
export function verdictPaint(kind: VerdictKind, paint: Terminal['paint']): (text: string) => string {
  switch (kind) {
    case 'low-rank':
      return paint.green
    case 'partly-low-rank':
      return paint.yellow
    case 'not-low-rank':
      return paint.magenta
    case 'unrelated':
      return paint.red
    case 'open':
      return paint.blue
    case 'below-rounding':
    case 'zero':
      return paint.dim
  }
}
