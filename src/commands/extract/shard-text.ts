import { note, warningNotes } from '../../report/notes.ts'
import { table } from '../../report/table.ts'
import { shardText } from '../../shards/shard.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { bytes, grouped, percent, short } from '../../text/numbers.ts'
import { counted, paintLines, printable } from '../../text/quote.ts'
import { wrap } from '../../text/width.ts'
import type { ExtractShard } from './result.ts'
import { guaranteeText } from './sentences.ts'

type Screen = Pick<Terminal, 'paint' | 'columns'>

/** The report of one shard: what it has computed, where that is kept, and what is left to do. */
export function shardTables(result: ExtractShard, screen: Screen): string {
  const { source, shard, seconds, engine, warnings } = result
  const { paint, columns } = screen
  const head = `lora-svd extract --shard ${shardText(shard)}: ${printable(source.tuned)} − ${printable(source.base)}`
  const facts = `${short(seconds, 2)} s${engine === '' ? '' : ` on ${engine}`}; nothing is assembled yet`
  const sections = [
    `${paintLines(wrap(head, columns), paint.bold)}\n${paint.dim(wrap(facts, columns))}`,
    table(rows(result), columns),
    [note(nextText(result), paint.green, screen), ...warningNotes(warnings, screen)].join('\n'),
  ]
  return `${sections.join('\n\n')}\n`
}

function rows({ layers, totals, rule, round, resumed, kept }: ExtractShard): string[][] {
  const share = `${percent(totals.work)} of the work`
  return [
    ['layers', `${grouped(totals.layers)} of ${grouped(totals.ofLayers)}, ${share}`],
    ['asked for', guaranteeText(rule)],
    ...(round > 1
      ? [['round', `${round}, of ${counted(layers.filter((one) => one.round === round).length, 'layer')}`]]
      : []),
    ...(resumed === 0 ? [] : [['done before', counted(resumed, 'layer')]]),
    ['kept', `${bytes(kept.bytes)} in ${printable(kept.path)}`],
  ]
}

const nextText = ({ isSettled, shard, round }: ExtractShard): string =>
  isSettled
    ? `Done. ${shard.of === 1 ? 'Now' : `Once all of ${grouped(shard.of)} shards are:`} the same command with --join in place of --shard.`
    : `This part of round ${round} is done. ${ROUNDS_TEXT}`

/** How ranks come about that depend on all layers. */
export const ROUNDS_TEXT =
  'The ranks depend on all layers: once all shards are done, --join computes again what is asked for at a higher rank, or the same shards do, run once more before it.'
