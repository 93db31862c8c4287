import type { LayerResult } from '../../compress/layer-result.ts'
import { badInput, type LoraSvdError } from '../../errors.ts'
import { type AskedRule, allowedTail } from '../../linalg/spectrum/rules.ts'
import { bytes, grouped, percent, short } from '../../text/numbers.ts'

/** What would carry tensors that were left for a reason, as a sentence; undefined where nothing would. */
export function carriedBy(reason: string): string | undefined {
  // The base alone has it, it is as asked, or --carry-rest was given and the second reason is why it could not.
  const isFinal = ['only in the base', 'left out', 'a buffer'].some((start) => reason.startsWith(start))
  if (isFinal || reason.includes(';')) return undefined
  return reason.startsWith('3-D experts')
    ? '--experts factors these, --carry-rest stores them whole'
    : '--carry-rest stores these whole'
}

/** What a rule promises, as a person says it. */
export function promiseText(rule: AskedRule): string {
  switch (rule.kind) {
    case 'rank':
      return `rank ${grouped(rule.rank)} for each layer, as far as its delta goes`
    case 'energy':
      return `${percent(rule.energy)} of ‖Δ‖_F² kept in each layer: an error of ${short(Math.sqrt(1 - rule.energy), 3)} at most`
    case 'error':
      return `an error of ${short(rule.error)} at most in each layer`
    case 'budget':
      return `${bytes(rule.bytes)} at most in all`
    case 'noise-floor':
      return 'all that stands above the rounding of the stored dtypes'
  }
}

/** The error that a rule allows in all layers together, where it does. */
export function promisedError(rule: AskedRule): number | undefined {
  const error = Math.sqrt(allowedTail(rule))
  return Number.isFinite(error) ? error : undefined
}

/** How a promise that was missed could be kept. */
export function promiseAdvice(rule: AskedRule, dtypes: readonly string[]): string {
  const rounded = dtypes.filter((dtype) => dtype !== 'f32')
  const wider = rounded.length === 0 ? [] : [`--dtype f32 instead of ${rounded.join(' and ')}`]
  const other = {
    rank: [],
    energy: ['a higher --max-rank'],
    error: ['a higher --max-rank'],
    budget: ['a larger --budget'],
    'noise-floor': ['a higher --max-rank'],
  }[rule.kind]
  const cures = [...wider, ...other]
  return cures.length === 0 ? 'Run it again with --restart.' : `What may help: ${cures.join(', or ')}.`
}

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
