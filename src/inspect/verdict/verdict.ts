import { counted } from '../../formats/quote.ts'
import { grouped, percentDown, percentUp, short } from '../../report/numbers.ts'
import { energyKept, lowExactRankLimit, lowRankLimit, UNRELATED_CHANGE } from '../../spectrum/low-rank.ts'
import { orderOf } from '../../spectrum/measures.ts'
import type { IntegerRange } from '../../spectrum/types.ts'
import { isNotUnderstood } from '../noise-findings.ts'
import type { MatrixReport, Verdict, VerdictKind } from '../result.ts'

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
