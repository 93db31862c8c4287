import { badUsage } from '../../errors.ts'
import type { FloatDtype } from '../../formats/dtype.ts'
import {
  type AskedRule,
  askedLimits,
  askedRule,
  type LimitFlags,
  type RankLimits,
  type RuleFlags,
} from '../../linalg/spectrum/rules.ts'

/** `portable`: one rank for all, so that every loader scales alike; `pattern`: each module's own. */
export type AdapterLayout = 'portable' | 'pattern'

/** Whose names the adapter has. */
export type AdapterFormat = 'peft'

/** What `extract` is asked to do, all of it known before a byte is read. */
export interface ExtractOptions {
  readonly base: string
  readonly tuned: string
  /** The folder that becomes the adapter. */
  readonly output: string
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly rule: AskedRule
  readonly limits: RankLimits
  /** All matrices get the largest rank that the rule chose. */
  readonly uniform: boolean
  readonly layout: AdapterLayout
  /** Asked for by name; undefined: whatever suits the model. */
  readonly format?: AdapterFormat | undefined
  /** Of the factors; undefined: that of each tuned matrix where factors can have it. */
  readonly dtype: Exclude<FloatDtype, 'f64'> | undefined
  /** √S on both factors; otherwise B = U·S, as the notebook has it. */
  readonly distributeScale: boolean
  /** Modules whose tensors are stored whole: names or their last parts. */
  readonly saveFull: readonly string[]
  /** Store whole whatever changed and can't be carried by factors. */
  readonly carryRest: boolean
  readonly embeddings: boolean
  readonly experts: boolean
  /** What adapter_config.json calls the base; undefined: the name by which it was given, or its config's own. */
  readonly baseName: string | undefined
  readonly certify: 'default' | 'strict' | 'none'
  readonly seed: bigint
  /** Go on where the two look like one model under two sets of names. */
  readonly allowUnpaired: boolean
  readonly memory: number | undefined
  readonly dryRun: boolean
  /** Discard what an unfinished run with other options or inputs has left. */
  readonly restart: boolean
  readonly force: boolean
}

export interface ExtractFlags extends RuleFlags, LimitFlags {
  readonly out: string
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly uniform: boolean
  readonly layout: AdapterLayout
  readonly format?: AdapterFormat
  readonly dtype?: Exclude<FloatDtype, 'f64'>
  readonly distributeScale: boolean
  readonly saveFull: readonly string[]
  readonly carryRest: boolean
  readonly embeddings: boolean
  readonly experts: boolean
  readonly baseName?: string
  readonly certify: ExtractOptions['certify']
  readonly seed: bigint
  readonly allowUnpaired: boolean
  readonly memory?: number
  readonly dryRun: boolean
  readonly restart: boolean
  readonly force: boolean
}

/** The flags that choose the rank, as a message lists them. */
const RULES = '--rank 16, --energy 0.99, --error 0.05, --budget 40MiB, --noise-floor'

/** What the command line asks for. Throws `bad-usage` where its parts don't go together. */
export function extractOptions(base: string, tuned: string, flags: ExtractFlags): ExtractOptions {
  for (const [name, path] of Object.entries({ '<base>': base, '<tuned>': tuned, '--out': flags.out })) {
    if (path === '') throw badUsage(`${name} is empty: name a folder`)
    if (path === '-') throw badUsage(`${name}: standard input and output can't be read back; name a folder`)
  }
  const { dtype, baseName, memory, out: output } = flags
  return {
    base,
    tuned,
    output,
    include: flags.include,
    exclude: flags.exclude,
    rule: askedRule(flags, RULES),
    limits: askedLimits(flags),
    uniform: flags.uniform,
    layout: flags.layout,
    format: flags.format,
    dtype,
    distributeScale: flags.distributeScale,
    saveFull: flags.saveFull,
    carryRest: flags.carryRest,
    embeddings: flags.embeddings,
    experts: flags.experts,
    baseName,
    certify: flags.certify,
    seed: flags.seed,
    allowUnpaired: flags.allowUnpaired,
    memory,
    dryRun: flags.dryRun,
    restart: flags.restart,
    force: flags.force,
  }
}
