import { note, warningNotes } from '../report/notes.ts'
import { table } from '../report/table.ts'
import type { Kept } from '../shards/part.ts'
import { type Shard, shardText } from '../shards/shard.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { bytes, grouped, percent, short } from '../text/numbers.ts'
import { paintLines, printable } from '../text/quote.ts'
import { wrap } from '../text/width.ts'

/** A part as it is told of: of which command and what, and how much it holds. */
export interface PartInWords {
  readonly command: 'inspect' | 'verify'
  readonly shard: Shard
  /** What is looked at. */
  readonly subject: string
  /** Such as 4 of 12 matrices. */
  readonly holds: string
  /** Its share of the work. */
  readonly work: number
  readonly kept?: Kept | undefined
  readonly seconds: number
  readonly engine?: string
  readonly warnings: readonly string[]
}

/** The report of one shard: how much of the work it was, where it is kept, and that nothing is judged. */
export function partTables(
  { command, shard, subject, holds, work, kept, seconds, engine = '', warnings }: PartInWords,
  screen: Pick<Terminal, 'paint' | 'columns'>,
): string {
  const { paint, columns } = screen
  const head = `lora-svd ${command} --shard ${shardText(shard)}: ${printable(subject)}`
  const facts = `${short(seconds, 2)} s${engine === '' ? '' : ` on ${engine}`}; a part: nothing is judged yet`
  const size = kept?.bytes === undefined ? '' : `${bytes(kept.bytes)} in `
  const rows = [
    ['this part', `${holds}, ${percent(work)} of the work`],
    ...(kept === undefined ? [] : [['kept', `${size}${printable(kept.path)}`]]),
  ]
  const next = `${shard.of === 1 ? 'Now' : `Once all ${grouped(shard.of)} parts are there`}: lora-svd ${command} --join, with these files or their folder.`
  const sections = [
    `${paintLines(wrap(head, columns), paint.bold)}\n${paint.dim(wrap(facts, columns))}`,
    table(rows, columns),
    [note(next, paint.green, screen), ...warningNotes(warnings, screen)].join('\n'),
  ]
  return `${sections.join('\n\n')}\n`
}
