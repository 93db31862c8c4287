import { linearAxis, logAxis } from '../../browser/axis.ts'
import { button, html, svg } from '../../browser/dom.ts'
import { axes, drawing, frameOf } from '../../browser/frame.ts'
import { onLook } from '../../browser/look.ts'
import { grouped, short } from '../../text/numbers.ts'
import { type Asked, openWorker } from '../ask.ts'
import type { Lesson } from './lesson.ts'
import type { OtherKind, Others } from './others.ts'
import type { LessonRun } from './tasks.ts'

const HEIGHT = 280
const ALL = 1000
/** An optimum below this is drawn on a log axis. */
const LOG_BELOW = 0.02
/** Where a log axis ends that would go down to rounding, or to 0. */
const LEAST = 1e-16
/** Errors nearer to the optimum than this are the same but for rounding. */
const ROUNDING = 1e-12

const KINDS: readonly (readonly [OtherKind, string])[] = [
  ['random', 'random B and A, scaled to fit'],
  ['fitted', 'random B, the best A for it'],
  ['gradient', 'steps along the gradient'],
]

/** Eckart and Young put to the test: a thousand other factors of the same rank. */
export function showRivals(root: HTMLElement, lesson: Lesson): void {
  let run: LessonRun | undefined
  let worker: Asked | undefined
  let tried: Others[] = []
  const start = button('Try a thousand others', go, { id: 'try', class: 'primary' })
  const plot = html('div', {
    class: 'plot short',
    id: 'rivals',
    role: 'img',
    'aria-label': 'No other factors tried yet',
  })
  const told = html('p', { class: 'readout', id: 'rivals-told', 'aria-live': 'polite' })
  const legend = html(
    'ul',
    { class: 'rival-legend' },
    ...KINDS.map(([kind, label]) =>
      html('li', {}, html('span', { class: `dot ${kind}`, 'aria-hidden': 'true' }), label),
    ),
  )
  const box = html(
    'div',
    { class: 'rivals' },
    html('div', { class: 'controls line' }, start, told),
    plot,
    legend,
  )
  root.append(box)

  function go(): void {
    if (!run) return
    stop()
    worker = openWorker()
    start.disabled = true
    const { W, options } = run.result
    worker
      .ask<void, Others>('others', { W, rank: options.truncate, seed: options.seed }, (others) => {
        tried.push(others)
        draw()
      })
      .catch((error: Error) => {
        told.textContent = error.message
      })
      .finally(() => {
        start.disabled = false
        worker?.stop()
      })
  }

  function stop(): void {
    worker?.stop()
    worker = undefined
    tried = []
    start.disabled = false
  }

  function draw(): void {
    const errors = tried.flatMap((each) => each.errors)
    box.classList.toggle('empty', errors.length === 0)
    if (!run) return
    const { optimalError, options } = run.result
    told.textContent = errors.length === 0 ? '' : summary(errors, optimalError)
    plot.setAttribute(
      'aria-label',
      errors.length === 0 ? 'No other factors tried yet' : summary(errors, optimalError),
    )
    plot.replaceChildren()
    if (plot.clientWidth === 0 || errors.length === 0) return
    const least = Math.max(LEAST, Math.min(optimalError, ...errors))
    const isLog = optimalError < LOG_BELOW
    const frame = frameOf(
      plot.clientWidth,
      HEIGHT,
      (range, count) => linearAxis([0, ALL], range, Math.min(count, 10)),
      (range, count) =>
        isLog ? logAxis([least / 3, 1.5], range, count, 10) : linearAxis([0, 1.05], range, count),
    )
    const { left, right, bottom } = frame
    let index = 0
    const dots = tried.map(({ kind, errors: some }) =>
      svg(
        'g',
        { class: `rival ${kind}` },
        ...some.map((error) =>
          svg('circle', {
            cx: frame.x.at(index++),
            cy: Math.min(bottom, frame.y.at(Math.max(error, least / 3))),
            r: 2,
          }),
        ),
      ),
    )
    const line = Math.min(bottom, frame.y.at(Math.max(optimalError, least / 2)))
    plot.replaceChildren(
      drawing(
        plot.clientWidth,
        HEIGHT,
        ...axes(frame, { x: 'try', y: 'relative error ‖W − B·A‖ / ‖W‖' }),
        ...dots,
        svg('line', { class: 'level', x1: left, x2: right, y1: line, y2: line }),
        svg(
          'text',
          {
            class: 'level-label',
            x: right,
            y: line > bottom - 24 ? line - 8 : line + 17,
            'text-anchor': 'end',
          },
          `the SVD's B·A, rank ${options.truncate}: ${short(optimalError, 3)}`,
        ),
      ),
    )
  }

  lesson.onRun((next) => {
    stop()
    run = next
    draw()
  })
  onLook(plot, draw)
}

function summary(errors: readonly number[], optimum: number): string {
  const best = Math.min(...errors)
  const below = errors.filter((error) => error < optimum - ROUNDING).length
  const none = below === 0 ? 'None is' : `${grouped(below)} are`
  return `${grouped(errors.length)} tried, the best with an error of ${short(best, 3)}. ${none} below ${short(optimum, 3)}.`
}
