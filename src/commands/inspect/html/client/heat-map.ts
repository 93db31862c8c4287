import { breakable, button, byId, html } from '../../../../browser/dom.ts'
import type { IntegerRange } from '../../../../linalg/spectrum/spectrum.ts'
import { ERROR_TARGETS, type MatrixData } from '../data.ts'
import { compareLayers, rangeCell, rangeText } from '../format.ts'
import type { Item, Model, Store } from './model.ts'

const ENERGY_TARGETS = ['0.5', '0.9', '0.95', '0.99'] as const
type Target = `energy ${(typeof ENERGY_TARGETS)[number]}` | `error ${(typeof ERROR_TARGETS)[number]}`
const FIRST_TARGET: Target = 'energy 0.9'

/** Steps of the colour scale. */
const SHADES = 8

interface Cell {
  readonly items: readonly Item[]
}
interface Grid {
  readonly stack: string
  readonly layers: readonly string[]
  readonly projections: readonly string[]
  readonly cells: ReadonlyMap<string, Cell>
}

/** Empty cells count too: a browser takes seconds to lay out so many, and the largest models have some 2,000. */
const MOST_CELLS = 50_000

/** The heat maps, one a stack of layers, and what has no layer as a list; the whole section goes where all have none. */
export function heatMaps(model: Model, store: Store): void {
  const grids = gridsOf(model.items)
  if (grids.length === 0) {
    document.getElementById('layers')?.remove()
    return
  }
  const host = byId('heat-maps')
  const size = grids.reduce((sum, { layers, projections }) => sum + layers.length * projections.length, 0)
  if (size > MOST_CELLS) {
    const text = `No map: it would have ${size.toLocaleString('en')} cells, and a page shows ${MOST_CELLS.toLocaleString('en')} at most. The table below has all matrices.`
    host.replaceChildren(html('p', {}, text))
    return
  }
  const loose = model.items.filter(({ matrix }) => !matrix.place)
  const legend = html('div', { class: 'heat-legend', 'aria-hidden': 'true' })
  let target = FIRST_TARGET
  const select = html('select', { id: 'heat-target' }, ...targetOptions(model))
  select.addEventListener('change', () => {
    target = select.value as Target
    draw()
  })
  byId('heat-controls').append(html('label', { for: 'heat-target' }, 'Rank needed for '), select, legend)

  function draw(): void {
    const shade = shading(model.items, target)
    const tables = grids.map((grid) => gridTable(grid, target, shade, store))
    const list =
      loose.length > 0 &&
      html(
        'div',
        { class: 'loose' },
        html('h3', {}, 'Outside the layers'),
        html(
          'ul',
          {},
          ...loose.map((item) =>
            html(
              'li',
              {},
              cellButton({ items: [item] }, target, shade, store),
              html('span', {}, ...breakable(item.matrix.name)),
            ),
          ),
        ),
      )
    host.replaceChildren(...tables, ...(list ? [list] : []))
    legend.replaceChildren(
      ...shade.legend.map(({ className, label }) => html('span', { class: className }, label)),
    )
    markChosen()
  }

  function markChosen(): void {
    for (const cell of host.querySelectorAll<HTMLElement>('button[data-items]')) {
      const indices = cell.dataset.items?.split(' ') ?? []
      cell.setAttribute('aria-pressed', String(indices.some((index) => store.chosen().has(Number(index)))))
    }
  }
  store.on('chosen', markChosen)
  draw()
}

function targetOptions(model: Model): HTMLOptionElement[] {
  const energies = ENERGY_TARGETS.map(
    (share) => [`energy ${share}`, `${Number(share) * 100} % of the energy`] as const,
  )
  const errors = ERROR_TARGETS.map((error) => [`error ${error}`, `a relative error of ${error}`] as const)
  return [...energies, ...errors]
    .filter(([target]) => model.items.some(({ matrix }) => neededRank(matrix, target as Target)))
    .map(([value, label]) => html('option', { value, selected: value === FIRST_TARGET }, label))
}

function neededRank({ energyRanks, errorRanks }: MatrixData, target: Target): IntegerRange {
  const [kind, value] = target.split(' ')
  return kind === 'energy'
    ? energyRanks[value as (typeof ENERGY_TARGETS)[number]]
    : errorRanks[value as (typeof ERROR_TARGETS)[number]]
}

