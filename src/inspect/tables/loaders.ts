import { printable } from '../../formats/quote.ts'
import { setting } from '../../report/cells.ts'
import { columnWidths, grid, gridWidth } from '../../report/grid.ts'
import { grouped } from '../../report/numbers.ts'
import { wrap } from '../../report/table.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import type { InspectResult, LoaderScale, MatrixReport } from '../result.ts'

/** Different scales of one loader that are listed. */
const LISTED_SCALES = 4

/** Whether a loader does anything else than the adapter's format says. */
function differs({ adapter }: MatrixReport): boolean {
  return (
    adapter?.scales.some(({ scale, refusal }) => refusal !== undefined || scale !== adapter.scale) === true
  )
}

/** The scales that each loader applies, where they aren't all those of the adapter's own format. */
export function loadersTable(
  { matrices }: InspectResult,
  { paint, columns }: Pick<Terminal, 'paint' | 'columns'>,
): string | undefined {
  if (!matrices.some(differs)) return undefined
  const loaders = new Map<LoaderScale['loader'], Map<string, number>>()
  for (const { adapter } of matrices) {
    for (const loader of adapter?.scales ?? []) {
      const text = textOf(loader, adapter!.scale)
      const counts = loaders.get(loader.loader) ?? new Map<string, number>()
      loaders.set(loader.loader, counts.set(text, (counts.get(text) ?? 0) + 1))
    }
  }
  const rows = [...loaders].flatMap(([loader, counts]) => scaleRows(loader, counts))
  const heads = ['loader', 'modules', 'scale']
  const room = columns - gridWidth(columnWidths(heads, rows).with(-1, 0))
  const lines = rows.flatMap(([loader, count, text]) =>
    wrap(text, room)
      .split('\n')
      .map((line, at) =>
        at === 0 ? [loader, count, colourOf(text, paint)(line)] : ['', '', colourOf(text, paint)(line)],
      ),
  )
  return grid(heads, lines, ['left', 'right', 'left'], paint)
}

/** The scales of one loader, the most frequent first. */
function scaleRows(loader: string, counts: ReadonlyMap<string, number>): string[][] {
  const byCount = [...counts].sort((a, b) => b[1] - a[1])
  const others = byCount.slice(LISTED_SCALES).reduce((sum, [, count]) => sum + count, 0)
  return [
    ...byCount
      .slice(0, LISTED_SCALES)
      .map(([text, count], at) => [at === 0 ? loader : '', grouped(count), text]),
    ...(others > 0 ? [['', grouped(others), 'other scales']] : []),
  ]
}

const REFUSED = 'not loaded: '
const INSTEAD = ' instead of '

function textOf({ scale, refusal }: LoaderScale, own: number): string {
  if (refusal !== undefined) return `${REFUSED}${printable(refusal)}`
  return scale === own ? setting(scale) : `${setting(scale)}${INSTEAD}${setting(own)}`
}

function colourOf(text: string, paint: Terminal['paint']): (text: string) => string {
  return text.startsWith(REFUSED) ? paint.red : text.includes(INSTEAD) ? paint.yellow : String
}
