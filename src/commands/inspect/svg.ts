import { type Axis, logAxis } from '../../browser/axis.ts'
import { badInput } from '../../errors.ts'
import { orderOf, valueAt } from '../../linalg/spectrum/measures.ts'
import { intervalFigure } from '../../report/cells.ts'
import { escaped } from '../../text/markup.ts'
import { grouped, shape } from '../../text/numbers.ts'
import { printable, quoted } from '../../text/quote.ts'
import { headline } from './html/page.ts'
import type { InspectResult, MatrixReport } from './result.ts'

const [WIDTH, HEIGHT] = [960, 584]
/** Of the plot inside the picture: room for labels at the curves' ends on the right. */
const FRAME = { left: 72, right: WIDTH - 250, top: 92, bottom: HEIGHT - 82 }
/** As many colours as can be told apart, also by people who don't see all of them, and on paper. */
const COLOURS = ['#0068b3', '#c8500a', '#00835f', '#a3478a', '#8a6d00', '#4b4f9e']
/** Singular values so far below the largest are rounding, and no reason to stretch the axis. */
const LEAST_SHOWN = 1e-8
const POINTS_A_CURVE = 400
/** Between two labels, in pixels. */
const LABEL_STEP = 30
/** Characters of a name that fit beside the plot. */
const LABEL_CHARACTERS = 29

const STYLE = `text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",sans-serif;fill:#5d666f}
.title{font-size:18px;font-weight:600;fill:#1c2024}.name{font-size:12px;font-weight:600;fill:#1c2024}.small{font-size:11px}
.grid{stroke:#e2e5e8}.axis{stroke:#b4bcc4}.faint{stroke:#8d99a6;stroke-opacity:.35;fill:none}.curve{stroke-width:2;fill:none}
.band{fill-opacity:.12}.floor{stroke-dasharray:6 4}.lead{stroke-width:.75;fill:none;stroke-opacity:.6}.mark{stroke:#fff}.end{fill:#fff;stroke-width:1.5}`

/**
 * The singular values over the rank, on two logarithmic axes, as a picture that needs nothing else. With `name` of that matrix
 * alone, its energy ranks marked; else of all, up to six in colour from the lowest to the highest rank for 90 %, that rank
 * marked. Throws LoraSvdError 'bad-input' where no matrix has the name.
 */
export function spectrumSvg(result: InspectResult, { name }: { name?: string } = {}): string {
  const all = name === undefined ? result.matrices : result.matrices.filter((matrix) => matrix.name === name)
  if (name !== undefined && all.length === 0) {
    const few = result.matrices.slice(0, 3).map((matrix) => quoted(matrix.name))
    throw badInput(
      `no matrix is named ${quoted(name)}; there are ${few.join(', ')}${result.matrices.length > 3 ? ' …' : ''}`,
    )
  }
  const chosen = chosenOf(all)
  const axes = axesOf(all)
  const single = name !== undefined || all.length === 1 ? all[0] : undefined
  const title = single ? printable(single.name) : headline(result).title
  const source = `${result.source.path}${result.source.base === undefined ? '' : ` compared with ${result.source.base}`}`
  const labels = spread(chosen.map((matrix) => lastPoint(matrix, axes)[1]))
  const curves = chosen.map((matrix, i) =>
    colouredCurve(matrix, axes, COLOURS[i], labels[i], single !== undefined),
  )
  const faint = all
    .filter((matrix) => !chosen.includes(matrix))
    .map((matrix) => `<path class="faint" d="${pathOf(matrix, axes)}"/>`)
  const left = all.length - chosen.length
  const isComplete = chosen.every(({ spectrum }) => spectrum.complete)
  const notes = [
    `dots: ${single ? 'ranks that keep 50, 90, 95 and 99 %' : 'rank that keeps 90 %'} of the energy`,
    ...(isComplete ? [] : ['open end: what follows was not computed']),
    ...(left > 0 ? [`grey: ${grouped(left)} more`] : []),
    ...(isComplete ? [] : ['band: how much larger the values may be']),
  ]
  return `<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="title description">
<title id="title">${xml(title)}</title>
<desc id="description">${xml(`Singular values of ${source}. ${chosen.map(inWords).join(' ')}`)}</desc>
<style>${STYLE}</style>
<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>
<text class="title" x="24" y="34">${xml(shortened(title, 96))}</text>
<text x="24" y="56">${xml(shortened(single ? `${shape(...single.shape)} ${single.dtype} in ${source}` : source, 120))}</text>
${grid(axes)}
<clipPath id="frame"><rect x="${FRAME.left}" y="${FRAME.top}" width="${FRAME.right - FRAME.left}" height="${FRAME.bottom - FRAME.top}"/></clipPath>
<g clip-path="url(#frame)">${faint.join('\n')}</g>
${curves.join('\n')}
<text class="small" x="${FRAME.left}" y="${HEIGHT - 14}">${notes.join('; ')}</text>
</svg>
`
}

