import { quoted } from './quote.ts'

/** Deepest nesting taken; serde_json, which the reference reader uses, stops there too. */
const DEPTH_LIMIT = 128

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const WORD = /true|false|null/y
const SPACE = /[ \t\n\r]*/y
const LONE_SURROGATE = /\p{Cs}/u

/** A cursor over JSON text that hands out what stands next. Every method but `peek` throws JsonError on anything else. */
export interface JsonReader {
  /** The first character of what stands next, '' at the end. */
  peek(): string
  /** An object: `onMember` must read each member's value. Duplicate keys are the caller's to see. */
  object(onMember: (key: string) => void): void
  /** An array: `onItem` must read each item. */
  array(onItem: () => void): void
  string(): string
  /** A non-negative integer up to 2^53 − 1, written with digits alone. */
  count(): number
  /** Any value, checked; gives its text. */
  skip(): string
  /** Nothing but space up to the end. */
  end(): void
  /** Stops with a JsonError at this place. */
  fail(problem: string): never
}

/** What is wrong with the JSON, and the character it is at, counted from 1. */
export class JsonError extends Error {}

/**
 * The value of a whole JSON text, nested no deeper than what is skipped over: what goes through it, such as
 * JSON.stringify, recurses. Throws JsonError.
 */
export function parseJson(text: string): unknown {
  const json = jsonReader(text)
  json.skip()
  json.end()
  return JSON.parse(text)
}

/** The members of a text that is one JSON object, in which no key comes twice. Throws JsonError. */
export function parseObject(text: string): Record<string, unknown> {
  const members = new Map<string, unknown>()
  const json = jsonReader(text)
  json.object((key) => {
    if (members.has(key)) json.fail(`the key ${quoted(key)} comes twice`)
    members.set(key, JSON.parse(json.skip()))
  })
  json.end()
  return Object.fromEntries(members)
}

/** Reads JSON (RFC 8259) strictly and once through: no value is built but what the caller builds. */
export function jsonReader(text: string): JsonReader {
  let at = 0

  const fail = (problem: string): never => {
    throw new JsonError(`${problem} at character ${at + 1}`)
  }
  const found = () => (at < text.length ? quoted(text.slice(at, at + 12)) : 'the end')
  const skipSpace = () => {
    const code = text.charCodeAt(at)
    if (code !== 0x20 && code !== 0x0a && code !== 0x09 && code !== 0x0d) return
    SPACE.lastIndex = at
    SPACE.test(text)
    at = SPACE.lastIndex
  }
  const peek = () => {
    skipSpace()
    return text.charAt(at)
  }
  const expect = (mark: string) => {
    if (peek() !== mark) fail(`expected ${JSON.stringify(mark)}, found ${found()}`)
    at++
  }
  /** `,` before another item, or the closing mark. */
  const more = (close: string): boolean => {
    const mark = peek()
    if (mark !== ',' && mark !== close) fail(`expected "," or ${JSON.stringify(close)}, found ${found()}`)
    at++
    return mark === ','
  }
  const empty = (close: string): boolean => {
    if (peek() !== close) return false
    at++
    return true
  }
  const object = (onMember: (key: string) => void) => {
    expect('{')
    if (empty('}')) return
    do {
      const key = string()
      expect(':')
      onMember(key)
    } while (more('}'))
  }
  const array = (onItem: () => void) => {
    expect('[')
    if (empty(']')) return
    do onItem()
    while (more(']'))
  }
  const string = (): string => {
    expect('"')
    const start = at
    let escaped = false
    for (; ; at++) {
      const code = text.charCodeAt(at)
      if (code === 0x22) break
      if (code === 0x5c) {
        escaped = true
        at++
      } else if (!(code >= 0x20)) {
        fail(at < text.length ? 'a control character in a string' : 'a string without its closing quote')
      }
    }
    const raw = text.slice(start, at++)
    return escaped ? unescaped(raw) : raw
  }
  const unescaped = (raw: string): string => {
    let plain = ''
    try {
      plain = JSON.parse(`"${raw}"`)
    } catch {
      fail('a wrong escape in the string that ends')
    }
    return LONE_SURROGATE.test(plain) ? fail('half a surrogate pair in the string that ends') : plain
  }
  const count = (): number => {
    skipSpace()
    const start = at
    let value = 0
    // digit by digit: a header holds millions of them, and matching a pattern allocates
    for (let code = text.charCodeAt(at); code >= 0x30 && code <= 0x39; code = text.charCodeAt(++at)) {
      value = value * 10 + (code - 0x30)
    }
    const digits = at - start
    const next = text.charCodeAt(at)
    const goesOn = next === 0x2e || next === 0x65 || next === 0x45
    if (digits === 0 || goesOn || (digits > 1 && text[start] === '0')) {
      at = start
      fail(`expected a non-negative integer, found ${found()}`)
    }
    if (value > Number.MAX_SAFE_INTEGER) {
      at = start
      fail(`expected an integer below 2^53, found ${text.slice(start, start + Math.min(digits, 24))}`)
    }
    return value
  }
  const skip = (depth = 0): void => {
    if (depth > DEPTH_LIMIT) fail(`more than ${DEPTH_LIMIT} levels of nesting`)
    const mark = peek()
    if (mark === '{') object(() => skip(depth + 1))
    else if (mark === '[') array(() => skip(depth + 1))
    else if (mark === '"') string()
    else {
      WORD.lastIndex = at
      NUMBER.lastIndex = at
      const token = WORD.exec(text) ?? NUMBER.exec(text) ?? fail(`expected a value, found ${found()}`)
      at += token[0].length
    }
  }
  const end = () => {
    if (peek() !== '') fail(`expected nothing more, found ${found()}`)
  }
  const skipValue = () => {
    skipSpace()
    const start = at
    skip()
    return text.slice(start, at)
  }
  return { peek, object, array, string, count, skip: skipValue, end, fail }
}
