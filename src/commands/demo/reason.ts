import { largestAbs } from '../../linalg/matrix/norms.ts'
import { short } from '../../text/numbers.ts'
import type { DemoResult } from './notebook.ts'

/**
 * Below this a normwise error is what rounding alone gives: over 2,000 seeds of the notebook in float32 it stays under 5e-7.
 * The same margin for float64.
 */
const ROUNDING_LEVEL = { f32: 1e-5, f64: 1e-13 } as const

/** An entry below this share of the largest is so small that rounding of the others can exceed its relative tolerance. */
const NEAR_ZERO = 0.1

/** Why allclose is false: directions left out, or an entry near 0 that rounding alone pushes over the limit. */
export function failureReason(result: DemoResult): string {
  const { options } = result
  const { rank, truncate, dtype } = options
  if (result.normwiseError > ROUNDING_LEVEL[dtype]) {
    return truncate < rank
      ? `${truncate} of ${rank} directions are kept: what is missing shows in y. Keep ${rank} with --truncate ${rank}.`
      : 'The noise that was left out shows in y: keep more directions with --truncate, or allow more with --atol.'
  }
  const worst = result.worst
  const [signed, difference] = [finite(worst?.yRef), finite(worst?.difference)]
  const yRef = Math.abs(signed)
  const excess = difference - options.rtol * yRef
  const isNearZero = yRef < NEAR_ZERO * largestAbs(result.yRef)
  return (
    `The vectors agree to rounding (normwise error ${short(result.normwiseError, 3)}), but yRef[${worst?.index}] = ${short(signed, 3)} ` +
    `${isNearZero ? 'is near 0, where the relative tolerance allows' : 'is allowed'} only ${short(worst?.allowed ?? 0, 2)} ` +
    `and the difference is ${short(difference, 2)}. ` +
    `--atol ${Number((excess * 2).toPrecision(1))} lets it pass.`
  )
}

/** 0 in place of what is no number. */
const finite = (x: number | undefined) => (x !== undefined && Number.isFinite(x) ? x : 0)
