import { badUsage } from '../../errors.ts'
import type { ReadingOptions } from '../../jobs/context.ts'
import type { AlphaZero } from '../../lora/read/alpha.ts'
import type { Shard } from '../../shards/shard.ts'
import {
  ALPHA_ZERO_KIND,
  assertPartPlace,
  assertParts,
  bytes,
  bytesOf,
  checkOptions,
  flag,
  momentsOption,
  needed,
  nonNegative,
  PAIRING,
  path,
  positive,
  READING,
  SHARD,
  texts,
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
  /** Measure this part of the tensors alone, and judge nothing: the result is then a `VerifyShard`. */
  readonly shard?: Shard | undefined
  /** Where the part of a shard is kept: a file that ends in .json, or a folder, in which it is called by the shard. */
  readonly out?: string | undefined
  /** Replace what is kept there of another shard, or compute the same anew. */
  readonly force?: boolean | undefined
}

/** What `verify` takes to make one report of what shards have measured. */
export interface VerifyJoinOptions extends ReadingOptions {
  /** The parts of all shards: files, and folders of such. */
  readonly join: readonly string[]
  /** The most that a layer's relative error may be. */
  readonly maxError?: number | undefined
  /** The most that a layer's error in the norm of its inputs may be; the shards need moments then. */
  readonly maxOutputError?: number | undefined
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
  /** The part that is measured; all where it is left out. */
  readonly shard: Shard | undefined
  readonly out: string | undefined
  readonly force: boolean
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
  shard: SHARD,
  out: path,
  force: flag,
}
const VERIFY_JOIN = { ...READING, join: needed(texts), maxError: nonNegative, maxOutputError: nonNegative }

/** Checks the options, each by itself and with the others, and fills in what was left out. Throws `bad-usage`. */
export function verifySettings(given: VerifyOptions): VerifySettings {
  checkOptions('verify', given, VERIFY)
  const { adapter, base, tuned, include = [], exclude = [], maxError, alpha, allowUnpaired = false } = given
  const { alphaZero, maxOutputError, shard, out, force = false } = given
  if (maxOutputError !== undefined && given.moments === undefined) {
    throw badUsage('--max-output-error is about the inputs that --moments tells of: give both')
  }
  for (const [name, path] of Object.entries({ '<adapter>': adapter, '<base>': base, '<tuned>': tuned })) {
    if (path === '') throw badUsage(`${name} is empty: name a folder or a file`)
  }
  if ([adapter, base, tuned].filter((path) => path === '-').length > 1) {
    throw badUsage('standard input is one file: name the others')
  }
  const judged = { '--max-error': maxError, '--max-output-error': maxOutputError }
  const asked = Object.entries(judged).find(([, most]) => most !== undefined)
  if (shard !== undefined && asked !== undefined)
    throw badUsage(`${asked[0]} is judged over all parts: give it to --join, once all are done`)
  assertPartPlace(given)
  const memory = bytesOf(given.memory)
  const pairing = { include, exclude, allowUnpaired }
  const moments = momentsOption(given.moments)
  return {
    ...{ adapter, base, tuned, ...pairing, maxError, alpha, alphaZero, memory, shard, out, force },
    ...{ moments, maxOutputError },
  }
}

/** The same of a report of parts. Throws `bad-usage`. */
export function verifyJoinSettings(given: VerifyJoinOptions): VerifyJoinOptions {
  checkOptions('verify with join', given, VERIFY_JOIN)
  assertParts(given.join)
  return given
}
