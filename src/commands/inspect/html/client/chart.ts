import { linearAxis, logAxis } from '../../../../browser/axis.ts'
import { breakable, choices, html, svg } from '../../../../browser/dom.ts'
import { axes, drawing, type Frame, frameOf } from '../../../../browser/frame.ts'
import { tipIn } from '../../../../browser/tip.ts'
import { lastUpTo } from '../data.ts'
import type { Item, Model, Store } from './model.ts'

/** A chart of one curve a matrix over the rank: the chosen ones in colour, the others faint behind them. */
export interface ChartSpec {
  readonly id: string
  readonly title: string
  readonly note: string
  readonly yTitle: string
  readonly logX: boolean
  /** Left out where only a linear axis makes sense. */
  readonly logY?: boolean
  /** The value at the item's i-th carried rank. */
  y(item: Item, i: number): number
  yDomain(items: readonly Item[], log: boolean): readonly [number, number]
  /** What to say of a point, for pointer and screen reader alike. */
  describe(item: Item, i: number): string
  /** More to draw for a chosen matrix. */
  extra?(item: Item, frame: Frame): SVGElement[]
}

interface Point {
  readonly item: Item
  readonly i: number
}

const HEIGHT = 340
/** Curves are drawn with a point every so many pixels. */
const PIXELS_PER_POINT = 1.5
/** More faint curves than this are drawn several to a path: elements cost more than points. */
const MOST_PATHS = 250
/** A pointer farther from any curve, in pixels, is at none. */
const REACH = 40
/** How far past the singular values that are known the axis goes, so that a quarter of it shows what isn't. */
const BEYOND = { log: 4, linear: 1.33 }
/** Room for the words in the hatched part; where there is less they stand upright. */
const LABEL_ROOM = 90

