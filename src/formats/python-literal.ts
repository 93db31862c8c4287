/** The values that a NumPy header holds: strings, booleans and tuples of integers. */
export type PythonValue = string | boolean | number | readonly number[]

const SPACE = /[ \t\n\r\f]*/y
const STRING = /'([^'\\\n]*)'|"([^"\\\n]*)"/y
// Python 2 wrote long integers as 5L
const INTEGER = /(0|[1-9][0-9]*)L?(?![0-9A-Za-z_.])/y
const BOOLEAN = /(True|False)(?![0-9A-Za-z_])/y

/**
 * Parses a Python dict literal with string keys, such as `{'descr': '<f8', 'shape': (3, 4), }`. Strict: one dict,
 * no key twice, integers up to 2^53 − 1. Throws SyntaxError with what was expected and the character's number.
 */
export function parsePythonDict(text: string): Map<string, PythonValue> {
  let at = 0
  const match = (token: RegExp): RegExpExecArray | null => {
    token.lastIndex = at
    const found = token.exec(text)
    if (found !== null) at += found[0].length
    return found
  }
  const fail = (expected: string): never => {
    const found = at < text.length ? JSON.stringify(text.slice(at, at + 12)) : 'its end'
    throw new SyntaxError(`expected ${expected} at character ${at + 1}, found ${found}`)
  }
  const take = (mark: string): boolean => {
    match(SPACE)
    if (text[at] !== mark) return false
    at++
    return true
  }
  const integer = (): number => {
    match(SPACE)
    const digits = match(INTEGER)?.[1] ?? fail('an integer')
    const value = Number(digits)
    return Number.isSafeInteger(value) ? value : fail('an integer below 2^53')
  }
  const string = (): string => {
    match(SPACE)
    const found = match(STRING)
    return found === null ? fail('a quoted string') : (found[1] ?? found[2])
  }
  /** After the opening parenthesis: `()`, `(5,)`, `(3, 4)`, `(3, 4,)`; `(5)` is just the number 5 to Python. */
  const tuple = (): number | number[] => {
    const items: number[] = []
    while (!take(')')) {
      items.push(integer())
      if (take(',')) continue
      if (!take(')')) fail('"," or ")"')
      return items.length === 1 ? items[0] : items
    }
    return items
  }
  const value = (): PythonValue => {
    if (take('(')) return tuple()
    const boolean = match(BOOLEAN)
    if (boolean !== null) return boolean[1] === 'True'
    if (text[at] === "'" || text[at] === '"') return string()
    return /[0-9]/.test(text[at] ?? '') ? integer() : fail('a string, True, False or a tuple of integers')
  }

  const entries = new Map<string, PythonValue>()
  if (!take('{')) fail('"{"')
  while (!take('}')) {
    const key = string()
    if (entries.has(key)) fail(`each key once (${JSON.stringify(key)} comes twice)`)
    if (!take(':')) fail('":"')
    entries.set(key, value())
    if (take(',')) continue
    if (!take('}')) fail('"," or "}"')
    break
  }
  match(SPACE)
  if (at < text.length) fail('nothing more')
  return entries
}
