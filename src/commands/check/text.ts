import { note, warningNotes } from '../../report/notes.ts'
import { columnWidths, grid, gridWidth } from '../../report/table.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { bytes, short } from '../../text/numbers.ts'
import { counted, paintLines, printable } from '../../text/quote.ts'
import { wrap } from '../../text/width.ts'
import { reasonText, withNames } from './findings.ts'
import type { CheckedDefect, CheckedLoader, CheckResult } from './result.ts'

type Screen = Pick<Terminal, 'paint' | 'columns'>

/** The report of `check`: what each loader makes of the adapter and why, then what is wrong with the file, and what to do. */
export function checkTables(result: CheckResult, screen: Screen): string {
  const sections = [
    title(result, screen),
    loadersGrid(result, screen),
    defectsList(result, screen),
    ending(result, screen),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

function title(result: CheckResult, { paint, columns }: Screen): string {
  const { source, format, family, modules, whole, ranks, readNumbers, seconds } = result
  const head = `lora-svd check: ${printable(source.adapter)}`
  const facts = [
    ...(format === undefined ? [] : [family === undefined ? format : `${format}, ${family}`]),
    ...(modules === 0 && whole > 0 ? [] : [counted(modules, 'module')]),
    ...(whole === 0 ? [] : [counted(whole, 'whole tensor')]),
    ...(ranks === undefined
      ? []
      : [`rank ${ranks.atLeast === ranks.atMost ? ranks.atMost : `${ranks.atLeast} to ${ranks.atMost}`}`]),
    bytes(result.bytes),
    ...(readNumbers ? [] : ['headers alone']),
    `${short(seconds, 2)} s`,
  ]
  return `${paintLines(wrap(head, columns), paint.bold)}\n${paint.dim(wrap(facts.join(' · '), columns))}`
}

const HEADS = ['loader', 'verdict', 'why']

function loadersGrid(result: CheckResult, { paint, columns }: Screen): string {
  const { loaders } = result
  if (loaders.length === 0) return ''
  const room =
    columns -
    gridWidth(
      columnWidths(
        HEADS,
        loaders.map(({ loader, verdict }) => [loader, verdict, '']),
      ),
    )
  const rows = loaders.flatMap((loader) => {
    const colour = colourOf(loader, paint)
    const whys = loader.reasons.map((reason) => `${printable(reasonText(reason, result))} [${reason.rule}]`)
    const lines = (whys.length === 0 ? [''] : whys).flatMap((why) =>
      wrap(why, Math.max(MIN_ROOM, room)).split('\n'),
    )
    return lines.map((line, at) =>
      at === 0 ? [loader.loader, colour(loader.verdict), line] : ['', '', line],
    )
  })
  const table = grid(HEADS, rows, ['left', 'left', 'left'], paint)
  const sources = new Set(
    loaders.flatMap(({ reasons }) =>
      reasons.flatMap(({ source, date }) => (source === undefined ? [] : `${source} (${date})`)),
    ),
  )
  if (sources.size === 0) return table
  return `${table}\n${paintLines(wrap(`Read in ${[...sources].join(' · ')}`, columns), paint.dim)}`
}

/** However narrow the terminal, reasons are not wrapped to less. */
const MIN_ROOM = 20

function colourOf({ verdict }: CheckedLoader, paint: Terminal['paint']): (text: string) => string {
  if (verdict === 'loads') return paint.green
  return verdict === 'wrong scale' || verdict === 'loads part' ? paint.yellow : paint.red
}

function defectsList({ defects }: CheckResult, screen: Screen): string {
  return defects.map((defect) => defectText(defect, screen)).join('\n')
}

function defectText(defect: CheckedDefect, { paint, columns }: Screen): string {
  const { rule, severity, message, advice, names } = defect
  const colour = { error: paint.red, warning: paint.yellow, note: paint.dim }[severity]
  const text = `${severity}: ${printable(withNames(message, names))} To do: ${advice}. [${rule}]`
  return paintLines(wrap(text, columns), colour)
}

function ending({ holds, loaders, defects, warnings, readNumbers }: CheckResult, screen: Screen): string {
  const errors = defects.filter(({ severity }) => severity === 'error').length
  const failing = loaders.filter(({ verdict }) => verdict !== 'loads').length
  const wrong = [
    ...(failing === 0
      ? []
      : [
          `${failing} of ${counted(loaders.length, 'loader')} ${failing === 1 ? 'does' : 'do'} not load it as it is meant.`,
        ]),
    ...(errors === 0 ? [] : [`The file has ${counted(errors, 'error')}.`]),
  ]
  const onConditions = loaders.some(({ reasons }) => reasons.length > 0) ? ', on the conditions above' : ''
  const asFarAsRead = readNumbers ? '' : ', as far as the headers tell: the numbers were not read'
  const verdict = holds
    ? note(
        `All of it is loaded as it is meant by ${listText(loaders)}${onConditions}${asFarAsRead}.`,
        screen.paint.green,
        screen,
      )
    : note(wrong.join(' '), screen.paint.red, screen)
  return [verdict, ...warningNotes(warnings, screen)].join('\n')
}

const listText = (loaders: readonly CheckedLoader[]) =>
  loaders.length === 0 ? 'nobody' : loaders.map(({ loader }) => loader).join(', ')
