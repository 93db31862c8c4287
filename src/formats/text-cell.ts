import { quoted } from './quote.ts'

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