interface Axes {
  readonly x: Axis
  readonly y: Axis
}

/** The largest value that can be drawn: sums of squares that overflow leave infinite ones. */
const largestShown = (S: Float64Array) => S.find(Number.isFinite) ?? 0

function axesOf(matrices: readonly MatrixReport[]): Axes {
  let [low, high, last] = [Number.POSITIVE_INFINITY, 0, 2]
  for (const { spectrum } of matrices) {
    const S = spectrum.singularValues
    const largest = largestShown(S)
    high = Math.max(high, largest)
    S.forEach((s, i) => {
      if (!(s > largest * LEAST_SHOWN && s <= largest)) return
      low = Math.min(low, s)
      last = Math.max(last, i + 1)
    })
  }
  const domain: [number, number] =
    high === 0 ? [0.1, 1] : low < high ? [low / 1.2, high * 1.2] : [high / 10, high * 2]
  return {
    x: logAxis([1, last], [FRAME.left, FRAME.right], 12, 2),
    y: logAxis(domain, [FRAME.bottom, FRAME.top], 7, 10),
  }
}

/** Up to as many as there are colours, evenly from the lowest to the highest rank for 90 %. */
function chosenOf(matrices: readonly MatrixReport[]): MatrixReport[] {
  const sorted = matrices.toSorted((a, b) => a.energyRanks['0.9'].atMost - b.energyRanks['0.9'].atMost)
  if (sorted.length <= COLOURS.length) return sorted
  return COLOURS.map((_, i) => sorted[Math.round((i * (sorted.length - 1)) / (COLOURS.length - 1))])
}

function grid({ x, y }: Axes): string {
  const rows = y.ticks.map(({ value, label }) => {
    const at = pixel(y.at(value))
    return `<path class="grid" d="M${FRAME.left} ${at}H${FRAME.right}"/><text x="${FRAME.left - 10}" y="${pixel(y.at(value) + 4)}" text-anchor="end">${label}</text>`
  })
  const columns = x.ticks.map(({ value, label }) => {
    const at = pixel(x.at(value))
    return `<path class="axis" d="M${at} ${FRAME.bottom}v5"/><text x="${at}" y="${FRAME.bottom + 20}" text-anchor="middle">${label}</text>`
  })
  return `${rows.join('\n')}
<path class="axis" d="M${FRAME.left} ${FRAME.bottom}H${FRAME.right}"/>
${columns.join('\n')}
<text x="${(FRAME.left + FRAME.right) / 2}" y="${FRAME.bottom + 42}" text-anchor="middle">rank</text>
<text x="${FRAME.left - 10}" y="${FRAME.top - 12}" text-anchor="end">σ</text>`
}

function colouredCurve(
  matrix: MatrixReport,
  axes: Axes,
  colour: string,
  label: number,
  isSingle: boolean,
): string {
  const { spectrum, energyRanks, noise } = matrix
  const [endX, endY] = lastPoint(matrix, axes)
  const shares = isSingle ? (['0.5', '0.9', '0.95', '0.99'] as const) : (['0.9'] as const)
  const marks = shares.flatMap((share) => {
    const { atLeast, atMost: rank } = energyRanks[share]
    const s = spectrum.singularValues[rank - 1]
    if (!(s > 0 && Number.isFinite(s))) return []
    const [x, y] = [pixel(axes.x.at(rank)), pixel(axes.y.at(s))]
    const text = isSingle
      ? `<text class="small" x="${x}" y="${pixel(axes.y.at(s) - 9)}">${Number(share) * 100} %: ${atLeast < rank ? '≤ ' : ''}${rank}</text>`
      : ''
    return [`<circle class="mark" cx="${x}" cy="${y}" r="4" fill="${colour}"/>${text}`]
  })
  const floorAt = noise && noise.floor > 0 ? axes.y.at(noise.floor) : Number.NaN
  const floor =
    isSingle && floorAt > FRAME.top && floorAt < FRAME.bottom
      ? `<path class="floor" stroke="${colour}" d="M${FRAME.left} ${pixel(floorAt)}H${FRAME.right}"/><text class="small" x="${FRAME.left + 6}" y="${pixel(floorAt - 5)}">noise floor of ${xml(matrix.dtype)}</text>`
      : ''
  const end = spectrum.complete
    ? ''
    : `<circle class="end" cx="${pixel(endX)}" cy="${pixel(endY)}" r="3.5" stroke="${colour}"/>`
  const textX = FRAME.right + 22
  return `<g clip-path="url(#frame)">${bandOf(matrix, axes, colour)}<path class="curve" stroke="${colour}" d="${pathOf(matrix, axes)}"/></g>
<path class="lead" stroke="${colour}" d="M${pixel(endX)} ${pixel(endY)}L${textX - 4} ${pixel(label)}"/>
${floor}${marks.join('')}${end}
${isSingle ? '' : `<text class="name" x="${textX}" y="${pixel(label + 1)}" style="fill:${colour}">${xml(shortened(printable(matrix.name).replace(/\.weight$/, ''), LABEL_CHARACTERS))}</text>`}
<text class="small" x="${textX}" y="${pixel(label + 14)}">${xml(rankOf(matrix))}</text>`
}

