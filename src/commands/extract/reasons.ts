import type { LayerResult } from '../../compress/layer-result.ts'
import { badInput, type LoraSvdError } from '../../errors.ts'
import { type AskedRule, allowedTail } from '../../linalg/spectrum/rules.ts'
import { notLoadedText } from '../../lora/found-by-loaders.ts'
import { bytes, grouped, percent, short } from '../../text/numbers.ts'
import type { BrokenGuarantee, LeftBecause, LeftReason } from './result.ts'

/** The words for what the results of `extract` say by tags. */

const LEFT: Record<Exclude<LeftReason['kind'], 'no-module'>, string> = {
  'missing-in-base': 'only in the tuned model',
  'missing-in-tuned': 'only in the base',
  'grown-vocabulary': 'the vocabulary has grown',
  'shrunk-vocabulary': 'the vocabulary has shrunk',
  'not-a-matrix': 'not a matrix: a norm, a bias or a number',
  dtype: 'stored in a dtype that is not read',
  computed: 'a buffer that the model computes itself',
  'left-out': 'left out by --include/--exclude',
  'asked-whole': 'asked to be written whole',
  'equal-numbers': 'the same numbers in both',
  'not-understood':
    'most of its entries did not move, and no direction stands out of what is left of the change',
  'below-noise': 'nothing of it stands above the rounding of the stored dtypes',
  'no-rank': 'the rule chose no rank for it',
}

/** Why a tensor is not carried. */
export function leftText({ because, notWhole }: LeftReasons): string {
  const text = because.kind === 'no-module' ? because.reason : LEFT[because.kind]
  return notWhole === undefined ? text : `${text}; ${notWhole}`
}

type LeftReasons = Pick<LeftBecause, 'because' | 'notWhole'>

/** What would carry a tensor that was left out, as a sentence; undefined where nothing would. */
export function carriedBy({ because, notWhole }: LeftReasons): string | undefined {
  // --carry-rest was given, and the second reason is why it could not
  if (notWhole !== undefined) return undefined
  switch (because.kind) {
    // the base alone has it, or it is as asked, or as it should be
    case 'missing-in-tuned':
    case 'left-out':
    case 'computed':
      return undefined
    case 'no-module':
      return because.isOfExperts
        ? '--experts factors these, --carry-rest stores them whole'
        : '--carry-rest stores these whole'
    default:
      return '--carry-rest stores these whole'
  }
}

/** What a rule guarantees, as a person says it. */
export function guaranteeText(rule: AskedRule): string {
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
export function guaranteedError(rule: AskedRule): number | undefined {
  const error = Math.sqrt(allowedTail(rule))
  return Number.isFinite(error) ? error : undefined
}

/** How a guarantee that was missed could be kept. */
export function guaranteeAdvice(rule: AskedRule, dtypes: readonly string[]): string {
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

/** Of what it does not hold. */
export const brokenName = (broken: BrokenGuarantee): string =>
  broken.kind === 'error' ? broken.name : broken.kind === 'budget' ? 'budget' : broken.modules[0]

/** What does not hold of an adapter. */
export function brokenText(broken: BrokenGuarantee): string {
  switch (broken.kind) {
    case 'error':
      return `an error of ${broken.found.toPrecision(4)} where ${broken.allowed.toPrecision(4)} was asked for`
    case 'budget':
      return `${broken.written} bytes were written, and ${broken.asked} asked for`
    case 'not-loaded':
      return notLoadedText(broken)
  }
}

type Known = Pick<LayerResult, 'spectrum' | 'asked' | 'isNotUnderstood'>

/** Why nothing of a layer is carried. */
export function whyNothing({ spectrum, asked, isNotUnderstood }: Known): LeftReason {
  if (spectrum.frobenius === 0) return { kind: 'equal-numbers' }
  if (isNotUnderstood) return { kind: 'not-understood' }
  return { kind: asked.rule.kind === 'noise-floor' ? 'below-noise' : 'no-rank' }
}

/** That an adapter would carry nothing. */
export function nothingToCarry(results: readonly Known[]): LoraSvdError {
  if (results.length === 0) {
    return badInput(
      'nothing is left to factor, and an adapter needs a matrix that is: what changed could only be stored whole',
    )
  }
  const reasons = new Set(results.map((result) => leftText({ because: whyNothing(result) })))
  const reason = reasons.size === 1 ? `: ${[...reasons][0]}` : ''
  const hint = results.some(({ isNotUnderstood }) => isNotUnderstood)
    ? '--rank N takes what there is'
    : 'there is no adapter to write'
  return badInput(`no layer has a rank above 0${reason}; ${hint}`)
}
