import { badUsage } from '../../errors.ts'
import type { CommonOptions } from '../../jobs/context.ts'
import type { FloatType } from '../../linalg/matrix/matrix.ts'
import { seedInteger } from '../../random/seedrandom.ts'
import { COMMON, checkOptions, flag, integer, nonNegative, number, oneOf, path, seed } from '../options.ts'

/** What `demo` takes: the sizes, the random numbers and the arithmetic of the notebook's experiment. */
export interface DemoOptions extends CommonOptions {
  /** Rows of W, its output features; 10 by default. */
  readonly d?: number | undefined
  /** Columns of W, its input features; 10 by default. */
  readonly k?: number | undefined
  /** Rank of the product that W is; 2 by default. */
  readonly rank?: number | undefined
  /** Standard deviation of the noise added to W, 0 to 1e20; 0 by default. */
  readonly noise?: number | undefined
  /** Seed of the random numbers; 0 by default. */
  readonly seed?: bigint | number | undefined
  /** Whose random numbers: seedrandom's, the default, or those of PyTorch's `randn` on the CPU. */
  readonly rng?: 'seedrandom' | 'torch' | undefined
  /** How often W is drawn before the one that is kept, counted from 1, which is the default. */
  readonly draw?: number | undefined
  /** How many directions the factors keep; by default `rank`. */
  readonly truncate?: number | undefined
  /** Float type of the arithmetic; `f64` by default. */
  readonly dtype?: FloatType | undefined
  /** Relative tolerance of allclose; 1e-5 by default. */
  readonly rtol?: number | undefined
  /** Absolute tolerance of allclose; 1e-8 by default. */
  readonly atol?: number | undefined
  /** Where the experiment is written as a page to play with, one file that needs nothing else. */
  readonly html?: string | undefined
  /** Replace a file that is there; false by default. */
  readonly force?: boolean | undefined
}

/** What is written, and no part of the experiment. */
type OutputOption = 'html' | 'force'

/** The experiment that is run: the options, with defaults where they were left out. */
export type DemoSettings = {
  readonly [P in Exclude<keyof DemoOptions, keyof CommonOptions | OutputOption | 'seed'>]-?: NonNullable<
    DemoOptions[P]
  >
} & { readonly seed: bigint }

export const DEFAULTS = {
  d: 10,
  k: 10,
  rank: 2,
  noise: 0,
  seed: 0n,
  rng: 'seedrandom',
  draw: 1,
  dtype: 'f64',
  rtol: 1e-5,
  atol: 1e-8,
} as const

/** W and a few matrices of its size are in memory at once: at 2^27 float64 entries each is 1 GiB. */
const MAX_ELEMENTS = 2 ** 27
/** Far beyond any weight, and W·x stays finite in float32 too. */
const MAX_NOISE = 1e20
/** Each draw repeats the whole product; more than this is surely a slip. */
const MAX_DRAW = 10_000
/** The largest d and k of a page: its sliders go so far, and a picture of more has several entries to a pixel. */
export const MOST_ON_PAGE = 256

export const DEMO = {
  ...COMMON,
  d: integer(1),
  k: integer(1),
  rank: integer(1),
  noise: number('a number from 0 to 1e20', (x) => x >= 0 && x <= MAX_NOISE),
  seed,
  rng: oneOf(['seedrandom', 'torch']),
  draw: integer(1, MAX_DRAW),
  truncate: integer(1),
  dtype: oneOf(['f64', 'f32']),
  rtol: nonNegative,
  atol: nonNegative,
  html: path,
  force: flag,
}

/** Checks the options, each by itself and with the others, and fills in what was left out. Throws `bad-usage`. */
export function demoSettings(given: DemoOptions): DemoSettings {
  checkOptions('demo', given, DEMO)
  const { engine, threads, onProgress, onNotice, signal, html, force, ...own } = given
  const named = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined))
  const { seed, ...rest }: typeof DEFAULTS & DemoOptions = { ...DEFAULTS, ...named }
  const settings = { truncate: rest.rank, ...rest, seed: seedInteger(seed) } as DemoSettings
  const { d, k, rank, truncate } = settings
  const most = Math.min(d, k)
  if (rank > most) {
    throw badUsage(
      `--rank ${rank}: a ${d} × ${k} matrix has rank ${most} at most; use --rank ${most} or larger --d, --k`,
    )
  }
  if (truncate > most) {
    throw badUsage(
      `--truncate ${truncate}: a ${d} × ${k} matrix has ${most} directions; use --truncate ${most} or less`,
    )
  }
  if (d * k > MAX_ELEMENTS) {
    throw badUsage(
      `--d ${d} --k ${k}: W would have ${d * k} elements, the demo takes ${MAX_ELEMENTS} at most; use smaller --d, --k`,
    )
  }
  if (html === '-') throw badUsage('--html - would be standard output, where the report goes: name a file')
  if (html !== undefined && Math.max(d, k) > MOST_ON_PAGE) {
    throw badUsage(
      `--d ${d} --k ${k} --html: a page has room for ${MOST_ON_PAGE} rows and columns; use smaller --d, --k`,
    )
  }
  return settings
}
