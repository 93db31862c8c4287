import { constants } from 'node:buffer'
import { basename } from 'node:path'
import { badInput, type LoraSvdError } from '../errors.ts'
import type { ByteSource } from '../io/source.ts'
import type { Float64Matrix } from '../linalg/matrix/matrix.ts'
import { counted, quoted } from '../text/quote.ts'
import { encodeFloats } from './dtype.ts'
import { isMatrixMarket, readMatrixMarket } from './matrix-market.ts'
import type { Contents } from './tensor-set.ts'
import {
  bracketedLines,
  cellProblem,
  Decimals,
  type Delimiter,
  detectDelimiter,
  isBracketed,
  isNeutral,
  isNumberLike,
  type Line,
  rowLines,
  splitCells,
} from './text-cells.ts'

/** Text is decoded as one string, and V8 holds none longer (512 MiB: 20 million numbers as numpy.savetxt writes them). */
const TEXT_BYTE_LIMIT = constants.MAX_STRING_LENGTH

/** Some rows to start with; the array doubles from there. */
const FIRST_ROWS = 64

/** Whether the first row is names; where it isn't said, they are what no cell of looks like a number. */
export type HeaderChoice = 'yes' | 'no'

export interface TextMatrix {
  readonly matrix: Float64Matrix
  readonly warnings: readonly string[]
}

/** How the rows of a text are written. */
interface Layout {
  readonly delimiter: Delimiter
  readonly decimals: Decimals
  readonly header: readonly string[] | undefined
  /** Cells of a row of numbers. */
  readonly width: number
  /** Cells before the numbers: the name of the row. */
  readonly skip: 0 | 1
  /** Nobody said whether the first row is names. */
  readonly isOpen: boolean
}

/**
 * The matrix of a text file, which is called as the file is. It is read whole, as only that tells its shape. Throws as
 * `readTextMatrix` does, before the bytes are read where there are too many.
 */
export async function openText(source: ByteSource, header?: HeaderChoice): Promise<Contents> {
  const { name: file, byteLength } = source
  assertTextLength(byteLength, file)
  const { matrix, warnings } = readTextMatrix(await source.read(0, byteLength), file, header)
  const name = basename(file)
  const bytes = encodeFloats(matrix.data, 'f64')
  const shape = [matrix.rows, matrix.columns]
  return {
    format: 'text',
    names: [name],
    tensors: new Map([[name, { name, dtype: 'F64', shape, bytes: bytes.length }]]),
    metadata: new Map(),
    refused: new Map(),
    warnings,
    headerBytes: byteLength,
    decode: async () => bytes,
  }
}

/**
 * The matrix that a text file of numbers holds, by the conventions of numpy.savetxt, pandas.to_csv, R's write.table and Excel:
 * cells between `,` `;` tabs or blanks, or as a first line `sep=;` says; `#` comments; one optional row of column names (then a
 * first column under an empty name, or under none, holds the names of rows, and is dropped); `nan`, `inf`, and empty cells as
 * NaN; a delimiter at the end of every row; decimal commas where commas don't separate cells. Rows in brackets, as MATLAB,
 * Python and JSON write them, and Matrix Market too. No rows give 0 × 0. Throws `bad-input`, with the line, on ragged rows and on
 * cells that aren't numbers.
 */
export function readTextMatrix(bytes: Uint8Array, file: string, header?: HeaderChoice): TextMatrix {
  const text = decodeText(bytes, file)
  if (isMatrixMarket(text)) return { matrix: readMatrixMarket(text, file), warnings: [] }
  const inBrackets = isBracketed(text)
  const lines = inBrackets ? rowsInBrackets(text, file) : rowLines(text)
  let first = lines.next().value
  const separator =
    first === undefined || inBrackets ? undefined : /^\s*"?sep=(.)"?\s*$/i.exec(first.text)?.[1]
  if (separator !== undefined) first = lines.next().value
  if (first === undefined) return { matrix: { rows: 0, columns: 0, data: new Float64Array(0) }, warnings: [] }
  const delimiter = delimiterOf(separator, first, file)
  const second = lines.next().value
  const choice = inBrackets ? 'no' : header
  const layout = layoutOf(first, second, delimiter, choice, file)
  const isData = layout.header === undefined
  const rows = [...(isData ? [first] : []), ...(second === undefined ? [] : [second])]
  const matrix = readRows(rows, lines, layout, first, file)
  const isDoubtful = layout.isOpen && isData && mayBeNames(first, second, layout, file)
  return { matrix, warnings: isDoubtful ? [headerWarning(first, layout, file)] : [] }
}

function* rowsInBrackets(text: string, file: string): Generator<Line, undefined> {
  try {
    yield* bracketedLines(text)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw badInput(`${file}: ${error.message}; save the rows as text, one a line, or with numpy.save`, {
      file,
    })
  }
}

const DELIMITERS = new Map<string, Delimiter>([
  [',', ','],
  [';', ';'],
  ['\t', '\t'],
  [' ', 'blank'],
])

function delimiterOf(separator: string | undefined, first: Line, file: string): Delimiter {
  if (separator === undefined) return detectDelimiter(withoutComment(first.text))
  const delimiter = DELIMITERS.get(separator)
  if (delimiter !== undefined) return delimiter
  throw badInput(`${file}: line 1 says ${quoted(`sep=${separator}`)}; , ; and tabs are read`, {
    file,
  })
}

