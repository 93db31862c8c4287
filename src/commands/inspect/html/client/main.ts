import { breakable, button, byId, choices, html, themeButton } from '../../../../browser/dom.ts'
import { bytes, grouped, percent } from '../../../../text/numbers.ts'
import { lastUpTo, type ReportData } from '../data.ts'
import { intervalText, rangeText } from '../format.ts'
import { chart } from './chart.ts'
import { energySpec, spectraSpec } from './curves.ts'
import { heatMaps } from './heat-map.ts'
import { matrixTable } from './matrix-table.ts'
import { createStore, type Model, modelOf, powersOfTwo, type Store, totalsAt } from './model.ts'

/** The slider, its presets, and what its rank takes and leaves over all matrices. */
function rankBar(model: Model, store: Store): void {
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

/** Where no rank is recommended the first one shown is the least power of two that leaves no more than 10 % of the energy. */
const FIRST_TAIL = 0.1
/** Where none does that. */
const FIRST_RANK = 16

/** The places of the page that are filled anew where another norm is chosen. */
const FILLED = ['rank-bar', 'charts', 'legend', 'heat-controls', 'heat-maps', 'matrix-table']

themeButton(byId('theme'))
const data = JSON.parse(byId('data').textContent ?? '') as ReportData
if (data.matrices.length > 0) show(modelOf(data))
const { felt } = data
if (felt !== undefined) {
  byId('norm').append(
    choices(
      'Norm',
      [
        ['plain', 'plain'],
        ['felt', 'as inputs feel it'],
      ],
      'plain',
      (norm) => {
        for (const id of FILLED) document.getElementById(id)?.replaceChildren()
        show(modelOf(norm === 'felt' ? felt : data))
      },
    ),
  )
}
// paper has nothing to unfold
window.addEventListener('beforeprint', () => {
  for (const details of document.querySelectorAll('details')) details.open = true
})

function show(model: Model): void {
  const store = createStore(firstRank(model), tellingThree(model))
  rankBar(model, store)
  const charts = [chart(spectraSpec, model, store), chart(energySpec, model, store)]
  byId('charts').append(...charts.map(({ element }) => element))
  legend(model, store)
  heatMaps(model, store)
  matrixTable(model, store)
  const draw = () => {
    for (const each of charts) each.draw()
  }
  new ResizeObserver(draw).observe(byId('charts'))
  window.matchMedia('print').addEventListener('change', draw)
  window.addEventListener('beforeprint', draw)
  draw()
}

function firstRank(model: Model): number {
  const keeping = powersOfTwo(model.maxRank).find(
    (rank) => totalsAt(model, rank).error.atMost ** 2 <= FIRST_TAIL,
  )
  return Math.min(model.data.recommended ?? keeping ?? FIRST_RANK, model.maxRank)
}

/** The matrices whose curves are drawn in colour at first: those of the lowest, the middle and the highest 90 % rank. */
function tellingThree({ items }: Model): number[] {
  const sorted = items.toSorted(
    (a, b) => a.matrix.energyRanks['0.9'].atMost - b.matrix.energyRanks['0.9'].atMost,
  )
  const last = sorted.length - 1
  return [...new Set([0, last >> 1, last].map((i) => sorted[i].index))]
}

/** What the coloured curves are, with their figures in words. */
function legend(model: Model, store: Store): void {
  const list = html('ul')
  const show = () => {
    const entries = [...store.chosen()].map(([index, colour]) => {
      const { matrix, order } = model.items[index]
      const { spectrum, energyRanks } = matrix
      const known = spectrum.complete ? '' : `, first ${spectrum.given} values known`
      const figures = `σ₁ = ${intervalText(matrix.spectral)}; 90 % in ${rangeText(energyRanks['0.9'], order)}, 99 % in ${rangeText(energyRanks['0.99'], order)} of ${grouped(order)}${known}`
      return html(
        'li',
        { class: `colour-${colour}` },
        html('span', { class: 'swatch', 'aria-hidden': 'true' }),
        html(
          'span',
          { class: 'label' },
          html('strong', {}, ...breakable(matrix.name)),
          html('span', {}, figures),
        ),
        button('×', () => store.toggle(index), {
          'aria-label': `Remove the curve of ${matrix.name}`,
          class: 'remove',
        }),
      )
    })
    const hint = html('li', { class: 'hint' }, 'Click a curve, a cell or a name to draw it in colour.')
    list.replaceChildren(...(entries.length > 0 ? entries : [hint]))
  }
  byId('legend').append(list)
  store.on('chosen', show)
  show()
}
