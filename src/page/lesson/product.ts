import { button, choices, html, press } from '../../browser/dom.ts'
import { onLook } from '../../browser/look.ts'
import { MOST_ON_PAGE } from '../../commands/demo/options.ts'
import { largestAbs } from '../../linalg/matrix/norms.ts'
import { parseSeed } from '../../random/seedrandom.ts'
import { shape } from '../../text/numbers.ts'
import { control, integers } from './controls.ts'
import { type Entry, heatMap, heatScale } from './heat.ts'
import { layoutOf, PRODUCT_GAP } from './layout.ts'
import type { Lesson } from './lesson.ts'
import { signed } from './signed.ts'
import type { LessonRun } from './tasks.ts'

/** More terms of a sum than this are not written out. */
const TERMS = 4

/** Step 1: W, the two matrices that it is the product of, and what makes them. */
export function showProduct(root: HTMLElement, lesson: Lesson): void {
  const left = heatMap('randn(d, r)')
  const right = heatMap('randn(r, k)')
  const W = heatMap('W', point)
  const scale = heatScale()
  const sum = html('p', { class: 'readout', id: 'entry', 'aria-live': 'polite' })
  const stage = html(
    'div',
    { class: 'product' },
    html('div', { class: 'corner' }, scale.element),
    right.element,
    left.element,
    W.element,
  )
  root.append(sizes(lesson), stream(lesson), stage, sum)
  let run: LessonRun | undefined

  function draw(): void {
    if (!run) return
    const { W: product } = run.result
    const most = Math.max(...[run.left, run.right, product].map(({ data }) => largestAbs(data)))
    scale.show(most)
    const sizes = { d: product.rows, k: product.columns, r: run.left.columns }
    const { across, down } = layoutOf(stage.clientWidth - PRODUCT_GAP, sizes)
    left.draw(run.left, most, { width: across.thin, height: down.long })
    right.draw(run.right, most, { width: across.long, height: down.thin })
    W.draw(product, most, { width: across.long, height: down.long })
    point(undefined)
  }

  function point(entry: Entry | undefined): void {
    W.mark(entry?.row, entry?.column)
    left.mark(entry?.row)
    right.mark(undefined, entry?.column)
    if (run) sum.textContent = entry ? sumText(run, entry) : restText(run)
  }

  lesson.onRun((next) => {
    run = next
    draw()
  })
  onLook(stage, draw)
}

const restText = ({ result: { W, options } }: LessonRun) =>
  `W is ${shape(W.rows, W.columns)}. ${options.rank === 1 ? 'Each entry is one product.' : `Each entry is a sum of ${options.rank} products.`} Point at one, or move with the arrow keys.`

/** W[3, 5] = 0.61·1.2 + … */
function sumText({ left, right, result: { W, options } }: LessonRun, { row, column }: Entry): string {
  const terms = Array.from({ length: Math.min(TERMS, left.columns) }, (_, i) => {
    const [a, b] = [left.data[row * left.columns + i], right.data[i * right.columns + column]]
    return `${factor(a)}·${factor(b)}`
  })
  const more = left.columns > TERMS ? ` + … (${left.columns} products)` : ''
  const noise = options.noise > 0 ? ' + noise' : ''
  return `W[${row}, ${column}] = ${terms.join(' + ')}${more}${noise} = ${signed(W.data[row * W.columns + column], 6)}`
}

const factor = (x: number) => (x < 0 ? `(${signed(x, 3)})` : signed(x, 3))

function sizes(lesson: Lesson): HTMLElement {
  const isSize = (value: number) => Number.isInteger(value) && value >= 1 && value <= MOST_ON_PAGE
  const d = control('d', 'd, rows', integers(1, MOST_ON_PAGE), (value) => lesson.choose({ d: value }), isSize)
  const k = control(
    'k',
    'k, columns',
    integers(1, MOST_ON_PAGE),
    (value) => lesson.choose({ k: value }),
    isSize,
  )
  const r = control(
    'r',
    'r, rank',
    integers(1, MOST_ON_PAGE),
    (value) => lesson.choose({ rank: value }),
    isSize,
  )
  lesson.onChoice((chosen) => {
    d.show(chosen.d)
    k.show(chosen.k)
    r.show(chosen.rank, integers(1, Math.min(chosen.d, chosen.k)))
  })
  return html('div', { class: 'controls' }, d.element, k.element, r.element)
}

function stream(lesson: Lesson): HTMLElement {
  const field = html('input', {
    type: 'text',
    inputmode: 'numeric',
    id: 'seed',
    autocomplete: 'off',
    spellcheck: 'false',
  })
  const draw = html('input', { type: 'number', id: 'draw', min: 1, max: 10_000, step: 1 })
  field.addEventListener('change', () => {
    try {
      lesson.choose({ seed: parseSeed(field.value) })
    } catch {
      field.value = String(lesson.choices().seed)
    }
  })
  draw.addEventListener('change', () => {
    const value = Number(draw.value)
    if (Number.isInteger(value) && value >= 1 && value <= 10_000) lesson.choose({ draw: value })
    draw.value = String(lesson.choices().draw)
  })
  const next = button('Next seed', () => lesson.choose({ seed: lesson.choices().seed + 1n }), {
    id: 'next-seed',
  })
  const rng = choices(
    'stream',
    [
      ['seedrandom', 'seedrandom'],
      ['torch', 'PyTorch'],
    ],
    lesson.choices().rng,
    (value) => lesson.choose({ rng: value }),
  )
  lesson.onChoice((chosen) => {
    field.value = String(chosen.seed)
    draw.value = String(chosen.draw)
    press(rng, chosen.rng)
  })
  return html(
    'div',
    { class: 'controls line' },
    rng,
    html('span', { class: 'pair' }, html('label', { for: 'seed' }, 'seed'), field, next),
    html('span', { class: 'pair' }, html('label', { for: 'draw' }, 'draw'), draw),
  )
}
