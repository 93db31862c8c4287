import { partText } from '../../report/matching.ts'
import { grouped, percent, percentDown, percentUp } from '../../report/numbers.ts'
import type { InspectResult, RankCost, VerdictKind } from '../result.ts'

/** What the matrices are called. */
export const SUBJECT_NOUNS = { weights: 'matrix', delta: 'delta', adapter: 'module' } as const

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
