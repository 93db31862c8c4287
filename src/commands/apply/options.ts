import { badUsage } from '../../errors.ts'
import type { FloatDtype } from '../../formats/dtype.ts'
import type { ReadingOptions } from '../../jobs/context.ts'
import type { AlphaZero } from '../../lora/read/alpha.ts'
import { counted } from '../../text/quote.ts'
import {
  ALPHA_ZERO_KIND,
  bytes,
  bytesOf,
  checkOptions,
  flag,
  type Kind,
  needed,
  oneOf,
  path,
  positive,
  READING,
} from '../options.ts'

/** What weights are stored as: each tensor as the base's is, or all floats as one type. */
export type WrittenDtype = 'as-base' | Exclude<FloatDtype, 'f64'>

/** What `apply` takes: a checkpoint, adapters, and where the merged checkpoint goes. */
export interface ApplyOptions extends ReadingOptions {
  /** The weights: a folder, a file, an index of shards, or `org/name` in the Hugging Face cache. */
  readonly base: string
  /** Adapter folders or files, in any format that is read. */
  readonly adapters: readonly string[]
  /** The folder that becomes the merged checkpoint, or the file where the base is one. Beside it lies `<out>.partial` until all is done. */
  readonly out: string
  /** By what each adapter's change is multiplied; 1 each by default. */
  readonly weights?: readonly number[] | undefined
  /** What the weights are stored as; `as-base` by default. */
  readonly dtype?: WrittenDtype | undefined
  /** The most bytes of a shard; by default the base's own shards. */
  readonly maxShardSize?: number | string | undefined
  /** Which adapter's tensor is taken where two replace one differently; by default that is refused. */
  readonly prefer?: 'first' | 'last' | undefined
  /** The alpha of adapters that don't say it. */
  readonly alpha?: number | undefined
  /** What an alpha of 0 in a file means: the rank, or no change at all. Loaders disagree, so that it is refused where this is left out. */
  readonly alphaZero?: AlphaZero | undefined
  /** What the training of a PiSSA or OLoRA adapter began with, as PEFT saved it before. */
  readonly init?: string | undefined
  /** Say what would be done and what rounding would leave, from a sample: the result is then an `ApplyPreview`. */
  readonly dryRun?: boolean | undefined
  /** Replace an existing checkpoint. */
  readonly force?: boolean | undefined
  /** Discard what an unfinished run with other options or inputs has left. */
  readonly restart?: boolean | undefined
  /** Bytes that the tensors in work may take, all together; by default a share of the machine's memory. */
  readonly memory?: number | string | undefined
}

/** What is applied: the options checked, with defaults where they were left out. */
export interface ApplySettings {
  readonly base: string
  readonly adapters: readonly { readonly path: string; readonly weight: number }[]
  readonly output: string
  readonly dtype: WrittenDtype
  readonly maxShardSize: number | undefined
  readonly prefer: 'first' | 'last' | undefined
  readonly alpha: number | undefined
  readonly alphaZero: AlphaZero | undefined
  readonly init: string | undefined
  readonly dryRun: boolean
  readonly force: boolean
  readonly restart: boolean
  readonly memory: number | undefined
}

const numbers: Kind = {
  expected: 'an array of finite numbers, one for each adapter',
  isValid: (value) => Array.isArray(value) && value.every((one) => Number.isFinite(one)),
}

const paths: Kind = {
  expected: 'an array of paths, one at least',
  isValid: (value) => Array.isArray(value) && value.length > 0 && value.every(path.isValid),
}

export const APPLY = {
  ...READING,
  base: needed(path),
  adapters: needed(paths),
  out: needed(path),
  weights: numbers,
  dtype: oneOf(['as-base', 'f32', 'bf16', 'f16']),
  maxShardSize: bytes,
  prefer: oneOf(['first', 'last']),
  alpha: positive,
  alphaZero: ALPHA_ZERO_KIND,
  init: path,
  dryRun: flag,
  force: flag,
  restart: flag,
  memory: bytes,
}

/** Checks the options, each by itself and with the others, and fills in what was left out. Throws `bad-usage`. */
export function applySettings(given: ApplyOptions): ApplySettings {
  checkOptions('apply', given, APPLY)
  const { base, adapters, out } = given
  const named: [string, string][] = [
    ['<base>', base],
    ...adapters.map((one): [string, string] => ['<adapter>', one]),
    ['--out', out],
  ]
  for (const [name, path] of named) {
    if (path === '') throw badUsage(`${name} is empty: name a folder or a file`)
    if (path === '-')
      throw badUsage(`${name}: standard input and output can't be read twice; name a folder or a file`)
  }
  const { weights = adapters.map(() => 1) } = given
  if (weights.length !== adapters.length) {
    throw badUsage(
      `--weights has ${counted(weights.length, 'number')} for ${counted(adapters.length, 'adapter')}: give one each, as in --weights 0.7,0.3`,
    )
  }
  return {
    base,
    adapters: adapters.map((path, i) => ({ path, weight: weights[i] })),
    output: out,
    dtype: given.dtype ?? 'as-base',
    maxShardSize: bytesOf(given.maxShardSize),
    prefer: given.prefer,
    alpha: given.alpha,
    alphaZero: given.alphaZero,
    init: given.init,
    dryRun: given.dryRun ?? false,
    force: given.force ?? false,
    restart: given.restart ?? false,
    memory: bytesOf(given.memory),
  }
}
