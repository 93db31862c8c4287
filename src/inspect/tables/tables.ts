import { printable } from '../../formats/quote.ts'
import { figure } from '../../report/cells.ts'
import { bytes, grouped, short } from '../../report/numbers.ts'
import { wrap } from '../../report/table.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import type { InspectResult } from '../result.ts'
import { countedSubjects, modelVerdict } from '../verdict/model.ts'
import { costsTable, recommendation } from './costs.ts'
import { matrixFacts } from './facts.ts'
import { loadersTable } from './loaders.ts'
import { matricesTable } from './matrices.ts'
import { notesOf } from './notes.ts'

type Screen = Pick<Terminal, 'paint' | 'columns'>

/** The report of `inspect`: each matrix, what a rank costs over all, what it comes to, and what to know besides. */
export function inspectTables(result: InspectResult, screen: Screen): string {
  const { matrices, costs } = result
  const sections = [
    title(result, screen),
    ...(matrices.length === 1 ? [matrixFacts(matrices[0], screen)] : []),
    ...(matrices.length > 1 ? [matricesTable(matrices, screen)] : []),
    loadersTable(result, screen),
    ...(costs.length > 0 && result.totals.frobenius > 0 ? [costsTable(result, screen)] : []),
    [screen.paint.bold(wrap(modelVerdict(result), screen.columns)), recommendation(result, screen)]
      .filter((line) => line !== undefined)
      .join('\n'),
    notesOf(result, screen).join('\n'),
  ].filter((section) => section !== undefined && section !== '')
  return `${sections.join('\n\n')}\n`
}

function title(
  { source, subject, totals, engine, seconds }: InspectResult,
  { paint, columns }: Screen,
): string {
  const path = printable(source.path)
  const what = {
    weights: `the weights of ${path}`,
    delta: source.base === undefined ? `the change to ${path}` : `${path} − ${printable(source.base)}`,
    adapter: `the adapter ${path}`,
  }[subject]
  const change =
    totals.relativeChange === undefined ? [] : [`relative change ${figure(totals.relativeChange)}`]
  const facts = [
    countedSubjects(totals.matrices, subject),
    `${grouped(totals.elements)} elements`,
    bytes(totals.bytes),
    `‖·‖_F ${short(totals.frobenius)}`,
    ...change,
    `${short(seconds, 2)} s on ${engine}`,
  ]
  return `${paint.bold(wrap(`lora-svd inspect: ${what}`, columns))}\n${paint.dim(wrap(facts.join(' · '), columns))}`
}
