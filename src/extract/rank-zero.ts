import { badInput, type LoraSvdError } from '../errors.ts'
import type { LayerResult } from './layer-result.ts'

type Known = Pick<LayerResult, 'spectrum' | 'asked' | 'isNotUnderstood'>

/** Why nothing of a layer is carried. */
export function whyNothing({ spectrum, asked, isNotUnderstood }: Known): string {
  if (spectrum.frobenius === 0) return 'the same numbers in both'
  if (isNotUnderstood) {
    return 'most of its entries did not move, and no direction stands out of what is left of the change'
  }
  return asked.rule.kind === 'noise-floor'
    ? 'nothing of it stands above the rounding of the stored dtypes'
    : 'the rule chose no rank for it'
}

/** That an adapter would carry nothing. */
export function nothingToCarry(results: readonly Known[]): LoraSvdError {
  if (results.length === 0) {
    return badInput(
      'nothing is left to factor, and an adapter needs a matrix that is: what changed could only be stored whole',
    )
  }
  const reasons = new Set(results.map(whyNothing))
  const reason = reasons.size === 1 ? `: ${[...reasons][0]}` : ''
  const hint = results.some(({ isNotUnderstood }) => isNotUnderstood)
    ? '--rank N takes what there is'
    : 'there is no adapter to write'
  return badInput(`no layer has a rank above 0${reason}; ${hint}`)
}
