import { note } from '../../report/notes.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { printable } from '../../text/quote.ts'
import {
  combinedLayers,
  combinedNotes,
  combinedPlan,
  combinedTitle,
  combinedTotals,
} from '../combined-text.ts'
import type { ResizePreview, ResizeResult } from './resize.ts'

/** The report of `resize`: each layer, the totals, and whether what was asked holds. */
export function resizeTables(result: ResizeResult, screen: Pick<Terminal, 'paint' | 'columns'>): string {
  const sections = [
    combinedTitle(`lora-svd resize: ${printable(result.source.adapter)}`, result, result.seconds, screen),
    ...combinedLayers(result, screen),
    combinedTotals(result, [], screen),
    ...(result.isDora
      ? [
          note(
            'DoRA: the errors are those of B·A; the magnitudes are as they were, and the weights that follow from both depend on the base.',
            screen.paint.yellow,
            screen,
          ),
        ]
      : []),
    combinedNotes(result, screen),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

/** What `resize --dry-run` says. */
export const resizePlanTables = (
  preview: ResizePreview,
  screen: Pick<Terminal, 'paint' | 'columns'>,
): string => combinedPlan(`lora-svd resize --dry-run: ${printable(preview.source.adapter)}`, preview, screen)
