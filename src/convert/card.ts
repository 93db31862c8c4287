import { frontMatter, pipelineTagOf } from '../lora/card/front-matter.ts'
import { loadingText } from '../lora/card/loading.ts'
import { escaped, heading, madeBy } from '../lora/card/marks.ts'
import { publicName } from '../lora/write/config.ts'
import { printable, shellWord } from '../text/quote.ts'
import { version } from '../version.ts'

export const CARD_FILE = 'README.md'

export interface CardFacts {
  readonly format: 'peft' | 'mlx'
  readonly fileName: string
  /** Of the adapter that it was made of, and of the base, as they are called. */
  readonly source: string
  readonly baseModel: string | undefined
  readonly taskType: string | undefined
  readonly diffusion: string | undefined
  readonly r: number
  readonly warnings: readonly string[]
  readonly command: string
}

/** README.md of a converted adapter: of which, and how to load it. No dates and no figures: the same input gives the same card. */
export function convertCard(facts: CardFacts): string {
  const { format, fileName, source, baseModel, taskType, diffusion, r, warnings, command } = facts
  const base = baseModel && publicName(baseModel)
  return [
    frontMatter({
      base,
      relation: 'adapter',
      library: format,
      pipelineTag: pipelineTagOf({ taskType, diffusion }),
      tags: ['lora', 'lora-svd'],
    }),
    '# LoRA adapter',
    `The change of ${printable(shellWord(publicName(source)))}, at rank ${r}; the scale lies in the factors.`,
    heading(
      'How to load it',
      loadingText({
        ...{ format, fileName, base, taskType, diffusion },
        notes: warnings.map((warning) => escaped(`${warning}.`)),
      }),
    ),
    heading('How it was made', madeBy({ version, command })),
  ]
    .join('\n\n')
    .concat('\n')
}