function gridsOf(items: readonly Item[]): Grid[] {
  const stacks = new Map<string, Item[]>()
  for (const item of items) {
    const { place } = item.matrix
    if (!place) continue
    const members = stacks.get(place.stack)
    if (members) members.push(item)
    else stacks.set(place.stack, [item])
  }
  return [...stacks].map(([stack, members]) => {
    const cells = new Map<string, { items: Item[] }>()
    for (const item of members) {
      const key = cellKey(item.matrix.place!.layer, item.matrix.place!.projection)
      const cell = cells.get(key)
      if (cell) cell.items.push(item)
      else cells.set(key, { items: [item] })
    }
    const layers = new Set(members.map(({ matrix }) => matrix.place!.layer))
    const projections = new Set(members.map(({ matrix }) => matrix.place!.projection))
    return { stack, layers: [...layers].sort(compareLayers), projections: [...projections], cells }
  })
}

const cellKey = (layer: string, projection: string) => `${layer}\n${projection}`

function gridTable(grid: Grid, target: Target, shade: Shading, store: Store): HTMLElement {
  const head = html(
    'tr',
    {},
    html('th', { scope: 'col', class: 'corner' }, 'layer'),
    ...grid.layers.map((layer) => html('th', { scope: 'col' }, layer)),
  )
  const rows = grid.projections.map((projection) =>
    html(
      'tr',
      {},
      html('th', { scope: 'row', title: projection }, projection),
      ...grid.layers.map((layer) => {
        const cell = grid.cells.get(cellKey(layer, projection))
        return html('td', {}, cell && cellButton(cell, target, shade, store))
      }),
    ),
  )
  const caption = html('caption', {}, grid.stack)
  const table = html('table', { class: 'heat' }, caption, html('thead', {}, head), html('tbody', {}, ...rows))
  return html(
    'div',
    { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': `Ranks of ${grid.stack}` },
    table,
  )
}

/** A cell of several matrices, as of experts, shows the largest rank among them. */
function cellButton({ items }: Cell, target: Target, shade: Shading, store: Store): HTMLButtonElement {
  const ranks = items.map(({ matrix }) => neededRank(matrix, target))
  const largest = ranks.reduce((most, range) => (range.atMost > most.atMost ? range : most))
  const least = Math.min(...ranks.map(({ atLeast }) => atLeast))
  const [{ matrix, order }] = items
  const what =
    items.length === 1
      ? `${matrix.name}: rank ${rangeText(largest)} of ${order}`
      : `${items.length} matrices such as ${matrix.name}: rank ${rangeText({ atLeast: least, atMost: largest.atMost })}`
  const item = items[ranks.indexOf(largest)]
  return button(rangeCell(largest), () => store.toggle(item.index), {
    class: shade.of(largest),
    title: what,
    'aria-label': what,
    'aria-pressed': 'false',
    'data-items': items.map(({ index }) => index).join(' '),
  })
}

interface Shading {
  of(range: IntegerRange): string
  readonly legend: readonly { readonly className: string; readonly label: string }[]
}

/** Even steps on a logarithmic scale between the smallest and the largest rank; unbounded ones are hatched as well. */
function shading(items: readonly Item[], target: Target): Shading {
  const ranks = items.map(({ matrix }) => neededRank(matrix, target))
  const low = ranks.reduce(
    (least, { atLeast }) => Math.min(least, Math.max(1, atLeast)),
    Number.POSITIVE_INFINITY,
  )
  const high = ranks.reduce((most, range) => Math.max(most, certain(range)), low)
  const steps = Math.min(SHADES, high - low + 1)
  const stepOf = (rank: number) => {
    const share = high > low ? Math.log(Math.max(low, rank) / low) / Math.log(high / low) : 0
    return Math.min(steps - 1, Math.floor(share * steps))
  }
  const className = (step: number) =>
    `shade-${steps === 1 ? 2 : Math.round((step * (SHADES - 1)) / (steps - 1))}`
  const bounds = Array.from({ length: steps }, (_, step) =>
    Math.ceil(low * (high / low) ** (step / steps) - 1e-9),
  )
  return {
    of: (range) => `${className(stepOf(certain(range)))}${range.atMost > range.atLeast ? ' open' : ''}`,
    legend: bounds.flatMap((from, step) => {
      const to = step + 1 < steps ? bounds[step + 1] - 1 : high
      if (to < from) return []
      return [{ className: className(step), label: from === to ? String(from) : `${from}–${to}` }]
    }),
  }
}

/** The rank a cell is coloured by: of an open one what is known. */
const certain = ({ atLeast, atMost }: IntegerRange) => (atMost > 1.5 * atLeast + 2 ? atLeast : atMost)
