import { badInput } from '../errors.ts'
import type { Float64Matrix } from '../linalg/matrix/matrix.ts'
import { quoted } from '../text/quote.ts'
import { Decimals } from './text-cells.ts'

/** 2 GiB as float64: a file of a few bytes may announce any size. */
const MOST_ENTRIES = 2 ** 28

/** 128 MiB as float64, of which all may be zeros that nobody wrote … */
const ANY_SPARSITY_UP_TO = 2 ** 24
/** … and of a larger matrix so many for each entry that is stored: what is sparser has its rank told by its entries. */
const MOST_PLACES_AN_ENTRY = 1000

const BANNER = /^%%MatrixMarket\b/i

export const isMatrixMarket = (text: string) => BANNER.test(text)

type Symmetry = 'general' | 'symmetric' | 'skew-symmetric'

/**
 * The matrix of a Matrix Market file, array or coordinate; what a symmetric one leaves out is filled in, and entries of one
 * place are summed. Throws `bad-input`, with the line. Source: Boisvert, Pozo & Remington, "The Matrix Market exchange formats:
 * initial design", NISTIR 5935, 1996; sums as SciPy's mmread.
 */
export function readMatrixMarket(text: string, file: string): Float64Matrix {
  const fail = (problem: string) => badInput(`${file}: ${problem}`, { file })
  const lines = text.split(/\r\n|\n|\r/)
  const [, object = '', format, field = '', symmetry = ''] = lines[0].toLowerCase().trim().split(/\s+/)
  if (object !== 'matrix' || (format !== 'array' && format !== 'coordinate')) {
    throw fail(`line 1: ${quoted(lines[0])} is no Matrix Market matrix; array and coordinate are read`)
  }
  if (!['real', 'integer', 'double', 'pattern'].includes(field)) {
    throw fail(`line 1: holds ${quoted(field)} numbers; real, integer and pattern are read`)
  }
  if (!isSymmetry(symmetry)) {
    throw fail(`line 1: is ${quoted(symmetry)}; general, symmetric and skew-symmetric are read`)
  }
  const decimals = new Decimals(false)
  let number = 1
  /** The numbers of the next line that has any. */
  const next = (count: number, what: string): number[] => {
    while (number < lines.length && /^\s*(?:%|$)/.test(lines[number])) number++
    if (number >= lines.length) throw fail(`ends before ${what}; fetch it again`)
    const cells = lines[number++].trim().split(/\s+/)
    const values = cells.map((cell) => decimals.parse(cell))
    if (cells.length !== count || values.includes(undefined)) {
      throw fail(`line ${number}: ${quoted(lines[number - 1])} is not ${what}`)
    }
    return values as number[]
  }
  const isArray = format === 'array'
  const [rows, columns, stored] = next(
    isArray ? 2 : 3,
    isArray ? 'rows and columns' : 'rows, columns and entries',
  )
  const areCounts = [rows, columns].every((n) => Number.isSafeInteger(n) && n >= 0)
  if (!areCounts || rows * columns > MOST_ENTRIES) {
    throw fail(
      `has a matrix of ${rows} × ${columns}; at most ${MOST_ENTRIES} entries are read of Matrix Market`,
    )
  }
  if (symmetry !== 'general' && rows !== columns) throw fail(`is ${symmetry}, but ${rows} × ${columns}`)
  // before there is memory for it
  const what = isArray ? 'an entry' : 'row, column and value of an entry'
  const announced = isArray ? entriesOf(rows, columns, symmetry) : stored
  if (!Number.isSafeInteger(announced) || announced < 0) {
    throw fail(`line ${number}: ${quoted(lines[number - 1])} is not rows, columns and entries`)
  }
  if (announced > lines.length - number) throw fail(`ends before ${what}; fetch it again`)
  if (rows * columns > Math.max(ANY_SPARSITY_UP_TO, MOST_PLACES_AN_ENTRY * announced)) {
    throw fail(
      `has ${announced} entries of a matrix of ${rows} × ${columns}, all others being zeros; past ${ANY_SPARSITY_UP_TO} at most ${MOST_PLACES_AN_ENTRY} places are read for each: save it dense with numpy.save`,
    )
  }
  const data = new Float64Array(rows * columns)
  const add = (i: number, j: number, value: number) => {
    data[i * columns + j] += value
    if (symmetry !== 'general' && i !== j) data[j * columns + i] += symmetry === 'symmetric' ? value : -value
  }
  if (isArray) {
    // by columns; of a symmetric one the lower triangle, of a skew-symmetric one without the diagonal
    for (let j = 0; j < columns; j++) {
      const first = symmetry === 'general' ? 0 : symmetry === 'symmetric' ? j : j + 1
      for (let i = first; i < rows; i++) add(i, j, next(1, what)[0])
    }
  } else {
    const width = field === 'pattern' ? 2 : 3
    for (let k = 0; k < stored; k++) {
      const [i, j, value = 1] = next(width, what)
      if (!isPlace(i, rows) || !isPlace(j, columns)) {
        throw fail(`line ${number}: row ${i}, column ${j} is outside ${rows} × ${columns}`)
      }
      add(i - 1, j - 1, value)
    }
  }
  const rest = lines.slice(number).findIndex((line) => !/^\s*(?:%|$)/.test(line))
  if (rest >= 0) throw fail(`line ${number + rest + 1}: more entries than announced; fetch it again`)
  return { rows, columns, data }
}

/** The numbers that an array's file holds. */
function entriesOf(rows: number, columns: number, symmetry: Symmetry): number {
  if (symmetry === 'general') return rows * columns
  return (rows * (symmetry === 'symmetric' ? rows + 1 : rows - 1)) / 2
}

const isPlace = (index: number, count: number) => Number.isInteger(index) && index >= 1 && index <= count

const isSymmetry = (text: string): text is Symmetry =>
  text === 'general' || text === 'symmetric' || text === 'skew-symmetric'
