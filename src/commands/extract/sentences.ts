import type { LayerResult } from '../../compress/layer-result.ts'
import { badInput, type LoraSvdError } from '../../errors.ts'
import { ratioOfNorms } from '../../linalg/matrix/norms.ts'
import {
  lowExactRankLimit,
  lowRankLimit,
  ROUNDING_ERROR,
  UNRELATED_CHANGE,
} from '../../linalg/spectrum/measures.ts'
import type { AskedRule } from '../../linalg/spectrum/rules.ts'
import { errorAllowed } from '../../linalg/spectrum/rules.ts'
import { notLoadedText } from '../../lora/found-by-loaders.ts'
import type { AdapterFormat } from '../../lora/model.ts'
import { spanText } from '../../report/layer-list.ts'
import { partText } from '../../report/notes.ts'
import { bytes, grouped, percent, percentUp, roughPercent, short } from '../../text/numbers.ts'
import type { ExtractionPlan } from './plan.ts'
import { isQuantised } from './quantisation.ts'
import type {
  BrokenGuarantee,
  ExtractedLayer,
  ExtractPreview,
  ExtractResult,
  LeftBecause,
  LeftReason,
  QuantisationTotals,
} from './result.ts'

/** The words for what the results of `extract` say by tags. */

const LEFT: Record<Exclude<LeftReason['kind'], 'no-module' | 'no-place'>, string> = {
  'missing-in-base': 'only in the tuned model',
  'missing-in-tuned': 'only in the base',
  'grown-vocabulary': 'the vocabulary has grown',
  'shrunk-vocabulary': 'the vocabulary has shrunk',
  'not-a-matrix': 'not a matrix: a norm, a bias or a number',
  dtype: 'stored in a dtype that is not read',
  computed: 'a buffer that the model computes itself',
  'left-out': 'left out by --include/--exclude',
  'asked-whole': 'asked to be written whole',
  vae: 'of the VAE, which no adapter changes',
  'text-encoder': 'of a text encoder, left out by --no-text-encoder',
  'equal-numbers': 'the same numbers in both',
  'not-understood':
    'most of its entries did not move, and no direction stands out of what is left of the change',
  'below-noise': 'nothing of it stands above the rounding of the stored dtypes',
  'no-rank': 'the rule chose no rank for it',
}

/** Why a tensor is not carried. */
export function leftText({ because, notWhole }: LeftReasons): string {
  const text = 'reason' in because ? because.reason : LEFT[because.kind]
  return notWhole === undefined ? text : `${text}; ${notWhole}`
}

type LeftReasons = Pick<LeftBecause, 'because' | 'notWhole'>

/** What carries the rest, in the formats that have a place for it. */
const WHOLE: Partial<Record<AdapterFormat, string>> = {
  peft: '--carry-rest stores these whole',
  comfyui: '--carry-rest stores their differences whole',
}

