import { constants } from 'node:buffer'
import { badInput, type LoraSvdError } from '../errors.ts'
import type { Float64Matrix } from '../matrix/matrix.ts'
import { type Delimiter, detectDelimiter, splitCells } from './delimiter.ts'
import { counted, quoted } from './quote.ts'

/** Text is decoded as one string, and V8 holds none longer (512 MiB: 20 million numbers as numpy.savetxt writes them). */
const TEXT_BYTE_LIMIT = constants.MAX_STRING_LENGTH

/** A decimal number as C, Python and pandas write it; not `0x10`, `1_000` or an empty cell, which Number() would take. */
const DECIMAL = /^\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?\s*$/i
const SPECIAL = /^\s*([+-]?)(?:(nan)|inf(?:inity)?)\s*$/i

/** How pandas.read_csv spells a missing value; an empty cell is one too, but only between delimiters. */
const MISSING = new Set(['', 'NA', 'N/A', 'n/a', '<NA>', 'null', 'NULL', 'None'])

/** Some rows to start with; the array doubles from there. */
const FIRST_ROWS = 64

interface Line {
  readonly number: number
  readonly text: string
}

/**
 * The matrix that a text file of numbers holds, by the conventions of numpy.savetxt and pandas.to_csv: cells between
 * `,` `;` tabs or blanks, `#` comments, one optional row of column names (then a first column under an empty
 * name is pandas' row index, and dropped), `nan`, `inf`, and empty cells as NaN. No rows give 0 × 0.
 * Throws `bad-input`, with the line, on ragged rows and on cells that aren't numbers.
 */
export function readTextMatrix(bytes: Uint8Array, file: string): Float64Matrix {
  const lines = rowLines(decodeText(bytes, file))
  const first = lines.next().value
  if (first === undefined) return { rows: 0, columns: 0, data: new Float64Array(0) }
  const delimiter = detectDelimiter(withoutComment(first.text))
  const second = lines.next().value
  const header = readHeader(first, second, delimiter, file)
  const skip = header?.[0] === '' ? 1 : 0
  let rows = 0
  const width = (header ?? cellsOf(first, delimiter, file)).length
  const columns = width - skip
  let data = new Float64Array(FIRST_ROWS * columns)
  const addRow = (line: Line): void => {
    const cells = cellsOf(line, delimiter, file, skip === 1)
    if (cells.length !== width) throw raggedError(line, cells.length, width, first.number, file)
    const start = rows++ * columns
    if (start + columns > data.length) data = doubled(data)
    for (let j = 0; j < columns; j++) {
      const cell = cells[j + skip]
      const value = parseCell(cell)
      if (value === undefined) throw cellError(line.number, j + skip + 1, cell, file)
      data[start + j] = value
    }
  }
  if (header === undefined) addRow(first)
  if (second !== undefined) addRow(second)
  for (const line of lines) addRow(line)
  return { rows, columns, data: data.slice(0, rows * columns) }
}

/** Throws `bad-input` past what can be decoded; asked before the bytes are read, too. */
export function assertTextLength(byteLength: number, file: string): void {
  if (byteLength <= TEXT_BYTE_LIMIT) return
  throw badInput(
    `${file}: ${byteLength} bytes of text; at most ${TEXT_BYTE_LIMIT} are read; save it with numpy.save instead`,
    { file },
  )
}

function decodeText(bytes: Uint8Array, file: string): string {
  assertTextLength(bytes.length, file)
  const utf16 = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)
  if (utf16) {
    throw badInput(`${file}: is UTF-16 text, as PowerShell's > writes; save it as UTF-8`, { file })
  }
  // TextDecoder drops a UTF-8 byte order mark
  return new TextDecoder().decode(bytes)
}

/** The lines that hold cells: not blank, not a comment. */
function* rowLines(text: string): Generator<Line, undefined> {
  let number = 0
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf('\n', start)
    const end = newline === -1 ? text.length : newline
    const line = text.slice(start, text[end - 1] === '\r' && end > start ? end - 1 : end)
    number++
    start = end + 1
    if (/^\s*(?:#|$)/.test(line)) continue
    yield { number, text: line }
  }
}

/**
 * The cells of the first row when it holds names, else undefined. Names are what isn't all numbers; pandas also
 * names columns 0, 1, 2 … after an empty cell, over a row index.
 */
function readHeader(
  first: Line,
  second: Line | undefined,
  delimiter: Delimiter,
  file: string,
): readonly string[] | undefined {
  const cells = cellsOf(first, delimiter, file)
  if (cells.some((cell) => parseCell(cell) === undefined)) {
    return split(first, delimiter, file)
  }
  const indexed = second === undefined || !/[.e]/i.test(cellsOf(second, delimiter, file)[0] ?? '')
  return indexed && cells[0] === '' && areRisingIntegers(cells.slice(1)) ? cells : undefined
}

function areRisingIntegers(cells: readonly string[]): boolean {
  return (
    cells.length > 0 &&
    cells.every((c, i) => /^\d+$/.test(c) && (i === 0 || Number(c) > Number(cells[i - 1])))
  )
}

/** The cells before a comment; `labelled` rows start with a name, which may hold a #. */
function cellsOf(line: Line, delimiter: Delimiter, file: string, labelled = false): string[] {
  const from = labelled ? line.text.indexOf(delimiter) : 0
  return split({ number: line.number, text: withoutComment(line.text, from) }, delimiter, file)
}

/** The text up to the first # from `from` on that no quotes enclose. */
function withoutComment(text: string, from = 0): string {
  let quotes = 0
  let seen = 0
  for (let mark = text.indexOf('#', from); mark !== -1; mark = text.indexOf('#', mark + 1)) {
    for (; seen < mark; seen++) if (text[seen] === '"') quotes++
    if (quotes % 2 === 0) return text.slice(0, mark)
  }
  return text
}

function split(line: Line, delimiter: Delimiter, file: string): string[] {
  try {
    return splitCells(line.text, delimiter)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw badInput(`${file}: line ${line.number} ${error.message}; close it or remove it`, { file })
  }
}

/** The number in a cell, NaN where it is missing, undefined where it is no number. */
function parseCell(cell: string): number | undefined {
  if (DECIMAL.test(cell)) return Number(cell)
  if (MISSING.has(cell.trim())) return Number.NaN
  const special = SPECIAL.exec(cell)
  if (special === null) return undefined
  if (special[2] !== undefined) return Number.NaN
  return special[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
}

function doubled(data: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(2 * data.length)
  larger.set(data)
  return larger
}

function raggedError(
  line: Line,
  found: number,
  width: number,
  firstNumber: number,
  file: string,
): LoraSvdError {
  return badInput(
    `${file}: line ${line.number} has ${counted(found, 'cell')}, line ${firstNumber} has ${width}; give every row as many`,
    { file },
  )
}

function cellError(line: number, column: number, cell: string, file: string): LoraSvdError {
  const advice = /^\s*[+-]?\d+,\d+/.test(cell) ? 'write decimals with a point' : 'remove or replace it'
  return badInput(`${file}: line ${line}, column ${column}: ${quoted(cell)} is not a number; ${advice}`, {
    file,
  })
}
