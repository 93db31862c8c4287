import { html, svg } from '../../browser/dom.ts'
import { onLook } from '../../browser/look.ts'
import { type Matrix, matrix } from '../../linalg/matrix/matrix.ts'
import { largestAbs } from '../../linalg/matrix/norms.ts'
import { percent, short } from '../../text/numbers.ts'
import { control, integers } from './controls.ts'
import { cutControl } from './cut.ts'
import { type HeatMap, heatMap } from './heat.ts'
import type { Lesson } from './lesson.ts'
import type { LessonRun } from './tasks.ts'

/** So many layers of W are drawn one by one. */
const LAYERS = 6
const LAYER_PIXELS = 84
/** Of the panels' drawings, whose circle has radius 1. */
const VIEW = 1.35
const POINTS = 48

/** Step 3: what U, S and V do to a vector in the plane of the two strongest directions, and W as a sum of layers. */
export function showDirections(root: HTMLElement, lesson: Lesson): void {
  let run: LessonRun | undefined
  let degrees = 35
  const panels = html('div', { class: 'panels' })
  const told = html('p', { class: 'readout', id: 'turned', 'aria-live': 'polite' })
  const angle = control(
    'angle',
    'x, direction in degrees',
    integers(0, 360),
    (value) => {
      degrees = value
      drawPanels()
    },
    (value) => value >= 0 && value <= 360,
  )
  const cut = cutControl('cut', lesson)
  const layers = html('div', { class: 'layers', id: 'layers' })
  const kept = html('p', { class: 'readout', id: 'kept-energy', 'aria-live': 'polite' })
  const maps: HeatMap[] = []
  root.append(
    html('div', { class: 'controls' }, angle.element),
    panels,
    told,
    html('div', { class: 'controls' }, cut.element),
    layers,
    kept,
  )

  function drawPanels(): void {
    angle.show(degrees)
    if (!run) return
    const plane = planeOf(run)
    panels.replaceChildren(...plane.stages.map((stage) => panel(stage, degrees)))
    const radians = (degrees * Math.PI) / 180
    const length = Math.hypot(plane.stretch[0] * Math.cos(radians), plane.stretch[1] * Math.sin(radians))
    told.textContent = `A vector of length 1 comes out with length ${short(length, 4)}. The most is σ₁ = ${short(plane.stretch[0], 4)}, along v₁${plane.isLine ? '; there is no second direction.' : `; along v₂ it is σ₂ = ${short(plane.stretch[1], 4)}.`}`
  }

  function drawLayers(): void {
    if (!run) return
    const { singularValues: S, options } = run.result
    const count = Math.min(LAYERS, S.length)
    const pictures = Array.from({ length: count }, (_, i) => layerOf(run!, i))
    const most = Math.max(...pictures.map(({ data }) => largestAbs(data)))
    const ratio = run.result.W.rows / run.result.W.columns
    const width = ratio > 1 ? Math.max(12, LAYER_PIXELS / ratio) : LAYER_PIXELS
    const height = ratio > 1 ? LAYER_PIXELS : Math.max(12, LAYER_PIXELS * ratio)
    maps.length = 0
    const items = pictures.map((picture, i) => {
      const map = heatMap(`layer ${i + 1}`)
      map.draw(picture, most, { width, height })
      maps.push(map)
      const isKept = i < options.truncate
      const button = html(
        'button',
        {
          type: 'button',
          class: isKept ? 'kept' : 'dropped',
          'aria-pressed': String(isKept),
          title: i === 0 ? 'Keep this layer alone' : `Keep layers 1 to ${i + 1}`,
        },
        map.element,
        html('span', {}, `σ = ${short(S[i], 3)}`),
      )
      button.addEventListener('click', () => {
        lesson.choose({ truncate: i + 1 })
        layers.querySelectorAll('button')[i]?.focus()
      })
      return button
    })
    const focused = [...layers.children].indexOf(document.activeElement as Element)
    layers.replaceChildren(
      ...items,
      ...(S.length > count ? [html('span', { class: 'rest' }, `… ${S.length - count} more`)] : []),
    )
    if (focused >= 0) items[focused]?.focus()
    const lost = run.result.optimalError ** 2
    kept.textContent = `${options.truncate} of ${S.length} layers ${options.truncate === 1 ? 'is' : 'are'} kept, with ${percent(1 - lost)} of the energy, which is the sum of σ².`
  }

  lesson.onRun((next) => {
    run = next
    drawPanels()
    drawLayers()
  })
  onLook(layers, drawLayers)
}

