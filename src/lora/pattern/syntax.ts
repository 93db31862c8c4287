/** What is wrong with a Python pattern, or what of it is not supported. */
export class PatternError extends Error {
  /** Which of several. */
  pattern?: string
}

/** A pattern's parts. Whether a repeat is greedy and what a group captures doesn't bear on whether it matches. */
export type Node =
  | { readonly kind: 'character'; readonly code: number }
  | { readonly kind: 'set'; readonly has: (code: number) => boolean }
  | { readonly kind: 'assertion'; readonly at: Assertion }
  | { readonly kind: 'sequence'; readonly items: readonly Node[] }
  | { readonly kind: 'choice'; readonly branches: readonly Node[] }
  | { readonly kind: 'repeat'; readonly item: Node; readonly least: number; readonly most: number }

/** `$` also holds before a last newline; `end` is `\Z`. */
export type Assertion = 'start' | '$' | 'end' | 'word edge' | 'no word edge'

/** Groups in groups: a recursion's depth. Python's own parser gives up at some hundreds. */
const DEEPEST = 200

const NEWLINE = 10

/** `.`: any character but a newline. */
export const ANY: Node = { kind: 'set', has: (code) => code !== NEWLINE }

/** What Python's `\d`, `\w` and `\s` match in text: str.isdecimal, isalnum and `_`, isspace. */
const CLASSES: Readonly<Record<string, (code: number) => boolean>> = {
  d: memberOf(/^\p{Nd}$/u),
  w: memberOf(/^[\p{L}\p{N}_]$/u),
  s: memberOf(/^[\s\x85]$/u, /^[\ufeff]$/u, [0x1c, 0x1d, 0x1e, 0x1f]),
}
export const isWord = CLASSES.w
const NEGATED = Object.fromEntries(
  Object.entries(CLASSES).map(([letter, has]) => [letter, (code: number) => !has(code)]),
)

/** ASCII is looked up: almost all names are nothing else. */
function memberOf(
  pattern: RegExp,
  without?: RegExp,
  more: readonly number[] = [],
): (code: number) => boolean {
  const has = (character: string) => pattern.test(character) && without?.test(character) !== true
  const ascii = Array.from(
    { length: 128 },
    (_, code) => has(String.fromCharCode(code)) || more.includes(code),
  )
  return (code) => (code < 128 ? ascii[code] : has(String.fromCodePoint(code)))
}

