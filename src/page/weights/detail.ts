import { breakable, html } from '../../browser/dom.ts'
import { chart } from '../../commands/inspect/html/client/chart.ts'
import { columnsOf, verdictLabel } from '../../commands/inspect/html/client/columns.ts'
import { energySpec, spectraSpec } from '../../commands/inspect/html/client/curves.ts'
import {
  figuresAt,
  type Item,
  type Model,
  modelOf,
  type Store,
} from '../../commands/inspect/html/client/model.ts'
import { grouped } from '../../text/numbers.ts'
import { printable } from '../../text/quote.ts'
import { making } from './making.ts'
import type { Program } from './program.ts'
import { rankBar } from './rank-bar.ts'
import type { Session } from './session.ts'

/** One matrix: its verdict, its spectrum among the others', the rank that factors of it are to have, its figures. */
export interface Detail {
  readonly element: HTMLElement
  /** Another matrix or session. */
  begin(session: Session): void
  /** There is more to see of the others. */
  refresh(): void
  followRank(): void
}

export function detail(program: Program): Detail {
  let session: Session | undefined
  let model: Model | undefined
  const listeners: Record<'rank' | 'chosen', (() => void)[]> = { rank: [], chosen: [] }
  const itemShown = () => (session?.selected === undefined ? undefined : session.itemOf(session.selected))
  const store: Store = {
    rank: () => session?.rank ?? 1,
    setRank: (rank) => session?.setRank(rank),
    chosen: () => {
      const item = itemShown()
      return new Map(item === undefined ? [] : [[item.index, 0]])
    },
    toggle(index) {
      const item = session?.items[index]
      const row = session?.rows.findIndex((_, i) => session?.itemOf(i) === item)
      if (row !== undefined && row >= 0) session?.select(row)
    },
    on: (change, listener) => listeners[change].push(listener),
  }
  const live: Model = {
    get data() {
      return model!.data
    },
    get items() {
      return session?.items ?? []
    },
    get maxRank() {
      return model!.maxRank
    },
    get stops() {
      return model!.stops
    },
  }
  const title = html('h3', { id: 'weights-detail-title' })
  const verdict = html('p', { class: 'verdict' })
  const bar = rankBar()
  const charts = [
    chart({ ...spectraSpec, id: 'weights-spectra' }, live, store),
    chart({ ...energySpec, id: 'weights-energy' }, live, store),
  ]
  const pictures = html('div', { class: 'pictures' }, ...charts.map((one) => one.element))
  const facts = html('dl', { class: 'facts' })
  const make = making(program)
  const element = html(
    'section',
    { class: 'detail', 'aria-labelledby': 'weights-detail-title', hidden: true },
    title,
    verdict,
    bar.element,
    make.element,
    pictures,
    facts,
  )
  const draw = () => {
    if (itemShown() !== undefined) for (const one of charts) one.draw()
  }
  new ResizeObserver(draw).observe(pictures)
  window.matchMedia('print').addEventListener('change', draw)

  function followRank(): void {
    const item = itemShown()
    if (session === undefined || item === undefined) return
    bar.show(session, item)
    offer(session, item)
    for (const listener of listeners.rank) listener()
  }

  function offer({ inputs, subject, rank }: Session, item: Item): void {
    const { name } = item.matrix
    const used = figuresAt(item, rank).rank
    const at = `at rank ${grouped(used)}`
    if (item.matrix.spectrum.frobenius === 0) make.hide()
    else if (subject === 'weights')
      make.offer(`Make factors ${at}`, { kind: 'factor', inputs, name, rank: used })
    else if (subject === 'delta') {
      make.offer(`Make an adapter of this delta alone ${at}`, {
        kind: 'adapter',
        inputs,
        rank: used,
        only: name,
      })
    } else make.hide()
  }

  function begin(next: Session): void {
    session = next
    const row = next.selected
    element.hidden = row === undefined
    if (row === undefined) return
    const item = next.itemOf(row)
    title.replaceChildren(html('span', {}, ...breakable(printable(next.rows[row].name))))
    for (const part of [bar.element, pictures, facts]) part.hidden = item === undefined
    if (item === undefined) {
      make.hide()
      const found = next.found[row]
      verdict.textContent =
        found === undefined
          ? 'It is computed now.'
          : found.kind === 'equal'
            ? 'Base and tuned have the same numbers here.'
            : found.kind === 'not-finite'
              ? printable(found.text)
              : ''
      return
    }
    const { matrix } = item
    const [label, text] = [verdictLabel(matrix), matrix.verdict.text]
    verdict.replaceChildren(
      html('span', { class: `badge ${matrix.verdict.kind}` }, label),
      text.startsWith(label) ? text.slice(label.length) : `: ${text}`,
    )
    model = modelOf({ subject: next.subject ?? 'weights', grid: item.ranks, matrices: [matrix] })
    facts.replaceChildren(...factsOf(item, model))
    followRank()
    draw()
  }

  return { element, begin, refresh: draw, followRank }
}

/** All figures of the report's table but those that stand elsewhere. */
const factsOf = (item: Item, model: Model): HTMLElement[] =>
  columnsOf(model)
    .filter(({ id }) => id !== 'verdict')
    .map((column) =>
      html(
        'div',
        { title: column.title },
        html('dt', {}, `${GROUPS[column.group] ?? ''}${column.head}`),
        html('dd', {}, column.text(item)),
      ),
    )

/** What heads of the table's columns mean without the row above them. */
const GROUPS: Readonly<Record<string, string>> = {
  ranks: 'rank: ',
  change: 'change: ',
  'scale by loader': 'scale by ',
}
