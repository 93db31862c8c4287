import { table } from '../../report/table.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { wrap } from '../../text/width.ts'
import type { EngineReport, Machine } from './doctor.ts'

/** The report of `doctor`: one row an engine, then what is missing and how to get it. */
export function doctorTables(
  machine: Machine,
  engines: readonly EngineReport[],
  { paint, columns }: Pick<Terminal, 'paint' | 'columns'>,
): string {
  const rows = engines.map((engine) =>
    engine.available
      ? [
          engine.name,
          engine.selfTest.passed ? paint.green('passed') : paint.red('failed'),
          String(engine.threads),
          engine.gflops.f32.toFixed(0),
          engine.gflops.f64.toFixed(0),
        ]
      : [engine.name, paint.yellow('not here'), '', '', ''],
  )
  const head = ['engine', 'self-test', 'threads', 'GF/s f32', 'GF/s f64'].map((text) => paint.bold(text))
  const notes = engines.flatMap((engine) => {
    if (!engine.available) return [`${engine.name}: ${engine.reason}`]
    if (engine.library === undefined) return []
    const { path, version, integers } = engine.library
    return [`${engine.name}: ${path} (${version}, ${integers})`]
  })
  return [
    `node ${machine.node} · ${machine.platform} · ${machine.threads} threads`,
    table(rows, columns, head, [2, 3, 4]),
    ...notes.map((note) => wrap(note, columns)),
    '',
  ].join('\n')
}
