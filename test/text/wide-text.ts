import fc from 'fast-check'

/**
 * Texts whose columns are known without measuring: by the columns of their parts, as Unicode's EastAsianWidth (wide and fullwidth
 * letters) and UTS 51 (a sequence of emoji is one picture of two columns) have them; marks that combine add none.
 */
const PARTS: readonly (readonly [text: string, columns: number])[] = [
  ['layer', 5],
  ['0', 1],
  ['注', 2],
  ['層', 2],
  ['プ', 2],
  ['한', 2],
  ['Ａ', 2],
  ['。', 2],
  ['e\u0301', 1],
  ['o\u0323\u0302', 1],
  ['ש\u05b8', 1],
  ['Σ', 1],
  ['🙂', 2],
  ['👩🏽', 2],
  ['❤\ufe0f', 2],
  ['🇨🇭', 2],
  ['👩\u200d👩\u200d👧\u200d👦', 2],
  ['🏳\ufe0f\u200d🌈', 2],
]

export interface KnownText {
  readonly text: string
  readonly columns: number
}

/** Texts of up to so many parts. Between two of them is a dot, so that none joins with the next. */
export const knownText = (most: number): fc.Arbitrary<KnownText> =>
  fc.array(fc.constantFrom(...PARTS), { minLength: 1, maxLength: most }).map((parts) => ({
    text: parts.map(([text]) => text).join('.'),
    columns: parts.reduce((sum, [, columns]) => sum + columns, parts.length - 1),
  }))

const FORMS = PARTS.flatMap(([text, columns]) =>
  [text, text.normalize()].map((form) => [form, columns] as const),
)
const LONGEST_FIRST = FORMS.toSorted(([a], [b]) => b.length - a.length)

/** The columns of a line that is made of the parts above, and otherwise of letters that take one each. */
export const knownColumns = (line: string): number =>
  LONGEST_FIRST.reduce((left, [text, columns]) => left.replaceAll(text, 'x'.repeat(columns)), line).length
