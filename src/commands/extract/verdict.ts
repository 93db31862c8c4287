import { ratioOfNorms } from '../../linalg/matrix/norms.ts'
import {
  lowExactRankLimit,
  lowRankLimit,
  ROUNDING_ERROR,
  UNRELATED_CHANGE,
} from '../../linalg/spectrum/measures.ts'
import { partText, spanText } from '../../report/layer-list.ts'
import { grouped, percent, percentUp, short } from '../../text/numbers.ts'
import type { ExtractedLayer, ExtractResult } from './result.ts'

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
