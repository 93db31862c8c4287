import { HUB_NAME, publicName } from '../lora/write/config.ts'
import { printable, shellWord } from '../text/quote.ts'
import { version } from '../version.ts'
import type { OutputPlan } from './output.ts'

export const CARD_FILE = 'README.md'

/** README.md of an adapter that was made from others: from which, and by what. No figures and no dates: the same input gives the same card. */
export function sumCard({ plan, r }: Omit<OutputPlan, 'metadata' | 'texts'>, command: string): string {
  const base = plan.summands
    .map(({ checkpoint }) => checkpoint.adapterConfig?.base_model_name_or_path)
    .find((name): name is string => typeof name === 'string' && name !== '')
  const named = base === undefined ? undefined : publicName(base)
  const parts = plan.summands.map(
    ({ adapter, weight }) => `- ${shellWord(publicName(adapter.path))}${weight === 1 ? '' : ` × ${weight}`}`,
  )
  return [
    '---',
    ...(named !== undefined && HUB_NAME.test(named) ? [`base_model: "${named}"`] : []),
    'library_name: peft',
    'tags:',
    '- lora',
    '- lora-svd',
    '---',
    '',
    '# LoRA adapter',
    '',
    `Rank ${r}, lora_alpha = r: the scale lies in the factors. Made of`,
    '',
    ...parts.map((line) => printable(line)),
    '',
    `By lora-svd ${version}:`,
    '',
    '```sh',
    printable(command),
    '```',
    '',
  ].join('\n')
}
