import { badUsage } from '../errors.ts'

/** How much of a wrong seed an error message repeats. */
const SHOWN_LENGTH = 40

/**
 * The integer written in decimal in `text`, as `--seed` takes it: digits with an optional sign, of any size.
 * Throws bad-usage on anything else.
 */
export function parseSeed(text: string): bigint {
  const digits = /^([+-]?)([0-9]+)$/.exec(text)
  if (digits === null) {
    const shown = text.length > SHOWN_LENGTH ? `${text.slice(0, SHOWN_LENGTH)}…` : text
    throw badUsage(`the seed must be a decimal integer such as 0 or -1, got ${JSON.stringify(shown)}`)
  }
  const magnitude = BigInt(digits[2])
  return digits[1] === '-' ? -magnitude : magnitude
}

/** A seed as a bigint. Throws bad-usage on a number that is no integer or past 2^53, where numbers skip integers. */
export function seedInteger(seed: bigint | number): bigint {
  if (typeof seed === 'bigint') return seed
  if (!Number.isSafeInteger(seed)) {
    throw badUsage(
      `a seed given as a number must be an integer within ±(2^53 - 1), got ${seed}; pass a bigint`,
    )
  }
  return BigInt(seed)
}
