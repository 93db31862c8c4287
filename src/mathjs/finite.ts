import { firstNonFinite } from '../matrix/arithmetic.ts'
import type { Matrix } from '../matrix/matrix.ts'
import { placeOf } from './flatten.ts'

/** Throws TypeError, as mathjs functions do, naming the first entry that is NaN or infinite. */
export function requireFiniteEntries(name: string, A: Matrix): void {
  const bad = firstNonFinite(A.data)
  if (bad < 0) return
  throw new TypeError(`${name} needs finite numbers, but the entry at ${placeOf(A, bad)} is ${A.data[bad]}`)
}

/**
 * Throws RangeError where a result is too large for its float type; `what` names it, and the matrix scaled `direction` would
 * have one that isn't.
 */
export function requireFiniteResult(
  name: string,
  what: string,
  data: ArrayLike<number>,
  direction: 'up' | 'down' = 'down',
): void {
  if (Array.prototype.every.call(data, Number.isFinite)) return
  const most =
    data instanceof Float32Array
      ? "3.4e38, the most that 'f32' holds"
      : '1.8e308, the most that a number holds'
  throw new RangeError(`${name}: ${what} would exceed ${most}; scale the matrix ${direction} first`)
}
