import { frontMatter, pipelineTagOf } from '../../lora/card/front-matter.ts'
import { diffusionFamily } from '../../lora/diffusion.ts'
import { baseModelName, publicName, repositoryOf, taskNameOf } from '../../lora/write/config.ts'
import { short } from '../../text/numbers.ts'
import { counted, printable } from '../../text/quote.ts'
import { version } from '../../version.ts'
import type { ApplySettings } from './options.ts'
import type { ApplyPlan } from './plan.ts'
import type { ApplyResult } from './result.ts'
import { keptText } from './sentences.ts'

export const CARD_FILE = 'README.md'

/** README.md of a merged checkpoint: of what it is made, and what rounding left. No dates: the same input gives the same card. */
export function mergedCard(
  { base, adapters, untied }: ApplyPlan,
  { dtype }: ApplySettings,
  { totals }: Pick<ApplyResult, 'totals'>,
): string {
  const known = baseModelName(repositoryOf(base), base.config)
  const name = publicName(known ?? base.path)
  const lines = adapters.map(
    ({ adapter, weight }) =>
      `- \`${printable(publicName(adapter.path))}\` (${adapter.format}), weight ${short(weight)}`,
  )
  return [
    frontMatter({
      base: known === undefined ? undefined : name,
      relation: 'merge',
      pipelineTag: pipelineTagOf({
        taskType: taskNameOf(base.config),
        diffusion: diffusionFamily(base.tensors, base.config),
      }),
      tags: ['merge', 'lora-svd'],
    }),
    '# Merged checkpoint',
    `\`${printable(name)}\` with ${counted(adapters.length, 'adapter')} added to its weights:`,
    lines.join('\n'),
    `Each weight was summed in float64 and rounded once${dtype === 'as-base' ? ', to the type that the base stores it in' : `, to ${dtype}`}. ${counted(totals.changed, 'tensor')} changed; of the change ${keptText(totals.gain)} is kept, and rounding leaves an error of ${short(totals.roundingError, 3)} of its size.`,
    ...(untied === undefined
      ? []
      : [
          `The head \`${untied.head}\` was tied to the embedding \`${untied.embedding}\`, and is a tensor of its own here.`,
        ]),
    `Made by lora-svd ${version}: \`lora-svd apply\`.`,
  ]
    .join('\n\n')
    .concat('\n')
}
