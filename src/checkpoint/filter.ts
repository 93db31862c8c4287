import { badInput } from '../errors.ts'
import { quoted } from '../formats/quote.ts'
import { didYouMean } from '../formats/suggest.ts'
import { matcher } from './glob.ts'

/** Which tensors are looked at: those that match a pattern of `include` (all, if there is none), less those of `exclude`. */
export interface NameFilter {
  readonly include?: readonly string[] | undefined
  readonly exclude?: readonly string[] | undefined
}

/**
 * The test that a filter puts tensor names to, and a warning for each pattern of `exclude` that matches none of `names`.
 * Throws `bad-input` for such a pattern of `include`: what was asked for would be missing from the result.
 */
export function nameFilter(
  { include = [], exclude = [] }: NameFilter,
  names: readonly string[],
  where: string,
): { isWanted: (name: string) => boolean; warnings: string[] } {
  for (const pattern of include) {
    if (matchesNone(pattern, names)) {
      throw badInput(
        `${where}: no tensor's name matches --include ${quoted(pattern)}${advice(pattern, names)}`,
        { file: where },
      )
    }
  }
  const warnings = exclude
    .filter((pattern) => matchesNone(pattern, names))
    .map(
      (pattern) => `${where}: no tensor's name matches --exclude ${quoted(pattern)}${advice(pattern, names)}`,
    )
  const [isIncluded, isExcluded] = [matcher(include), matcher(exclude)]
  const isWanted = (name: string) => (include.length === 0 || isIncluded(name)) && !isExcluded(name)
  return { isWanted, warnings }
}

const matchesNone = (pattern: string, names: readonly string[]) => !names.some(matcher([pattern]))

function advice(pattern: string, names: readonly string[]): string {
  const isPart = pattern !== '' && names.some((name) => name.includes(pattern))
  return isPart
    ? `: a pattern is for the whole name; did you mean ${quoted(`*${pattern}*`)}?`
    : didYouMean(pattern, names)
}
