import { badUsage } from '../../errors.ts'
import type { FloatDtype } from '../../formats/dtype.ts'
import type { ReadingOptions } from '../../jobs/context.ts'
import { type AskedRule, askedLimits, askedRule, type RankLimits } from '../../linalg/spectrum/rules.ts'
import type { Certify } from '../../linalg/truncation/truncated-svd.ts'
import type { AdapterFormat } from '../../lora/model.ts'
import type { AdapterLayout } from '../../lora/write/peft.ts'
import { seedInteger } from '../../random/seedrandom.ts'
import type { Shard } from '../../shards/shard.ts'
import { assertLayoutOf, FORMATS } from '../formats.ts'
import {
  bytes,
  bytesOf,
  CERTIFY,
  checkOptions,
  flag,
  LIMITS,
  momentsOption,
  needed,
  oneOf,
  PAIRING,
  path,
  READING,
  RULES,
  SHARD,
  seed,
  text,
  texts,
} from '../options.ts'

/**
 * What `extract` takes: two checkpoints, where the adapter goes, and one rank rule of `rank`, `energy`, `error`, `budget` and
 * `noiseFloor`.
 */
export interface ExtractOptions extends ReadingOptions {
  /** The weights before: a folder, a file (safetensors or GGUF), an index of shards, `org/name` in the Hugging Face cache, or an address hf:// or https://. */
  readonly base: string
  /** The weights after. */
  readonly tuned: string
  /** The folder or file that becomes the adapter. Beside it lies `<out>.partial` until all is done. */
  readonly out: string
  /** Say what would be done, before anything is decomposed: the result is then an `ExtractPreview`. */
  readonly dryRun?: boolean | undefined
  /** Replace an existing adapter. */
  readonly force?: boolean | undefined
  /** This rank in each layer. */
  readonly rank?: number | undefined
  /** The least rank that keeps this share of ‖Δ‖_F², above 0 and below 1. */
  readonly energy?: number | undefined
  /** The least rank with ‖Δ − B·A‖_F ≤ error·‖Δ‖_F, above 0 and below 1. */
  readonly error?: number | undefined
  /** The whole adapter in so many bytes, spread for the least error; a number, or as in '40MiB'. */
  readonly budget?: number | string | undefined
  /** As many directions as stand above the rounding of the stored dtypes. */
  readonly noiseFloor?: boolean | undefined
  /** No rank below this. */
  readonly minRank?: number | undefined
  /** No rank above this. */
  readonly maxRank?: number | undefined
  /** Ranks are rounded up to a multiple of this. */
  readonly multipleOf?: number | undefined
  /** All layers get the largest rank chosen. */
  readonly uniform?: boolean | undefined
  /** Factor only tensors with such a name, as glob patterns; `*` crosses dots. */
  readonly include?: readonly string[] | undefined
  /** Factor no tensors with such a name. */
  readonly exclude?: readonly string[] | undefined
  /** Modules that are stored whole, by their names or their last parts. */
  readonly saveFull?: readonly string[] | undefined
  /** Store whole whatever changed and can't be carried by factors. */
  readonly carryRest?: boolean | undefined
  /** Factor embeddings too. */
  readonly embeddings?: boolean | undefined
  /** Factor stacked experts too, which few loaders read. */
  readonly experts?: boolean | undefined
  /** `portable`, the default: one rank, padded with zeros, so that every loader scales alike; `pattern`: true ranks. */
  readonly layout?: AdapterLayout | undefined
  /** Leave a diffusion model's text encoders out where this is false. */
  readonly textEncoder?: boolean | undefined
  /**
   * What the adapter is written as: PEFT's or MLX's folder, or one file under the names of ComfyUI, kohya or diffusers, or for llama.cpp. By
   * default `comfyui` for a diffusion model, else `peft`.
   */
  readonly format?: AdapterFormat | undefined
  /** Second moments of the layers' inputs, which say what of the change the model feels: a file. */
  readonly moments?: string | undefined
  /** dtype of the written factors; by default the tuned matrices' own where they agree on bf16 or f16, else f32. */
  readonly dtype?: Exclude<FloatDtype, 'f64'> | undefined
  /** √S on both factors, the default; otherwise B = U·S and A = Vᵀ, as the notebook has it. */
  readonly distributeScale?: boolean | undefined
  /** What adapter_config.json calls the base; by default the name by which it was given, or its config's own. */
  readonly baseName?: string | undefined
  /** How the best error is bounded: but for a chance of 1e-9 a matrix, strictly, or from above only. */
  readonly certify?: Certify | undefined
  /** Seed of the random start of the iteration; 0 by default. */
  readonly seed?: bigint | number | undefined
  /** Go on where the two look like one model under two sets of names. */
  readonly allowUnpaired?: boolean | undefined
  /** Bytes that the matrices in work may take, all together; by default a share of the machine's memory. */
  readonly memory?: number | string | undefined
  /** Discard what an unfinished run with other options or inputs has left. */
  readonly restart?: boolean | undefined
  /** Compute this part of the layers alone, into `<out>.partial`, and assemble nothing: the result is then an `ExtractShard`. */
  readonly shard?: Shard | undefined
  /**
   * Assemble what the shards of the same options have computed: those in `<out>.partial`, and in folders like that, from other machines,
   * that are named here.
   */
  readonly join?: readonly string[] | undefined
}

