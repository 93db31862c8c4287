/** What is wrong with a Python pattern, or with translating it. */
export class PatternError extends Error {}

/** What Python's `\d`, `\w` and `\s` match in text (str.isdecimal, isalnum and `_`, isspace), as members of a class. */
const CLASSES: Readonly<Record<string, string>> = {
  d: '\\p{Nd}',
  w: '\\p{L}\\p{N}_',
  s: '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000',
}
const WORD = `[${CLASSES.w}]`
const ANCHORS: Readonly<Record<string, string>> = {
  A: '^',
  Z: '$',
  b: `(?:(?<=${WORD})(?!${WORD})|(?<!${WORD})(?=${WORD}))`,
  B: `(?:(?<=${WORD})(?=${WORD})|(?<!${WORD})(?!${WORD}))`,
}
const CONTROLS: Readonly<Record<string, string>> = {
  a: '\x07',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
}
const HEX_DIGITS: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 }

/** `(?=`, `(?!`, `(?<=`, `(?<!`, `(?:`: the same in both languages. */
const GROUP = /\(\?(?:[:=!]|<[=!])/y
const NAMED_GROUP = /\(\?P<([\p{L}_][\p{L}\p{N}_]*)>/uy
const COMMENT = /\(\?#[^)]*\)/y
const REPEAT = /\{(\d*)(?:(,)(\d*))?\}/y

/**
 * A pattern of Python's `re` for text, as a RegExp that matches where `re.match` does: from the start, not
 * necessarily to the end. Token by token, so that what the languages read differently (`\w`, `\b`, `$`, `.`, `{,3}`)
 * keeps Python's meaning. Throws PatternError on what Python refuses, and on what has no counterpart: flags,
 * back references, conditions, possessive and atomic parts.
 */
export function pythonPattern(source: string): RegExp {
  const translated = translate(source)
  try {
    return new RegExp(`^(?:${translated})`, 'v')
  } catch (error) {
    throw new PatternError((error as Error).message.replace(/^Invalid regular expression: .*\/v: /, ''))
  }
}

function translate(source: string): string {
  const names = new Set<string>()
  let out = ''
  let at = 0
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at
    const match = pattern.exec(source)
    if (match !== null) at = pattern.lastIndex
    return match
  }
  while (at < source.length) {
    const mark = source[at]
    if (mark === '\\') {
      const token = readEscape(source, at)
      at = token.end
      if (token.kind === 'anchor') out += ANCHORS[token.letter]
      else if (token.kind === 'class') out += `[${token.negated ? '^' : ''}${CLASSES[token.letter]}]`
      else out += literal(token.code)
    } else if (mark === '[') {
      const set = readSet(source, at)
      at = set.end
      out += set.text
    } else if (mark === '(' && source[at + 1] === '?') {
      const named = take(NAMED_GROUP)
      if (named !== null) {
        if (names.has(named[1])) throw new PatternError(`the group name ${named[1]} comes twice`)
        names.add(named[1])
        out += '(?:'
      } else if (take(COMMENT) === null) {
        const group = take(GROUP)
        if (group === null) throw new PatternError(`${source.slice(at, at + 4)} is not supported`)
        out += group[0]
      }
    } else if (mark === '{') {
      const repeat = take(REPEAT)
      if (repeat === null || repeat[0] === '{}') {
        if (repeat === null) at++
        out += repeat === null ? literal(0x7b) : literal(0x7b) + literal(0x7d)
      } else {
        out += `{${repeat[1] || '0'}${repeat[2] ?? ''}${repeat[3] ?? ''}}`
        refusePossessive(source, at)
      }
    } else if ('*+?'.includes(mark)) {
      out += mark
      at++
      refusePossessive(source, at)
    } else {
      const code = source.codePointAt(at)!
      at += String.fromCodePoint(code).length
      out += plain(mark, code)
    }
  }
  return out
}

/** A character that stands for itself, or a mark that both languages have: `$` also matches before a last newline, `.` all but newlines. */
function plain(mark: string, code: number): string {
  if (mark === '.') return '[^\\n]'
  if (mark === '$') return '(?=\\n?$)'
  return '^()|'.includes(mark) ? mark : literal(code)
}

function refusePossessive(source: string, at: number): void {
  if (source[at] === '+') throw new PatternError('possessive repeats are not supported')
}

const literal = (code: number) => `\\u{${code.toString(16)}}`

type Escape = { readonly end: number } & (
  | { readonly kind: 'anchor'; readonly letter: string }
  | { readonly kind: 'class'; readonly letter: string; readonly negated: boolean }
  | { readonly kind: 'character'; readonly code: number }
)

/** The escape at `start`, outside of a set. */
function readEscape(source: string, start: number): Escape {
  const letter = source[start + 1] ?? ''
  const end = start + 2
  if (letter in ANCHORS) return { kind: 'anchor', letter, end }
  const lower = letter.toLowerCase()
  if (lower in CLASSES) return { kind: 'class', letter: lower, negated: lower !== letter, end }
  if (/[1-9]/.test(letter) && !/^[1-3][0-7]{2}/.test(source.slice(start + 1))) {
    throw new PatternError('back references are not supported')
  }
  return { kind: 'character', ...readCharacter(source, start) }
}

/** The one character that an escape stands for. */
function readCharacter(source: string, start: number): { code: number; end: number } {
  const letter = source[start + 1]
  if (letter === undefined) throw new PatternError('it ends in a backslash')
  const end = start + 2
  if (letter in CONTROLS) return { code: CONTROLS[letter].charCodeAt(0), end }
  if (letter in HEX_DIGITS) {
    const count = HEX_DIGITS[letter]
    const digits = source.slice(end, end + count)
    const code = /^[0-9a-fA-F]+$/.test(digits) && digits.length === count ? Number.parseInt(digits, 16) : -1
    if (code < 0 || code > 0x10ffff) throw new PatternError(`incomplete escape \\${letter}${digits}`)
    return { code, end: end + count }
  }
  const octal = /^(?:0[0-7]{0,2}|[1-3][0-7]{2})/.exec(source.slice(start + 1))
  if (octal !== null) return { code: Number.parseInt(octal[0], 8), end: start + 1 + octal[0].length }
  if (/[0-9A-Za-z]/.test(letter)) throw new PatternError(`bad escape \\${letter}`)
  const code = source.codePointAt(start + 1)!
  return { code, end: start + 1 + String.fromCodePoint(code).length }
}

type Member = { readonly end: number } & (
  | { readonly code: number }
  | { readonly code?: undefined; readonly text: string }
)

/** A set `[…]` from `start`: a first `]` is a member, and so are all marks that JavaScript's sets read otherwise. */
function readSet(source: string, start: number): { text: string; end: number } {
  let at = start + 1
  const negated = source[at] === '^'
  if (negated) at++
  const first = at
  let text = ''
  while (at < source.length && (source[at] !== ']' || at === first)) {
    const low = readMember(source, at)
    at = low.end
    if (source[at] === '-' && at + 1 < source.length && source[at + 1] !== ']') {
      const high = readMember(source, at + 1)
      if (low.code === undefined || high.code === undefined || high.code < low.code) {
        throw new PatternError(`bad character range ${source.slice(start, high.end)}`)
      }
      at = high.end
      text += `${literal(low.code)}-${literal(high.code)}`
    } else {
      text += low.code === undefined ? low.text : literal(low.code)
    }
  }
  if (at >= source.length) throw new PatternError('a set without its closing ]')
  return { text: `[${negated ? '^' : ''}${text}]`, end: at + 1 }
}

function readMember(source: string, at: number): Member {
  if (source[at] !== '\\') {
    const code = source.codePointAt(at)!
    return { code, end: at + String.fromCodePoint(code).length }
  }
  const letter = source[at + 1] ?? ''
  const lower = letter.toLowerCase()
  if (lower in CLASSES) {
    const members = CLASSES[lower]
    return { text: lower === letter ? members : `[^${members}]`, end: at + 2 }
  }
  if (letter === 'b') return { code: 8, end: at + 2 }
  return readCharacter(source, at)
}
