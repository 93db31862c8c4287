import { button, html } from '../../browser/dom.ts'
import { figuresAt, type Item, modelOf, powersOfTwo } from '../../commands/inspect/html/client/model.ts'
import { lastUpTo } from '../../commands/inspect/html/data.ts'
import { intervalText } from '../../commands/inspect/html/format.ts'
import { bytes, grouped, percent } from '../../text/numbers.ts'
import type { Session } from './session.ts'

/** The rank, and what factors of it take and leave of the matrix that is looked at. */
export interface RankBar {
  readonly element: HTMLElement
  show(session: Session, item: Item): void
}

export function rankBar(): RankBar {
  let session: Session | undefined
  let stops: readonly number[] = [1]
  const slider = html('input', { type: 'range', id: 'weights-rank', min: 0, step: 1 })
  const field = html('input', { type: 'number', min: 1, step: 1, 'aria-label': 'Rank, as a number' })
  const presets = html('div', { class: 'presets', role: 'group', 'aria-label': 'Ranks to choose from' })
  slider.addEventListener('input', () => session?.setRank(stops[Number(slider.value)]))
  field.addEventListener('input', () => {
    const rank = Number(field.value)
    if (Number.isInteger(rank) && rank >= 1 && rank <= stops[stops.length - 1]) session?.setRank(rank)
  })
  const figure = (label: string) => {
    const value = html('dd')
    return { value, element: html('div', {}, html('dt', {}, label), value) }
  }
  const [error, energy, size, share] = [
    figure('relative error'),
    figure('energy kept'),
    figure('size of factors'),
    figure('of dense size'),
  ]
  const element = html(
    'div',
    { class: 'rank' },
    html(
      'div',
      { class: 'rank-controls' },
      html('label', { for: 'weights-rank' }, 'Rank'),
      slider,
      field,
      presets,
    ),
    html('dl', { class: 'totals' }, error.element, energy.element, size.element, share.element),
  )

  /** Of a rank beyond the matrix's own, its own. */
  function show(next: Session, item: Item): void {
    session = next
    const model = modelOf({ subject: 'weights', grid: item.ranks, matrices: [item.matrix] })
    stops = model.stops
    const rank = Math.min(next.rank, model.maxRank)
    const found = figuresAt(item, rank)
    slider.max = String(stops.length - 1)
    slider.disabled = stops.length < 2
    slider.value = String(Math.max(0, lastUpTo(stops, rank)))
    slider.setAttribute('aria-valuetext', `rank ${rank}, relative error ${intervalText(found.error)}`)
    field.max = String(model.maxRank)
    if (document.activeElement !== field || Number(field.value) !== rank) field.value = String(rank)
    const ranks = powersOfTwo(model.maxRank)
    if (presets.childElementCount !== ranks.length) {
      presets.replaceChildren(
        ...ranks.map((r) =>
          button(grouped(r), () => session?.setRank(r), { 'data-rank': r, 'aria-label': `Rank ${r}` }),
        ),
      )
    }
    for (const preset of presets.querySelectorAll<HTMLElement>('[data-rank]')) {
      preset.setAttribute('aria-pressed', String(Number(preset.dataset.rank) === rank))
    }
    error.value.textContent = intervalText(found.error)
    energy.value.textContent = keptText(found.error)
    size.value.textContent = bytes(found.bytes)
    share.value.textContent = percent(found.share)
    share.value.classList.toggle('too-much', found.share >= 1)
  }

  return { element, show }
}

function keptText({ atLeast, atMost }: { readonly atLeast: number; readonly atMost: number }): string {
  const [least, most] = [percent(1 - atMost ** 2), percent(1 - atLeast ** 2)]
  return least === most ? least : `${least} – ${most}`
}
