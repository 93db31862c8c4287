import { badUsage } from '../../errors.ts'
import type { ReadingOptions } from '../../jobs/context.ts'
import type { AlphaZero } from '../../lora/read/alpha.ts'
import {
  ALPHA_ZERO_KIND,
  bytes,
  bytesOf,
  checkOptions,
  momentsOption,
  needed,
  nonNegative,
  PAIRING,
  path,
  positive,
  READING,
} from '../options.ts'

/** What `verify` takes: an adapter, and the two checkpoints whose difference it stands for. */
export interface VerifyOptions extends ReadingOptions {
  /** An adapter folder or file, in any format that is read; `-` for standard input. */
  readonly adapter: string
  /** The weights before: a folder, a file (safetensors or GGUF), an index of shards, `org/name` in the Hugging Face cache, an address hf:// or https://, or `-`. */
  readonly base: string
  /** The weights after. */
  readonly tuned: string
  /** Only tensors with such a name, as glob patterns; `*` crosses dots. */
  readonly include?: readonly string[] | undefined
  /** No tensors with such a name. */
  readonly exclude?: readonly string[] | undefined
  /** The most that a layer's relative error may be; by default whatever it is. */
  readonly maxError?: number | undefined
  /** Second moments of the layers' inputs, in whose norm errors are told too: a file. */
  readonly moments?: string | undefined
  /** The most that a layer's error in that norm may be; every layer needs moments then. */
  readonly maxOutputError?: number | undefined
  /** The alpha of an adapter that doesn't say it. */
  readonly alpha?: number | undefined
  /** What an alpha of 0 in a file means: the rank, or no change at all. Loaders disagree, so that it is refused where this is left out. */
  readonly alphaZero?: AlphaZero | undefined
  /** Go on where the two look like one model under two sets of names. */
  readonly allowUnpaired?: boolean | undefined
  /** Bytes that the matrices in work may take, all together; by default a share of the machine's memory. */
  readonly memory?: number | string | undefined
}

/** What is verified: the options checked, with defaults where they were left out. */
export interface VerifySettings {
  readonly adapter: string
  readonly base: string
  readonly tuned: string
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly maxError: number | undefined
  readonly moments: string | undefined
  readonly maxOutputError: number | undefined
  readonly alpha: number | undefined
  readonly alphaZero: AlphaZero | undefined
  readonly memory: number | undefined
  readonly allowUnpaired: boolean
}

export const VERIFY = {
  ...READING,
  ...PAIRING,
  adapter: needed(path),
  base: needed(path),
  tuned: needed(path),
  maxError: nonNegative,
  moments: path,
  maxOutputError: nonNegative,
  alpha: positive,
  alphaZero: ALPHA_ZERO_KIND,
  memory: bytes,
}

/** Checks the options, each by itself and with the others, and fills in what was left out. Throws `bad-usage`. */
export function verifySettings(given: VerifyOptions): VerifySettings {
  checkOptions('verify', given, VERIFY)
  const { adapter, base, tuned, include = [], exclude = [], maxError, alpha, allowUnpaired = false } = given
  const { alphaZero, maxOutputError } = given
  if (maxOutputError !== undefined && given.moments === undefined) {
    throw badUsage('--max-output-error is about the inputs that --moments tells of: give both')
  }
  for (const [name, path] of Object.entries({ '<adapter>': adapter, '<base>': base, '<tuned>': tuned })) {
    if (path === '') throw badUsage(`${name} is empty: name a folder or a file`)
  }
  if ([adapter, base, tuned].filter((path) => path === '-').length > 1) {
    throw badUsage('standard input is one file: name the others')
  }
  const memory = bytesOf(given.memory)
  const moments = momentsOption(given.moments)
  return {
    ...{ adapter, base, tuned, include, exclude, maxError, alpha, alphaZero, memory, allowUnpaired },
    ...{ moments, maxOutputError },
  }
}
