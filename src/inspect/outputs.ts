import { printable } from '../formats/quote.ts'
import { writeFileAtomic } from '../formats/write-atomic.ts'
import { wrap } from '../report/table.ts'
import { removingTemporaries } from '../terminal/interrupt.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { csvOf } from './csv.ts'
import { htmlReport } from './html/report.ts'
import type { InspectPlan } from './plan.ts'
import type { Summary } from './summary.ts'
import { spectrumSvg } from './svg.ts'

type Outputs = Pick<InspectPlan, 'outputs' | 'force'>

/** What a report says of the files beside it. */
export function writtenText(
  { outputs }: Pick<InspectPlan, 'outputs'>,
  { columns }: Pick<Terminal, 'columns'>,
): string {
  const paths = Object.values(outputs).map(printable)
  return paths.length === 0 ? '' : `\n${wrap(`Wrote ${paths.join(', ')}.`, columns)}\n`
}

/** Writes the files that were asked for, each whole or not at all. */
export async function writeOutputs({ outputs, force }: Outputs, result: Summary): Promise<void> {
  const texts = [
    // its slider sums over the model, and its table sorts and filters by itself
    [outputs.html, () => htmlReport({ ...result, matrices: result.all })],
    [outputs.svg, () => spectrumSvg(result)],
    [outputs.csv, () => csvOf(result)],
  ] as const
  for (const [path, textOf] of texts) {
    if (path === undefined) continue
    const bytes = new TextEncoder().encode(textOf())
    await removingTemporaries(() => writeFileAtomic(path, [bytes], { force }))
  }
}
