import { counted } from '../../formats/quote.ts'
import { bytes, grouped, percent, short } from '../../report/numbers.ts'
import type { InspectResult, VerdictKind } from '../result.ts'

const WHAT = { weights: 'matrix', delta: 'delta', adapter: 'module' } as const
const PLURAL = { weights: 'matrices', delta: 'deltas', adapter: 'modules' } as const

/** In the order in which a headline names them. */
const SAYS: readonly (readonly [VerdictKind, string])[] = [
  ['unrelated', 'unrelated to the base'],
  ['low-rank', 'low-rank'],
  ['not-low-rank', 'not low-rank'],
  ['below-rounding', 'below the rounding'],
  ['zero', 'zero'],
  ['open', 'undecided'],
]

/** The verdicts over all matrices of a report in one sentence: "19 of 23 deltas are low-rank; 4 not low-rank". */
export function headline({ matrices, subject }: InspectResult): string {
  if (matrices.length === 0) return `No ${WHAT[subject]} to show`
  if (matrices.length === 1) return `${capital(WHAT[subject])} ${matrices[0].verdict.text}`
  const counts = SAYS.map(
    ([kind, says]) => [matrices.filter(({ verdict }) => verdict.kind === kind).length, says] as const,
  )
  const [first, ...rest] = counts.filter(([count]) => count > 0).sort(([a], [b]) => b - a)
  if (rest.length === 0) return `All ${matrices.length} ${PLURAL[subject]} are ${first[1]}`
  const others = rest.map(([count, says]) => `${count} ${count === 1 ? 'is' : 'are'} ${says}`)
  return `${first[0]} of ${matrices.length} ${PLURAL[subject]} are ${first[1]}; ${others.join(', ')}`
}

const capital = (text: string) => text[0].toUpperCase() + text.slice(1)

/** The figures over all matrices, as pairs of what and how much. */
export function totalFigures(result: InspectResult): (readonly [string, string])[] {
  const { totals, subject, matrices } = result
  const wasted = matrices.reduce((sum, { adapter }) => sum + (adapter?.wasted ?? 0), 0)
  return [
    [PLURAL[subject], String(totals.matrices)],
    [subject === 'adapter' ? 'entries of B·A' : 'parameters', magnitude(totals.elements)],
    ['stored', bytes(totals.bytes)],
    [subject === 'delta' ? '‖change‖_F' : '‖·‖_F', short(totals.frobenius, 4)],
    ...(totals.relativeChange === undefined
      ? []
      : [['relative change', percent(totals.relativeChange)] as const]),
    ...(subject === 'adapter' ? [['wasted ranks', String(wasted)] as const] : []),
    ...(result.unchanged.length > 0
      ? [['unchanged', counted(result.unchanged.length, 'tensor')] as const]
      : []),
  ]
}

/** 6.74 billion; 123,456. */
function magnitude(n: number): string {
  if (n < 1e6) return grouped(n)
  const [unit, name] = n < 1e9 ? [1e6, 'million'] : [1e9, 'billion']
  return `${Number((n / unit).toPrecision(3))} ${name}`
}
