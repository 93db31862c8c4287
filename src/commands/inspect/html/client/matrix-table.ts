import { breakable, button, byId, html } from '../../../../browser/dom.ts'
import { counted } from '../../../../text/quote.ts'
import { atRank, type Column, columnsOf, differs, RANK_COLUMNS, verdictLabel } from './columns.ts'
import type { Item, Model, Store } from './model.ts'

/** Rows drawn at first, and how many more at a time: thousands of rows take seconds to lay out. */
const FIRST_ROWS = 100
const MORE_ROWS = 400
const GROUPS: Readonly<Record<string, string>> = {
  rank: 'at the chosen rank',
  ranks: 'rank',
  change: 'change',
  rounding: 'rounding',
  adapter: 'adapter',
  'scale by loader': 'scale by loader',
  size: 'matrix',
  verdict: '',
}

interface Sorting {
  readonly column: Column
  readonly descending: boolean
}

interface Row {
  readonly element: HTMLElement
  readonly choose: HTMLElement
  /** What the slider changes. */
  readonly texts: readonly HTMLElement[]
}

/** The table of all matrices: sorted by its heads, filtered by text, its rank columns following the slider. */
export function matrixTable(model: Model, store: Store): void {
  const name: Column = {
    id: 'name',
    group: '',
    head: 'name',
    isText: true,
    text: ({ matrix }) => matrix.name,
    key: ({ index }) => index,
  }
  const isCertain = model.items.every(({ matrix }) => matrix.spectrum.complete)
  const live = RANK_COLUMNS.map((column) => atRank(column, store.rank))
  const columns = [name, ...live, ...columnsOf(model)]
  let sorting: Sorting | undefined
  let limit = FIRST_ROWS
  const rows = new Map<Item, Row>()
  const body = html('tbody')
  const heads = columns.map((column) => headOf(column, () => sortBy(column)))
  const filter = html('input', { type: 'search', id: 'filter', placeholder: 'part of a name or verdict' })
  const count = html('p', { id: 'row-count', 'aria-live': 'polite' })
  const more = button('Show more rows', () => {
    limit += MORE_ROWS
    draw()
  })
  filter.addEventListener('input', draw)

  function sortBy(column: Column): void {
    const first = column.isText !== true
    sorting = { column, descending: sorting?.column === column ? !sorting.descending : first }
    for (const [i, head] of heads.entries()) {
      if (columns[i] === column)
        head.setAttribute('aria-sort', sorting.descending ? 'descending' : 'ascending')
      else head.removeAttribute('aria-sort')
    }
    draw()
  }

  function draw(): void {
    const wanted = filter.value.trim().toLowerCase()
    const found = model.items.filter(({ matrix }) =>
      `${matrix.name} ${verdictLabel(matrix)} ${matrix.verdict.text}`.toLowerCase().includes(wanted),
    )
    const sorted = sorting ? sortItems(found, sorting) : found
    const shown = sorted.slice(0, limit)
    body.replaceChildren(...shown.map((item) => rowOf(item).element))
    count.textContent =
      shown.length === model.items.length
        ? counted(shown.length, 'row')
        : `${shown.length} of ${counted(model.items.length, 'row')}`
    more.hidden = shown.length === sorted.length
    followRank()
    markChosen()
  }

  function rowOf(item: Item): Row {
    const known = rows.get(item)
    if (known) return known
    const choose = button(html('span', {}, ...breakable(item.matrix.name)), () => store.toggle(item.index), {
      title: 'draw its curves',
    })
    choose.prepend(html('span', { class: 'swatch', 'aria-hidden': 'true' }))
    const texts = live.map(() => html('span'))
    const element = html(
      'tr',
      {},
      html('th', { scope: 'row', class: 'name' }, choose),
      ...live.map(({ id }, i) => html('td', { class: 'live', 'data-column': id }, texts[i])),
      ...columns.slice(1 + live.length).map((column) => cellOf(column, item)),
    )
    const row = { element, choose, texts }
    rows.set(item, row)
    return row
  }

  function followRank(): void {
    for (const [item, { element, texts }] of rows) {
      if (!element.isConnected) continue
      for (const [i, text] of texts.entries()) text.textContent = live[i].text(item)
    }
  }

  function markChosen(): void {
    for (const [{ index }, { element, choose }] of rows) {
      const colour = store.chosen().get(index)
      element.className = colour === undefined ? '' : `chosen colour-${colour}`
      choose.setAttribute('aria-pressed', String(colour !== undefined))
    }
  }

  byId('matrix-table').append(
    html('div', { class: 'table-controls' }, html('label', { for: 'filter' }, 'Filter '), filter, count),
    html(
      'div',
      { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'All matrices' },
      html(
        'table',
        { class: isCertain ? 'matrices' : 'matrices bounds' },
        html('thead', {}, groupRow(columns), html('tr', {}, ...heads)),
        body,
      ),
    ),
    more,
  )
  store.on('rank', () => {
    if (sorting && live.includes(sorting.column)) draw()
    else followRank()
  })
  store.on('chosen', markChosen)
  window.addEventListener('beforeprint', () => {
    limit = Number.POSITIVE_INFINITY
    draw()
  })
  draw()
}

function headOf({ id, head, title, isText }: Column, sort: () => void): HTMLElement {
  return html(
    'th',
    { scope: 'col', 'data-column': id, class: isText ? 'text' : undefined },
    button(head, sort, { title }),
  )
}

/** The row above the heads that names groups of columns. */
function groupRow(columns: readonly Column[]): HTMLElement {
  const groups: { name: string; span: number }[] = []
  for (const { group } of columns) {
    const last = groups[groups.length - 1]
    if (last?.name === group) last.span++
    else groups.push({ name: group, span: 1 })
  }
  return html(
    'tr',
    { class: 'groups' },
    ...groups.map(({ name, span }) =>
      html(
        name === '' ? 'td' : 'th',
        { colspan: span, scope: name === '' ? undefined : 'colgroup' },
        GROUPS[name] ?? '',
      ),
    ),
  )
}

function cellOf(column: Column, item: Item): HTMLElement {
  if (column.id === 'verdict') {
    const { matrix } = item
    const [label, text] = [verdictLabel(matrix), matrix.verdict.text]
    const rest = text.startsWith(label) ? text.slice(label.length) : `: ${text}`
    const badge = html('span', { class: `badge ${matrix.verdict.kind}` }, label)
    return html('td', { class: 'verdict', 'data-column': column.id }, badge, rest)
  }
  const classes = [column.isText && 'text', differs(column, item) && 'differs'].filter(Boolean).join(' ')
  return html('td', { class: classes || undefined, 'data-column': column.id }, column.text(item))
}

function sortItems(items: readonly Item[], { column, descending }: Sorting): Item[] {
  const keyed = items.map((item) => ({ item, key: column.key(item) }))
  const direction = descending ? -1 : 1
  keyed.sort((a, b) => {
    if (a.key === undefined || b.key === undefined)
      return Number(a.key === undefined) - Number(b.key === undefined)
    const order = a.key < b.key ? -1 : a.key > b.key ? 1 : 0
    return order * direction || a.item.index - b.item.index
  })
  return keyed.map(({ item }) => item)
}
