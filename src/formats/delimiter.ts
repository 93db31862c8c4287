/** What separates the cells of a line: a mark, or any run of blanks. */
export type Delimiter = ',' | ';' | '\t' | 'blank'

/**
 * The delimiter that a file's first row shows. A semicolon wins over a comma, as it stands beside decimal commas;
 * a tab doesn't count where blanks separate numbers too.
 */
export function detectDelimiter(line: string): Delimiter {
  const bare = line.replace(/"[^"]*"/g, '""')
  if (bare.includes(';')) return ';'
  if (bare.includes(',')) return hasDecimalCommas(bare.split('\t')) ? '\t' : ','
  if (!bare.includes('\t')) return 'blank'
  const blanksInside = bare.split('\t').some((cell) => cell.trim().includes(' '))
  return blanksInside && /^[-+.\de\s]*$/i.test(bare) ? 'blank' : '\t'
}

/** Whether cells between tabs have commas in them, and only as decimals have. */
const hasDecimalCommas = (cells: readonly string[]) =>
  cells.length > 1 &&
  cells.every((cell) => !cell.includes(',') || /^\s*[-+−]?\d*,\d+(?:e[-+]?\d+)?\s*$/i.test(cell))

/**
 * The cells of a line; of quoted ones the content. Throws SyntaxError on a quote that isn't closed on its line
 * or has text beside it.
 */
export function splitCells(line: string, delimiter: Delimiter): string[] {
  if (line.includes('"')) return splitQuoted(line, delimiter)
  if (delimiter !== 'blank') return line.split(delimiter)
  const trimmed = line.trim()
  return trimmed === '' ? [] : trimmed.split(/\s+/)
}

function splitQuoted(line: string, delimiter: Delimiter): string[] {
  const byBlank = delimiter === 'blank'
  const isBlank = (at: number) => line[at] === ' ' || line[at] === '\t'
  const isEnd = (at: number) => at >= line.length || (byBlank ? isBlank(at) : line[at] === delimiter)
  const cells: string[] = []
  for (let at = 0; ; at++) {
    while (isBlank(at) && line[at] !== delimiter) at++
    if (byBlank && at >= line.length) return cells
    let end = at
    if (line[at] === '"') {
      end = closingQuote(line, at) + 1
      cells.push(line.slice(at + 1, end - 1).replaceAll('""', '"'))
      while (!byBlank && isBlank(end) && line[end] !== delimiter) end++
    } else {
      while (!isEnd(end) && line[end] !== '"') end++
      cells.push(line.slice(at, end))
    }
    if (!isEnd(end)) throw new SyntaxError(`has text beside a quoted cell at character ${end + 1}`)
    if (end >= line.length) return cells
    at = end
  }
}

/** The quote that closes the one at `open`; a doubled quote is part of the text. */
function closingQuote(line: string, open: number): number {
  for (let at = open + 1; ; at += 2) {
    at = line.indexOf('"', at)
    if (at === -1)
      throw new SyntaxError(`has a quote at character ${open + 1} that is not closed on its line`)
    if (line[at + 1] !== '"') return at
  }
}
