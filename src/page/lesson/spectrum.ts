import { linearAxis, logAxis } from '../../browser/axis.ts'
import { button, choices, html, svg } from '../../browser/dom.ts'
import { axes, drawing, type Frame, frameOf } from '../../browser/frame.ts'
import { onLook } from '../../browser/look.ts'
import { tipIn } from '../../browser/tip.ts'
import { epsilonOf } from '../../linalg/matrix/matrix.ts'
import { rankAboveFloor, rankTolerance } from '../../linalg/spectrum/ranks.ts'
import { grouped, short } from '../../text/numbers.ts'
import { control, decades, figures } from './controls.ts'
import type { Lesson } from './lesson.ts'
import type { LessonRun } from './tasks.ts'

const HEIGHT = 340
/** Up to so many values each one has a stem. */
const STEMS = 64
/** A pointer so near to the tolerance line, in pixels, takes hold of it. */
const GRIP = 14
/** Noise from 10⁻¹⁶ to 10 and tolerances from 10⁻²⁰ to 10³. */
const NOISE = decades(-16, 1, 4)
const TOLERANCE = decades(-20, 3, 10)

/** Step 2: the singular values of W, the line above which they count, and noise. */
export function showSpectrum(root: HTMLElement, lesson: Lesson): void {
  let isLog = true
  let run: LessonRun | undefined
  let frame: Frame | undefined
  /** Undefined: as NumPy draws it. */
  let own: number | undefined
  let at: number | undefined
  const plot = html('div', {
    class: 'plot',
    id: 'cliff',
    tabindex: 0,
    role: 'application',
    'aria-roledescription': 'chart',
    'aria-label':
      'Singular values of W. Left and right arrows move from value to value, up and down move the tolerance.',
  })
  const live = html('p', { class: 'visually-hidden', 'aria-live': 'polite' })
  const tip = tipIn(
    () => plot.clientWidth,
    () => (frame?.bottom ?? 0) - 50,
  )
  const noise = control(
    'noise',
    'σ, noise',
    NOISE,
    (value) => lesson.choose({ noise: value }),
    (value) => value >= 0 && value <= 1e20,
  )
  const tolerance = control('tolerance', 'tolerance', TOLERANCE, setTolerance, (value) => value >= 0)
  const reset = button("NumPy's tolerance", () => setTolerance(undefined), { id: 'numpy-tolerance' })
  const found = figures({
    'found-rank': 'rank of W',
    'found-above': 'values above the line',
    'found-first': 'σ₁',
    'found-last': 'σ of the last direction',
  })
  const toggles = html(
    'div',
    { class: 'toggles' },
    reset,
    choices(
      'σ',
      [
        ['log', 'log'],
        ['linear', 'linear'],
      ],
      'log',
      (value) => {
        isLog = value === 'log'
        draw()
      },
    ),
  )
  root.append(
    html('div', { class: 'controls' }, noise.element, tolerance.element),
    toggles,
    html('div', { class: 'plot-box' }, plot, tip.element),
    live,
    found.element,
  )

  const values = () => Float64Array.from(run?.result.singularValues ?? [])
  const numpyTolerance = () => {
    if (!run) return 0
    const { W, options } = run.result
    return rankTolerance(values(), W.rows, W.columns, epsilonOf[options.dtype])
  }
  const level = () => own ?? numpyTolerance()

  function setTolerance(value: number | undefined): void {
    own = value
    draw()
  }

  function draw(): void {
    if (!run) return
    const S = values()
    const above = rankAboveFloor(S, level())
    tolerance.show(level())
    reset.disabled = own === undefined
    found.show({
      'found-rank': grouped(run.result.rank),
      'found-above': `${grouped(above)} of ${grouped(S.length)}`,
      'found-first': short(S[0]),
      'found-last': short(S[S.length - 1]),
    })
    if (plot.clientWidth === 0) return
    const { x, y } = domains(S, level(), isLog)
    frame = frameOf(
      plot.clientWidth,
      HEIGHT,
      (range, count) => linearAxis(x, range, Math.min(count, S.length)),
      (range, count) => (isLog ? logAxis(y, range, count, 10) : linearAxis(y, range, count)),
    )
    plot.replaceChildren(picture(S, frame, level(), at))
  }

  function point(index: number | undefined): void {
    at = index
    draw()
    tip.hide()
    if (index === undefined || !frame || !run) return
    const S = values()
    const side = S[index] > level() ? 'above the line: it counts' : 'below the line: rounding'
    const text = `σ = ${short(S[index])}, ${side}`
    tip.show(positionOf(frame, index, S[index]), [`direction ${index + 1}`], text)
    live.textContent = `Direction ${index + 1}: ${text}`
  }

  let isHeld = false
  const heightOf = ({ clientY }: PointerEvent) => clientY - plot.getBoundingClientRect().top
  plot.addEventListener('pointerdown', (event) => {
    isHeld = frame !== undefined && Math.abs(heightOf(event) - lineHeight(frame, level())) <= GRIP
    if (!isHeld) return
    plot.setPointerCapture(event.pointerId)
    event.preventDefault()
  })
  plot.addEventListener('pointermove', (event) => {
    if (!frame) return
    const height = heightOf(event)
    plot.classList.toggle('grip', isHeld || Math.abs(height - lineHeight(frame, level())) <= GRIP)
    if (isHeld) return setTolerance(Math.max(0, frame.y.valueAt(height)))
    const column = event.clientX - plot.getBoundingClientRect().left
    const index = Math.round(frame.x.valueAt(column)) - 1
    point(index >= 0 && index < values().length ? index : undefined)
  })
  plot.addEventListener('pointerup', () => {
    isHeld = false
  })
  plot.addEventListener('pointerleave', () => point(undefined))
  plot.addEventListener('blur', () => point(undefined))
  plot.addEventListener('keydown', (event) => {
    const last = values().length - 1
    const stop = TOLERANCE.stopOf(level())
    const moves: Record<string, () => void> = {
      ArrowRight: () => point(Math.min(last, (at ?? -1) + 1)),
      ArrowLeft: () => point(Math.max(0, (at ?? 1) - 1)),
      Home: () => point(0),
      End: () => point(last),
      ArrowUp: () => setTolerance(TOLERANCE.valueAt(Math.min(TOLERANCE.stops, stop + 1))),
      ArrowDown: () => setTolerance(TOLERANCE.valueAt(Math.max(1, stop - 1))),
      Escape: () => point(undefined),
    }
    const move = moves[event.key]
    if (!move) return
    move()
    event.preventDefault()
  })
  lesson.onChoice((chosen) => noise.show(chosen.noise))
  lesson.onRun((next) => {
    run = next
    if (at !== undefined && at >= next.result.singularValues.length) at = undefined
    draw()
  })
  onLook(plot, draw)
}

