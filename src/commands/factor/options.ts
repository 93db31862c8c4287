import { extname } from 'node:path'
import { badUsage } from '../../errors.ts'
import type { FloatDtype, StoredDtype } from '../../formats/dtype.ts'
import type { HeaderChoice } from '../../formats/text-matrix.ts'
import { askedLimits, askedMatrixRule, type RankLimits, type RankRule } from '../../linalg/spectrum/rules.ts'

/** How the error of the best factors is bounded: 'strict' leaves nothing to the seed, 'none' saves the time. */
export type Certify = 'default' | 'strict' | 'none'

export type FactorsFormat = 'safetensors' | 'npz'

/** What `factor` is asked to do, all of it known before a byte is read. */
export interface FactorPlan {
  /** A path, or `-` for standard input. */
  readonly input: string
  readonly tensor: string | undefined
  /** Whether the first row of a text is names; undefined: by its looks. */
  readonly header: HeaderChoice | undefined
  readonly output: string
  readonly format: FactorsFormat
  /** Of what is written; undefined: that of the input. */
  readonly dtype: FloatDtype | undefined
  readonly rule: RankRule
  readonly limits: RankLimits
  readonly certify: Certify
  /** Of the random start of the iteration. */
  readonly seed: bigint
  readonly force: boolean
}

export interface FactorFlags {
  readonly tensor?: string
  readonly header?: HeaderChoice
  readonly out: string
  readonly rank?: number
  readonly energy?: number
  readonly error?: number
  readonly minRank?: number
  readonly maxRank?: number
  readonly multipleOf?: number
  readonly dtype?: FloatDtype
  readonly certify: Certify
  readonly seed: bigint
  readonly force: boolean
}

/** The plan that the command line asks for. Throws `bad-usage` where its parts don't go together. */
export function planFactor(input: string, flags: FactorFlags): FactorPlan {
  const { tensor, header, out, dtype, certify, seed, force } = flags
  if (input === '') throw badUsage('<matrix> is empty: name a file, or - for standard input')
  const format = formatOf(out)
  if (format === 'npz' && dtype === 'bf16') {
    throw badUsage(
      `--dtype bf16: NumPy has no bf16; use --dtype f16 or f32, or an output that ends in .safetensors`,
    )
  }
  const rule = askedMatrixRule(flags, '--rank 8, --energy 0.99, --error 0.05')
  const limits = askedLimits(flags)
  return { input, tensor, header, output: out, format, dtype, rule, limits, certify, seed, force }
}

/** The dtype to write: what was asked for, else the input's own where the format has it; f32 for F8, f64 for integers. */
export function outputDtype({ dtype, format }: FactorPlan, stored: StoredDtype): FloatDtype {
  if (dtype !== undefined) return dtype
  if (stored === 'bf16') return format === 'npz' ? 'f32' : 'bf16'
  if (stored.startsWith('f8')) return 'f32'
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
