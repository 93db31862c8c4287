import { counted } from '../../formats/quote.ts'
import { bytes, grouped, percent, short } from '../../report/numbers.ts'
import type { InspectResult } from '../result.ts'
import { countedSubjects, modelVerdict } from '../verdict/model.ts'

/** What the matrices come to in words: a headline, and what more there is to say. */
export function headline(result: InspectResult): { readonly title: string; readonly more: string } {
  const verdict = modelVerdict(result)
  const end = verdict.indexOf('. ')
  const [title, more] = end < 0 ? [verdict, ''] : [verdict.slice(0, end + 1), verdict.slice(end + 2)]
  const own = result.matrices.length === 1 ? `${capital(result.matrices[0].verdict.text)}. ` : ''
  return { title: title.replace(/\.$/, ''), more: `${own}${more}`.trim() }
}

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)

/** The figures over all matrices, as pairs of what and how much. */
export function totalFigures(result: InspectResult): (readonly [string, string])[] {
  const { totals, subject, matrices } = result
  const wasted = matrices.reduce((sum, { adapter }) => sum + (adapter?.wasted ?? 0), 0)
  return [
    [countedSubjects(totals.matrices, subject).replace(/^\S+ /, ''), grouped(totals.matrices)],
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
