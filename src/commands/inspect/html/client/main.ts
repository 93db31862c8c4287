import { grouped } from '../../../../text/numbers.ts'
import type { ReportData } from '../data.ts'
import { intervalText, rangeText } from '../format.ts'
import { chart } from './chart.ts'
import { energySpec, spectraSpec } from './curves.ts'
import { breakable, button, byId, html, themeButton } from './dom.ts'
import { heatMaps } from './heat-map.ts'
import { matrixTable } from './matrix-table.ts'
import { createStore, type Model, modelOf, powersOfTwo, type Store, totalsAt } from './model.ts'
import { rankBar } from './rank-bar.ts'

/** Where no rank is recommended the first one shown is the least power of two that leaves no more than 10 % of the energy. */
const FIRST_TAIL = 0.1
/** Where none does that. */
const FIRST_RANK = 16

themeButton(byId('theme'))
const data = JSON.parse(byId('data').textContent ?? '') as ReportData
if (data.matrices.length > 0) show(modelOf(data))
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
