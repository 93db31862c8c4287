import { stripVTControlCharacters } from 'node:util'
import type { Terminal } from '../terminal/terminal.ts'

/** Between two columns. */
export const GAP = 2

export type Align = 'left' | 'right'

const visibleLength = (text: string) => stripVTControlCharacters(text).length

/**
 * Rows in columns with no lines but one under the head, for lists too long to be framed. Cells are as they are painted; a
 * head that is wider than its column makes it wider.
 */
export function grid(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  aligns: readonly Align[],
  paint: Terminal['paint'],
): string {
  const widths = columnWidths(head, rows)
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, at) => aligned(cell, widths[at], aligns[at]))
      .join(' '.repeat(GAP))
      .trimEnd()
  const rule = '─'.repeat(gridWidth(widths))
  return [line(head.map((title) => paint.bold(title))), paint.dim(rule), ...rows.map(line)].join('\n')
}

export function columnWidths(head: readonly string[], rows: readonly (readonly string[])[]): number[] {
  return head.map((title, at) =>
    rows.reduce((width, row) => Math.max(width, visibleLength(row[at])), visibleLength(title)),
  )
}

export const gridWidth = (widths: readonly number[]) =>
  widths.reduce((sum, width) => sum + width + GAP, widths.length > 0 ? -GAP : 0)

function aligned(cell: string, width: number, align: Align): string {
  const padding = ' '.repeat(Math.max(0, width - visibleLength(cell)))
  return align === 'right' ? padding + cell : cell + padding
}
