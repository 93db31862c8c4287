import { breakable, button, html } from '../../browser/dom.ts'
import { verdictLabel } from '../../commands/inspect/html/client/columns.ts'
import type { Item } from '../../commands/inspect/html/client/model.ts'
import { NONE, numberText, rangeText } from '../../commands/inspect/html/format.ts'
import { grouped, percent, shape } from '../../text/numbers.ts'
import { printable } from '../../text/quote.ts'
import type { Session } from './session.ts'
import { sparkline } from './sparkline.ts'

/** Rows shown at first, and how many more at a time: thousands of rows take seconds to lay out. */
const FIRST_ROWS = 100
const MORE_ROWS = 400

interface Shown {
  readonly element: HTMLTableRowElement
  readonly choose: HTMLButtonElement
}

/** The list of all that is looked at, which fills as it is computed. */
export interface MatrixList {
  readonly element: HTMLElement
  /** Another session, or other rows of it. */
  begin(session: Session): void
  /** What became of a row. */
  fill(row: number): void
  mark(): void
}

const NOUNS = { weights: 'Matrices', delta: 'Deltas', adapter: 'Modules' } as const

export function matrixList(): MatrixList {
  let session: Session | undefined
  let limit = FIRST_ROWS
  let rows = new Map<number, Shown>()
  const title = html('h3', { id: 'weights-list-title' }, NOUNS.weights)
  const filter = html('input', {
    type: 'search',
    id: 'weights-filter',
    placeholder: 'part of a name or verdict',
  })
  const count = html('p', { 'aria-live': 'polite' })
  const head = html('tr')
  const body = html('tbody')
  const more = button('Show more rows', () => {
    limit += MORE_ROWS
    draw()
  })
  filter.addEventListener('input', draw)
  const element = html(
    'div',
    { class: 'list-of-matrices', hidden: true },
    title,
    html(
      'div',
      { class: 'table-controls' },
      html('label', { for: 'weights-filter' }, 'Filter '),
      filter,
      count,
    ),
    html(
      'div',
      { class: 'scroll', tabindex: 0, role: 'region', 'aria-labelledby': 'weights-list-title' },
      html('table', { class: 'matrices' }, html('thead', {}, head), body),
    ),
    more,
  )

  function draw(): void {
    if (session === undefined) return
    const wanted = filter.value.trim().toLowerCase()
    const matching = session.rows.flatMap((_, row) => (textOf(session!, row).includes(wanted) ? [row] : []))
    const shown = matching.slice(0, limit)
    body.replaceChildren(...shown.map((row) => shownAt(row).element))
    count.textContent =
      shown.length === session.rows.length
        ? ''
        : `${grouped(shown.length)} of ${grouped(session.rows.length)} are shown`
    more.hidden = shown.length === matching.length
    mark()
  }

  function shownAt(row: number): Shown {
    const known = rows.get(row)
    if (known !== undefined) return known
    const name = printable(session!.rows[row].name)
    const choose = button(html('span', {}, ...breakable(name)), () => {
      session!.hasten(row)
      session!.select(row)
    })
    const made = { element: html('tr'), choose }
    rows.set(row, made)
    fill(row)
    return made
  }

  function fill(row: number): void {
    const shown = rows.get(row)
    if (shown === undefined || session === undefined) return
    const { element, choose } = shown
    const found = session.found[row]
    element.classList.toggle('pending', found === undefined)
    element.replaceChildren(html('th', { scope: 'row', class: 'name' }, choose), ...cellsOf(session, row))
  }

  function mark(): void {
    for (const [row, { element, choose }] of rows) {
      const isSelected = row === session?.selected
      element.classList.toggle('chosen', isSelected)
      choose.setAttribute('aria-pressed', String(isSelected))
    }
  }

  return {
    element,
    begin(next) {
      session = next
      limit = FIRST_ROWS
      rows = new Map()
      const { subject = 'weights' } = next
      element.hidden = next.rows.length === 0
      title.textContent = `${NOUNS[subject]} (${grouped(next.rows.length)})`
      const heads = [
        'name',
        'spectrum',
        '90 %',
        '99 %',
        subject === 'delta' ? 'change' : '‖·‖_F',
        'shape',
        subject === 'adapter' ? 'factors' : 'dtype',
      ]
      head.replaceChildren(
        ...heads.map((text) =>
          html('th', { scope: 'col', class: text === 'spectrum' ? 'text' : undefined }, text),
        ),
        html('th', { scope: 'col', class: 'text' }, 'verdict'),
      )
      draw()
    },
    fill,
    mark,
  }
}

/** What the filter looks in. */
function textOf({ rows, found }: Session, row: number): string {
  const one = found[row]
  const verdict =
    one?.kind === 'spectrum' ? `${verdictLabel(one.matrix)} ${one.matrix.verdict.text}` : (one?.kind ?? '')
  return `${rows[row].name} ${verdict}`.toLowerCase()
}

function cellsOf(session: Session, row: number): HTMLElement[] {
  const { shape: size, dtype } = session.rows[row]
  const found = session.found[row]
  const known = session.itemOf(row)
  const last = [html('td', {}, shape(...size)), html('td', {}, printable(dtype))]
  const figures =
    known === undefined
      ? [1, 2, 3, 4].map(() => html('td', { class: 'none' }, found ? NONE : ''))
      : figuresOf(known)
  return [...figures, ...last, html('td', { class: 'verdict' }, ...verdictOf(found))]
}

function figuresOf(item: Item): HTMLElement[] {
  const { matrix, order } = item
  const change = matrix.adapter === undefined ? matrix.base?.relativeChange : undefined
  return [
    html('td', { class: 'spectrum' }, sparkline(item)),
    ...(['0.9', '0.99'] as const).map((share) => html('td', {}, rangeText(matrix.energyRanks[share], order))),
    html(
      'td',
      {},
      typeof change === 'number' && Number.isFinite(change)
        ? percent(change)
        : numberText(matrix.spectrum.frobenius),
    ),
  ]
}

function verdictOf(found: Session['found'][number]): (Node | string)[] {
  if (found === undefined) return ['waiting']
  if (found.kind === 'equal') return [badge('zero', 'unchanged'), ': equal in both']
  if (found.kind === 'not-finite') return [badge('unrelated', 'not finite'), `: ${found.text}`]
  const [label, { kind, text }] = [verdictLabel(found.matrix), found.matrix.verdict]
  return [badge(kind, label), text.startsWith(label) ? text.slice(label.length) : `: ${text}`]
}

const badge = (kind: string, text: string) => html('span', { class: `badge ${kind}` }, text)
