import type { SumRule } from '../../combine/ranks.ts'
import { badUsage } from '../../errors.ts'
import type { FloatDtype } from '../../formats/dtype.ts'
import type { ReadingOptions } from '../../jobs/context.ts'
import { askedLimits, askedRule, type RankLimits } from '../../linalg/spectrum/rules.ts'
import type { AdapterFormat } from '../../lora/model.ts'
import type { AlphaZero } from '../../lora/read/alpha.ts'
import type { AdapterLayout } from '../../lora/write/peft.ts'
import { FORMATS } from '../formats.ts'
import {
  ALPHA_ZERO_KIND,
  bytes,
  bytesOf,
  checkOptions,
  flag,
  LIMITS,
  momentsOption,
  needed,
  oneOf,
  path,
  positive,
  READING,
  RULES,
  text,
} from '../options.ts'

/** What `resize` takes: an adapter, where the result goes, and one rank rule of `rank`, `energy`, `error` and `budget`. */
export interface ResizeOptions extends ReadingOptions {
  /** An adapter folder or file, in any format that is read. */
  readonly adapter: string
  /** The folder that becomes a PEFT adapter, or the .safetensors file of another format. */
  readonly out: string
  /** This rank in each module; one of lower rank ends at its own. */
  readonly rank?: number | undefined
  /** The least rank that keeps this share of ‖Δ‖_F² of each module, above 0 and below 1. */
  readonly energy?: number | undefined
  /** The least rank with ‖Δ − B·A‖_F ≤ error·‖Δ‖_F in each module, above 0 and below 1. */
  readonly error?: number | undefined
  /** The whole output in so many bytes, spread for the least error; a number, or as in '40MiB'. */
  readonly budget?: number | string | undefined
  readonly minRank?: number | undefined
  readonly maxRank?: number | undefined
  readonly multipleOf?: number | undefined
  /** All modules get the largest rank chosen. */
  readonly uniform?: boolean | undefined
  /** `portable`, the default: one rank, padded with zeros, so that every loader scales alike; `pattern`: true ranks. */
  readonly layout?: AdapterLayout | undefined
  /** The format of the result; by default that of the adapter. Of most formats the names hang on the base. */
  readonly format?: AdapterFormat | undefined
  /** dtype of the written factors; by default the adapter's own where all its factors are bf16 or f16, else f32. */
  readonly dtype?: Exclude<FloatDtype, 'f64'> | undefined
  /** The base that the adapter is of: tells how weights lie whose names don't, and gives the result its tensors' names. */
  readonly base?: string | undefined
  /** What the adapter calls its base; by default what the input calls it, without the folders of a machine. */
  readonly baseName?: string | undefined
  /** What the training of a PiSSA or OLoRA adapter began with, as PEFT saved it before. */
  readonly init?: string | undefined
  /** The alpha of an adapter that doesn't say it. */
  readonly alpha?: number | undefined
  /** What an alpha of 0 in a file means: the rank, or no change at all. Loaders disagree, so that it is refused where this is left out. */
  readonly alphaZero?: AlphaZero | undefined
  /** Second moments of the layers' inputs, in whose norm modules are truncated: a file. */
  readonly moments?: string | undefined
  /** Say what would be done, from the headers alone. */
  readonly dryRun?: boolean | undefined
  /** Replace what is at `out`. */
  readonly force?: boolean | undefined
  /** Bytes that the matrices in work may take, all together; by default a share of the machine's memory. */
  readonly memory?: number | string | undefined
}

export interface ResizeSettings {
  readonly adapter: string
  /** A file of second moments. */
  readonly momentFile?: string | undefined
  readonly output: string
  readonly rule: SumRule
  readonly limits: RankLimits
  readonly uniform: boolean
  readonly layout: AdapterLayout
  readonly format: AdapterFormat | undefined
  readonly dtype: Exclude<FloatDtype, 'f64'> | undefined
  readonly base: string | undefined
  readonly baseName: string | undefined
  readonly init: string | undefined
  readonly alpha: number | undefined
  readonly alphaZero: AlphaZero | undefined
  readonly dryRun: boolean
  readonly force: boolean
  readonly memory: number | undefined
}

/** What `resize` and `merge` both take. */
export const SUM = {
  ...READING,
  ...RULES,
  ...LIMITS,
  out: needed(path),
  budget: bytes,
  uniform: flag,
  layout: oneOf(['portable', 'pattern']),
  format: oneOf(FORMATS),
  dtype: oneOf(['f32', 'f16', 'bf16']),
  base: path,
  baseName: text,
  init: path,
  alpha: positive,
  alphaZero: ALPHA_ZERO_KIND,
  dryRun: flag,
  force: flag,
  memory: bytes,
}

export const RESIZE = { ...SUM, adapter: needed(path), moments: path }

const RULE_FLAGS = '--rank 16, --energy 0.99, --error 0.05, --budget 40MiB'

/** Checks the options, each by itself and with the others, and fills in what was left out. Throws `bad-usage`. */
export function resizeSettings(given: ResizeOptions): ResizeSettings {
  checkOptions('resize', given, RESIZE)
  const { adapter } = given
  assertNamed({ '<adapter>': adapter, '--out': given.out })
  const rule = askedRule({ ...given, budget: bytesOf(given.budget) }, RULE_FLAGS)
  const momentFile = momentsOption(given.moments)
  return { adapter, momentFile, rule: rule as SumRule, ...sumSettings(given) }
}

/** The settings that `resize` and `merge` share. */
export const sumSettings = (
  given: Omit<ResizeOptions, 'adapter' | 'moments'>,
): Omit<ResizeSettings, 'adapter' | 'rule' | 'momentFile'> => ({
  output: given.out,
  limits: askedLimits(given),
  uniform: given.uniform ?? false,
  layout: given.layout ?? 'portable',
  format: given.format,
  dtype: given.dtype,
  base: given.base,
  baseName: given.baseName || undefined,
  init: given.init,
  alpha: given.alpha,
  alphaZero: given.alphaZero,
  dryRun: given.dryRun ?? false,
  force: given.force ?? false,
  memory: bytesOf(given.memory),
})

export function assertNamed(paths: Readonly<Record<string, string>>): void {
  for (const [name, path] of Object.entries(paths)) {
    if (path === '') throw badUsage(`${name} is empty: name a folder or a file`)
    if (path === '-')
      throw badUsage(`${name}: standard input and output can't be read back; name a folder or a file`)
  }
}