const ANCHORS: Readonly<Record<string, Assertion>> = {
  A: 'start',
  Z: 'end',
  b: 'word edge',
  B: 'no word edge',
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

const LOOKAROUND = /\(\?<?[=!]/y
const NAMED_GROUP = /\(\?P<([\p{L}_][\p{L}\p{N}_]*)>/uy
const COMMENT = /\(\?#[^)]*\)/y
const REPEAT = /\{(\d*)(?:(,)(\d*))?\}/y

/**
 * A pattern of Python's `re` for text (Lib/re/_parser.py@3.13). Throws PatternError on what Python refuses, and on what can't
 * be matched in linear time or has no meaning here: look-around, back references, conditions, flags, possessive and atomic
 * parts.
 */
export function parsePattern(source: string): Node {
  let at = 0
  let depth = 0
  const names = new Set<string>()
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at
    const match = pattern.exec(source)
    if (match !== null) at = pattern.lastIndex
    return match
  }

  const choice = (): Node => {
    const branches = [sequence()]
    while (source[at] === '|') {
      at++
      branches.push(sequence())
    }
    return branches.length === 1 ? branches[0] : { kind: 'choice', branches }
  }

  const sequence = (): Node => {
    const items: Node[] = []
    while (at < source.length && source[at] !== '|' && source[at] !== ')') {
      const repeat = takeRepeat()
      if (repeat === undefined) {
        const item = readItem()
        if (item !== undefined) items.push(item)
        continue
      }
      const item = items.pop()
      if (item === undefined || item.kind === 'assertion') throw new PatternError('nothing to repeat')
      if (item.kind === 'repeat') throw new PatternError('multiple repeat')
      items.push({ kind: 'repeat', item, ...repeat })
    }
    return { kind: 'sequence', items }
  }

  const takeRepeat = (): { least: number; most: number } | undefined => {
    let bounds: { least: number; most: number }
    const mark = source[at]
    if (mark === '*' || mark === '+' || mark === '?') {
      at++
      bounds = { least: mark === '+' ? 1 : 0, most: mark === '?' ? 1 : Number.POSITIVE_INFINITY }
    } else {
      const before = at
      const found = mark === '{' ? take(REPEAT) : null
      if (found === null || found[0] === '{}') {
        at = before
        return undefined
      }
      const least = Number(found[1] || 0)
      const most =
        found[2] === undefined ? least : found[3] === '' ? Number.POSITIVE_INFINITY : Number(found[3])
      if (most < least) throw new PatternError('min repeat greater than max repeat')
      bounds = { least, most }
    }
    if (source[at] === '+') throw new PatternError('possessive repeats are not supported')
    if (source[at] === '?') at++
    return bounds
  }

  const group = (): Node => {
    if (++depth > DEEPEST) throw new PatternError(`groups more than ${DEEPEST} deep are not supported`)
    const inner = choice()
    if (source[at] !== ')') throw new PatternError('a group without its closing )')
    at++
    depth--
    // one of its own, so that (a*)* is no multiple repeat
    return { kind: 'sequence', items: [inner] }
  }

  const readItem = (): Node | undefined => {
    const mark = source[at]
    if (mark === '\\') {
      const { node, end } = readEscape(source, at)
      at = end
      return node
    }
    if (mark === '[') {
      const { node, end } = readSet(source, at)
      at = end
      return node
    }
    if (mark === '(') {
      if (source[at + 1] !== '?') at++
      else if (source[at + 2] === ':') at += 3
      else if (take(COMMENT) !== null) return undefined
      else {
        if (take(LOOKAROUND) !== null) throw new PatternError('look-around is not supported')
        const named = take(NAMED_GROUP)
        if (named === null) throw new PatternError(`${source.slice(at, at + 4)} is not supported`)
        if (names.has(named[1])) throw new PatternError(`the group name ${named[1]} comes twice`)
        names.add(named[1])
      }
      return group()
    }
    const code = source.codePointAt(at)!
    at += code > 0xffff ? 2 : 1
    if (mark === '.') return ANY
    if (mark === '^') return { kind: 'assertion', at: 'start' }
    if (mark === '$') return { kind: 'assertion', at: '$' }
    return { kind: 'character', code }
  }

  const all = choice()
  if (at < source.length) throw new PatternError('unbalanced parenthesis')
  return all
}

interface Read {
  readonly node: Node
  readonly end: number
}

/** The escape at `start`, outside of a set. */
function readEscape(source: string, start: number): Read {
  const letter = source[start + 1] ?? ''
  const end = start + 2
  if (letter in ANCHORS) return { node: { kind: 'assertion', at: ANCHORS[letter] }, end }
  if (letter.toLowerCase() in CLASSES) return { node: { kind: 'set', has: classOf(letter) }, end }
  if (/[1-9]/.test(letter) && !/^[1-3][0-7]{2}/.test(source.slice(start + 1, start + 4))) {
    throw new PatternError('back references are not supported')
  }
  const { code, end: after } = readCharacter(source, start)
  return { node: { kind: 'character', code }, end: after }
}

/** `\d`, or with a capital letter all that it is not. */
const classOf = (letter: string) => CLASSES[letter] ?? NEGATED[letter.toLowerCase()]

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
  const octal = /^(?:0[0-7]{0,2}|[1-3][0-7]{2})/.exec(source.slice(start + 1, start + 4))
  if (octal !== null) return { code: Number.parseInt(octal[0], 8), end: start + 1 + octal[0].length }
  if (/[0-9A-Za-z]/.test(letter)) throw new PatternError(`bad escape \\${letter}`)
  const code = source.codePointAt(start + 1)!
  return { code, end: start + 1 + String.fromCodePoint(code).length }
}

type Member = { readonly end: number } & (
  | { readonly code: number }
  | { readonly code?: undefined; readonly has: (code: number) => boolean }
)

/** A set `[…]` from `start`: a first `]` is a member. */
function readSet(source: string, start: number): Read {
  let at = start + 1
  const negated = source[at] === '^'
  if (negated) at++
  const first = at
  const ranges: (readonly [low: number, high: number])[] = []
  const classes: ((code: number) => boolean)[] = []
  while (at < source.length && (source[at] !== ']' || at === first)) {
    const low = readMember(source, at)
    at = low.end
    if (source[at] === '-' && at + 1 < source.length && source[at + 1] !== ']') {
      const high = readMember(source, at + 1)
      if (low.code === undefined || high.code === undefined || high.code < low.code) {
        throw new PatternError(`bad character range ${source.slice(start, high.end)}`)
      }
      at = high.end
      ranges.push([low.code, high.code])
    } else if (low.code === undefined) classes.push(low.has)
    else ranges.push([low.code, low.code])
  }
  if (at >= source.length) throw new PatternError('a set without its closing ]')
  const has = memberTest(ranges, classes)
  return { node: { kind: 'set', has: negated ? (code) => !has(code) : has }, end: at + 1 }
}

/** A bisection of the merged ranges, so that a set of any length is asked at once. */
function memberTest(
  ranges: readonly (readonly [low: number, high: number])[],
  classes: readonly ((code: number) => boolean)[],
): (code: number) => boolean {
  const lows: number[] = []
  const highs: number[] = []
  for (const [low, high] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = highs.length - 1
    if (last >= 0 && low <= highs[last]) highs[last] = Math.max(highs[last], high)
    else {
      lows.push(low)
      highs.push(high)
    }
  }
  const inRanges = (code: number) => {
    let [from, to] = [0, lows.length]
    while (from < to) {
      const middle = (from + to) >> 1
      if (lows[middle] <= code) from = middle + 1
      else to = middle
    }
    return from > 0 && code <= highs[from - 1]
  }
  const others = [...new Set(classes)]
  return (code) => inRanges(code) || others.some((has) => has(code))
}

function readMember(source: string, at: number): Member {
  if (source[at] !== '\\') {
    const code = source.codePointAt(at)!
    return { code, end: at + String.fromCodePoint(code).length }
  }
  const letter = source[at + 1] ?? ''
  if (letter.toLowerCase() in CLASSES) return { has: classOf(letter), end: at + 2 }
  if (letter === 'b') return { code: 8, end: at + 2 }
  return readCharacter(source, at)
}
