import { html } from '../../browser/dom.ts'
import { onLook } from '../../browser/look.ts'
import { type Matrix, matrix } from '../../linalg/matrix/matrix.ts'
import { largestAbs } from '../../linalg/matrix/norms.ts'
import { percent, short } from '../../text/numbers.ts'
import { figures } from './controls.ts'
import { cutControl } from './cut.ts'
import { type Entry, heatMap, heatScale } from './heat.ts'
import { BESIDE_GAP, layoutOf, PRODUCT_GAP } from './layout.ts'
import type { Lesson } from './lesson.ts'
import { showRivals } from './rivals.ts'
import { signed } from './signed.ts'
import type { LessonRun } from './tasks.ts'

/** Side by side from so much room on. */
const BESIDE_FROM = 560
/** Where they stand below each other, of so much width at most. */
const MOST_STACKED = 300

/** Step 4: W, the two factors with their product, and what is missing, all on one scale. */
export function showFactors(root: HTMLElement, lesson: Lesson): void {
  const W = heatMap('W', point)
  const B = heatMap('B')
  const A = heatMap('A')
  const product = heatMap('B·A', point)
  const difference = heatMap('W − B·A', point)
  const scale = heatScale()
  const readout = html('p', { class: 'readout', id: 'missing', 'aria-live': 'polite' })
  const cut = cutControl('factor-rank', lesson)
  const found = figures({
    'relative-error': '‖W − B·A‖ / ‖W‖',
    'optimal-error': 'the best of this rank',
    kept: 'energy kept',
  })
  const stage = html(
    'div',
    { class: 'beside' },
    W.element,
    html(
      'div',
      { class: 'product' },
      html('div', { class: 'corner' }, scale.element),
      A.element,
      B.element,
      product.element,
    ),
    difference.element,
  )
  root.append(html('div', { class: 'controls' }, cut.element), stage, readout, found.element)
  showRivals(root, lesson)
  let shown: { run: LessonRun; BA: Matrix; rest: Matrix } | undefined

  function draw(): void {
    if (!shown) return
    const { run, BA, rest } = shown
    const { result } = run
    const most = largestAbs(result.W.data)
    scale.show(most, Math.max(largestAbs(result.B.data), largestAbs(result.A.data)))
    const room = stage.clientWidth
    const sizes = { d: result.W.rows, k: result.W.columns, r: result.B.columns }
    const { across, down } =
      room >= BESIDE_FROM
        ? layoutOf(room - 2 * BESIDE_GAP - PRODUCT_GAP, sizes, 2)
        : layoutOf(Math.min(room, MOST_STACKED) - PRODUCT_GAP, sizes)
    const whole = { width: across.long, height: down.long }
    W.draw(result.W, most, whole)
    product.draw(BA, most, whole)
    difference.draw(rest, most, whole)
    B.draw(result.B, most, { width: across.thin, height: down.long })
    A.draw(result.A, most, { width: across.long, height: down.thin })
    point(undefined)
  }

  function point(entry: Entry | undefined): void {
    for (const map of [W, product, difference]) map.mark(entry?.row, entry?.column)
    B.mark(entry?.row)
    A.mark(undefined, entry?.column)
    if (!shown) return
    const { run, BA, rest } = shown
    readout.textContent = entry
      ? entryText(run, BA, rest, entry)
      : `The largest entry of the difference is ${short(largestAbs(rest.data), 3)}; the largest of W is ${short(largestAbs(run.result.W.data), 3)}.`
  }

  lesson.onRun((run) => {
    const { result, BA } = run
    shown = { run, BA, rest: minus(result.W, BA) }
    found.show({
      'relative-error': short(result.relativeError, 3),
      'optimal-error': short(result.optimalError, 3),
      kept: percent(1 - result.optimalError ** 2),
    })
    draw()
  })
  onLook(stage, draw)
}

const minus = (W: Matrix, P: Matrix) =>
  matrix(
    W.rows,
    W.columns,
    Float64Array.from(W.data, (w, i) => w - P.data[i]),
  )

function entryText({ result: { W } }: LessonRun, BA: Matrix, rest: Matrix, { row, column }: Entry): string {
  const at = row * W.columns + column
  const [w, p, left] = [W, BA, rest].map(({ data }) => signed(data[at], 4))
  return `At [${row}, ${column}]: W has ${w}, B·A has ${p}; ${left} is missing.`
}
