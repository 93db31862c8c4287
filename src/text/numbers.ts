import { badUsage } from '../errors.ts'
/** Numbers as people read them. */

/** Six significant digits, in scientific form only where the plain form is long: 12.9039, 1.3e-16. */
export function short(x: number, digits = 6): string {
  if (x === 0) return '0'
  const size = Math.abs(x)
  if (size >= 1e-3 && size < 1e7) return String(Number(x.toPrecision(digits)))
  return x.toExponential(Math.min(digits, 3) - 1).replace(/\.?0+e/, 'e')
}

/** The largest number of so many digits that is at most x > 0, and the smallest that is at least x: bounds that stay true in print. */
export const lowered = (x: number, digits: number) => nextTo(x, digits, -1)
export const raised = (x: number, digits: number) => nextTo(x, digits, 1)

function nextTo(x: number, digits: number, side: 1 | -1): number {
  const nearest = Number(x.toPrecision(digits))
  if (!Number.isFinite(x) || (nearest - x) * side >= 0) return nearest
  const unit = 10 ** (Math.floor(Math.log10(x)) - digits + 1)
  return Number((nearest + side * unit).toPrecision(digits))
}

/** 1234567 → 1,234,567, the same in every locale. */
export function grouped(n: number): string {
  return String(n).replace(/\B(?=(\d{3})+$)/g, ',')
}

/** A share as a percentage: 79.1 %, and 99.99995 % is not rounded up to 100 %. */
export function percent(share: number): string {
  const rounded = Number((share * 100).toPrecision(3))
  if (rounded >= 100 && share < 1)
    return share > 0.99999 ? '> 99.99 %' : `${Math.floor(share * 10000) / 100} %`
  return `${rounded} %`
}

/** An estimate, in two digits. */
export const roughPercent = (share: number): string => `${Number((share * 100).toPrecision(2))} %`

/** Percentages that stay true as bounds once they are rounded. */
export const percentUp = (share: number) => percent(Math.min(1, Math.ceil(share * 1000) / 1000))
export const percentDown = (share: number) => percent(Math.floor(share * 1000) / 1000)

export function shape(rows: number, columns: number): string {
  return `${grouped(rows)} × ${grouped(columns)}`
}

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** 1536 → 1.5 KiB. */
export function bytes(count: number): string {
  const unit = count < 1 ? 0 : Math.min(BYTE_UNITS.length - 1, Math.floor(Math.log2(count) / 10))
  return `${Number((count / 1024 ** unit).toPrecision(3))} ${BYTE_UNITS[unit]}`
}

const UNITS = [
  ['d', 86_400],
  ['h', 3600],
  ['min', 60],
  ['s', 1],
] as const

/** A time in whole seconds, in its two largest units: 45 s, 1 min 20 s, 2 h 5 min. */
export function duration(seconds: number): string {
  const rounded = Math.max(0, Math.round(seconds))
  const first = UNITS.findIndex(([, size]) => rounded >= size)
  if (first < 0) return '0 s'
  const [unit, size] = UNITS[first]
  const whole = `${Math.floor(rounded / size)} ${unit}`
  const second = UNITS[first + 1]
  const rest = second === undefined ? 0 : Math.floor((rounded % size) / second[1])
  return rest === 0 ? whole : `${whole} ${rest} ${second[0]}`
}

/** 1000 or 1024, by what follows the letter. A letter alone means powers of 1024, as in `ls -h` and `docker -m`. */
const BASES: Readonly<Record<string, number>> = { '': 1024, b: 1000, ib: 1024 }

const COUNT = /^(\d+\.?\d*|\.\d+)\s*([kmb])?$/i
const THOUSANDS = 'kmb'

/** A count as people write it: 40M, 1.5B, 400k, 1000000, in powers of a thousand. Throws LoraSvdError 'bad-usage' for anything else and for less than 1. */
export function parseCount(text: string): number {
  const [, digits, letter = ''] = COUNT.exec(text.trim()) ?? []
  const power = letter === '' ? 0 : THOUSANDS.indexOf(letter.toLowerCase()) + 1
  const count = Math.round(Number(digits) * 1000 ** power)
  if (!(count >= 1 && count <= Number.MAX_SAFE_INTEGER))
    throw badUsage('expected a number of parameters, such as 40M, 1.5B or 400k')
  return count
}

const LETTERS = 'kmgt'

const SIZE = /^(\d+\.?\d*|\.\d+)\s*(?:b|([kmgt])(i?b)?)?$/i

/**
 * A number of bytes as people write it: 40MiB, 1.5 GB, 512k, 1000000. Rounded to whole bytes. Throws LoraSvdError
 * 'bad-usage' for anything else and for less than a byte.
 */
export function parseBytes(text: string): number {
  const [, digits, letter = '', ending = ''] = SIZE.exec(text.trim()) ?? []
  const power = letter === '' ? 0 : LETTERS.indexOf(letter.toLowerCase()) + 1
  const count = Math.round(Number(digits) * BASES[ending.toLowerCase()] ** power)
  if (!(count >= 1 && count <= Number.MAX_SAFE_INTEGER))
    throw badUsage('expected a number of bytes, such as 40MiB, 1.5GB or 512k')
  return count
}
