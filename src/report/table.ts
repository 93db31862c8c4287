import { stripVTControlCharacters } from 'node:util'
import Table from 'cli-table3'

const NO_LINES_BETWEEN_ROWS = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' }
const HEAD_RULE: Record<string, string> = { '┌': '├', '┬': '┼', '┐': '┤' }

/** What the frame takes beside each cell, and once more at the end. */
const CELL_FRAME = 3
/** However narrow the terminal, a cell is not wrapped to less. */
const MIN_CELL_WIDTH = 8

/** How many characters a painted text shows. */
const visibleLength = (text: string) => stripVTControlCharacters(text).length

/** The width that `table` takes for these rows where nothing is wrapped. */
export function tableWidth(rows: string[][]): number {
  const widths = rows[0].map((_, column) =>
    rows.reduce((most, row) => Math.max(most, visibleLength(row[column])), 0),
  )
  return widths.reduce((sum, width) => sum + width + CELL_FRAME, 1)
}

/**
 * A table with its cells as they are painted, a rule under the head if there is one; where it is wider than `columns`,
 * the last cell of each row is wrapped. cli-table3's own colours are off, because it emits them into pipes too.
 */
export function table(
  unwrapped: string[][],
  columns: number,
  head?: string[],
  rightAligned: number[] = [],
): string {
  const last = unwrapped[0].length - 1
  const besides = tableWidth(unwrapped.map((row) => row.with(last, '')))
  const room = Math.max(MIN_CELL_WIDTH, columns - besides)
  // cli-table3 takes the third power of a cell's lines, so each of them is a row
  const rows = unwrapped.flatMap((row) =>
    wrap(row[last], room)
      .split('\n')
      .map((line, at) => (at === 0 ? row : row.map(() => '')).with(last, line)),
  )
  const grid = new Table({
    style: { head: [], border: [] },
    chars: NO_LINES_BETWEEN_ROWS,
    colAligns: rows[0].map((_, column) => (rightAligned.includes(column) ? 'right' : 'left')),
  })
  grid.push(...(head === undefined ? rows : [head, ...rows]))
  const lines = grid.toString().split('\n')
  if (head !== undefined)
    lines.splice(
      2,
      0,
      lines[0].replace(/[┌┬┐]/g, (corner) => HEAD_RULE[corner]),
    )
  return lines.join('\n')
}

/**
 * Breaks a line of words so that no line is longer than `width`, each line beginning with `indent`. A word that is longer
 * by itself, such as a path, is broken anywhere, unless it is painted.
 */
export function wrap(text: string, width: number, indent = ''): string {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ').flatMap((word) => pieces(word, width - indent.length))) {
    if (line !== '' && indent.length + visibleLength(line) + 1 + visibleLength(word) > width) {
      lines.push(indent + line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, indent + line].join('\n')
}

function pieces(word: string, size: number): string[] {
  if (visibleLength(word) <= size || visibleLength(word) < word.length) return [word]
  return Array.from({ length: Math.ceil(word.length / size) }, (_, i) => word.slice(i * size, (i + 1) * size))
}
