import type { Axis } from './axis.ts'
import { svg } from './dom.ts'

/** Where a chart draws, in pixels, and its two axes. */
export interface Frame {
  readonly x: Axis
  readonly y: Axis
  readonly left: number
  readonly right: number
  readonly top: number
  readonly bottom: number
}

/** Makes an axis for a range of pixels; `count` is how many labels it has room for. */
export type AxisFor = (range: readonly [number, number], count: number) => Axis

const MARGIN = { top: 28, right: 14, bottom: 44, left: 56 }
/** Room for one label of the horizontal axis, in pixels. */
const TICK_ROOM = 52
/** Room for one label of the vertical axis. */
const TICK_HEIGHT = 44

export function frameOf(width: number, height: number, x: AxisFor, y: AxisFor): Frame {
  const [left, right] = [MARGIN.left, width - MARGIN.right]
  const [top, bottom] = [MARGIN.top, height - MARGIN.bottom]
  return {
    x: x([left, right], Math.max(2, Math.floor((right - left) / TICK_ROOM))),
    y: y([bottom, top], Math.max(2, Math.floor((bottom - top) / TICK_HEIGHT))),
    left,
    right,
    top,
    bottom,
  }
}

/** A chart's drawing, which a text beside it tells to those who don't see it. */
export const drawing = (
  width: number,
  height: number,
  ...children: readonly (SVGElement | false | string)[]
) => svg('svg', { width, height, viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true' }, ...children)

/** The axes with their ticks and titles: x below, y above the top left corner. */
export function axes({ x, y, left, right, bottom }: Frame, titles: { x: string; y: string }): SVGElement[] {
  const grid = y.ticks.map(({ value, label }) => {
    const at = y.at(value)
    return svg(
      'g',
      { class: 'tick' },
      svg('line', { x1: left, x2: right, y1: at, y2: at }),
      svg('text', { x: left - 8, y: at + 4, 'text-anchor': 'end' }, label),
    )
  })
  const foot = x.ticks.map(({ value, label }) => {
    const at = x.at(value)
    return svg(
      'g',
      { class: 'tick' },
      svg('line', { x1: at, x2: at, y1: bottom, y2: bottom + 5 }),
      svg('text', { x: at, y: bottom + 18, 'text-anchor': 'middle' }, label),
    )
  })
  return [
    ...grid,
    svg('line', { class: 'axis', x1: left, x2: right, y1: bottom, y2: bottom }),
    ...foot,
    svg(
      'text',
      { class: 'axis-title', x: (left + right) / 2, y: bottom + 38, 'text-anchor': 'middle' },
      titles.x,
    ),
    svg('text', { class: 'axis-title', x: 0, y: 10 }, titles.y),
  ]
}
