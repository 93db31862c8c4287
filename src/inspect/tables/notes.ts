import { addTo } from '../../checkpoint/group.ts'
import { printable } from '../../formats/quote.ts'
import { shownName } from '../../report/names.ts'
import { grouped } from '../../report/numbers.ts'
import { wrap } from '../../report/table.ts'
import { paintLines, someTensors } from '../../report/text.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import type { InspectResult } from '../result.ts'

/** What is wrong, what to know, and what was left out, the gravest first. */
export function notesOf(
  result: InspectResult,
  { paint, columns }: Pick<Terminal, 'paint' | 'columns'>,
): string[] {
  const { nonFinite, warnings, unchanged, skipped } = result
  const lines = (texts: readonly string[], colour: (text: string) => string) =>
    texts.map((text) => paintLines(wrap(text, columns), colour))
  return [
    ...lines(
      nonFinite.map(({ name, file, count, first: { row, column, value } }) => {
        const entries = `${grouped(count)} ${count === 1 ? 'entry' : 'entries'} NaN or infinite`
        return `${printable(file)}: ${shownName(name)}: ${entries}, the first (${value}) at row ${row}, column ${column}`
      }),
      paint.red,
    ),
    ...lines(
      warnings.map((warning) => `Warning: ${printable(warning)}`),
      paint.yellow,
    ),
    ...lines(unchanged.length === 0 ? [] : [`Equal in both: ${someTensors(unchanged)}.`], paint.dim),
    ...lines(skippedTexts(skipped), paint.dim),
  ]
}

function skippedTexts(skipped: InspectResult['skipped']): string[] {
  const reasons = new Map<string, string[]>()
  for (const { name, reason } of skipped) addTo(reasons, reason, name)
  return [...reasons].map(([reason, names]) => `Skipped, ${printable(reason)}: ${someTensors(names)}.`)
}
