/** Longest name or cell shown in a message: enough to recognise it, short enough for one line. */
const SHOWN_CHARACTERS = 80

/** Controls, line separators and bidirectional marks: they'd break the line or disguise the text on a terminal. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u
const EACH_UNPRINTABLE = new RegExp(UNPRINTABLE, 'gu')

/** `text` in double quotes on one line: unprintable characters escaped, the middle left out where it is long. */
export function quoted(text: string): string {
  const half = SHOWN_CHARACTERS / 2
  const shown =
    text.length <= SHOWN_CHARACTERS ? text : `${text.slice(0, half)}…${text.slice(text.length - half)}`
  return printable(JSON.stringify(shown))
}

/** `text` with what would break its line, or speak to the terminal, as escapes. */
export const printable = (text: string) =>
  text.replace(EACH_UNPRINTABLE, (mark) => `\\u{${mark.codePointAt(0)!.toString(16).padStart(4, '0')}}`)

/** Longest JSON value shown in a message. */
const SHOWN_JSON = 60

/** A value of a JSON text, short enough for a message and on one line. */
export function jsonText(value: unknown): string {
  const text = JSON.stringify(value) ?? 'missing'
  return printable(text.length <= SHOWN_JSON ? text : `${text.slice(0, SHOWN_JSON - 1)}…`)
}

/** A shape as people write it: `[2, 3]`. */
export const shapeText = (shape: readonly number[]) => `[${shape.join(', ')}]`

/** `count` and the noun, with an s unless there is one of it. */
export const counted = (count: number, noun: string) => `${count} ${noun}${count === 1 ? '' : 's'}`

/** What a POSIX shell takes as it stands, in any place of a command. */
const PLAIN = /^[\w%+:,./@^-]+$/

/** A text as one word of a shell's command. What a terminal or a page would not show is spelled as bash's and zsh's $'…' has it. */
export function shellWord(text: string): string {
  if (PLAIN.test(text)) return text
  if (!UNPRINTABLE.test(text)) return `'${text.replaceAll("'", "'\\''")}'`
  const spelled = Array.from(text, (character) => {
    if (character === '\\' || character === "'") return `\\${character}`
    if (!UNPRINTABLE.test(character)) return character
    return `\\U${character.codePointAt(0)!.toString(16).padStart(8, '0')}`
  })
  return `$'${spelled.join('')}'`
}

/** Painted line by line: a colour that runs over a line's end colours the margin too. */
export const paintLines = (text: string, colour: (text: string) => string) =>
  text
    .split('\n')
    .map((line) => colour(line))
    .join('\n')
