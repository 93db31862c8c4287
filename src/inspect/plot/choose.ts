import { badUsage } from '../../errors.ts'
import { quoted } from '../../formats/quote.ts'
import { didYouMean } from '../../formats/suggest.ts'

/** Names listed at most where several are meant: they must fit one line. */
const LISTED = 4

/** The parts of the names that have as many dots as what was asked for, and the names. */
function partsLike(asked: string, names: readonly string[]): Set<string> {
  const count = asked.split('.').length
  const parts = names.flatMap((name) => {
    const all = name.split('.')
    return all.slice(count - 1).map((_, start) => all.slice(start, start + count).join('.'))
  })
  return new Set([...parts, ...names])
}

/** The name that `--plot` means: one in full, or the only one that holds it. Throws `bad-usage` for none and for several. */
export function plottedMatrix(
  asked: string,
  matrices: readonly { readonly name: string }[],
  where: string,
): string {
  const names = matrices.map(({ name }) => name)
  if (names.includes(asked)) return asked
  const holding = names.filter((name) => name.includes(asked))
  if (holding.length === 1) return holding[0]
  if (holding.length === 0) {
    throw badUsage(
      `--plot ${quoted(asked)}: ${where} has no such matrix${didYouMean(asked, partsLike(asked, names))}`,
    )
  }
  const listed = holding.slice(0, LISTED).map(quoted).join(', ')
  const more = holding.length > LISTED ? ` and ${holding.length - LISTED} more` : ''
  throw badUsage(`--plot ${quoted(asked)}: may be ${listed}${more}: write more of the name`)
}
