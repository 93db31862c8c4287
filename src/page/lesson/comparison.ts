import { linearAxis, logAxis } from '../../browser/axis.ts'
import { button, choices, html, press, svg } from '../../browser/dom.ts'
import { axes, drawing, type Frame, frameOf } from '../../browser/frame.ts'
import { onLook } from '../../browser/look.ts'
import { tipIn } from '../../browser/tip.ts'
import { DEFAULTS } from '../../commands/demo/options.ts'
import { allclose } from '../../linalg/matrix/allclose.ts'
import { short } from '../../text/numbers.ts'
import { control, decades, figures } from './controls.ts'
import type { Lesson } from './lesson.ts'
import { signed } from './signed.ts'
import type { LessonRun } from './tasks.ts'

const HEIGHT = 320
const RELATIVE = decades(-16, 0, 4)
const ABSOLUTE = decades(-16, 2, 4)
/** Differences of 0 are drawn this far below the smallest that isn't. */
const BELOW = 10

/** What the notebook was run with. PyTorch's own float32 says False to it. */
const NOTEBOOK = {
  d: 10,
  k: 10,
  rank: 2,
  noise: 0,
  seed: 0n,
  rng: 'torch',
  draw: 1,
  truncate: undefined,
  dtype: 'f32',
  rtol: DEFAULTS.rtol,
  atol: DEFAULTS.atol,
} as const
/** The first seed at which the notebook fails in the arithmetic of this program. */
const UNLUCKY_SEED = 41n

interface Compared {
  readonly difference: number
  readonly allowed: number
}

