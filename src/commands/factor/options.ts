import { extname } from 'node:path'
import { badUsage } from '../../errors.ts'
import type { FloatDtype, StoredDtype } from '../../formats/dtype.ts'
import { isBlockDtype } from '../../formats/gguf-blocks.ts'
import type { HeaderChoice } from '../../formats/text-matrix.ts'
import type { ReadingOptions } from '../../jobs/context.ts'
import { askedLimits, askedMatrixRule, type RankLimits, type RankRule } from '../../linalg/spectrum/rules.ts'
import type { Certify } from '../../linalg/truncation/truncated-svd.ts'
import { seedInteger } from '../../random/seedrandom.ts'
import {
  CERTIFY,
  checkOptions,
  flag,
  HEADER,
  LIMITS,
  momentsOption,
  needed,
  oneOf,
  path,
  READING,
  RULES,
  seed,
  text,
} from '../options.ts'

export type FactorsFormat = 'safetensors' | 'npz'

/** What `factor` takes: a matrix, where its factors go, and one rank rule of `rank`, `energy` and `error`. */
export interface FactorOptions extends ReadingOptions {
  /** The file that holds the matrix W: .npy, .npz, text, .safetensors, an index or folder of shards; `-` for standard input. */
  readonly matrix: string
  /** The file for the factors; that it ends in .safetensors or .npz says the format. */
  readonly out: string
  /** Which tensor or array of the file; needed where it holds several matrices. */
  readonly tensor?: string | undefined
  /** Whether the first row of a text file is names; by default where none of its cells is like a number. */
  readonly header?: HeaderChoice | undefined
  /** Replace an existing file. */
  readonly force?: boolean | undefined
  /** This rank. */
  readonly rank?: number | undefined
  /** The least rank that keeps this share of ‖W‖_F², above 0 and below 1. */
  readonly energy?: number | undefined
  /** The least rank with ‖W − B·A‖_F ≤ error·‖W‖_F, above 0 and below 1. */
  readonly error?: number | undefined
  /** No rank below this. */
  readonly minRank?: number | undefined
  /** No rank above this. */
  readonly maxRank?: number | undefined
  /** The rank is rounded up to a multiple of this. */
  readonly multipleOf?: number | undefined
  /** How the best error is bounded: but for a chance of 1e-9, strictly, or from above only. */
  readonly certify?: Certify | undefined
  /** Seed of the random start of the iteration; 0 by default. */
  readonly seed?: bigint | number | undefined
  /** Float type of the factors; by default the input's own. */
  readonly dtype?: FloatDtype | undefined
  /** Second moments of what W is multiplied with, in whose norm it is truncated: a file. */
  readonly moments?: string | undefined
}

/** The factoring that is done: the options checked, with defaults where they were left out. */
export interface FactorSettings {
  /** A path, or `-` for standard input. */
  readonly input: string
  readonly tensor: string | undefined
  readonly header: HeaderChoice | undefined
  readonly output: string
  readonly format: FactorsFormat
  /** Float type of what is written; by default the input's own. */
  readonly dtype: FloatDtype | undefined
  readonly rule: RankRule
  readonly limits: RankLimits
  readonly certify: Certify
  readonly seed: bigint
  readonly force: boolean
  readonly moments: string | undefined
}

export const FACTOR = {
  ...READING,
  ...RULES,
  ...LIMITS,
  matrix: needed(path),
  out: needed(path),
  tensor: text,
  header: HEADER,
  force: flag,
  certify: CERTIFY,
  seed,
  dtype: oneOf(['f32', 'f16', 'bf16', 'f64']),
  moments: path,
}

/** Checks the options, each by itself and with the others, and fills in what was left out. Throws `bad-usage`. */
export function factorSettings(given: FactorOptions): FactorSettings {
  checkOptions('factor', given, FACTOR)
  const { matrix: input, tensor, header, out, dtype, certify = 'default', seed = 0n, force = false } = given
  if (input === '') throw badUsage('<matrix> is empty: name a file, or - for standard input')
  const format = formatOf(out)
  if (format === 'npz' && dtype === 'bf16') {
    throw badUsage(
      `--dtype bf16: NumPy has no bf16; use --dtype f16 or f32, or an output that ends in .safetensors`,
    )
  }
  const rule = askedMatrixRule(given, '--rank 8, --energy 0.99, --error 0.05')
  const limits = askedLimits(given)
  return {
    ...{ input, tensor, header, format, dtype, rule, limits, certify, force },
    output: out,
    seed: seedInteger(seed),
    moments: momentsOption(given.moments),
  }
}

/** The dtype to write: what was asked for, else the input's own where the format has it; f32 for F8 and numbers in blocks, f64 for integers. */
export function outputDtype({ dtype, format }: FactorSettings, stored: StoredDtype): FloatDtype {
  if (dtype !== undefined) return dtype
  if (stored === 'bf16') return format === 'npz' ? 'f32' : 'bf16'
  if (stored.startsWith('f8') || isBlockDtype(stored)) return 'f32'
  return stored === 'f16' || stored === 'f32' ? stored : 'f64'
}

function formatOf(output: string): FactorsFormat {
  switch (extname(output).toLowerCase()) {
    case '.safetensors':
      return 'safetensors'
    case '.npz':
      return 'npz'
    default:
      throw badUsage(`--out ${output}: the name must end in .safetensors or .npz, which says the format`)
  }
}
