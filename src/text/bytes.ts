import { badUsage } from '../errors.ts'

/** 1000 or 1024, by what follows the letter. A letter alone means powers of 1024, as in `ls -h` and `docker -m`. */
const BASES: Readonly<Record<string, number>> = { '': 1024, b: 1000, ib: 1024 }
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
