import Table from 'cli-table3'

/** A table with the heads and cells as they are painted; cli-table3's own colours are off, as it emits them into pipes. */
export function table(rows: string[][], head: string[] = [], rightAligned: number[] = []): string {
  const widest = Math.max(head.length, ...rows.map((row) => row.length))
  const grid = new Table({
    head,
    style: { head: [], border: [] },
    colAligns: Array.from({ length: widest }, (_, column) =>
      rightAligned.includes(column) ? 'right' : 'left',
    ),
    chars: head.length === 0 ? {} : { 'left-mid': '', mid: '', 'mid-mid': '', 'right-mid': '' },
  })
  grid.push(...rows)
  return grid.toString()
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