/** What both axes show: all values and the line; on a log axis what is 0 lies below. */
function domains(S: Float64Array, level: number, isLog: boolean) {
  const x = [0.5, S.length + 0.5] as const
  const most = Math.max(S[0], Number.MIN_VALUE)
  if (!isLog) return { x, y: [0, most * 1.05] as const }
  const seen = [...S, level].filter((value) => value > 0)
  return { x, y: [Math.min(...seen) / 3, most * 3] as const }
}

const lineHeight = ({ y, top, bottom }: Frame, level: number) => {
  const height = level > 0 ? y.at(level) : bottom
  return Math.min(bottom, Math.max(top, height))
}

function positionOf(frame: Frame, index: number, value: number) {
  const height = frame.y.at(value)
  return {
    x: frame.x.at(index + 1),
    y: Number.isFinite(height) ? Math.min(frame.bottom, height) : frame.bottom,
  }
}

function picture(S: Float64Array, frame: Frame, level: number, at: number | undefined): SVGElement {
  const { left, right, top, bottom } = frame
  const line = lineHeight(frame, level)
  const dots = Array.from(S, (value, i) => {
    const { x, y } = positionOf(frame, i, value)
    return svg(
      'g',
      { class: `${value > level ? 'counts' : 'rounding'}${i === at ? ' at' : ''}` },
      S.length <= STEMS && svg('line', { x1: x, x2: x, y1: bottom, y2: y }),
      svg('circle', { cx: x, cy: y, r: S.length <= STEMS ? 5 : 2.5 }),
    )
  })
  const above = line > top + 30
  return drawing(
    right + 14,
    HEIGHT,
    ...axes(frame, { x: 'direction', y: 'singular value σ' }),
    ...dots,
    svg('line', { class: 'level', x1: left, x2: right, y1: line, y2: line }),
    svg('rect', { class: 'handle', x: right - 26, y: line - 5, width: 26, height: 10, rx: 5 }),
    svg(
      'text',
      { class: 'level-label', x: right - 34, y: above ? line - 8 : line + 18, 'text-anchor': 'end' },
      `tolerance ${short(level, 3)}`,
    ),
  )
}
