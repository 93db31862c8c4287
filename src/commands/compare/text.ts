import { note, warningNotes } from '../../report/notes.ts'
import { table } from '../../report/table.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { firstOf, shownName } from '../../text/names.ts'
import { grouped, short } from '../../text/numbers.ts'
import { counted, paintLines, printable } from '../../text/quote.ts'
import { wrap } from '../../text/width.ts'
import { adaptersGrid, pairsGrid } from './grids.ts'
import { cosineText, pairLayers, shareText } from './layer-columns.ts'
import type { ComparedPair, CompareResult } from './result.ts'

type Screen = Pick<Terminal, 'paint' | 'columns'>

/** The report of `compare`: the adapters, how they lie to each other, layer by layer where they are two, and what to know besides. */
export function compareTables(result: CompareResult, screen: Screen): string {
  const isPair = result.adapters.length === 2
  const [pair] = result.pairs
  const sections = [
    title(result, screen),
    ...(isPair && pair !== undefined ? pairLayers(pair.layers, screen) : []),
    adaptersGrid(result, screen),
    isPair ? (pair === undefined ? '' : pairTotals(pair, screen)) : pairsGrid(result, screen),
    notes(result, screen),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

function title({ adapters, totals, engine, seconds }: CompareResult, { paint, columns }: Screen): string {
  const head = `lora-svd compare: ${
    adapters.length === 2
      ? adapters.map(({ path }) => printable(path)).join(' and ')
      : counted(adapters.length, 'adapter')
  }`
  const facts = `${counted(totals.layers, 'layer')} · ${short(seconds, 2)} s on ${engine}`
  return `${paintLines(wrap(head, columns), paint.bold)}\n${paint.dim(wrap(facts, columns))}`
}

/** What two adapters come to over all layers. */
const pairTotals = ({ cosine, overlap, chance, kept }: ComparedPair, { columns }: Screen): string =>
  table(
    [
      ['cosine', `${cosineText(cosine)}: ${cosineMeaning(cosine)}`],
      ['column spaces', overlapText(overlap.columns, chance.columns)],
      ['row spaces', overlapText(overlap.rows, chance.rows)],
      ['1 in 2', `${shareText(kept[0])} of ‖Δ₁‖² lies in the spaces of the second`],
      ['2 in 1', `${shareText(kept[1])} of ‖Δ₂‖² lies in the spaces of the first`],
    ],
    columns,
  )

const overlapText = (overlap: number, chance: number) =>
  Number.isNaN(overlap)
    ? 'there is nothing to compare'
    : `mean cos² ${cosineText(overlap)}, by chance ${cosineText(chance)}`

/** Cosines up to this are called none: less than what anyone would see in the sum. */
const NO_COSINE = 0.01
/** From this on the two are called the same but for a factor. */
const SAME_COSINE = 0.999

function cosineMeaning(cosine: number): string {
  if (Number.isNaN(cosine)) return 'one of the two does nothing'
  const size = Math.abs(cosine)
  if (size < NO_COSINE) return 'neither helps nor hinders the other'
  if (size > SAME_COSINE) return cosine > 0 ? 'the same but for a factor' : 'each the other’s opposite'
  return cosine > 0 ? 'they partly do the same' : 'they partly undo each other'
}

function notes(result: CompareResult, screen: Screen): string {
  const { paint } = screen
  return [
    ...groupNotes(result, screen),
    ...opposedNotes(result, screen),
    ...aloneNotes(result, screen),
    ...doraNotes(result, screen),
    ...notComparedNotes(result, screen),
    ...warningNotes(result.warnings, { ...screen, paint }),
  ].join('\n')
}

/** Which of more than two adapters do much the same. */
function groupNotes({ groups, adapters }: CompareResult, screen: Screen): string[] {
  if (adapters.length < 3) return []
  const { members, threshold } = groups
  if (members.length === 0) {
    return [note(`No two do much the same: no cosine reaches ${threshold}.`, screen.paint.dim, screen)]
  }
  const named = members.map(
    ({ adapters, leastCosine }) =>
      `${adapters.map((one) => one + 1).join(', ')} (${adapters.length === 2 ? 'cosine' : 'least cosine'} ${cosineText(leastCosine)})`,
  )
  return [
    note(
      `Much the same, each within a cosine of ${threshold} of another: ${named.join(' · ')}.`,
      screen.paint.green,
      screen,
    ),
  ]
}

/** Which of more than two adapters undo each other. */
function opposedNotes({ groups, adapters, cosines }: CompareResult, screen: Screen): string[] {
  if (adapters.length < 3) return []
  const opposed = cosines.flatMap((row, i) =>
    row.flatMap((cosine, j) =>
      j > i && cosine <= -groups.threshold ? [`${i + 1} and ${j + 1} (${cosineText(cosine)})`] : [],
    ),
  )
  if (opposed.length === 0) return []
  return [note(`Undo each other: ${firstOf(opposed)}.`, screen.paint.yellow, screen)]
}

/** What not all adapters change. */
function aloneNotes({ alone, totals, adapters }: CompareResult, screen: Screen): string[] {
  const { inAll, inSome, layers } = totals
  if (inAll === layers) return []
  const byAdapter = adapters.flatMap((_, i) => {
    const names = alone.filter(({ adapter }) => adapter === i).map(({ name }) => shownName(name))
    return names.length === 0 ? [] : [`${i + 1} in ${counted(names.length, 'layer')} (${firstOf(names)})`]
  })
  return [
    note(
      `${counted(inAll, 'layer')} of ${grouped(layers)} changed by all${inSome === 0 ? '' : `, ${grouped(inSome)} by some`}${alone.length === 0 ? '' : `, ${grouped(alone.length)} by one alone: adapter ${byAdapter.join('; adapter ')}`}. Over all layers those count as not shared.`,
      screen.paint.yellow,
      screen,
    ),
  ]
}

function doraNotes({ adapters }: CompareResult, screen: Screen): string[] {
  const dora = adapters.flatMap(({ isDora }, i) => (isDora ? [String(i + 1)] : []))
  if (dora.length === 0) return []
  return [
    note(
      `DoRA: ${firstOf(dora)}. What is compared is scale·B·A, without the magnitudes.`,
      screen.paint.yellow,
      screen,
    ),
  ]
}

function notComparedNotes({ notCompared }: CompareResult, screen: Screen): string[] {
  if (notCompared.length === 0) return []
  const names = notCompared.map(({ adapter, name }) => `${shownName(name)} of ${adapter + 1}`)
  return [
    note(
      `Not compared, since they are no factors: ${counted(names.length, 'tensor')} (${firstOf(names)}).`,
      screen.paint.yellow,
      screen,
    ),
  ]
}
