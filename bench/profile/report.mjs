// The table of phases as text.
import { COLLECTION, HELPING, NATIVE, OTHER } from './attribute.mjs'
import { PHASES } from './table.mjs'

const HEAD = ['phase', 'clock s', 'processor s', 'share', 'limit s', 'times', 'what the limit is of']
/** Rows of what isn't any phase's, or not known to be. */
const LAST = [COLLECTION, HELPING, NATIVE, OTHER]
/** Waits, and shares of packing, that are worth a word. */
const LEAST_WAIT = 0.001
const LEAST_PACKING = 0.05

/**
 * Lines: a row for each phase in the order of the work, then what isn't any phase's, then the whole. `plain` are the seconds of the
 * processors that the same takes without profilers: what more it took is theirs, in threads of their own.
 */
export function phaseLines(report, limits, plain) {
  const { phases, others, processor, wall, busyAtOnce, threads } = report
  const isMeasured = Number.isFinite(processor) && Number.isFinite(plain)
  const column = isMeasured ? 'processor' : 'clock'
  const profilers = isMeasured ? Math.min(others, Math.max(0, processor - plain)) : 0
  const clock = sum([...phases.values()].map((phase) => phase.clock))
  const whole = isMeasured ? processor - profilers : clock
  const seconds = (value) => (isMeasured ? [value.toFixed(3), percent(value / whole, 1)] : ['', ''])
  const rows = [...phases]
    .sort(([a], [b]) => placeOf(a) - placeOf(b))
    .map(([name, phase]) => [
      name,
      phase.clock.toFixed(3),
      isMeasured ? phase.processor.toFixed(3) : '',
      percent(phase[column] / whole, 1),
      ...limitCells(phase, phase[column], limits.get(name)),
    ])
  const seen = sum([...phases.values()].map((phase) => phase.processor)) + others
  const outside = [
    [
      ...["threads of Node's own", ''],
      ...seconds(others - profilers),
      '',
      '',
      'compile, collect garbage, read',
    ],
    [...['not seen', ''], ...seconds(processor - seen), '', '', 'after the last sample of a thread'],
  ]
  const total = ['together', clock.toFixed(3), isMeasured ? whole.toFixed(3) : '', '100.0 %', '', '', '']
  const atOnce = busyAtOnce.map((time, count) => `${time.toFixed(2)} s with ${count}`)
  const idle = threads.map(({ program, idle }, i) => `${program} ${i} ${idle.toFixed(2)} s`)
  return [
    ...tableLines([HEAD, ...rows, ...(isMeasured ? outside : []), total]),
    `${wall.toFixed(2)} s by the clock, ${atOnce.join(', ')} or more threads busy; idle or not there: ${idle.join(', ')}`,
    ...(profilers > 0 ? [`and ${profilers.toFixed(2)} s of the processors for the profilers`] : []),
  ]
}

function limitCells({ processor, packing, waits }, seconds, limit) {
  const notes = [
    ...(limit === undefined ? [] : [limit.says]),
    ...(packing > LEAST_PACKING * processor ? [`${percent(packing / processor, 0)} packing`] : []),
    ...(waits > LEAST_WAIT ? [`${waits.toFixed(3)} s waiting for files`] : []),
  ]
  if (limit === undefined) return ['', '', notes.join('; ')]
  const times = limit.seconds >= 0.0005 ? (seconds / limit.seconds).toFixed(1) : ''
  return [limit.seconds.toFixed(3), times, notes.join('; ')]
}

/** The functions that took most of a phase themselves. */
export function functionLines({ phases }, name, most = 25) {
  const { functions = {} } = phases.get(name) ?? {}
  return Object.entries(functions)
    .sort(([, a], [, b]) => b - a)
    .slice(0, most)
    .map(([inner, seconds]) => `${seconds.toFixed(3)} s  ${inner}`)
}

const sum = (numbers) => numbers.reduce((total, one) => total + one, 0)
const percent = (share, digits) => `${(100 * share).toFixed(digits)} %`

/** As the table has the phases, parts after the whole, then what isn't any phase's. */
function placeOf(name) {
  const last = LAST.indexOf(name)
  if (last >= 0) return PHASES.length + last
  const at = PHASES.findIndex((phase) => phase.name === name)
  return at >= 0 ? at : PHASES.findIndex((phase) => name.startsWith(`${phase.name}: `)) + 0.5
}

function tableLines(rows) {
  const widths = HEAD.map((_, i) => Math.max(...rows.map((row) => row[i].length)))
  const isText = (i) => i === 0 || i === HEAD.length - 1
  const cells = (row) => row.map((cell, i) => (isText(i) ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
  return rows.map((row) => cells(row).join('  ').trimEnd())
}
