import { counted } from '../formats/quote.ts'
import { grouped, percent } from '../report/numbers.ts'
import type { InspectResult, RankCost, VerdictKind } from './result.ts'

/** What the matrices are called. */
export const SUBJECT_NOUNS = { weights: 'matrix', delta: 'delta', adapter: 'module' } as const

/** `count` and the noun of the subject. */
export function countedSubjects(count: number, subject: InspectResult['subject']): string {
  const noun = SUBJECT_NOUNS[subject]
  if (noun === 'matrix' && count !== 1) return `${grouped(count)} matrices`
  return counted(count, noun).replace(/^\d+/, grouped)
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
const KEPT_SHARES = [0.99, 0.9] as const

/** What the verdicts come to over the model, in a sentence or two. */
export function modelVerdict(result: InspectResult): string {
  const { matrices, subject, totals } = result
  if (matrices.length === 0) return nothing(result)
  const kinds = PHRASES.map(([kind, phrase]) => ({
    phrase,
    count: matrices.filter(({ verdict }) => verdict.kind === kind).length,
  })).filter(({ count }) => count > 0)
  const shown = matrices.length < totals.matrices ? ' shown' : ''
  const all = `${countedSubjects(matrices.length, subject)}${shown}`
  const counts =
    kinds.length === 1
      ? `${matrices.length === 1 ? all : `All ${all} are`}${matrices.length === 1 ? ' is' : ''} ${kinds[0].phrase}.`
      : `Of ${all} ${listed(kinds.map(({ count, phrase }, i) => `${grouped(count)} ${i > 0 ? '' : count === 1 ? 'is ' : 'are '}${phrase}`))}.`
  const whole = wholeModel(result)
  return whole === undefined ? counts : `${counts} ${whole}`
}

function nothing({ subject, unchanged, nonFinite }: InspectResult): string {
  if (nonFinite.length > 0) return 'No matrix with finite entries.'
  if (subject === 'delta' && unchanged.length > 0) return 'All matrices are equal in both.'
  return `No ${subject === 'weights' ? 'matrices' : `${SUBJECT_NOUNS[subject]}s`} here.`
}

const listed = (parts: string[]) =>
  parts.length === 1 ? parts[0] : `${parts.slice(0, -1).join(', ')} and ${parts[parts.length - 1]}`

/** The least tabulated rank that keeps 99 %, or else 90 %, and what it takes; or that none does. */
function wholeModel({ costs, totals, subject }: InspectResult): string | undefined {
  if (costs.length === 0 || !(totals.frobenius > 0)) return undefined
  const sizeOf = ({ parameters }: RankCost) => parameters / totals.elements
  for (const share of KEPT_SHARES) {
    const cost = costs.find(({ relativeError }) => relativeError.atMost ** 2 <= 1 - share)
    if (cost === undefined) continue
    const keeps = `Rank ${grouped(cost.rank)} for all keeps ${percent(share)}`
    if (subject === 'adapter') return `${keeps}.`
    return sizeOf(cost) < 1
      ? `${keeps} at ${percent(sizeOf(cost))} of the size.`
      : `${keeps}, but is no smaller.`
  }
  const last = costs[costs.length - 1]
  return `Rank ${grouped(last.rank)} for all keeps ${percent(1 - last.relativeError.atLeast ** 2)} at most.`
}
