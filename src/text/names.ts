import { grouped } from './numbers.ts'
import { counted, printable } from './quote.ts'
import { withoutMiddle } from './width.ts'

/** A name that is shown by itself is shortened to this: three lines of an ordinary terminal. JSON and CSV have all of it. */
const MOST_SHOWN = 240

/** What most names of a model begin and end with, as `model.layers.` and `.weight`. */
export interface NamePattern {
  readonly prefix: string
  readonly suffix: string
}

/** A pattern is worth stating where this share of the names has it. */
const COMMON_SHARE = 0.5
/** A shorter beginning is worth more where so many times as many names have it. */
const MANY_MORE = 2

/** The pattern of the names that have a layer's number in them; empty strings where too few share one. */
export function namePattern(names: readonly string[]): NamePattern {
  const prefixes = names
    .map((name) => /^(?:[^.\d]+\.)+(?=\d+\.)/.exec(name)?.[0])
    .filter((x) => x !== undefined)
  const common = prefixesOf(mostFrequent(prefixes))
    .map((prefix) => ({ prefix, matching: names.filter((name) => name.startsWith(prefix)) }))
    .filter(({ matching }) => matching.length >= Math.max(2, names.length * COMMON_SHARE))
  // blocks of several names, as a U-Net has, share what stands before all of them
  const most = Math.max(...common.map(({ matching }) => matching.length))
  const found = common.find(({ matching }) => most < MANY_MORE * matching.length)
  if (found === undefined) return NONE
  const { prefix, matching } = found
  const endings = matching.map((name) => /\.(weight|bias)$/.exec(name)?.[0]).filter((x) => x !== undefined)
  const suffix = mostFrequent(endings)
  const ending = matching.filter((name) => suffix !== '' && name.endsWith(suffix))
  const pattern = { prefix, suffix: ending.length < names.length * COMMON_SHARE ? '' : suffix }
  const shortened = new Set(names.map((name) => withoutPattern(name, pattern)))
  return shortened.size < new Set(names).size ? NONE : pattern
}

const NONE: NamePattern = { prefix: '', suffix: '' }

/** `a.b.c.`, `a.b.`, `a.` */
const prefixesOf = (prefix: string): string[] =>
  [...prefix.matchAll(/\./g)].map(({ index }) => prefix.slice(0, index + 1)).reverse()

function mostFrequent(texts: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1)
  return [...counts].reduce((best, entry) => (entry[1] > best[1] ? entry : best), ['', 0] as const)[0]
}

/** A name without the pattern that it has; a name that hasn't all of it stays whole. */
export function withoutPattern(name: string, { prefix, suffix }: NamePattern): string {
  const middle = name.slice(prefix.length, name.length - suffix.length)
  return name === `${prefix}${middle}${suffix}` && middle !== '' ? middle : name
}

/** Of what is kept of a long name, its beginning gets 1 / this: what tells tensors of a layer apart is at the end. */
const BEGINNING = 3

/** A name in `width` columns, its middle left out where it is wider. */
export const fittedName = (name: string, width: number): string =>
  withoutMiddle(name, width, Math.floor((width - 1) / BEGINNING))

/** A name, or another text from a file, as a sentence or a framed table shows it: on one line, of a length that can be read. */
export const shownName = (name: string) => fittedName(printable(name), MOST_SHOWN)

/** How many, and the first of them: 5 tensors (a, b, c, and 2 more). */
export const someTensors = (names: readonly string[]) =>
  `${counted(names.length, 'tensor')} (${firstOf(names.map(shownName))})`

/** The first few of many texts, and how many more there are. */
export function firstOf(texts: readonly string[]): string {
  const others = texts.length - LISTED_NAMES
  return `${texts.slice(0, LISTED_NAMES).join(', ')}${others > 0 ? `, and ${grouped(others)} more` : ''}`
}

/** Names listed of many. */
const LISTED_NAMES = 3