/** The extraction that is made: the options checked, with defaults where they were left out. */
export interface ExtractSettings {
  readonly base: string
  readonly tuned: string
  /** The folder or file that becomes the adapter. */
  readonly output: string
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly rule: AskedRule
  readonly limits: RankLimits
  /** All matrices get the largest rank that the rule chose. */
  readonly uniform: boolean
  readonly layout: AdapterLayout
  /** The format asked for by name; without one, whatever suits the model. */
  readonly format?: AdapterFormat | undefined
  /** dtype of the written factors; by default that of the tuned matrices where they all have one that factors can have. */
  readonly dtype: Exclude<FloatDtype, 'f64'> | undefined
  /** √S on both factors; otherwise B = U·S, as the notebook has it. */
  readonly distributeScale: boolean
  /** Modules whose tensors are stored whole: names or their last parts. */
  readonly saveFull: readonly string[]
  /** Store whole whatever changed and can't be carried by factors. */
  readonly carryRest: boolean
  readonly embeddings: boolean
  readonly experts: boolean
  /** Whether a diffusion model's text encoders are adapted too. */
  readonly textEncoder: boolean
  /** What adapter_config.json calls the base; by default the name by which it was given, or its config's own. */
  readonly baseName: string | undefined
  readonly certify: Certify
  /** Second moments of the layers' inputs. */
  readonly moments?: string | undefined
  readonly seed: bigint
  /** Go on where the two look like one model under two sets of names. */
  readonly allowUnpaired: boolean
  readonly memory: number | undefined
  readonly dryRun: boolean
  /** Discard what an unfinished run with other options or inputs has left. */
  readonly restart: boolean
  readonly force: boolean
  /** The part of the layers that is computed; all where it is left out. */
  readonly shard?: Shard | undefined
  /** What the shards have computed is put together, from these folders too. */
  readonly join?: readonly string[] | undefined
}

export const EXTRACT = {
  ...READING,
  ...PAIRING,
  ...RULES,
  ...LIMITS,
  base: needed(path),
  tuned: needed(path),
  out: needed(path),
  dryRun: flag,
  force: flag,
  budget: bytes,
  noiseFloor: flag,
  uniform: flag,
  saveFull: texts,
  carryRest: flag,
  embeddings: flag,
  experts: flag,
  layout: oneOf(['portable', 'pattern']),
  textEncoder: flag,
  format: oneOf(FORMATS),
  dtype: oneOf(['f32', 'f16', 'bf16']),
  distributeScale: flag,
  baseName: text,
  certify: CERTIFY,
  moments: path,
  seed,
  memory: bytes,
  restart: flag,
  shard: SHARD,
  join: texts,
}

/** The flags that choose the rank, as a message lists them. */
const RULE_FLAGS = '--rank 16, --energy 0.99, --error 0.05, --budget 40MiB, --noise-floor'

/** Checks the options, each by itself and with the others, and fills in what was left out. Throws `bad-usage`. */
export function extractSettings(given: ExtractOptions): ExtractSettings {
  checkOptions('extract', given, EXTRACT)
  const { base, tuned, out } = given
  for (const [name, path] of Object.entries({ '<base>': base, '<tuned>': tuned, '--out': out })) {
    if (path === '') throw badUsage(`${name} is empty: name a folder or a file`)
    if (path === '-')
      throw badUsage(`${name}: standard input and output can't be read back; name a folder or a file`)
  }
  assertLayoutOf(given.format, given.layout)
  refuseOfJoin(given)
  if (given.moments !== undefined && given.noiseFloor === true) {
    throw badUsage(
      '--noise-floor is about the rounding of numbers, whatever inputs feel of it: leave --moments out, or give another rule',
    )
  }
  return {
    base,
    tuned,
    output: out,
    include: given.include ?? [],
    exclude: given.exclude ?? [],
    rule: askedRule({ ...given, budget: bytesOf(given.budget) }, RULE_FLAGS),
    limits: askedLimits(given),
    uniform: given.uniform ?? false,
    layout: given.layout ?? 'portable',
    format: given.format,
    dtype: given.dtype,
    distributeScale: given.distributeScale ?? true,
    saveFull: given.saveFull ?? [],
    carryRest: given.carryRest ?? false,
    embeddings: given.embeddings ?? false,
    experts: given.experts ?? false,
    textEncoder: given.textEncoder ?? true,
    baseName: given.baseName,
    certify: given.certify ?? 'default',
    moments: momentsOption(given.moments),
    seed: seedInteger(given.seed ?? 0n),
    allowUnpaired: given.allowUnpaired ?? false,
    memory: bytesOf(given.memory),
    dryRun: given.dryRun ?? false,
    restart: given.restart ?? false,
    force: given.force ?? false,
    shard: given.shard,
    join: given.join,
  }
}

function refuseOfJoin({ join, shard, restart }: ExtractOptions): void {
  if (join === undefined) return
  if (shard !== undefined) {
    throw badUsage('--shard computes a part and --join assembles the parts: give one of them')
  }
  if (restart === true) {
    throw badUsage('--join takes what the shards have computed, and --restart would discard it: leave it out')
  }
  if (join.includes('')) throw badUsage('--join: a folder of shards is empty: name a folder')
}
