import { partOf } from '../../checkpoint/matrices.ts'
import type { MatrixPair, WeightMatrix } from '../../checkpoint/types.ts'
import type { LayerResult } from '../../compress/layer-result.ts'
import { isInBlocks } from '../../delta/blocks.ts'
import { withDifference } from '../../delta/difference.ts'
import { mostCarried, quantisationShare, roundingShare } from '../../linalg/spectrum/quantisation.ts'
import type { ExtractionPlan } from './plan.ts'
import type { ExtractedLayer, ExtractPreview, PlannedQuantisation, QuantisationTotals } from './result.ts'

/** Whether the changes begin with numbers that were quantised. */
export const isQuantised = ({ layers }: Pick<ExtractionPlan, 'layers'>): boolean =>
  layers.some(({ pair }) => isInBlocks(pair.base))

/** What of a layer's change is the rounding of its quantised base, and what its factors carry of it; nothing for another base. */
export function quantisationOf(
  dtype: string,
  { spectrum, quantised }: Pick<LayerResult, 'spectrum' | 'quantised'>,
  rank: number,
): Pick<ExtractedLayer, 'quantisation'> {
  if (quantised === undefined) return {}
  const { rows, columns, frobenius, singularValues } = spectrum
  const delta = { rows, columns, energy: frobenius ** 2, rounding: quantised }
  return {
    quantisation: { dtype, ...quantisationShare({ ...delta, carried: singularValues.subarray(0, rank) }) },
  }
}

/** The same over all layers, each by its energy. */
export function quantisationTotals(layers: readonly ExtractedLayer[]): {
  readonly quantisation?: QuantisationTotals
} {
  const of = layers.flatMap(({ quantisation, frobenius, relativeError }) => {
    if (quantisation === undefined) return []
    const energy = frobenius ** 2
    return [{ ...quantisation, energy, rest: relativeError ** 2 * energy }]
  })
  if (of.length === 0) return {}
  const sum = (value: (layer: (typeof of)[number]) => number) =>
    of.reduce((total, one) => total + value(one), 0)
  const [energy, rest] = [sum((one) => one.energy), sum((one) => one.rest)]
  const noise = sum(({ share, energy }) => share * energy)
  const carried = sum(({ share, carried, energy }) => share * carried * energy)
  return {
    quantisation: {
      layers: of.length,
      dtypes: [...new Set(of.map(({ dtype }) => dtype))].sort(),
      share: energy === 0 ? 0 : noise / energy,
      carried: noise === 0 ? 0 : carried / noise,
      ofRest: rest === 0 ? 0 : Math.min(1, (noise - carried) / rest),
    },
  }
}

/** Rows of a layer that a dry run reads: of as many in a row as fill a few pages, from end to end of the matrix. */
const SAMPLED_ROWS = 64
const ROWS_TOGETHER = 8

/** What a sample of a layer's rows tells. */
export interface Sampled extends PlannedQuantisation {
  /** About ‖Δ‖_F². */
  readonly energy: number
}

/** Of a pair whose base is quantised, the share of its change that is rounding, by some of its rows; undefined for another base. */
export async function sampledQuantisation(pair: MatrixPair, rank?: number): Promise<Sampled | undefined> {
  const { base, tuned } = pair
  if (!isInBlocks(base)) return undefined
  let [energy, rounding, count] = [0, 0, 0]
  for (const [first, end] of sampleOf(tuned.rows)) {
    const part = { ...pair, base: rowsOf(base, first, end), tuned: rowsOf(tuned, first, end) }
    const { frobenius, quantised = 0 } = await withDifference(part, {}, (difference) => difference)
    energy += frobenius.delta ** 2
    rounding += quantised
    count += end - first
  }
  // NaN and infinity are named once all is read
  if (!Number.isFinite(energy) || !Number.isFinite(rounding)) [energy, rounding] = [0, 0]
  return {
    dtype: base.dtype,
    share: roundingShare(energy, rounding),
    ...(rank !== undefined && { carriedAtMost: mostCarried(rank, tuned.rows, tuned.columns) }),
    energy: (energy * tuned.rows) / count,
  }
}

function sampleOf(rows: number): (readonly [first: number, end: number])[] {
  if (rows <= SAMPLED_ROWS) return [[0, rows]]
  const pieces = SAMPLED_ROWS / ROWS_TOGETHER
  return Array.from({ length: pieces }, (_, i) => {
    const first = Math.floor((i * (rows - ROWS_TOGETHER)) / (pieces - 1))
    return [first, first + ROWS_TOGETHER] as const
  })
}

/** Some rows of a matrix that is stored as bytes. */
function rowsOf<T extends WeightMatrix>(weight: T, first: number, end: number): T {
  const rowBytes = weight.bytes / weight.rows
  const source = partOf(weight.source, first * rowBytes, end * rowBytes)
  return { ...weight, rows: end - first, bytes: (end - first) * rowBytes, source }
}

/** The samples of all layers together. */
export function plannedTotals(
  sampled: readonly (Sampled | undefined)[],
): Pick<ExtractPreview['totals'], 'quantisation'> {
  const of = sampled.filter((one) => one !== undefined)
  if (of.length === 0) return {}
  const energy = of.reduce((sum, one) => sum + one.energy, 0)
  const noise = of.reduce((sum, one) => sum + one.share * one.energy, 0)
  const isKnown = of.every(({ carriedAtMost }) => carriedAtMost !== undefined)
  const carried = of.reduce((sum, one) => sum + one.share * one.energy * (one.carriedAtMost ?? 0), 0)
  return {
    quantisation: {
      layers: of.length,
      dtypes: [...new Set(of.map(({ dtype }) => dtype))].sort(),
      share: energy === 0 ? 0 : noise / energy,
      ...(isKnown && { carriedAtMost: noise === 0 ? 0 : carried / noise }),
    },
  }
}
