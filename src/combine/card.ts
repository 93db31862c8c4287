import { ADAPTER_FILE } from '../checkpoint/folder.ts'
import { frontMatter, pipelineTagOf } from '../lora/card/front-matter.ts'
import { loadingText } from '../lora/card/loading.ts'
import { cardFigure, escaped, heading, madeBy } from '../lora/card/marks.ts'
import { publicName } from '../lora/write/config.ts'
import { printable, shellWord } from '../text/quote.ts'
import { version } from '../version.ts'
import { baseOf } from './config.ts'
import type { OutputPlan } from './output.ts'

export const CARD_FILE = 'README.md'

/** What is known only once the result lies on disk: relative to √Σ‖Δ‖_F². */
export interface SumFigures {
  readonly relativeError: number
  readonly optimalError: number
}

/**
 * README.md of an adapter that was made from others: from which, by what, how near it is, and how to load it. It is as long without
 * its figures. No dates: the same input gives the same card.
 */
export function sumCard(
  { plan, r, named: names }: Omit<OutputPlan, 'metadata' | 'texts'>,
  command: string,
  figures?: SumFigures,
): string {
  const told = baseOf(plan, names)
  const named = told === undefined ? undefined : publicName(told)
  const taskType = plan.summands
    .map(({ checkpoint }) => checkpoint.adapterConfig?.task_type)
    .find((type): type is string => typeof type === 'string')
  const parts = plan.summands.map(
    ({ adapter, weight }) => `- ${shellWord(publicName(adapter.path))}${weight === 1 ? '' : ` × ${weight}`}`,
  )
  return [
    frontMatter({
      base: named,
      relation: 'adapter',
      library: 'peft',
      pipelineTag: pipelineTagOf({ taskType }),
      tags: ['lora', 'lora-svd'],
    }),
    '# LoRA adapter',
    `Rank ${r}, lora_alpha = r: the scale lies in the factors. Made of`,
    parts.map((line) => printable(line)).join('\n'),
    [
      `Relative error over all layers, ‖Σ − B·A‖ / ‖Σ‖ (Frobenius), measured on the stored factors: ${cardFigure(figures?.relativeError)}`,
      `Best possible at these ranks: ${cardFigure(figures?.optimalError)}`,
    ].join('\n'),
    heading(
      'How to load it',
      loadingText({
        format: 'peft',
        fileName: ADAPTER_FILE,
        base: named,
        taskType,
        notes: plan.warnings.map((warning) => escaped(`${warning}.`)),
      }),
    ),
    heading('How it was made', madeBy({ version, command })),
  ]
    .join('\n\n')
    .concat('\n')
}
