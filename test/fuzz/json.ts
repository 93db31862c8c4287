import type { Mutator, Pool } from './bytes.ts'
import type { Chance } from './chance.ts'

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

/** Keys that mean something to JavaScript. */
const AWKWARD_KEYS = [
  '__proto__',
  'constructor',
  'toString',
  'length',
  'hasOwnProperty',
  '',
  '0',
  'a\nb',
  '\u202e',
  '\ud800',
]

const AWKWARD: readonly Json[] = [
  null,
  true,
  false,
  0,
  -1,
  0.5,
  1e308,
  2 ** 53,
  4294967296,
  '',
  'x',
  '0',
  'NaN',
  'a\nb\u2028c\u202e',
  '../x',
  '(a+)+$',
  '.*',
  '[',
  [],
  {},
  [[]],
  [null],
  ['q_proj', 1],
  { a: 1 },
  'x'.repeat(3000),
]

/** What is nested deeply, as text: stringifying it would recurse. */
const DEEP = [`${'['.repeat(200)}${']'.repeat(200)}`, `${'{"a":'.repeat(150)}1${'}'.repeat(150)}`]

const isObject = (value: Json): value is { readonly [key: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Puts another value where one stands, at a place by chance. */
function edited(value: Json, chance: Chance, edit: (value: Json) => Json, depth = 0): Json {
  if (depth > 20 || typeof value !== 'object' || value === null || chance.oneIn(5)) return edit(value)
  if (Array.isArray(value)) {
    if (value.length === 0) return edit(value)
    const at = chance.below(value.length)
    return value.map((item: Json, i: number) => (i === at ? edited(item, chance, edit, depth + 1) : item))
  }
  const entries = Object.entries(value)
  if (entries.length === 0) return edit(value)
  const at = chance.below(entries.length)
  return fromEntries(
    entries.map(([key, item], i) => [key, i === at ? edited(item, chance, edit, depth + 1) : item]),
  )
}

const fromEntries = (entries: readonly (readonly [string, Json])[]): Json => Object.fromEntries(entries)

function otherValue(value: Json, chance: Chance, { words }: Pool): Json {
  const word = words.length > 0 ? chance.of(words) : 'x'
  if (typeof value === 'number' && chance.oneIn(2)) {
    return chance.of([value + 1, value - 1, -value, value * 2, value / 3, value * 1e6])
  }
  if (typeof value === 'string' && chance.oneIn(2)) {
    const at = chance.below(value.length + 1)
    return chance.of([
      value + word,
      value.slice(0, at) + word + value.slice(at),
      value.slice(at),
      value.slice(0, at),
      word,
    ])
  }
  if (Array.isArray(value) && chance.oneIn(2)) {
    const at = chance.below(value.length + 1)
    return chance.of<Json>([
      value.slice(0, at),
      [...value, ...value],
      [...value, chance.of(AWKWARD)],
      [...value].reverse(),
    ])
  }
  if (isObject(value) && chance.oneIn(2)) {
    const entries = Object.entries(value)
    const at = chance.below(entries.length + 1)
    const key = chance.of([...AWKWARD_KEYS, word, word, ...Object.keys(value)])
    return chance.of<() => Json>([
      () => fromEntries([...entries, [key, chance.of(AWKWARD)]]),
      () => fromEntries(entries.filter((_, i) => i !== at)),
      () => fromEntries(entries.map(([name, item], i) => [i === at ? key : name, item])),
      () => fromEntries([...entries].reverse()),
      () => fromEntries([...entries, [`${key}${chance.below(10)}`, entries[at]?.[1] ?? null]]),
    ])()
  }
  return chance.oneIn(3) ? [value] : chance.of(AWKWARD)
}

/** Changes values and keys of a JSON text, or writes it in another way. A text that isn't JSON stays. */
export function mutateJsonText(text: string, chance: Chance, pool: Pool): string {
  let value: Json
  try {
    value = JSON.parse(text)
  } catch {
    return text
  }
  for (let edits = 1 + chance.below(3); edits > 0; edits--) {
    value = edited(value, chance, (one) => otherValue(one, chance, pool))
  }
  const out = JSON.stringify(value, null, chance.oneIn(8) ? 1 : 0)
  switch (chance.below(24)) {
    case 0:
      return out.replace(
        '{',
        `{${JSON.stringify(chance.of(AWKWARD_KEYS))}:1,${JSON.stringify(chance.of(AWKWARD_KEYS))}:2,`,
      )
    case 1:
      return out.replace(/:[^,}\]]*/, () => `:${chance.of(DEEP)}`)
    case 2:
      return out.replace(
        /:(\d+)/,
        () => `:${chance.of(['1e400', '-0', '1.0', '9007199254740993', 'NaN', '00', '0x1'])}`,
      )
    case 3: {
      // a key twice
      const member = /"[^"]*":[^,{}[\]]*/.exec(out)?.[0]
      return member === undefined ? out : out.replace(member, `${member},${member}`)
    }
    case 4:
      return `${chance.of(['\ufeff', ' ', '\n\n', '\0'])}${out}`
    default:
      return out
  }
}

export const mutateJson: Mutator = (input, chance, pool) =>
  new TextEncoder().encode(mutateJsonText(new TextDecoder().decode(input), chance, pool))
