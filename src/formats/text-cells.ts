import { quoted } from '../text/quote.ts'

/** A line that holds cells, and its number in the file. */
export interface Line {
  readonly number: number
  readonly text: string
}

/** The lines that hold cells: not blank, not a comment. They end as Unix, Windows or old Macintosh programs end them. */
export function* rowLines(text: string): Generator<Line, undefined> {
  const mark = !text.includes('\n') && text.includes('\r') ? '\r' : '\n'
  let number = 0
  for (let start = 0; start < text.length; ) {
    const next = text.indexOf(mark, start)
    const end = next === -1 ? text.length : next
    const line = text.slice(start, text[end - 1] === '\r' && end > start ? end - 1 : end)
    number++
    start = end + 1
    if (/^\s*(?:#|$)/.test(line)) continue
    yield { number, text: line }
  }
}

/** `A = [`, `array([`: how programs print a matrix in brackets. */
const OPENING = /^\s*(?:[A-Za-z_]\w*\s*=\s*)?(?:[A-Za-z_][\w.]*\(\s*)?\[/

/** Whether a text is a matrix in brackets, as MATLAB writes it, or Python and JSON: lists in a list. */
export const isBracketed = (text: string) => OPENING.test(text)

/**
 * The rows of a matrix in brackets, one a line: each in brackets of its own, or up to a semicolon or the line's end. Throws
 * SyntaxError, with the line, where the brackets hold or are followed by something else.
 */
export function* bracketedLines(text: string): Generator<Line, undefined> {
  const open = OPENING.exec(text)![0].length
  const isNested = /^\s*\[/.test(text.slice(open))
  const row = isNested ? /([\s,]*)\[([^\][]*)\]/y : /([ \t]*)([^\][;\n]*)(?:[;\n]|(?=\]))/y
  let [counted, line] = [0, 1]
  /** The number of the line that a place is in; places only go on, so that each line end is counted once. */
  const lineAt = (place: number) => {
    for (
      let end = text.indexOf('\n', counted);
      end !== -1 && end < place;
      end = text.indexOf('\n', counted)
    ) {
      counted = end + 1
      line++
    }
    return line
  }
  const problem = (at: number, what: string) => new SyntaxError(`line ${lineAt(at)} ${what}`)
  if (/^[\s[]*["{]/.test(text.slice(open))) throw problem(open, 'is JSON, but no rows of numbers')
  let at = open
  for (;;) {
    row.lastIndex = at
    const found = row.exec(text)
    if (found === null || (found[0] === '' && text[at] === ']')) break
    const cells = found[2].replace(/\s+/g, ' ').replace(/ ?, ?/g, ',').trim()
    if (cells !== '') yield { number: lineAt(at + found[1].length), text: cells }
    at = row.lastIndex
  }
  const rest = text.slice(at)
  if (CLOSING.test(rest.replace(/\s+/g, ''))) return
  if (!rest.includes(']'))
    throw problem(text.trimEnd().length, 'ends without the bracket that closes the matrix')
  throw problem(
    at,
    isNested ? 'has more than rows of numbers in its brackets' : 'has more after its brackets',
  )
}

/** The end of a matrix in brackets, without its blanks; NumPy may add the type. */
const CLOSING = /^,*\](?:,dtype=[\w.']+)?\)?;?$/

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

/** A decimal number as C, Python and pandas write it; not `0x10`, `1_000` or an empty cell, which Number() would take. */
const DECIMAL = /^\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?\s*$/i
/** The same with a comma for the point. */
const DECIMAL_COMMA = /^\s*[+-]?(?:\d+,\d*|,\d+)(?:[ed][+-]?\d+)?\s*$/i
const SPECIAL = /^\s*([+-]?)(?:(nan)|inf(?:inity)?)\s*$/i

/** How pandas.read_csv spells a missing value; an empty cell is one too, but only between delimiters. */
const MISSING = new Set(['', 'NA', 'N/A', 'n/a', '<NA>', 'null', 'NULL', 'None'])

/** A digit, and nothing beside digits but what stands in or about a number: signs, separators, currencies, exponents, brackets. */
const NUMBER_LIKE = /^(?=.*\d)[\d\s.,:;|/\\'"`’_+\-−–±~<>=*^()[\]{}%‰$€£¥₹#?!xed]*$/iu

/** How decimals are written: which mark they have is settled by the first that has one. */
export class Decimals {
  #mark: '.' | ',' | undefined

  /** Whether a comma may be the decimal mark: not where it separates cells. */
  constructor(readonly mayHaveComma: boolean) {}

  /** The number in a cell, NaN where it is missing, undefined where it is no number. */
  parse(cell: string): number | undefined {
    if (DECIMAL.test(cell)) {
      if (this.mayHaveComma && cell.includes('.') && !this.#isMarkedBy('.')) return undefined
      return Number(cell)
    }
    if (MISSING.has(cell.trim())) return Number.NaN
    const special = SPECIAL.exec(cell)
    if (special !== null) {
      if (special[2] !== undefined) return Number.NaN
      return special[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
    }
    // Fortran's exponents, and the minus of typesetters: no other number is written so
    const plain = cell.replace('−', '-').replace(/(?<=[\d.,])d(?=[+-]?\d)/i, 'e')
    if (plain !== cell && DECIMAL.test(plain)) return this.parse(plain)
    if (!this.mayHaveComma || !DECIMAL_COMMA.test(plain) || !this.#isMarkedBy(',')) return undefined
    return Number(plain.replace(',', '.'))
  }

  #isMarkedBy(mark: '.' | ','): boolean {
    this.#mark ??= mark
    return this.#mark === mark
  }
}

/** Whether a cell says neither that its row holds numbers nor that it holds names: missing, NaN, infinite. */
export const isNeutral = (cell: string) => MISSING.has(cell.trim()) || SPECIAL.test(cell)

/** Whether a cell is a number, or meant as one: such as `5%`, `$1.5`, `1 234.5`, `0x1F`. */
export const isNumberLike = (cell: string) => cell.length < LONGEST_NUMBER && NUMBER_LIKE.test(cell)

/** Digits past this are no number that anyone wrote. */
const LONGEST_NUMBER = 400

/** What is wrong with a cell that is no number, and what to do. */
export function cellProblem(cell: string): string {
  return `${quoted(cell)} is not a number; ${adviceFor(cell.trim())}`
}

function adviceFor(cell: string): string {
  if (/^[-+−]?\d+,\d+(?:e[+-]?\d+)?$/i.test(cell)) return 'write decimals with a point'
  if (/^[-+−]?\d{1,3}(?:[\s,'’_]\d{3})+(?:\.\d*)?$/.test(cell))
    return 'write it without marks between thousands'
  if (/^[-+−]?\d*\.\d+$/.test(cell)) return 'other cells have decimal commas: write all decimals with a point'
  if (/[%‰]$/.test(cell)) return 'write it as a share'
  if (/^\.{3}$/.test(cell)) return 'numbers were left out when it was printed: save it with numpy.savetxt'
  return 'remove or replace it'
}