/** Step 5: one input through W and through B·A, compared entry by entry. */
export function showComparison(root: HTMLElement, lesson: Lesson): void {
  let run: LessonRun | undefined
  let compared: readonly Compared[] = []
  let frame: Frame | undefined
  let at: number | undefined
  const isTolerance = (value: number) => value >= 0
  const rtol = control('rtol', 'rtol', RELATIVE, (value) => lesson.choose({ rtol: value }), isTolerance)
  const atol = control('atol', 'atol', ABSOLUTE, (value) => lesson.choose({ atol: value }), isTolerance)
  const dtype = choices(
    'arithmetic',
    [
      ['f64', 'float64'],
      ['f32', 'float32'],
    ],
    lesson.choices().dtype,
    (value) => lesson.choose({ dtype: value }),
  )
  const own = button("The notebook's own numbers", () => lesson.choose(NOTEBOOK), {
    id: 'own-numbers',
    class: 'primary',
  })
  const unlucky = button('Seed 41', () => lesson.choose({ ...NOTEBOOK, seed: UNLUCKY_SEED }), {
    id: 'unlucky-seed',
  })
  const verdict = html('p', { class: 'verdict-line', id: 'allclose', 'aria-live': 'polite' })
  const reason = html('p', { class: 'readout', id: 'reason' })
  const live = html('p', { class: 'visually-hidden', 'aria-live': 'polite' })
  const plot = html('div', {
    class: 'plot short',
    id: 'entries',
    tabindex: 0,
    role: 'application',
    'aria-roledescription': 'chart',
    'aria-label':
      'The difference of each entry of y and what is allowed. Left and right arrows move from entry to entry.',
  })
  const tip = tipIn(
    () => plot.clientWidth,
    () => (frame?.bottom ?? 0) - 70,
  )
  const found = figures({
    'largest-difference': 'max |y_ref − y|',
    'normwise-error': 'normwise error',
    failing: 'entries not close',
  })
  root.append(
    html('div', { class: 'controls line' }, own, unlucky, dtype),
    html('div', { class: 'controls' }, rtol.element, atol.element),
    verdict,
    reason,
    html('div', { class: 'plot-box' }, plot, tip.element),
    live,
    found.element,
  )

  function draw(): void {
    if (!run || plot.clientWidth === 0) return
    const seen = compared.flatMap(({ difference, allowed }) => [difference, allowed]).filter((x) => x > 0)
    const floor = seen.length > 0 ? Math.min(...seen) / BELOW : 1e-17
    frame = frameOf(
      plot.clientWidth,
      HEIGHT,
      (range, count) => linearAxis([-0.5, compared.length - 0.5], range, Math.min(count, compared.length)),
      (range, count) => logAxis([floor, Math.max(floor * BELOW, ...seen) * 3], range, count, 10),
    )
    plot.replaceChildren(picture(compared, frame, floor, at))
  }

  function point(index: number | undefined): void {
    at = index
    draw()
    tip.hide()
    if (index === undefined || !frame || !run) return
    const { y, yRef } = run.result
    const { difference, allowed } = compared[index]
    const text = `${signed(yRef[index], 5)} and ${signed(y[index], 5)}: ${short(difference, 3)} apart, ${short(allowed, 3)} allowed`
    const x = frame.x.at(index)
    tip.show(
      { x, y: frame.top + 30 },
      [`entry ${index}`, difference <= allowed ? ': close' : ': not close'],
      text,
    )
    live.textContent = `Entry ${index}: ${text}`
  }

  plot.addEventListener('pointermove', ({ clientX }) => {
    if (!frame) return
    const index = Math.round(frame.x.valueAt(clientX - plot.getBoundingClientRect().left))
    point(index >= 0 && index < compared.length ? index : undefined)
  })
  plot.addEventListener('pointerleave', () => point(undefined))
  plot.addEventListener('blur', () => point(undefined))
  plot.addEventListener('keydown', (event) => {
    const last = compared.length - 1
    const goals: Record<string, number | undefined> = {
      ArrowRight: Math.min(last, (at ?? -1) + 1),
      ArrowLeft: Math.max(0, (at ?? 1) - 1),
      Home: 0,
      End: last,
      Escape: undefined,
    }
    if (!(event.key in goals)) return
    point(goals[event.key])
    event.preventDefault()
  })

  lesson.onChoice((chosen) => {
    rtol.show(chosen.rtol)
    atol.show(chosen.atol)
    press(dtype, chosen.dtype)
  })
  lesson.onRun((next) => {
    run = next
    compared = compare(next)
    const { allclose: isClose, maxAbsError, normwiseError } = next.result
    verdict.replaceChildren(
      'allclose(y_ref, y) = ',
      html('strong', { class: isClose ? 'true' : 'false' }, isClose ? 'True' : 'False'),
    )
    reason.textContent = next.reason
    found.show({
      'largest-difference': short(maxAbsError, 3),
      'normwise-error': short(normwiseError, 3),
      failing: `${compared.filter(({ difference, allowed }) => !(difference <= allowed)).length} of ${compared.length}`,
    })
    if (at !== undefined && at >= compared.length) at = undefined
    draw()
  })
  onLook(plot, draw)
}

/** Each entry as allclose looks at it. */
const compare = ({ result: { y, yRef, options } }: LessonRun): Compared[] =>
  Array.from(y, (_, i) => {
    const { worst } = allclose(y.subarray(i, i + 1), yRef.subarray(i, i + 1), options)
    return worst ?? { difference: Number.NaN, allowed: 0 }
  })

function picture(
  compared: readonly Compared[],
  frame: Frame,
  floor: number,
  at: number | undefined,
): SVGElement {
  const { left, right, bottom } = frame
  const room = (right - left) / compared.length
  const half = Math.max(0.5, Math.min(14, room * 0.34))
  const height = (value: number) => Math.min(bottom, frame.y.at(Math.max(value, floor)))
  const entries = compared.map(({ difference, allowed }, i) => {
    const x = frame.x.at(i)
    return svg(
      'g',
      { class: `entry ${difference <= allowed ? 'close' : 'apart'}${i === at ? ' at' : ''}` },
      svg('rect', { x: x - half, y: height(allowed), width: 2 * half, height: bottom - height(allowed) }),
      svg('line', { x1: x - half, x2: x + half, y1: height(allowed), y2: height(allowed) }),
      svg('circle', { cx: x, cy: height(difference), r: Math.max(2, Math.min(5, half)) }),
    )
  })
  return drawing(
    right + 14,
    HEIGHT,
    ...axes(frame, { x: 'entry of y', y: 'bars: allowed · dots: |y_ref − y|' }),
    ...entries,
  )
}
