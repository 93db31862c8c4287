import { html } from '../../browser/dom.ts'
import type { Matrix } from '../../linalg/matrix/matrix.ts'
import { short } from '../../text/numbers.ts'

/** An entry of a matrix. */
export interface Entry {
  readonly row: number
  readonly column: number
}

/** A matrix as coloured cells. */
export interface HeatMap {
  readonly element: HTMLElement
  /** Draws the matrix in so many pixels; the colours run from −most to most. */
  draw(matrix: Matrix, most: number, size: Size): void
  /** Frames an entry, a row (without a column) or a column (without a row); nothing where both are left out. */
  mark(row?: number, column?: number): void
}

export interface Size {
  readonly width: number
  readonly height: number
}

/** Cells of at least so many pixels are set apart by a gap. */
const GAP_FROM = 9
/** How far a key moves. */
const STEPS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  PageUp: [-10, 0],
  PageDown: [10, 0],
  Home: [0, -1e9],
  End: [0, 1e9],
}

/** The name stands above the picture. `onEntry` is called with the entry that the pointer or the keys are at; undefined when they leave. */
export function heatMap(name: string, onEntry?: (entry: Entry | undefined) => void): HeatMap {
  const canvas = html('canvas', { width: 0, height: 0 })
  const frame = html('div', { class: 'mark', hidden: true })
  const box = html(
    'div',
    {
      class: 'heat-box',
      role: onEntry ? 'application' : undefined,
      'aria-roledescription': onEntry ? 'matrix' : undefined,
      tabindex: onEntry ? 0 : undefined,
      'aria-hidden': onEntry ? undefined : 'true',
      'aria-label': onEntry ? `${name}. Arrow keys move from entry to entry.` : undefined,
    },
    canvas,
    frame,
  )
  const caption = html('figcaption', {}, name)
  let shown: Matrix | undefined
  let at: Entry | undefined

  function go(entry: Entry | undefined): void {
    at = entry
    onEntry?.(entry)
  }
  if (onEntry) {
    box.addEventListener('pointermove', ({ clientX, clientY }) => {
      const { left, top, width, height } = canvas.getBoundingClientRect()
      if (!shown) return
      const row = Math.floor(((clientY - top) / height) * shown.rows)
      const column = Math.floor(((clientX - left) / width) * shown.columns)
      if (row >= 0 && column >= 0 && row < shown.rows && column < shown.columns) go({ row, column })
    })
    box.addEventListener('pointerleave', () => go(undefined))
    box.addEventListener('focus', () => box.matches(':focus-visible') && go(at ?? { row: 0, column: 0 }))
    box.addEventListener('blur', () => go(undefined))
    box.addEventListener('keydown', (event) => {
      const step = STEPS[event.key]
      if (!step || !shown) return
      const from = at ?? { row: 0, column: 0 }
      const within = (i: number, count: number) => Math.min(count - 1, Math.max(0, i))
      go({
        row: within(from.row + step[0], shown.rows),
        column: within(from.column + step[1], shown.columns),
      })
      event.preventDefault()
    })
  }

  return {
    element: html('figure', { class: 'heat-figure' }, caption, box),
    draw(matrix, most, size) {
      shown = matrix
      paint(canvas, matrix, most, size)
    },
    mark(row, column) {
      frame.hidden = (row === undefined && column === undefined) || !shown
      if (frame.hidden || !shown) return
      const share = (i: number | undefined, count: number) =>
        i === undefined ? (['0%', '100%'] as const) : ([`${(100 * i) / count}%`, `${100 / count}%`] as const)
      ;[frame.style.top, frame.style.height] = share(row, shown.rows)
      ;[frame.style.left, frame.style.width] = share(column, shown.columns)
    },
  }
}

/** Draws in the device's own pixels, so that cells are sharp. */
function paint(canvas: HTMLCanvasElement, matrix: Matrix, most: number, { width, height }: Size): void {
  const ratio = window.devicePixelRatio
  canvas.style.width = `${width}px`
  canvas.style.height = `${height}px`
  canvas.width = Math.max(1, Math.round(width * ratio))
  canvas.height = Math.max(1, Math.round(height * ratio))
  const context = canvas.getContext('2d')!
  context.imageSmoothingEnabled = false
  context.drawImage(pixelsOf(matrix, most), 0, 0, canvas.width, canvas.height)
  const { rows, columns } = matrix
  if (Math.min(width / columns, height / rows) < GAP_FROM) return
  const gap = Math.max(1, Math.round(ratio))
  for (let i = 1; i <= rows; i++)
    context.clearRect(0, Math.round((i * canvas.height) / rows) - gap, canvas.width, gap)
  for (let j = 1; j <= columns; j++) {
    context.clearRect(Math.round((j * canvas.width) / columns) - gap, 0, gap, canvas.height)
  }
}

/** The matrix with a pixel for each entry. */
function pixelsOf({ rows, columns, data }: Matrix, most: number): HTMLCanvasElement {
  const pixels = html('canvas', { width: columns, height: rows })
  const context = pixels.getContext('2d')!
  const image = context.createImageData(columns, rows)
  const shades = shadesOfTheme()
  data.forEach((value, at) => {
    const share = most > 0 ? Math.min(1, Math.max(-1, value / most)) : 0
    image.data.set(shades[Math.round((share + 1) * SHADES)], 4 * at)
  })
  context.putImageData(image, 0, 0)
  return pixels
}

type Rgb = readonly [number, number, number]

/** So many shades to each side of zero. */
const SHADES = 64
const OPAQUE = 255

/** From the colour of −1 over that of 0 to that of 1, as red, green, blue and opacity. */
function shadesOfTheme(): readonly (readonly number[])[] {
  const [negative, zero, positive] = ['--negative', '--zero', '--positive'].map(themeColour)
  const mix = (to: Rgb, share: number) => [...zero.map((part, i) => part + (to[i] - part) * share), OPAQUE]
  return Array.from({ length: 2 * SHADES + 1 }, (_, i) =>
    i < SHADES ? mix(negative, 1 - i / SHADES) : mix(positive, i / SHADES - 1),
  )
}

/** A colour of the theme, which is written there as #rrggbb. */
function themeColour(name: string): Rgb {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim()
  return [1, 3, 5].map((at) => Number.parseInt(text.slice(at, at + 2), 16)) as unknown as Rgb
}

/** The colours' meaning: a bar with its ends, of which entries beyond have the colour too. */
export function heatScale(): {
  readonly element: HTMLElement
  show(most: number, beyond?: number): void
} {
  const [low, high] = [html('span'), html('span')]
  return {
    element: html(
      'div',
      { class: 'heat-scale' },
      high,
      html('span', { class: 'ramp', 'aria-hidden': 'true' }),
      low,
    ),
    show(most, beyond = most) {
      const text = short(most, 3)
      high.textContent = beyond > most ? `≥ ${text}` : text
      low.textContent = beyond > most ? `≤ −${text}` : `−${text}`
    },
  }
}