export function chart(spec: ChartSpec, model: Model, store: Store): { element: HTMLElement; draw(): void } {
  let logX = spec.logX
  let logY = spec.logY ?? false
  let frame: Frame | undefined
  let active: Point | undefined
  const plot = html('div', {
    class: 'plot',
    id: spec.id,
    tabindex: 0,
    role: 'application',
    'aria-roledescription': 'chart',
    'aria-label': `${spec.title}. Left and right arrows move along a curve, up and down change the curve, Enter chooses it.`,
  })
  const tip = tipIn(
    () => plot.clientWidth,
    () => (frame?.bottom ?? 0) - 70,
  )
  const live = html('p', { class: 'visually-hidden', 'aria-live': 'polite' })
  const scales = [
    ['log', 'log'],
    ['linear', 'linear'],
  ] as const
  const element = html(
    'figure',
    { class: 'chart' },
    html('figcaption', {}, html('h3', {}, spec.title), html('p', {}, spec.note)),
    html(
      'div',
      { class: 'toggles' },
      choices('rank', scales, logX ? 'log' : 'linear', (value) => {
        logX = value === 'log'
        draw()
      }),
      spec.logY !== undefined &&
        choices('σ', scales, logY ? 'log' : 'linear', (value) => {
          logY = value === 'log'
          draw()
        }),
    ),
    html('div', { class: 'plot-box' }, plot, tip.element),
    live,
  )

  function draw(): void {
    const width = plot.clientWidth
    if (width === 0) return
    frame = frameFor(spec, model, width, logX, logY)
    const shown = [...store.chosen()].map(([index, colour]) => ({ item: model.items[index], colour }))
    const clip = `${spec.id}-clip`
    const inside = svg('g', { 'clip-path': `url(#${clip})` })
    inside.append(...notComputed(spec, model, store, frame), ...faintCurves(spec, model, store, frame))
    for (const { item, colour } of shown) {
      const group = svg('g', { class: `chosen colour-${colour}` })
      group.append(...(spec.extra?.(item, frame) ?? []))
      group.append(svg('path', { class: 'curve', d: pathOf(spec, item, frame) }))
      inside.append(group)
    }
    const { left, right, top, bottom } = frame
    plot.replaceChildren(
      drawing(
        width,
        HEIGHT,
        svg(
          'defs',
          {},
          svg(
            'clipPath',
            { id: clip },
            svg('rect', { x: left, y: top, width: right - left, height: bottom - top }),
          ),
          hatch(spec.id),
        ),
        ...axes(frame, { x: 'rank', y: spec.yTitle }),
        inside,
        svg('g', { class: 'rank-mark' }),
        svg('g', { class: 'cursor' }),
      ),
    )
    drawRank()
    if (active) point(active, false)
  }

  /** The rank of the slider: drawn alone, since it moves often. */
  function drawRank(): void {
    const mark = plot.querySelector('.rank-mark')
    if (!mark || !frame) return
    const rank = store.rank()
    const at = frame.x.at(rank)
    mark.replaceChildren()
    if (at < frame.left || at > frame.right + 0.5) return
    const anchor = at > frame.right - 60 ? 'end' : 'start'
    mark.replaceChildren(
      svg('line', { x1: at, x2: at, y1: frame.top, y2: frame.bottom }),
      svg(
        'text',
        { x: at + (anchor === 'end' ? -4 : 4), y: frame.top - 8, 'text-anchor': anchor },
        `rank ${rank}`,
      ),
    )
  }

  function point(to: Point, aloud: boolean): void {
    const cursor = plot.querySelector('.cursor')
    if (!cursor || !frame) return
    active = to
    const { item, i } = to
    const [x, y] = [frame.x.at(item.ranks[i]), frame.y.at(spec.y(item, i))]
    const inFrame = Math.min(frame.bottom, Math.max(frame.top, Number.isFinite(y) ? y : frame.bottom))
    const colour = store.chosen().get(item.index)
    cursor.setAttribute('class', `cursor ${colour === undefined ? '' : `colour-${colour}`}`)
    cursor.replaceChildren(
      ...(colour === undefined ? [svg('path', { class: 'curve', d: pathOf(spec, item, frame) })] : []),
      svg('circle', { cx: x, cy: inFrame, r: 4.5 }),
    )
    const text = spec.describe(item, i)
    tip.show({ x, y: inFrame }, breakable(item.matrix.name), text)
    if (aloud) live.textContent = `${item.matrix.name}: ${text}`
  }

  function leave(): void {
    active = undefined
    tip.hide()
    plot.querySelector('.cursor')?.replaceChildren()
  }

  const nearest = ({ clientX, clientY }: PointerEvent): Point | undefined => {
    const box = plot.getBoundingClientRect()
    return frame && nearestPoint(spec, model, store, frame, clientX - box.left, clientY - box.top)
  }
  plot.addEventListener('pointermove', (event) => {
    const found = nearest(event)
    if (found) point(found, false)
    else leave()
  })
  plot.addEventListener('pointerleave', leave)
  plot.addEventListener('blur', leave)
  plot.addEventListener('click', (event) => {
    const found = nearest(event as PointerEvent)
    if (found) store.toggle(found.item.index)
  })
  plot.addEventListener('keydown', (event) => {
    const next = moved(model, store, active, event.key)
    if (event.key === 'Enter' && active) store.toggle(active.item.index)
    else if (event.key === 'Escape') leave()
    else if (next) point(next, true)
    else return
    event.preventDefault()
  })
  store.on('rank', drawRank)
  store.on('chosen', draw)
  return { element, draw }
}

function frameFor(spec: ChartSpec, model: Model, width: number, logX: boolean, logY: boolean): Frame {
  const most = lastRank(model.items, logX ? BEYOND.log : BEYOND.linear)
  const domain = spec.yDomain(model.items, logY)
  return frameOf(
    width,
    HEIGHT,
    (range, count) =>
      logX ? logAxis([1, Math.max(2, most)], range, count, 2) : linearAxis([0, most], range, count),
    (range) => (logY ? logAxis(domain, range, 6, 10) : linearAxis(domain, range, 5)),
  )
}

/** The last rank shown: that of the last singular value above zero; of an incomplete spectrum so far beyond. */
function lastRank(items: readonly Item[], beyond: number): number {
  return items.reduce((most, { matrix, ranks, positive, order }) => {
    const last = ranks[positive - 1] ?? 1
    const own = matrix.spectrum.complete
      ? Math.max(last, matrix.adapter?.nominalRank ?? 1)
      : Math.min(order, Math.ceil(beyond * last))
    return Math.max(most, own)
  }, 1)
}

const hatch = (id: string) =>
  svg(
    'pattern',
    {
      id: `${id}-hatch`,
      width: 7,
      height: 7,
      patternUnits: 'userSpaceOnUse',
      patternTransform: 'rotate(45)',
    },
    svg('line', { x1: 0, x2: 0, y1: 0, y2: 7 }),
  )