/** σ_i·u_i·v_iᵀ */
function layerOf({ U, V, result: { W, singularValues: S } }: LessonRun, i: number): Matrix {
  const data = new Float64Array(W.rows * W.columns)
  for (let row = 0; row < W.rows; row++) {
    const left = S[i] * U.data[row * U.columns + i]
    for (let column = 0; column < W.columns; column++) {
      data[row * W.columns + column] = left * V.data[column * V.columns + i]
    }
  }
  return matrix(W.rows, W.columns, data)
}

/** A map of the plane: a point (a, b), its parts along v₁ and v₂, goes to these. */
interface Stage {
  readonly title: string
  readonly note: string
  map(a: number, b: number): readonly [number, number]
}

interface Plane {
  readonly stretch: readonly [number, number]
  /** W has one direction only. */
  readonly isLine: boolean
  readonly stages: readonly Stage[]
}

/** The ellipse is drawn as if σ₁ were 1. */
function planeOf({ U, V, result: { singularValues: S } }: LessonRun): Plane {
  const second = S.length > 1 ? S[1] : 0
  const long = S[0] > 0 ? second / S[0] : 0
  const [input, output] = [V, U].map(frameIn)
  return {
    stretch: [S[0], second],
    isLine: S.length < 2,
    stages: [
      { title: 'x', note: 'a vector of length 1', map: input },
      { title: 'Vᵀ·x', note: 'turned: v₁ lies along the axis', map: (a, b) => [a, b] },
      { title: 'S·Vᵀ·x', note: 'stretched by σ₁ and σ₂', map: (a, b) => [a, long * b] },
      { title: 'U·S·Vᵀ·x', note: 'turned again: this is W·x', map: (a, b) => output(a, long * b) },
    ],
  }
}

/**
 * How the plane of the two leading columns lies, seen so that the shadow of the first coordinate axis points to the right: (a, b) is
 * a·(first column) + b·(second column).
 */
function frameIn(vectors: Matrix): (a: number, b: number) => readonly [number, number] {
  if (vectors.columns < 2) return (a) => [a, 0]
  const [first, second] = vectors.data
  const length = Math.hypot(first, second)
  const [cosine, sine] = length > 0 ? [first / length, second / length] : [1, 0]
  return (a, b) => [cosine * a + sine * b, cosine * b - sine * a]
}

function panel({ title, note, map }: Stage, degrees: number): HTMLElement {
  const at = (radians: number) => {
    const [x, y] = map(Math.cos(radians), Math.sin(radians))
    return `${x.toFixed(4)} ${(-y).toFixed(4)}`
  }
  const outline = Array.from({ length: POINTS }, (_, i) => at((i / POINTS) * 2 * Math.PI)).join('L')
  const arrow = (className: string, radians: number, label: string) => {
    const [x, y] = map(Math.cos(radians), Math.sin(radians))
    const length = Math.hypot(x, y)
    const away = length > 0 ? (length + 0.16) / length : 0
    return svg(
      'g',
      { class: className },
      svg('line', { x1: 0, y1: 0, x2: x, y2: -y }),
      svg('circle', { cx: x, cy: -y, r: 0.045 }),
      length > 0.12 && svg('text', { x: x * away, y: -y * away + 0.05, 'text-anchor': 'middle' }, label),
    )
  }
  return html(
    'figure',
    { class: 'panel' },
    svg(
      'svg',
      {
        viewBox: `${-VIEW} ${-VIEW} ${2 * VIEW} ${2 * VIEW}`,
        role: 'img',
        'aria-label': `${title}: ${note}`,
      },
      svg('line', { class: 'cross', x1: -VIEW, x2: VIEW, y1: 0, y2: 0 }),
      svg('line', { class: 'cross', x1: 0, x2: 0, y1: -VIEW, y2: VIEW }),
      svg('path', { class: 'outline', d: `M${outline}Z` }),
      arrow('first', 0, title === 'x' ? 'v₁' : ''),
      arrow('second', Math.PI / 2, title === 'x' ? 'v₂' : ''),
      arrow('moved', (degrees * Math.PI) / 180, title === 'x' ? 'x' : ''),
    ),
    html('figcaption', {}, html('strong', {}, title), html('span', {}, note)),
  )
}