const rankOf = ({ energyRanks, spectrum }: MatrixReport) => {
  const { atLeast, atMost } = energyRanks['0.9']
  return `90 % in ${atLeast === atMost ? grouped(atMost) : `${grouped(atLeast)} or more`} of ${grouped(orderOf(spectrum))}`
}

const inWords = (matrix: MatrixReport) =>
  `${printable(matrix.name)}: largest ${intervalFigure(matrix.spectral)}, ${rankOf(matrix)}.`

/** A curve's last point: where its label's line starts. */
function lastPoint({ spectrum }: MatrixReport, { x, y }: Axes): [number, number] {
  const S = spectrum.singularValues
  const largest = largestShown(S)
  let last = S.length
  while (last > 1 && !(S[last - 1] > largest * LEAST_SHOWN)) last--
  const isShown = last > 0 && largest > 0 && Number.isFinite(S[last - 1])
  return isShown ? [x.at(last), y.at(S[last - 1])] : [FRAME.left, FRAME.bottom]
}

function pathOf({ spectrum }: MatrixReport, axes: Axes): string {
  const points = pointsOf(spectrum.singularValues, axes)
  return points.length > 0 ? `M${points.join('L')}` : `M${FRAME.left} ${FRAME.bottom}`
}

/** Values over the rank as points of a path, few enough; none for zeros and what is not finite. */
function pointsOf(values: ArrayLike<number>, { x, y }: Axes): string[] {
  const step = (FRAME.right - FRAME.left) / POINTS_A_CURVE
  const points: string[] = []
  let before = Number.NEGATIVE_INFINITY
  for (let i = 0; i < values.length && values[i] > 0; i++) {
    const at = x.at(i + 1)
    if (!Number.isFinite(values[i]) || (at - before < step && i < values.length - 1)) continue
    points.push(`${pixel(at)} ${pixel(y.at(values[i]))}`)
    before = at
  }
  return points
}

/** From what was found, which is a lower bound, up to where the true singular values may lie. */
function bandOf({ spectrum }: MatrixReport, axes: Axes, colour: string): string {
  if (spectrum.complete) return ''
  const upper = Array.from(spectrum.singularValues, (_, i) => valueAt(spectrum, i).atMost)
  const outline = [...pointsOf(upper, axes), ...pointsOf(spectrum.singularValues, axes).reverse()]
  return outline.length === 0 ? '' : `<path class="band" fill="${colour}" d="M${outline.join('L')}Z"/>`
}

/** Heights of labels near these, a step apart, none outside the frame. */
function spread(wanted: readonly number[]): number[] {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b] || a - b)
  const placed = new Array<number>(wanted.length)
  let free = FRAME.top + 8
  for (const i of order) {
    placed[i] = Math.max(free, wanted[i])
    free = placed[i] + LABEL_STEP
  }
  let most = FRAME.bottom - 14
  for (const i of order.toReversed()) {
    placed[i] = Math.min(most, placed[i])
    most = placed[i] - LABEL_STEP
  }
  return placed
}

const pixel = (x: number) => String(Number(x.toFixed(1)))
/** The end says more of a name than its start. */
const shortened = (text: string, most: number) => {
  const characters = [...text]
  return characters.length <= most ? text : `…${characters.slice(1 - most).join('')}`
}
/** What XML 1.0 can't hold at all, even escaped, is replaced. */
const xml = (text: string) => escaped(printable(text).replace(/[\uFFFE\uFFFF]/g, '\uFFFD'))
