import { counted, printable } from '../formats/quote.ts'
import { figure } from '../report/cells.ts'
import { shownName } from '../report/names.ts'
import { wrap } from '../report/table.ts'
import { firstOf, paintLines } from '../report/text.ts'
import type { Terminal } from '../terminal/terminal.ts'
import type { NotCarried } from './result.ts'

/**
 * What changed and isn't carried, by reason and in each by the size of the change, the largest first. `advice` says what
 * would carry tensors that were left for a reason, as a sentence.
 */
export function notCarriedLines(
  notCarried: readonly NotCarried[],
  { paint, columns }: Pick<Terminal, 'paint' | 'columns'>,
  advice: (reason: string) => string | undefined = () => undefined,
): string[] {
  const groups = new Map<string, NotCarried[]>()
  for (const one of [...notCarried].sort(byChange)) {
    const group = groups.get(one.reason)
    if (group === undefined) groups.set(one.reason, [one])
    else group.push(one)
  }
  return [...groups].map(([reason, group]) => {
    const tensors = firstOf(
      group.map(({ name, relativeChange }) => shownName(name) + changeText(relativeChange)),
    )
    const cure = advice(reason)
    const text = `Not carried: ${counted(group.length, 'tensor')}, ${printable(reason)}: ${tensors}.${cure === undefined ? '' : ` ${cure}.`}`
    return paintLines(wrap(text, columns), paint.yellow)
  })
}

/** Unknown sizes last. */
const sizeOf = ({ relativeChange = -1 }: NotCarried) => relativeChange

function byChange(a: NotCarried, b: NotCarried): number {
  const [x, y] = [sizeOf(a), sizeOf(b)]
  return x < y ? 1 : x > y ? -1 : 0
}

function changeText(change: number | undefined): string {
  if (change === undefined) return ''
  return Number.isFinite(change) ? ` (changed by ${figure(change)})` : ' (changed from zero)'
}
