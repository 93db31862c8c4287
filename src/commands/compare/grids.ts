import { figure } from '../../report/cells.ts'
import { spanText } from '../../report/layer-list.ts'
import { type NamedColumn, namedGrid } from '../../report/table.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { grouped } from '../../text/numbers.ts'
import { cosineText, overlapColumns, shareText } from './layer-columns.ts'
import type { ComparedAdapter, ComparedPair, CompareResult } from './result.ts'

type Screen = Pick<Terminal, 'paint' | 'columns'>

/** Up to so many adapters each one's cosines with all stand beside it: a line of an ordinary terminal. */
const MOST_COSINES = 6

/** Paths are to be recognised as they were given, and pairs have nothing in common. */
const NOTHING_IN_COMMON = { prefix: '', suffix: '' }

interface AdapterRow extends ComparedAdapter {
  readonly name: string
  /** Its place among all. */
  readonly at: number
}

/** A row for each adapter, with the number that all else calls it by. */
export function adaptersGrid({ adapters, cosines }: CompareResult, screen: Screen): string {
  const rows = adapters.map((adapter, at): AdapterRow => ({ ...adapter, name: adapter.path, at }))
  const withEach = adapters.length <= MOST_COSINES ? adapters.map((_, other) => other) : []
  const columns: NamedColumn<AdapterRow>[] = [
    { title: '', align: 'right', worth: Number.POSITIVE_INFINITY, cell: ({ at }) => String(at + 1) },
    { title: 'layers', align: 'right', worth: 20, cell: ({ layers }) => grouped(layers) },
    {
      title: 'ranks',
      align: 'right',
      worth: 25,
      legend: 'numerical ranks, without padding and what depends on the rest',
      cell: ({ ranks }) => spanText([ranks.atLeast, ranks.atMost], grouped),
    },
    { title: '‖Δ‖_F', align: 'right', worth: 15, cell: ({ frobenius }) => figure(frobenius) },
    ...withEach.map(
      (other): NamedColumn<AdapterRow> => ({
        title: `cos ${other + 1}`,
        align: 'right',
        worth: 10 - other / adapters.length,
        cell: ({ at }) => cosineText(cosines[at][other]),
      }),
    ),
  ]
  return namedGrid(rows, columns, screen, { pattern: NOTHING_IN_COMMON, title: 'adapter' })
}

interface PairRow extends ComparedPair {
  readonly name: string
}

const PAIR_COLUMNS: readonly NamedColumn<PairRow>[] = [
  {
    title: 'cosine',
    align: 'right',
    worth: Number.POSITIVE_INFINITY,
    cell: ({ cosine }, paint) => paint.cyan(cosineText(cosine)),
  },
  ...overlapColumns,
  {
    title: 'chance',
    align: 'right',
    worth: 8,
    legend: 'what column spaces in random position would have',
    cell: ({ chance }) => cosineText(chance.columns),
  },
  {
    title: 'first in second',
    align: 'right',
    worth: 12,
    legend: 'share of ‖Δ‖² of the first within the column and row spaces of the second',
    cell: ({ kept: [first] }) => shareText(first),
  },
  { title: 'second in first', align: 'right', worth: 12, cell: ({ kept: [, second] }) => shareText(second) },
  {
    title: 'layers',
    align: 'right',
    worth: 7,
    legend: 'that both change',
    cell: ({ layers }) => grouped(layers.length),
  },
]

/** The nearest pairs, by the numbers of their adapters. */
export function pairsGrid({ pairs, totals }: CompareResult, screen: Screen): string {
  if (pairs.length === 0) return ''
  const rows = pairs.map((pair): PairRow => ({ ...pair, name: pair.adapters.map((i) => i + 1).join(' · ') }))
  const which =
    pairs.length < totals.pairs
      ? `The ${grouped(pairs.length)} nearest of ${grouped(totals.pairs)} pairs`
      : 'All pairs, the nearest first'
  const grid = namedGrid(rows, PAIR_COLUMNS, screen, { pattern: NOTHING_IN_COMMON, title: 'pair' })
  return `${screen.paint.bold(which)}\n${grid}`
}
