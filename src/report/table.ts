import Table from 'cli-table3'

const NO_LINES_BETWEEN_ROWS = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' }
const HEAD_RULE: Record<string, string> = { '┌': '├', '┬': '┼', '┐': '┤' }

/**
 * A table with its cells as they are painted, a rule under the head if there is one. cli-table3's own colours are off,
 * because it emits them into pipes too.
 */
export function table(rows: string[][], head?: string[], rightAligned: number[] = []): string {
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

/** Breaks a line of words so that no line is longer than `width`, each line beginning with `indent`. */
export function wrap(text: string, width: number, indent = ''): string {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && indent.length + line.length + 1 + word.length > width) {
      lines.push(indent + line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, indent + line].join('\n')
}
