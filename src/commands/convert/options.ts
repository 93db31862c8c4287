import { badUsage } from '../../errors.ts'
import type { ReadingOptions } from '../../jobs/context.ts'
import { EXPERT_FORMS, type ExpertForm } from '../../lora/expert-forms.ts'
import type { AdapterFormat } from '../../lora/model.ts'
import type { AlphaZero } from '../../lora/read/alpha.ts'
import type { AdapterLayout } from '../../lora/write/peft.ts'
import { assertLayoutOf, FORMATS } from '../formats.ts'
import {
  ALPHA_ZERO_KIND,
  bytes,
  bytesOf,
  checkOptions,
  flag,
  needed,
  oneOf,
  path,
  positive,
  READING,
  text,
} from '../options.ts'
import { assertNamed } from '../resize/options.ts'

/** What `convert` takes: an adapter, where it goes, and the format that it is to have. */
export interface ConvertOptions extends ReadingOptions {
  /** An adapter folder or file, in any format that is read. */
  readonly adapter: string
  /** The folder that becomes an adapter of PEFT or MLX, or the file of another format. */
  readonly out: string
  readonly format: AdapterFormat
  /** The base that the adapter is of: for names that hang on it, and for DoRA in ComfyUI's, whose differences do. */
  readonly base?: string | undefined
  /** What the base is called, on the Hub or by its folder; by default what its files say. */
  readonly baseName?: string | undefined
  /** What the training of a PiSSA or OLoRA adapter began with, as PEFT saved it before. */
  readonly init?: string | undefined
  /** The alpha of an adapter that doesn't say it. */
  readonly alpha?: number | undefined
  /** What an alpha of 0 in a file means: the rank, or no change at all. Loaders disagree, so that it is refused where this is left out. */
  readonly alphaZero?: AlphaZero | undefined
  /** `portable`, the default: one rank, padded with zeros, so that every loader scales alike; `pattern`: true ranks. */
  readonly layout?: AdapterLayout | undefined
  /**
   * How a PEFT adapter has the experts of a mixture: `separate` for a pair of factors each, `stacked` for one of all as PEFT 0.19.1 and later
   * have it, `stacked-0.18` as PEFT before that. By default as the base has them. Needs `base`.
   */
  readonly experts?: ExpertForm | undefined
  /** dtype of the written factors; by default the adapter's own, or f32 where products of it need more or DoRA is written whole. */
  readonly dtype?: 'f32' | 'f16' | 'bf16' | undefined
  /** Leave out what the format has no place for, and say so; without it that is an error. */
  readonly drop?: boolean | undefined
  /** Say what would be done, from the headers alone. */
  readonly dryRun?: boolean | undefined
  /** Replace what is at `out`. */
  readonly force?: boolean | undefined
  /** Bytes that the matrices in work may take, all together; by default a share of the machine's memory. */
  readonly memory?: number | string | undefined
}

export interface ConvertSettings {
  readonly adapter: string
  readonly output: string
  readonly format: AdapterFormat
  readonly base: string | undefined
  readonly baseName: string | undefined
  readonly init: string | undefined
  readonly alpha: number | undefined
  readonly alphaZero: AlphaZero | undefined
  readonly layout: AdapterLayout
  readonly experts: ExpertForm | undefined
  readonly dtype: 'f32' | 'f16' | 'bf16' | undefined
  readonly drop: boolean
  readonly dryRun: boolean
  readonly force: boolean
  readonly memory: number | undefined
}

export const CONVERT = {
  ...READING,
  adapter: needed(path),
  out: needed(path),
  format: needed(oneOf(FORMATS)),
  base: path,
  baseName: text,
  init: path,
  alpha: positive,
  alphaZero: ALPHA_ZERO_KIND,
  layout: oneOf(['portable', 'pattern']),
  experts: oneOf(EXPERT_FORMS),
  dtype: oneOf(['f32', 'f16', 'bf16']),
  drop: flag,
  dryRun: flag,
  force: flag,
  memory: bytes,
}

/** Checks the options, each by itself, and fills in what was left out. Throws `bad-usage`. */
export function convertSettings(given: ConvertOptions): ConvertSettings {
  checkOptions('convert', given, CONVERT)
  const { adapter, out, format, base, baseName, init, alpha, alphaZero, experts, dtype } = given
  assertNamed({ '<adapter>': adapter, '--out': out })
  assertLayoutOf(format, given.layout)
  if (experts !== undefined && format !== 'peft') {
    throw badUsage(`--experts is of PEFT adapters: ${format} has experts in one way; leave it out`)
  }
  if (experts !== undefined && base === undefined) {
    throw badUsage(
      '--experts needs --base: how many experts there are, and how their rows lie, hangs on the model',
    )
  }
  return {
    ...{ adapter, output: out, format, base, baseName, init, alpha, alphaZero, experts, dtype },
    layout: given.layout ?? 'portable',
    drop: given.drop ?? false,
    dryRun: given.dryRun ?? false,
    force: given.force ?? false,
    memory: bytesOf(given.memory),
  }
}