/** Marks the ranks beyond the singular values of every curve that stands out. */
function notComputed(spec: ChartSpec, model: Model, store: Store, frame: Frame): SVGElement[] {
  const chosen = [...store.chosen().keys()].map((index) => model.items[index])
  const shown = chosen.length > 0 ? chosen : model.items
  const most = Math.max(
    0,
    ...shown.map(({ matrix, order }) => (matrix.spectrum.complete ? order : matrix.spectrum.given)),
  )
  const from = frame.x.at(most)
  if (shown.length === 0 || shown.every(({ matrix }) => matrix.spectrum.complete) || from > frame.right - 2)
    return []
  const [middle, foot] = [(from + frame.right) / 2, frame.bottom - 12]
  const label =
    frame.right - from > LABEL_ROOM
      ? `translate(${middle} ${foot})`
      : `translate(${middle + 4} ${foot - LABEL_ROOM / 2}) rotate(-90)`
  const area = { x: from, y: frame.top, width: frame.right - from, height: frame.bottom - frame.top }
  return [
    svg('rect', { class: 'not-computed', ...area, fill: `url(#${spec.id}-hatch)` }),
    svg('line', { class: 'not-computed-edge', x1: from, x2: from, y1: frame.top, y2: frame.bottom }),
    svg('text', { class: 'not-computed-label', 'text-anchor': 'middle', transform: label }, 'not computed'),
  ]
}

function faintCurves(spec: ChartSpec, { items }: Model, store: Store, frame: Frame): SVGElement[] {
  const each = Math.ceil(items.length / MOST_PATHS)
  const paths = []
  for (let first = 0; first < items.length; first += each) {
    const some = items.slice(first, first + each).filter(({ index }) => !store.chosen().has(index))
    paths.push(svg('path', { class: 'faint', d: some.map((item) => pathOf(spec, item, frame)).join('') }))
  }
  return paths
}

/** A curve's path: points closer than a pixel or two are left out, what isn't above zero breaks off a logarithmic one. */
function pathOf(spec: ChartSpec, item: Item, { x, y }: Frame): string {
  const { ranks } = item
  let path = ''
  let before = Number.NEGATIVE_INFINITY
  for (let i = 0; i < ranks.length; i++) {
    const [px, py] = [x.at(ranks[i]), y.at(spec.y(item, i))]
    if (!Number.isFinite(py)) break
    if (px - before < PIXELS_PER_POINT && i < ranks.length - 1) continue
    path += `${path === '' ? 'M' : 'L'}${px.toFixed(1)} ${py.toFixed(1)}`
    before = px
  }
  return path
}

/** The point at the pointer's rank of the curve that is nearest to it; chosen curves first among near ones. */
function nearestPoint(
  spec: ChartSpec,
  model: Model,
  store: Store,
  frame: Frame,
  px: number,
  py: number,
): Point | undefined {
  const rank = Math.max(1, Math.round(frame.x.valueAt(px)))
  let best: Point | undefined
  let least = REACH
  for (const item of model.items) {
    const i = Math.max(0, lastUpTo(item.ranks, rank))
    if (item.ranks.length === 0) continue
    const apart = Math.hypot(frame.x.at(item.ranks[i]) - px, frame.y.at(spec.y(item, i)) - py)
    const distance = store.chosen().has(item.index) ? apart / 2 : apart
    if (distance < least) [best, least] = [{ item, i }, distance]
  }
  return best
}

/** Where a key moves the cursor: along the curve, or to another of the chosen ones. */
function moved({ items }: Model, store: Store, from: Point | undefined, key: string): Point | undefined {
  const steps: Record<string, number> = {
    ArrowLeft: -1,
    ArrowRight: 1,
    PageUp: -10,
    PageDown: 10,
    Home: -1e9,
    End: 1e9,
  }
  const turn = key === 'ArrowDown' ? 1 : key === 'ArrowUp' ? -1 : 0
  if (turn === 0 && steps[key] === undefined) return undefined
  const chosen = store.chosen().size > 0 ? [...store.chosen().keys()].map((index) => items[index]) : items
  const at = from ? chosen.indexOf(from.item) : -1
  const item =
    from && turn === 0
      ? from.item
      : chosen[(Math.max(0, at) + (from ? turn : 0) + chosen.length) % chosen.length]
  if (!item || item.ranks.length === 0) return undefined
  const i = from ? from.i + (turn === 0 ? steps[key] : 0) : 0
  return { item, i: Math.min(item.ranks.length - 1, Math.max(0, i)) }
}
