import { svg } from '../../../../browser/dom.ts'
import type { Frame } from '../../../../browser/frame.ts'
import { grouped, percent } from '../../../../text/numbers.ts'
import { tailAt } from '../data.ts'
import { intervalText } from '../format.ts'
import type { ChartSpec } from './chart.ts'
import type { Item } from './model.ts'

/** Singular values so far below the largest are rounding, and no reason to stretch the axis. */
const LEAST_SHOWN = 1e-8
/** A noise floor lower than this, in pixels, is the axis. */
const LEAST_HEIGHT = 3
/** Shares of energy that differ by less read the same. */
const SHARE_SHOWN = 1e-3
/** How many steps the band of what isn't computed is drawn in. */
const BAND_STEPS = 24

const sigma = ({ matrix }: Item, i: number) => matrix.spectrum.sigma[i]
const kept = ({ matrix }: Item, i: number) => 1 - matrix.spectrum.tail[i]

const describe = (item: Item, i: number) => {
  const { spectrum } = item.matrix
  const share = percent(Math.max(0, kept(item, i)))
  const least = spectrum.least !== undefined && spectrum.tail[i] - spectrum.least[i] > SHARE_SHOWN
  const value = intervalText({ atLeast: sigma(item, i), atMost: spectrum.upper?.[i] ?? sigma(item, i) })
  const mark = sigma(item, i) <= spectrum.rounding ? ' (rounding)' : ''
  return `rank ${grouped(item.ranks[i])}: σ = ${value}${mark}, energy so far ${least ? '≥ ' : ''}${share}`
}

export const spectraSpec: ChartSpec = {
  id: 'spectra',
  title: 'Singular values',
  note: 'A cliff is a low rank; a straight slope on two log axes is a power law.',
  yTitle: 'σ',
  logX: true,
  logY: true,
  y: sigma,
  describe,
  yDomain(items, log) {
    let [low, high] = [Number.POSITIVE_INFINITY, 0]
    for (const { matrix } of items) {
      const largest = matrix.spectrum.sigma[0] ?? 0
      high = Math.max(high, largest)
      for (const s of matrix.spectrum.sigma) if (s > largest * LEAST_SHOWN && s < low) low = s
    }
    if (high === 0) return log ? [0.1, 1] : [0, 1]
    if (!log) return [0, high * 1.04]
    return low < high ? [low / 1.25, high * 1.25] : [low / 10, high * 2]
  },
  extra(item, frame) {
    const { noise, dtype } = item.matrix
    const band = boundsBand(item, frame)
    const at = noise && noise.floor > 0 ? frame.y.at(noise.floor) : Number.NaN
    if (!(at > frame.top && at < frame.bottom - LEAST_HEIGHT)) return band
    return [
      ...band,
      svg('line', { class: 'floor', x1: frame.left, x2: frame.right, y1: at, y2: at }),
      svg('text', { class: 'floor-label', x: frame.left + 6, y: at - 5 }, `noise floor of ${dtype}`),
    ]
  },
}

export const energySpec: ChartSpec = {
  id: 'energy',
  title: 'Energy kept',
  note: 'The share of ‖·‖²_F that the best approximation of each rank keeps.',
  yTitle: 'share kept',
  logX: true,
  y: kept,
  describe,
  yDomain: () => [0, 1],
  extra: beyondBand,
}

/** Between the singular values that were found, which are lower bounds, and the bounds from above. */
function boundsBand({ matrix, ranks, positive }: Item, { x, y }: Frame): SVGElement[] {
  const { sigma, upper } = matrix.spectrum
  if (upper === undefined || positive === 0) return []
  const pointsOf = (values: readonly number[]) =>
    ranks.slice(0, positive).map((rank, i) => `${x.at(rank).toFixed(1)} ${y.at(values[i]).toFixed(1)}`)
  return [
    svg('path', { class: 'band', d: `M${[...pointsOf(upper), ...pointsOf(sigma).reverse()].join('L')}Z` }),
  ]
}

/** Between what a rank keeps at least and at most, beyond the singular values that are given. */
function beyondBand({ matrix, ranks, order }: Item, { x, y }: Frame): SVGElement[] {
  const { spectrum } = matrix
  const [, last] = x.domain
  if (spectrum.complete || spectrum.given >= last) return []
  const points = Array.from({ length: BAND_STEPS + 1 }, (_, step) => {
    const rank = Math.min(order, spectrum.given + ((last - spectrum.given) * step) / BAND_STEPS)
    const { atLeast, atMost } = tailAt(spectrum, ranks, rank)
    const at = x.at(rank).toFixed(1)
    return { least: `${at} ${y.at(1 - atMost).toFixed(1)}`, most: `${at} ${y.at(1 - atLeast).toFixed(1)}` }
  })
  const outline = [...points.map(({ most }) => most), ...points.reverse().map(({ least }) => least)]
  return [svg('path', { class: 'band', d: `M${outline.join('L')}Z` })]
}
