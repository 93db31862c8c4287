import type { CombinedLayer } from '../../combine/result.ts'
import { figure, UNKNOWN } from '../../report/cells.ts'
import { note } from '../../report/notes.ts'
import { type NamedColumn, namedGrid } from '../../report/table.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { firstOf, shownName } from '../../text/names.ts'
import { percent, short } from '../../text/numbers.ts'
import { counted, printable } from '../../text/quote.ts'
import {
  combinedLayers,
  combinedNotes,
  combinedPlan,
  combinedTitle,
  combinedTotals,
} from '../combined-text.ts'
import type { MergePreview, MergeResult } from './merge.ts'
import { overlapOf } from './overlap.ts'

type Screen = Pick<Terminal, 'paint' | 'columns'>

/** Interference from which on a layer is called one where adapters fight: half of what they would do is lost. */
const FIGHTING = 0.5

/** Beyond this interference nothing but rounding is left of the sum. */
const NOTHING_LEFT = 1 - 1e-6

/** The report of `merge`: each layer, what each adapter adds and how they lie to each other, the totals, and whether what was asked holds. */
export function mergeTables(result: MergeResult, screen: Screen): string {
  const { source, overlap, layers } = result
  const count = source.adapters.length
  const sections = [
    combinedTitle(`lora-svd merge: ${sumText(source)}`, result, result.seconds, screen),
    ...combinedLayers(result, screen, { layer: count > 1 ? [lossColumn(count)] : [] }),
    ...(count > 1 ? [adaptersTable(result, screen)] : []),
    combinedTotals(result, count > 1 ? [['together', togetherText(overlap.interference)]] : [], screen),
    fights(layers, count, screen),
    combinedNotes(result, screen),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

const lossColumn = (count: number): NamedColumn<CombinedLayer> => ({
  title: 'lost',
  align: 'right',
  worth: 9,
  legend:
    '1 − ‖Σ wᵢΔᵢ‖ / √Σ‖wᵢΔᵢ‖²: 0 where the adapters are orthogonal, 1 where they cancel, below 0 where they agree',
  cell: ({ inner }) => figure(overlapOf([inner], count).interference),
})

/** Of two paths nothing is said in common: each is to be recognised as it was given. */
const NOTHING_IN_COMMON = { prefix: '', suffix: '' }

/** An adapter of the sum, by its place among them. */
interface AdapterRow {
  readonly name: string
  readonly at: number
}

/** A row for each adapter: what it adds, and its cosine with each, as far as there is room. */
function adaptersTable({ source, overlap }: MergeResult, screen: Screen): string {
  const rows = source.adapters.map(({ path }, at): AdapterRow => ({ name: path, at }))
  const column = (
    title: string,
    worth: number,
    cell: (at: number) => string,
    legend?: string,
  ): NamedColumn<AdapterRow> => ({
    title,
    align: 'right',
    worth,
    cell: ({ at }) => cell(at),
    ...(legend !== undefined && { legend }),
  })
  const columns = [
    column('', 30, (at) => String(at + 1)),
    column('weight', 20, (at) => short(source.adapters[at].weight)),
    column('‖wΔ‖_F', 15, (at) => figure(overlap.norms[at])),
    column('share', 25, (at) => percent(overlap.shares[at])),
    ...rows.map((_, other) =>
      column(
        `cos ${other + 1}`,
        10 - other / rows.length,
        (at) => cosineText(overlap.cosines[at][other]),
        other === 0
          ? 'the cosine with the first: 1 where both do the same, −1 where one undoes the other'
          : undefined,
      ),
    ),
  ]
  return namedGrid(rows, columns, screen, { pattern: NOTHING_IN_COMMON, title: 'adapter' })
}

const cosineText = (cosine: number) => (Number.isNaN(cosine) ? UNKNOWN : cosine.toFixed(3))

function togetherText(interference: number): string {
  if (Math.abs(interference) < 5e-4)
    return 'as strong as orthogonal changes: the adapters are out of each other’s way'
  if (interference > NOTHING_LEFT) return 'nothing: what one does another undoes'
  return interference > 0
    ? `${percent(interference)} weaker than orthogonal changes would be: they partly cancel`
    : `${percent(-interference)} stronger than orthogonal changes would be: they agree`
}

/** The layers in which most of what the adapters do is lost. */
function fights(layers: readonly CombinedLayer[], count: number, screen: Screen): string {
  if (count < 2) return ''
  const found = layers
    .map(({ name, inner }) => ({ name, interference: overlapOf([inner], count).interference }))
    .filter(({ interference }) => interference >= FIGHTING)
    .sort((a, b) => b.interference - a.interference)
  if (found.length === 0) return ''
  const named = firstOf(
    found.map(({ name, interference }) => `${shownName(name)} (${percent(interference)})`),
  )
  return note(
    `The adapters cancel each other in ${counted(found.length, 'layer')}: ${named}.`,
    screen.paint.yellow,
    screen,
  )
}

/** 0.7 × a + 0.3 × b. */
const sumText = ({ adapters }: MergeResult['source']): string =>
  adapters
    .map(({ path, weight }) => `${weight === 1 ? '' : `${short(weight)} × `}${printable(path)}`)
    .join(' + ')

/** What `merge --dry-run` says. */
export const mergePlanTables = (preview: MergePreview, screen: Screen): string =>
  combinedPlan(`lora-svd merge --dry-run: ${sumText(preview.source)}`, preview, screen)