function layoutOf(
  first: Line,
  second: Line | undefined,
  delimiter: Delimiter,
  choice: HeaderChoice | undefined,
  file: string,
): Layout {
  const decimals = new Decimals(delimiter !== ',')
  const cells = cellsOf(first, delimiter, file)
  const isHeader = choice === undefined ? areNames(cells, second, delimiter, file) : choice === 'yes'
  const isOpen = choice === undefined
  if (!isHeader) return { delimiter, decimals, header: undefined, width: cells.length, skip: 0, isOpen }
  const header = split(first, delimiter, file)
  const below = second === undefined ? header : cellsOf(second, delimiter, file, header[0] === '')
  // R's write.table has no name over the names of rows
  const isLonger = below.length === header.length + 1
  const hasBareIndex = isLonger && (isQuoted(second) || !isNumberLike(below[0]))
  if (hasBareIndex) return { delimiter, decimals, header, width: below.length, skip: 1, isOpen }
  const isIndexed = header[0] === '' && header.length > 1
  // or every row ends with a delimiter, which shows when all are read
  const width = isLonger && below[below.length - 1].trim() === '' ? below.length : header.length
  return { delimiter, decimals, header, width, skip: isIndexed ? 1 : 0, isOpen }
}

const isQuoted = (line: Line | undefined) => /^\s*"/.test(line?.text ?? '')

/**
 * Whether the cells of a first row are names: some are words, and none is like a number. pandas also names columns
 * 0, 1, 2 … after an empty cell, over a row index.
 */
function areNames(
  cells: readonly string[],
  second: Line | undefined,
  delimiter: Delimiter,
  file: string,
): boolean {
  const labels = cells[0] === '' && cells.length > 1 ? cells.slice(1) : cells
  if (labels.some((cell) => !isNeutral(cell) && !isNumberLike(cell))) return !labels.some(isNumberLike)
  const indexed = second === undefined || !/[.e]/i.test(cellsOf(second, delimiter, file)[0] ?? '')
  return indexed && labels !== cells && areRisingIntegers(labels)
}

function areRisingIntegers(cells: readonly string[]): boolean {
  return (
    cells.length > 0 &&
    cells.every((c, i) => /^\d+$/.test(c) && (i === 0 || Number(c) > Number(cells[i - 1])))
  )
}

/** Whether a first row of numbers may be names all the same: 0, 1, 2 … or 1, 2, 3 … over numbers that don't go on so, or quoted over rows that aren't. */
function mayBeNames(first: Line, second: Line | undefined, { delimiter }: Layout, file: string): boolean {
  if (second === undefined) return false
  const cells = cellsOf(first, delimiter, file)
  const values = cells.map((cell) => (cell === '' ? Number.NaN : Number(cell)))
  if (values.length < 2) return false
  const below = cellsOf(second, delimiter, file).map(Number)
  // a matrix of numbers in a row goes on counting
  const goesOn = below.every((value, i) => value === values[i] + values.length)
  const counts = (start: number) => !goesOn && values.every((value, i) => value === start + i)
  return counts(0) || counts(1) || (isQuoted(first) && !second.text.includes('"'))
}

function headerWarning(first: Line, { delimiter }: Layout, file: string): string {
  const cells = cellsOf(first, delimiter, file)
    .slice(0, 3)
    .map((cell) => cell.trim())
  return `${file}: line ${first.number} (${cells.join(', ')} …) is read as numbers; if it holds column names, say --header yes, else --header no`
}

function readRows(
  taken: readonly Line[],
  lines: Iterable<Line>,
  layout: Layout,
  first: Line,
  file: string,
): Float64Matrix {
  const { delimiter, decimals, header, width, skip, isOpen } = layout
  const columns = width - skip
  let rows = 0
  let data = new Float64Array(FIRST_ROWS * columns)
  // a delimiter at the end of every row is no column, unless it has a name
  let endsEmpty =
    columns > 1 && delimiter !== 'blank' && !(header !== undefined && (header[width - 1] ?? '') !== '')
  const addRow = (line: Line): void => {
    const cells = cellsOf(line, delimiter, file, skip === 1)
    if (cells.length !== width) throw raggedError(line, cells.length, width, first.number, file)
    const start = rows++ * columns
    if (start + columns > data.length) data = doubled(data)
    for (let j = 0; j < columns; j++) {
      const cell = cells[j + skip]
      const value = decimals.parse(cell)
      if (value === undefined)
        throw cellError(
          line.number,
          j + skip + 1,
          cell,
          file,
          isOpen && header === undefined && line === first,
        )
      data[start + j] = value
    }
    if (endsEmpty && cells[width - 1].trim() !== '') endsEmpty = false
  }
  for (const line of taken) addRow(line)
  for (const line of lines) addRow(line)
  if (header !== undefined && skip === 0 && header.length < width && !endsEmpty) {
    throw raggedError(first, header.length, width, first.number + 1, file)
  }
  const used = data.subarray(0, rows * columns)
  return endsEmpty && rows > 0
    ? { rows, columns: columns - 1, data: withoutLastColumn(used, columns) }
    : { rows, columns, data: used.slice() }
}

const withoutLastColumn = (data: Float64Array, columns: number) =>
  data.filter((_, i) => i % columns !== columns - 1)

/** Throws `bad-input` past what can be decoded. */
function assertTextLength(byteLength: number, file: string): void {
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

/** The cells before a comment; `labelled` rows start with a name, which may hold a #. */
function cellsOf(line: Line, delimiter: Delimiter, file: string, labelled = false): string[] {
  const from = labelled && delimiter !== 'blank' ? line.text.indexOf(delimiter) : 0
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

function cellError(
  line: number,
  column: number,
  cell: string,
  file: string,
  mayBeHeader: boolean,
): LoraSvdError {
  const more = mayBeHeader ? '; if the row holds names, say --header yes' : ''
  return badInput(`${file}: line ${line}, column ${column}: ${cellProblem(cell)}${more}`, { file })
}
