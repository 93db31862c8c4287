import { badInput } from '../errors.ts'
import { didYouMean } from '../text/compare.ts'
import { quoted } from '../text/quote.ts'

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

/** What one place of a pattern takes: any run of characters, one character, or one that passes a test. */
type Token = 'run' | ((character: string) => boolean)

/**
 * Whether a name matches any of the patterns, as a whole: `*` is any run of characters, dots too, `?` one character,
 * `[abc]`, `[a-z]` and `[!0-9]` one of a set. A `[` that is never closed stands for itself. No pattern: nothing matches.
 */
export function matcher(patterns: readonly string[]): (name: string) => boolean {
  const parsed = patterns.map(parse)
  return (name) => {
    const characters = Array.from(name)
    return parsed.some((tokens) => matches(tokens, characters))
  }
}

function parse(pattern: string): Token[] {
  const characters = Array.from(pattern)
  const tokens: Token[] = []
  for (let i = 0; i < characters.length; i++) {
    const character = characters[i]
    // a ] right after the bracket, or after its !, belongs to the set
    const close = character === '[' ? characters.indexOf(']', i + (characters[i + 1] === '!' ? 3 : 2)) : -1
    if (close > 0) {
      tokens.push(setOf(characters.slice(i + 1, close)))
      i = close
    } else if (character === '*') tokens.push('run')
    else if (character === '?') tokens.push(() => true)
    else tokens.push((other) => other === character)
  }
  return tokens
}

function setOf(members: readonly string[]): (character: string) => boolean {
  const isNegated = members[0] === '!'
  const ranges: [from: string, to: string][] = []
  for (let i = isNegated ? 1 : 0; i < members.length; i++) {
    const isRange = members[i + 1] === '-' && i + 2 < members.length
    ranges.push([members[i], members[isRange ? i + 2 : i]])
    if (isRange) i += 2
  }
  return (character) => ranges.some(([from, to]) => from <= character && character <= to) !== isNegated
}

/** Goes back to the last run only, which then takes one more character: never more than pattern × name steps. */
function matches(tokens: readonly Token[], name: readonly string[]): boolean {
  let [at, token, run, taken] = [0, 0, -1, 0]
  while (at < name.length) {
    const expected = tokens[token]
    if (expected === 'run') {
      run = token++
      taken = at
    } else if (expected?.(name[at])) {
      token++
      at++
    } else if (run >= 0) {
      token = run + 1
      at = ++taken
    } else return false
  }
  return tokens.slice(token).every((rest) => rest === 'run')
}
