import type { LoaderGap } from '../convert/convert.ts'
import { note } from '../report/notes.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { firstOf, shownName } from '../text/names.ts'
import { counted } from '../text/quote.ts'

const EFFECTS = {
  dropped: 'passes over',
  refused: 'refuses the file for',
  wrong: 'gets other numbers for',
} as const

/** What loaders don't do right with modules of a file, a note each. */
export const gapNotes = (gaps: readonly LoaderGap[], screen: Pick<Terminal, 'paint' | 'columns'>): string[] =>
  gaps.map((gap) => note(gapText(gap), screen.paint.yellow, screen))

const gapText = ({ loader, effect, reason, source, modules }: LoaderGap) =>
  `${loader} ${EFFECTS[effect]} ${counted(modules.length, 'module')} (${firstOf(modules.map(shownName))}): ${reason} (${source}).`
