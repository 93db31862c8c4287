import { allowedTail } from '../rank/allowed-tail.ts'
import type { AskedRule } from '../rank/asked.ts'
import { bytes, grouped, percent, short } from '../report/numbers.ts'

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