/** What would carry a tensor that was left out in a format, as a sentence; undefined where nothing would. */
export function carriedBy(
  { because, notWhole }: LeftReasons,
  format: AdapterFormat = 'peft',
): string | undefined {
  // --carry-rest was given, and the second reason is why it could not
  if (notWhole !== undefined) return undefined
  switch (because.kind) {
    // the base alone has it, or it is as asked, or as it should be
    case 'missing-in-tuned':
    case 'left-out':
    case 'computed':
    case 'vae':
    case 'text-encoder':
      return undefined
    case 'no-module':
      if (format === 'peft' && because.isOfExperts)
        return '--experts factors these, --carry-rest stores them whole'
      return WHOLE[format]
    default:
      return WHOLE[format]
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

/** That an adapter belongs to a quantised base. */
export function quantisedBaseWarning(plan: Pick<ExtractionPlan, 'base' | 'layers'>): string[] {
  const { base } = plan
  if (!isQuantised(plan)) return []
  return [
    `the adapter belongs to the numbers of ${base.path}: on the model before it was quantised it would add part of the rounding instead of taking it back`,
  ]
}

/** How a share of the change that is rounding reads, and what ranks carry of it, where that is known. */
export function quantisationText(
  {
    share,
    dtypes,
    carried,
    ofRest,
  }: Pick<QuantisationTotals, 'share' | 'dtypes'> & Partial<Pick<QuantisationTotals, 'carried' | 'ofRest'>>,
  { ranks, isBound = false }: { readonly ranks: readonly number[]; readonly isBound?: boolean },
): string {
  const of = `the base (${dtypes.map((dtype) => dtype.toUpperCase()).join(', ')})`
  if (share === 0)
    return `none of this change is rounding of ${of}: the fine-tune began with its rounded numbers`
  const what = `about ${roughPercent(share)} of this change is rounding of ${of}, spread over all directions`
  if (carried === undefined || ranks.length === 0) return what
  const rest =
    ofRest === undefined
      ? ''
      : `, and about ${roughPercent(ofRest)} of what is left of the change is that rounding`
  const isOne = new Set(ranks).size === 1
  const carry = isOne ? 'carries' : 'carry'
  return `${what}: ${isOne ? 'rank' : 'ranks'} ${spanText(ranks, grouped)} ${carry} ${isBound ? 'at most ' : ''}${roughPercent(carried)} of it${rest}`
}

/** The error that a rule allows in all layers together, where it does. */
export function guaranteedError(rule: AskedRule): number | undefined {
  const error = errorAllowed(rule)
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

/** The shares of ‖Δ‖_F² that a low-rank change keeps at low ranks, and a partly low-rank one. */
const LOW_RANK_SHARE = 0.99
const PARTLY_SHARE = 0.9

/** What the change is as a whole, and that it isn't the whole fine-tune where that is so. */
export const extractVerdict = ({ layers, totals }: Pick<ExtractResult, 'layers' | 'totals'>): string =>
  [deltaVerdict(layers), partText(totals)].filter((text) => text !== undefined).join('; ')

type Layer = Pick<
  ExtractedLayer,
  'shape' | 'rank' | 'storedRank' | 'relativeError' | 'optimalError' | 'frobenius' | 'relativeChange'
>

/**
 * What the change is as a whole, in one sentence: whether these ranks are low and keep it. "Not low-rank" is said only where the
 * spectra prove it for any low rank; `keptAtMost` gives the bound.
 */
export function deltaVerdict(layers: readonly Layer[]): string {
  const changed = layers.filter(({ frobenius }) => frobenius > 0)
  if (layers.length === 0) return 'nothing is factored: what changed is stored whole'
  if (changed.length === 0) return 'no change: base and tuned hold the same numbers in these layers'
  const norms = changed.map(({ frobenius }) => frobenius)
  const leaves = (error: (layer: Layer) => number) =>
    ratioOfNorms(
      changed.map((layer) => layer.frobenius * error(layer)),
      norms,
    ) ** 2
  const kept = 1 - leaves(({ relativeError }) => relativeError)
  const keptAtBest = 1 - leaves(({ optimalError }) => optimalError.atLeast)
  const change = relativeChange(changed)
  const parameters = sumOf(changed, ({ rank, shape }) => rank * (shape[0] + shape[1]))
  const isLow = parameters <= sumOf(changed, (layer) => limitOf(layer) * (layer.shape[0] + layer.shape[1]))
  const [ranks, keep] = ranksOf(changed)
  const changeText = `relative change ${Number.isFinite(change) ? short(change, 2) : 'infinite: the base is all zero'}`

  if (isLow && kept >= PARTLY_SHARE) {
    const kind = kept >= LOW_RANK_SHARE ? 'low-rank' : 'partly low-rank'
    const more = change >= UNRELATED_CHANGE ? `; the change is more than the base itself (${changeText})` : ''
    return `${kind}: ${ranks} ${keep} ${percent(kept)} of the change${more}`
  }
  if (Number.isFinite(change) && change >= UNRELATED_CHANGE) {
    return `not low-rank: these two are not related (${changeText}): the adapter can't stand for the fine-tune`
  }
  if (isLow && keptAtBest >= PARTLY_SHARE) {
    return `${ranks} could keep ${percentUp(keptAtBest)} of the change; what is stored keeps ${percent(Math.max(0, kept))}`
  }
  if (!isLow && keptAtBest >= PARTLY_SHARE) {
    const stored = sumOf(changed, ({ storedRank, shape }) => storedRank * (shape[0] + shape[1]))
    const size = percent(stored / sumOf(changed, ({ shape }) => shape[0] * shape[1]))
    return `not at a low rank: ${ranks} ${keep} ${percent(Math.max(0, kept))} of the change and ${keep === 'keeps' ? 'takes' : 'take'} ${size} of the matrices’ size`
  }
  const most = `${ranks} ${keep} ${percentUp(Math.max(0, keptAtBest))} of the change at most`
  return keptAtMost(changed) < PARTLY_SHARE
    ? `not low-rank: ${most}`
    : `the ranks are too low for this change: ${most}`
}

/**
 * An upper bound of the share that the best approximations keep at the highest ranks that count as low. Singular values fall,
 * so that the first L hold at most L / r times what the first r hold.
 */
function keptAtMost(layers: readonly Layer[]): number {
  const keptOf = (layer: Layer) => {
    const { rank, optimalError } = layer
    if (rank === 0) return 1
    return Math.min(1, (1 - optimalError.atLeast ** 2) * Math.max(1, limitOf(layer) / rank))
  }
  return (
    ratioOfNorms(
      layers.map((layer) => layer.frobenius * Math.sqrt(keptOf(layer))),
      layers.map(({ frobenius }) => frobenius),
    ) ** 2
  )
}

function limitOf({ shape: [rows, columns], optimalError }: Layer): number {
  return optimalError.atMost <= ROUNDING_ERROR
    ? lowExactRankLimit(rows, columns)
    : lowRankLimit(rows, columns)
}

/** √(Σ ‖Δ‖_F² / Σ ‖base‖_F²); infinite where the base is all zero. */
function relativeChange(layers: readonly Layer[]): number {
  return ratioOfNorms(
    layers.map(({ frobenius }) => frobenius),
    layers.map(({ frobenius, relativeChange }) => frobenius / relativeChange),
  )
}

function ranksOf(layers: readonly Layer[]): [text: string, verb: 'keep' | 'keeps'] {
  const ranks = layers.map(({ rank }) => rank)
  const text = spanText(ranks, grouped)
  return text.includes('–') ? [`ranks ${text}`, 'keep'] : [`rank ${text}`, 'keeps']
}

const sumOf = (layers: readonly Layer[], f: (layer: Layer) => number) =>
  layers.reduce((sum, layer) => sum + f(layer), 0)

/** Whether the disk has room for what a plan would write, as far as its size is known. */
export const hasRoom = ({ output: { bytes, free } }: ExtractPreview): boolean =>
  bytes === undefined || bytes <= free
