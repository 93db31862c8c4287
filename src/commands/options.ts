import { badUsage, LoraSvdError } from '../errors.ts'
import { ALPHA_ZERO } from '../lora/read/alpha.ts'
import { seedInteger } from '../random/seedrandom.ts'
import { isShard, type Shard } from '../shards/shard.ts'
import { didYouMean } from '../text/compare.ts'
import { parseBytes, parseCount } from '../text/numbers.ts'

/**
 * What an option takes. The command line reads it from text, the library gets it as a value: both refuse what is not valid, with the
 * same words for what was expected.
 */
export interface Kind {
  readonly expected: string
  isValid(value: unknown): boolean
}

/** A kind of an option that has to be given. */
export interface Needed extends Kind {
  readonly isNeeded: true
}

export const needed = (kind: Kind): Needed => ({ ...kind, isNeeded: true })

/** An integer from `least` to `most`. */
export function integer(least: number, most = Number.MAX_SAFE_INTEGER): Kind {
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`
  return {
    expected: `an integer ${range}`,
    isValid: (value) =>
      Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most,
  }
}

/** A finite number that `isValid` accepts; `expected` says which those are. */
export const number = (expected: string, isValid: (x: number) => boolean): Kind => ({
  expected,
  isValid: (value) => typeof value === 'number' && Number.isFinite(value) && isValid(value),
})

export interface Choice extends Kind {
  readonly choices: readonly string[]
}

export const oneOf = (choices: readonly string[]): Choice => ({
  choices,
  expected: `one of ${choices.map((choice) => `'${choice}'`).join(', ')}`,
  isValid: (value) => typeof value === 'string' && choices.includes(value),
})

/** Whether `work` throws one of this package's errors. */
function passes(work: () => unknown): boolean {
  try {
    work()
    return true
  } catch (error) {
    if (error instanceof LoraSvdError) return false
    throw error
  }
}

const isFunction = (value: unknown) => typeof value === 'function'

export const text: Kind = { expected: 'a string', isValid: (value) => typeof value === 'string' }
export const path: Kind = { expected: 'a path, as a string', isValid: text.isValid }
export const texts: Kind = {
  expected: 'an array of strings',
  isValid: (value) => Array.isArray(value) && value.every(text.isValid),
}
export const flag: Kind = { expected: 'true or false', isValid: (value) => typeof value === 'boolean' }
export const bytes: Kind = {
  expected: "a number of bytes, such as 40 * 2 ** 20 or '40MiB'",
  isValid: (value) =>
    typeof value === 'string' ? passes(() => parseBytes(value)) : integer(1).isValid(value),
}
export const count: Kind = {
  expected: "a number of parameters, such as 40e6 or '40M'",
  isValid: (value) =>
    typeof value === 'string' ? passes(() => parseCount(value)) : integer(1).isValid(value),
}
export const seed: Kind = {
  expected: 'an integer or a bigint',
  isValid: (value) =>
    typeof value === 'bigint' || (typeof value === 'number' && passes(() => seedInteger(value))),
}
const share = (expected: string) => number(expected, (x) => x > 0 && x < 1)
export const positive = number('a number above 0', (x) => x > 0)
export const nonNegative = number('a number of at least 0', (x) => x >= 0)

/** More threads than any machine this runs on has. */
const MAX_THREADS = 256

/** What `CommonOptions` and `ReadingOptions` hold. */
export const COMMON = {
  engine: oneOf(['auto', 'wasm', 'lapack']),
  threads: integer(1, MAX_THREADS),
  onProgress: { expected: 'a function', isValid: isFunction },
  onNotice: { expected: 'a function', isValid: isFunction },
  signal: { expected: 'an AbortSignal', isValid: (value: unknown) => value instanceof AbortSignal },
}
export const READING = {
  ...COMMON,
  stdin: {
    expected: 'an async iterable of bytes',
    isValid: (value: unknown) => isFunction((value as AsyncIterable<unknown> | null)?.[Symbol.asyncIterator]),
  },
  env: {
    expected: 'an object of strings',
    isValid: (value: unknown) => typeof value === 'object' && value !== null,
  },
  online: flag,
  cache: flag,
}

/** What an alpha of 0 in an adapter means, on which loaders disagree. */
export const ALPHA_ZERO_KIND = oneOf(ALPHA_ZERO)

/** Which part of a job that is shared out. */
export const SHARD: Kind = {
  expected: 'an object { index, of } of which part of how many, counted from 1',
  isValid: isShard,
}

/** Whether the first row of a text file is names. */
export const HEADER = oneOf(['yes', 'no'])

/** The rank rules of one matrix, and their limits. */
export const RULES = {
  rank: integer(1),
  energy: share('a share above 0 and below 1, such as 0.99'),
  error: share('a number above 0 and below 1, such as 0.05'),
}
export const LIMITS = { minRank: integer(1), maxRank: integer(1), multipleOf: integer(1) }

/** How the best error is bounded. */
export const CERTIFY = oneOf(['default', 'strict', 'none'])

/** What both takes: which tensors, of weights that may not be pairs. */
export const PAIRING = { include: texts, exclude: texts, allowUnpaired: flag }

const SHOWN_LENGTH = 40

function shown(value: unknown): string {
  if (typeof value === 'string')
    return `'${value.length > SHOWN_LENGTH ? `${value.slice(0, SHOWN_LENGTH)}…` : value}'`
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'object' && value !== null) return 'an object'
  return typeof value === 'function'
    ? 'a function'
    : `${String(value)}${typeof value === 'bigint' ? 'n' : ''}`
}

/**
 * Checks what a caller of the library gave: one object, with options that there are, each of its kind. What is undefined counts as
 * left out. Throws `bad-usage` with a sentence that names the option and what it takes.
 */
export function checkOptions(name: string, given: unknown, kinds: Readonly<Record<string, Kind>>): void {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw badUsage(`${name} takes one object with options, got ${shown(given)}`)
  }
  for (const [key, value] of Object.entries(given)) {
    if (!Object.hasOwn(kinds, key)) {
      throw badUsage(`${name} has no option ${shown(key)}${didYouMean(key, Object.keys(kinds))}`)
    }
    if (value !== undefined && !kinds[key].isValid(value)) {
      throw badUsage(`${name}: option '${key}' takes ${kinds[key].expected}, got ${shown(value)}`)
    }
  }
  for (const [key, kind] of Object.entries(kinds)) {
    if ('isNeeded' in kind && (given as Record<string, unknown>)[key] === undefined) {
      throw badUsage(`${name}: option '${key}' is missing: it takes ${kind.expected}`)
    }
  }
}

/** A file of moments by its path. Throws `bad-usage` for an empty one and for standard input, which workers can't open. */
export function momentsOption(given: string | undefined): string | undefined {
  if (given === '') throw badUsage('--moments is empty: name a file')
  if (given === '-') throw badUsage("--moments: standard input can't be read by many threads; name a file")
  return given
}

/** A number of bytes however it was given; undefined where it wasn't. */
export const bytesOf = (given: number | string | undefined): number | undefined =>
  typeof given === 'string' ? parseBytes(given) : given

/** Throws `bad-usage` where a part has nowhere to go, or there is none. */
export function assertPartPlace({
  shard,
  out,
}: {
  readonly shard?: Shard | undefined
  readonly out?: string | undefined
}): void {
  if (out === undefined) return
  if (shard === undefined)
    throw badUsage('--out is where --shard leaves its part, and without it there is none; leave it out')
  if (out === '' || out === '-')
    throw badUsage(`--out '${out}' is no folder or file: name one, or print the part with --json`)
}

/** Throws `bad-usage` where no parts are named. */
export function assertParts(parts: readonly string[]): void {
  if (parts.length > 0 && !parts.includes('')) return
  throw badUsage('--join: name the parts that --shard has written, or their folder')
}
