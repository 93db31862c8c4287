import { bytes, grouped, percent } from '../../../../text/numbers.ts'
import { lastUpTo } from '../data.ts'
import { intervalText } from '../format.ts'
import { button, byId, html } from './dom.ts'
import { type Model, powersOfTwo, type Store, totalsAt } from './model.ts'

/** The slider, its presets, and what its rank takes and leaves over all matrices. */
export function rankBar(model: Model, store: Store): void {
  const { stops, maxRank, data } = model
  const slider = html('input', {
    type: 'range',
    id: 'rank',
    min: 0,
    max: stops.length - 1,
    step: 1,
    disabled: stops.length < 2,
  })
  const field = html('input', {
    type: 'number',
    id: 'rank-number',
    min: 1,
    max: maxRank,
    step: 1,
    'aria-label': 'Rank, as a number',
  })
  slider.addEventListener('input', () => store.setRank(stops[Number(slider.value)]))
  field.addEventListener('input', () => {
    const rank = Number(field.value)
    if (Number.isInteger(rank) && rank >= 1 && rank <= maxRank) store.setRank(rank)
  })
  field.addEventListener('blur', show)
  const presets = [...new Set([...powersOfTwo(maxRank), ...(data.recommended ? [data.recommended] : [])])]
    .filter((rank) => rank <= maxRank)
    .sort((a, b) => a - b)
    .map((rank) =>
      button(String(rank), () => store.setRank(rank), {
        'data-rank': rank,
        'aria-label': `Rank ${rank}${rank === data.recommended ? ', recommended' : ''}`,
        class: rank === data.recommended ? 'recommended' : undefined,
        title: rank === data.recommended ? 'recommended' : undefined,
      }),
    )
  const figure = (id: string, label: string) => {
    const value = html('dd', { id })
    return { value, element: html('div', {}, html('dt', {}, label), value) }
  }
  const error = figure('total-error', 'relative error')
  const size = figure('total-bytes', 'size of factors')
  const share = figure('total-share', 'of dense size')
  const parameters = figure('total-parameters', 'parameters')
  byId('rank-bar').append(
    html(
      'div',
      { class: 'rank-controls' },
      html('label', { for: 'rank' }, 'Rank'),
      slider,
      field,
      html('div', { class: 'presets', role: 'group', 'aria-label': 'Ranks to choose from' }, ...presets),
    ),
    html('dl', { class: 'totals' }, error.element, size.element, share.element, parameters.element),
  )

  function show(): void {
    const rank = store.rank()
    const totals = totalsAt(model, rank)
    slider.value = String(Math.max(0, lastUpTo(stops, rank)))
    slider.setAttribute('aria-valuetext', `rank ${rank}, relative error ${intervalText(totals.error)}`)
    if (document.activeElement !== field || Number(field.value) !== rank) field.value = String(rank)
    error.value.textContent = intervalText(totals.error)
    size.value.textContent = bytes(totals.bytes)
    share.value.textContent = percent(totals.share)
    share.value.classList.toggle('too-much', totals.share >= 1)
    parameters.value.textContent = grouped(totals.parameters)
    for (const preset of document.querySelectorAll<HTMLElement>('[data-rank]')) {
      preset.setAttribute('aria-pressed', String(Number(preset.dataset.rank) === rank))
    }
  }
  for (const row of document.querySelectorAll<HTMLElement>('#costs [data-rank]')) {
    row.addEventListener('click', () => store.setRank(Math.min(maxRank, Number(row.dataset.rank))))
  }
  store.on('rank', show)
  show()
}
