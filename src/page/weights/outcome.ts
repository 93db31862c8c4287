import { html } from '../../browser/dom.ts'
import { totalsAt } from '../../commands/inspect/html/client/model.ts'
import { bytes, grouped } from '../../text/numbers.ts'
import { counted, printable } from '../../text/quote.ts'
import { folded } from './folded.ts'
import { links, making } from './making.ts'
import type { Summary } from './messages.ts'
import type { Program } from './program.ts'
import type { Session } from './session.ts'

/** What is said of all matrices together, and what is made of them all. */
export interface Outcome {
  readonly element: HTMLElement
  show(session: Session): void
  followRank(session: Session): void
}

/** The largest adapter that is made here: it is a blob until it is downloaded, which a browser keeps in memory or in its own folder. */
const MOST_ADAPTER_BYTES = 2 ** 30

export function outcome(program: Program): Outcome {
  const words = html('div', { class: 'words' })
  const make = making(program)
  const element = html('div', { class: 'outcome', hidden: true }, words, make.element)
  let shown: Summary | undefined

  function show(session: Session): void {
    const { summary } = session
    element.hidden = summary === undefined
    if (summary === undefined) make.hide()
    else if (summary !== shown) words.replaceChildren(...wordsOf(summary))
    shown = summary
    followRank(session)
  }

  function followRank({ summary, subject, items, inputs, rank }: Session): void {
    if (summary === undefined || subject !== 'delta' || items.length < 2) {
      make.hide()
      return
    }
    const { data, maxRank, stops } = { data: { subject, grid: [], matrices: [] }, maxRank: 1, stops: [] }
    const totals = totalsAt({ data, items, maxRank, stops }, rank)
    if (totals.bytes > MOST_ADAPTER_BYTES) {
      make.refuse(
        `An adapter of rank ${grouped(rank)} would take ${bytes(totals.bytes)}, and a page keeps ${bytes(MOST_ADAPTER_BYTES)} at most: lower the rank, or use the command lora-svd extract.`,
      )
      return
    }
    make.offer(`Make the adapter of the whole pair at rank ${grouped(rank)} (about ${bytes(totals.bytes)})`, {
      kind: 'adapter',
      inputs,
      rank,
    })
  }

  return { element, show, followRank }
}

function wordsOf(summary: Summary): HTMLElement[] {
  const { title, more, source, base, figures, advice, notices, unchanged, skipped, files, engine } = summary
  const isPlain = engine.split(' + ').includes('js')
  return [
    html('h3', { class: 'verdict-title' }, printable(title)),
    ...(more === '' ? [] : [html('p', { class: 'more' }, printable(more))]),
    html(
      'p',
      { class: 'source' },
      html('bdi', {}, printable(source)),
      ...(base === undefined ? [] : [' compared with ', html('bdi', {}, printable(base))]),
      `, in ${summary.seconds.toPrecision(2)} s${isPlain ? ' by plain loops' : ''}`,
    ),
    html(
      'dl',
      { class: 'figures' },
      ...figures.map(([what, how]) => html('div', {}, html('dt', {}, what), html('dd', {}, printable(how)))),
      advice !== undefined &&
        html(
          'div',
          { class: 'advice' },
          html('dt', {}, 'recommended rank'),
          html('dd', {}, advice.rank === undefined ? 'none' : grouped(advice.rank)),
          html('dd', { class: 'reason' }, printable(advice.reason)),
        ),
    ),
    ...(notices.length === 0
      ? []
      : [
          html(
            'ul',
            { class: 'notice', 'aria-label': 'Warnings' },
            ...notices.map((line) => html('li', {}, printable(line))),
          ),
        ]),
    links(files),
    ...folded(
      `Unchanged: ${counted(unchanged.length, 'tensor')}`,
      unchanged.map((name) => ({ name })),
    ),
    ...folded(`Not looked at: ${counted(skipped.length, 'tensor')}`, skipped),
  ]
}
