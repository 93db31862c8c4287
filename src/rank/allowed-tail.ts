import type { RankRule } from './rules.ts'

/**
 * By how much more than a rule allows may be left out, relative to what it allows: for singular values that are equal but for
 * rounding, `--energy k/n` is a tie at k. The tail of n of them was found 3 (n = 5) to 52 (n = 300) units of 2⁻⁵² off and grows
 * with n; this room, 1,024 units, changes an error that is allowed in its thirteenth digit.
 */
const TIE_ROOM = 2 ** -42
/** A share such as 2/3 is itself rounded by up to half of this. */
const SHARE_UNIT = 2 ** -53

/** The share of ‖A‖_F² that may be left out where this share is to be kept: nothing where all is. */
export function tailOfEnergy(energy: number): number {
  return energy >= 1 ? 0 : (1 - energy + SHARE_UNIT) * (1 + TIE_ROOM)
}

/** The same where the relative error may be this. */
export function tailOfError(error: number): number {
  return error * error * (1 + TIE_ROOM)
}

/** The share of ‖A‖_F² that a rule on one matrix's error lets be left out; infinite for other rules. */
export function allowedTail(rule: { readonly kind: string } | RankRule): number {
  if ('energy' in rule) return tailOfEnergy(rule.energy)
  return 'error' in rule ? tailOfError(rule.error) : Number.POSITIVE_INFINITY
}
