import { linearAxis } from '../../browser/axis.ts'
import { choices, html, svg } from '../../browser/dom.ts'
import { axes, drawing, frameOf } from '../../browser/frame.ts'
import { onLook } from '../../browser/look.ts'
import { elementCounts } from '../../linalg/svd/svd.ts'
import { grouped, percent } from '../../text/numbers.ts'
import { figures } from './controls.ts'
import type { Lesson } from './lesson.ts'
import type { LessonRun } from './tasks.ts'

const HEIGHT = 300
const RANKS = ['1', '4', '8', '16', '64', '256'] as const
type Rank = (typeof RANKS)[number]

interface Layer {
  readonly rows: number
  readonly columns: number
  readonly count: number
}

/** The linear layers of Llama-2-7B: config.json has hidden_size 4096, intermediate_size 11008 and 32 layers. */
const SEVEN_B: readonly Layer[] = [
  { rows: 4096, columns: 4096, count: 4 * 32 },
  { rows: 11008, columns: 4096, count: 2 * 32 },
  { rows: 4096, columns: 11008, count: 32 },
]

/** Step 6: how many numbers W and its factors take, here and where it matters. */
export function showCosts(root: HTMLElement, lesson: Lesson): void {
  let run: LessonRun | undefined
  let rank: Rank = '16'
  const plot = html('div', { class: 'plot short', id: 'cost-lines', role: 'img' })
  const found = figures({
    'elements-W': 'elements of W',
    'elements-factors': 'elements of B + A',
    'elements-ratio': 'share of W',
  })
  const body = html('tbody')
  const ranks = choices(
    'rank',
    RANKS.map((each) => [each, each] as const),
    rank,
    (value) => {
      rank = value
      table()
    },
  )
  root.append(
    found.element,
    plot,
    html('div', { class: 'controls line', id: 'model-rank' }, ranks),
    html(
      'div',
      { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'The same where it matters' },
      html(
        'table',
        { class: 'plain', id: 'costs-table' },
        html(
          'thead',
          {},
          html(
            'tr',
            {},
            ...['', 'W', 'B + A', 'share'].map((head) =>
              head ? html('th', { scope: 'col' }, head) : html('td'),
            ),
          ),
        ),
        body,
      ),
    ),
  )

  function table(): void {
    const rows = [
      row('one 4096 × 4096 matrix', [{ rows: 4096, columns: 4096, count: 1 }], Number(rank)),
      row('all linear layers of Llama-2-7B', SEVEN_B, Number(rank)),
    ]
    body.replaceChildren(...rows)
  }

  function draw(): void {
    if (!run || plot.clientWidth === 0) return
    const { W, options } = run.result
    const { rows, columns } = W
    const dense = rows * columns
    const most = Math.min(rows, columns)
    const crossing = dense / (rows + columns)
    const top = Math.max(dense, most * (rows + columns)) * 1.08
    plot.setAttribute(
      'aria-label',
      `W has ${grouped(dense)} numbers. The factors have ${grouped(rows + columns)} for each direction kept, as many as W at rank ${crossing.toPrecision(3)}.`,
    )
    const frame = frameOf(
      plot.clientWidth,
      HEIGHT,
      (range, count) => linearAxis([0, most], range, Math.min(count, most)),
      (range, count) => linearAxis([0, top], range, count),
    )
    const { x, y, left, right, bottom } = frame
    const kept = options.truncate
    const end = crossing > most * 0.6 ? 'end' : 'start'
    plot.replaceChildren(
      drawing(
        plot.clientWidth,
        HEIGHT,
        ...axes(frame, { x: 'r, directions kept', y: 'numbers to store' }),
        svg('path', {
          class: 'saved',
          d: `M${left} ${y.at(dense)}L${x.at(crossing)} ${y.at(dense)}L${left} ${bottom}Z`,
        }),
        svg('line', { class: 'dense', x1: left, x2: right, y1: y.at(dense), y2: y.at(dense) }),
        svg('line', {
          class: 'factors',
          x1: left,
          x2: x.at(most),
          y1: bottom,
          y2: y.at(most * (rows + columns)),
        }),
        svg('text', { class: 'dense-label', x: left + 8, y: y.at(dense) - 8 }, `W: d·k = ${grouped(dense)}`),
        svg('line', {
          class: 'crossing',
          x1: x.at(crossing),
          x2: x.at(crossing),
          y1: y.at(dense),
          y2: bottom,
        }),
        svg(
          'text',
          {
            class: 'crossing-label',
            x: x.at(crossing) + (end === 'end' ? -6 : 6),
            y: bottom - 10,
            'text-anchor': end,
          },
          `equal at r = ${Number(crossing.toPrecision(3))}`,
        ),
        svg('circle', { class: 'here', cx: x.at(kept), cy: y.at(kept * (rows + columns)), r: 6 }),
        svg(
          'text',
          {
            class: 'here-label',
            x: x.at(kept) + (kept > most * 0.6 ? -10 : 12),
            y: y.at(kept * (rows + columns)) + 16,
            'text-anchor': kept > most * 0.6 ? 'end' : 'start',
          },
          `B and A: ${grouped(kept * (rows + columns))}`,
        ),
      ),
    )
  }

  lesson.onRun((next) => {
    run = next
    const { elements } = next.result
    found.show({
      'elements-W': grouped(elements.W),
      'elements-factors': `${grouped(elements.B)} + ${grouped(elements.A)} = ${grouped(elements.factors)}`,
      'elements-ratio': percent(elements.ratio),
    })
    draw()
  })
  table()
  onLook(plot, draw)
}

function row(name: string, layers: readonly Layer[], rank: number): HTMLElement {
  const counts = layers.map((layer) => ({ ...elementCounts(layer, rank), count: layer.count }))
  const sum = (of: 'W' | 'factors') => counts.reduce((total, each) => total + each[of] * each.count, 0)
  const [W, factors] = [sum('W'), sum('factors')]
  return html(
    'tr',
    {},
    html('th', { scope: 'row' }, name),
    ...[grouped(W), grouped(factors), percent(factors / W)].map((text) => html('td', {}, text)),
  )
}
