import { badUsage } from '../../errors.ts'
import type { ReadingOptions } from '../../jobs/context.ts'
import type { AlphaZero } from '../../lora/read/alpha.ts'
import {
  ALPHA_ZERO_KIND,
  bytes,
  bytesOf,
  checkOptions,
  integer,
  type Kind,
  needed,
  path,
  positive,
  READING,
} from '../options.ts'
import { assertNamed } from '../resize/options.ts'

/** What `compare` takes: adapters, and what tells what their names mean. */
export interface CompareOptions extends ReadingOptions {
  /** Two or more adapter folders or files. */
  readonly adapters: readonly string[]
  /** The base that the adapters are of: tells what names of different formats mean, and how weights lie whose names don't. */
  readonly base?: string | undefined
  /** What the training of a PiSSA or OLoRA adapter began with, as PEFT saved it before. */
  readonly init?: string | undefined
  /** The alpha of an adapter that doesn't say it. */
  readonly alpha?: number | undefined
  /** What an alpha of 0 in a file means: the rank, or no change at all. Loaders disagree, so that it is refused where this is left out. */
  readonly alphaZero?: AlphaZero | undefined
  /** Pairs that are listed layer by layer, the nearest first; 10 by default. */
  readonly top?: number | undefined
  /** Bytes that the matrices in work may take, all together; by default a share of the machine's memory. */
  readonly memory?: number | string | undefined
}

export interface CompareSettings {
  readonly adapters: readonly string[]
  readonly base: string | undefined
  readonly init: string | undefined
  readonly alpha: number | undefined
  readonly alphaZero: AlphaZero | undefined
  readonly top: number
  readonly memory: number | undefined
}

const paths: Kind = {
  expected: 'an array of two paths or more',
  isValid: (value) => Array.isArray(value) && value.every((one) => typeof one === 'string'),
}

export const COMPARE = {
  ...READING,
  adapters: needed(paths),
  base: path,
  init: path,
  alpha: positive,
  alphaZero: ALPHA_ZERO_KIND,
  top: integer(0),
  memory: bytes,
}

/** Pairs listed where nobody says how many: they fit a screen. */
export const DEFAULT_TOP = 10

/** Checks the options and fills in what was left out. Throws `bad-usage`. */
export function compareSettings(given: CompareOptions): CompareSettings {
  checkOptions('compare', given, COMPARE)
  const { adapters, base, init, alpha, alphaZero, top = DEFAULT_TOP } = given
  if (adapters.length < 2) {
    throw badUsage(
      `compare takes two adapters or more, got ${adapters.length === 1 ? `only ${adapters[0]}` : 'none'}: name another`,
    )
  }
  for (const adapter of adapters) assertNamed({ '<adapter>': adapter })
  return { adapters, base, init, alpha, alphaZero, top, memory: bytesOf(given.memory) }
}
