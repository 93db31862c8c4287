import { svg } from '../../browser/dom.ts'
import type { Item } from '../../commands/inspect/html/client/model.ts'

const WIDTH = 120
const HEIGHT = 26
const INSET = 2
/** Singular values so far below the largest are at the foot. */
const DECADES = 3

/** A spectrum in the room of a word: log σ over log rank, three decades high. A cliff is a low rank. */
export function sparkline({ matrix, ranks, order }: Item): SVGElement {
  const { sigma } = matrix.spectrum
  const across = Math.log(Math.max(2, order))
  const x = (rank: number) => INSET + ((WIDTH - 2 * INSET) * Math.log(rank)) / across
  const y = (value: number) => {
    const down = value > 0 ? -Math.log10(value / sigma[0]) / DECADES : 1
    return INSET + (HEIGHT - 2 * INSET) * Math.min(1, Math.max(0, down))
  }
  const points = ranks.map((rank, i) => `${x(rank).toFixed(1)} ${y(sigma[i]).toFixed(1)}`)
  const last = ranks[ranks.length - 1] ?? 1
  const path = points.length === 0 ? '' : `M${points.join('L')}`
  return svg(
    'svg',
    {
      class: 'spark',
      width: WIDTH,
      height: HEIGHT,
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      'aria-hidden': 'true',
    },
    path !== '' && svg('path', { class: 'area', d: `${path}V${HEIGHT - INSET}H${x(1).toFixed(1)}Z` }),
    svg('path', { class: 'line', d: path }),
    // what isn't computed
    last < order &&
      svg('line', { class: 'rest', x1: x(last), x2: WIDTH - INSET, y1: HEIGHT - INSET, y2: HEIGHT - INSET }),
  )
}
