import { resolve } from 'node:path'
import { badUsage } from '../../errors.ts'
import type { HeaderChoice } from '../../formats/text-matrix.ts'
import type { ReadingOptions } from '../../jobs/context.ts'
import { seedInteger } from '../../random/seedrandom.ts'
import type { Shard } from '../../shards/shard.ts'
import { parseCount } from '../../text/numbers.ts'
import {
  assertPartPlace,
  assertParts,
  bytes,
  bytesOf,
  checkOptions,
  count,
  flag,
  HEADER,
  integer,
  momentsOption,
  needed,
  oneOf,
  PAIRING,
  path,
  positive,
  READING,
  SHARD,
  seed,
  text,
  texts,
} from '../options.ts'

/** By what the matrices are ordered; figures the largest first. `model` is the order of the file. */
const SORT_KEYS = [
  'model',
  'name',
  'size',
  'frobenius',
  'spectral',
  'rank',
  'stable-rank',
  'effective-rank',
  'energy-rank',
  'change',
  'dominance',
  'intruders',
] as const
export type SortKey = (typeof SORT_KEYS)[number]

/** Whose words the next run's ranks are put in. */
const EMIT_FORMATS = ['peft', 'axolotl'] as const
export type EmitFormat = (typeof EMIT_FORMATS)[number]

/** How much of each spectrum is computed: all of it, or at least its leading `count` values. */
export type Extent = { readonly kind: 'full' } | { readonly kind: 'leading'; readonly count: number }

/** What `inspect` takes: weights, or two whose difference is looked at, or an adapter. */
export interface InspectOptions extends ReadingOptions {
  /** A model or adapter folder, a file, an index of shards, `org/name` in the Hugging Face cache, an address hf:// or https://, or `-` for standard input. */
  readonly path: string
  /** The weights before: then the change from these is looked at. */
  readonly base?: string | undefined
  /** With `base`: second moments of the layers' inputs, in whose norm the change is looked at too: a file. */
  readonly moments?: string | undefined
  /** Whether the first row of a text file is names; by default where none of its cells is like a number. */
  readonly header?: HeaderChoice | undefined
  /** Only tensors with such a name, as glob patterns; `*` crosses dots. */
  readonly include?: readonly string[] | undefined
  /** No tensors with such a name. */
  readonly exclude?: readonly string[] | undefined
  /** By what the matrices are ordered, the largest first; by default as the file has them. */
  readonly sort?: SortKey | undefined
  /** The other way round. */
  readonly reverse?: boolean | undefined
  /** Give only the first so many in `matrices`. */
  readonly top?: number | undefined
  /** Compute all singular values of every matrix. */
  readonly full?: boolean | undefined
  /** Compute at least so many of large matrices; 64 by default. */
  readonly leading?: number | undefined
  /** Of an adapter with `base`: count the directions that it brings into the weights; true by default, but with `emit`. */
  readonly intruders?: boolean | undefined
  /** The alpha of an adapter that doesn't say it. */
  readonly alpha?: number | undefined
  /** The matrix to be plotted, by its name or a part of it; the result then has it as `plotted`. */
  readonly plot?: string | undefined
  /** A file for an interactive report. */
  readonly html?: string | undefined
  /** A file for the spectra as a picture. */
  readonly svg?: string | undefined
  /** A file for the table, a row a matrix. */
  readonly csv?: string | undefined
  /** Ranks for the next training run, as a text in `next`: `peft` for LoraConfig, `axolotl` for its YAML. */
  readonly emit?: EmitFormat | undefined
  /** Entries that the factors of the next run may have, all together: a number, or as in '40M'. */
  readonly parameters?: number | string | undefined
  /** Replace existing files. */
  readonly force?: boolean | undefined
  /** Seed of the random start of the iteration; 0 by default. */
  readonly seed?: bigint | number | undefined
  /** Go on where the two look like one model under two sets of names. */
  readonly allowUnpaired?: boolean | undefined
  /** Bytes that the matrices in work may take, all together; by default a share of the machine's memory. */
  readonly memory?: number | string | undefined
  /** Look at this part of the matrices alone, and report nothing: the result is then an `InspectShard`. */
  readonly shard?: Shard | undefined
  /** Where the part of a shard is kept: a file that ends in .json, or a folder, in which it is called by the shard. */
  readonly out?: string | undefined
}

/** What a report may be asked for, of what was found before. */
type ViewOptions = Pick<
  InspectOptions,
  'sort' | 'reverse' | 'top' | 'plot' | 'html' | 'svg' | 'csv' | 'emit' | 'parameters' | 'force'
>

/** What `inspect` takes to make one report of what shards have found. */
export interface InspectJoinOptions extends ReadingOptions, ViewOptions {
  /** The parts of all shards: files, and folders of such. */
  readonly join: readonly string[]
}

/** The report that is made, of whatever was found. */
export interface ReportView {
  readonly sort: SortKey
  readonly reverse: boolean
  readonly top: number | undefined
  /** The matrix whose spectrum is plotted: its name, or a part of it. */
  readonly plot: string | undefined
  /** Files that are written beside the report. */
  readonly outputs: { readonly html?: string; readonly svg?: string; readonly csv?: string }
  /** The ranks of the next run that are asked for. */
  readonly next: { readonly format: EmitFormat; readonly parameters: number } | undefined
  readonly force: boolean
}

/** The inspection that is made: the options checked, with defaults where they were left out. */
export interface InspectSettings extends ReportView {
  readonly path: string
  readonly base: string | undefined
  readonly moments: string | undefined
  /** Whether the first row of a text is names; undefined: by its looks. */
  readonly header: HeaderChoice | undefined
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly extent: Extent
  readonly intruders: boolean
  /** Of an adapter that doesn't say it. */
  readonly alpha: number | undefined
  readonly seed: bigint
  /** Go on where the two look like one model under two sets of names. */
  readonly allowUnpaired: boolean
  /** Bytes that the matrices in work may take, all together; undefined: a share of the machine's. */
  readonly memory: number | undefined
  /** The part that is looked at; all where it is left out. */
  readonly shard: Shard | undefined
  readonly out: string | undefined
}

/**
 * Singular values computed at least where not all are: enough for the ranks that adapters have, at a few per cent of the
 * work of all of them.
 */
const LEADING = 64

const VIEW = {
  sort: oneOf(SORT_KEYS),
  reverse: flag,
  top: integer(1),
  plot: text,
  html: path,
  svg: path,
  csv: path,
  emit: oneOf(EMIT_FORMATS),
  parameters: count,
  force: flag,
}
export const INSPECT = {
  ...READING,
  ...PAIRING,
  ...VIEW,
  path: needed(path),
  base: path,
  moments: path,
  header: HEADER,
  full: flag,
  leading: integer(1),
  intruders: flag,
  alpha: positive,
  seed,
  memory: bytes,
  shard: SHARD,
  out: path,
}
const INSPECT_JOIN = { ...READING, ...VIEW, join: needed(texts) }

/** Checks the options, each by itself and with the others, and fills in what was left out. Throws `bad-usage`. */
export function inspectSettings(given: InspectOptions): InspectSettings {
  checkOptions('inspect', given, INSPECT)
  const { path, base, full = false, leading, shard, out } = given
  if (path === '') throw badUsage('<path> is empty: name a file, a folder, org/name, or - for standard input')
  if (base === '') throw badUsage('--base is empty: name a file, a folder or org/name')
  if (path === '-' && base === '-')
    throw badUsage('<path> and --base are both standard input: save one of them to a file')
  if (full && leading !== undefined) {
    throw badUsage('--full and --leading ask for all and for some of the singular values: give one of them')
  }
  if (given.moments !== undefined && base === undefined)
    throw badUsage('--moments says what inputs feel of a change: give the --base that it is from')
  if (shard !== undefined) refuseView(given)
  assertPartPlace(given)
  const { sort, emit } = given
  assertSortable(sort, base)
  const { intruders = emit === undefined } = given
  if (sort === 'intruders' && !intruders)
    throw badUsage('--sort intruders orders by what is not counted: leave out --no-intruders and --emit')
  return {
    ...reportView(given),
    path,
    base,
    moments: momentsOption(given.moments),
    header: given.header,
    include: given.include ?? [],
    exclude: given.exclude ?? [],
    extent: full ? { kind: 'full' } : { kind: 'leading', count: leading ?? LEADING },
    intruders,
    alpha: given.alpha,
    seed: seedInteger(given.seed ?? 0n),
    allowUnpaired: given.allowUnpaired ?? false,
    memory: bytesOf(given.memory),
    shard,
    out,
  }
}

/** Throws `bad-usage` where an order is asked for by what only a base can tell. */
export function assertSortable(sort: SortKey | undefined, base: string | undefined): void {
  if (base !== undefined) return
  if (sort === 'change') throw badUsage('--sort change orders by the change from --base: give one')
  if (sort === 'dominance' || sort === 'intruders')
    throw badUsage(`--sort ${sort} compares an adapter with its --base: give one`)
}

/** The same of a report of parts. Throws `bad-usage`. */
export function inspectJoinSettings(
  given: InspectJoinOptions,
): ReportView & { readonly parts: readonly string[] } {
  checkOptions('inspect with join', given, INSPECT_JOIN)
  assertParts(given.join)
  return { ...reportView(given), parts: given.join }
}

/** Throws `bad-usage` where a shard, which reports nothing, is asked for what a report has. */
function refuseView({ force, ...given }: InspectOptions): void {
  const asked = Object.keys(VIEW).find((name) => given[name as keyof typeof given] !== undefined)
  if (asked === undefined) return
  throw badUsage(`--${asked} is of the report, and a shard makes none: give it to --join, once all are done`)
}

function reportView(given: ViewOptions): ReportView {
  const { html, svg, csv, plot, sort = 'model', emit, parameters } = given
  if (plot === '') throw badUsage('--plot is empty: name a matrix, or a part of its name')
  if (emit !== undefined && parameters === undefined)
    throw badUsage(`--emit ${emit} spreads ranks over a number of parameters: give --parameters, such as 40M`)
  if (emit === undefined && parameters !== undefined)
    throw badUsage('--parameters is for the ranks that --emit prints: give --emit peft or --emit axolotl')
  if (emit !== undefined && plot !== undefined)
    throw badUsage('--emit prints ranks in place of a report, and --plot is a part of one: give one of them')
  const outputs = { html, svg, csv }
  const named = Object.entries(outputs).filter((entry): entry is [string, string] => entry[1] !== undefined)
  for (const [i, [kind, output]] of named.entries()) {
    if (output === '-')
      throw badUsage(`--${kind} - would be standard output, where the report goes: name a file`)
    const twin = named.slice(i + 1).find(([, other]) => resolve(other) === resolve(output))
    if (twin !== undefined)
      throw badUsage(`--${kind} and --${twin[0]} name the same file ${output}: give each its own`)
  }
  return {
    sort,
    reverse: given.reverse ?? false,
    top: given.top,
    plot,
    outputs: Object.fromEntries(named),
    next:
      emit === undefined || parameters === undefined
        ? undefined
        : { format: emit, parameters: typeof parameters === 'string' ? parseCount(parameters) : parameters },
    force: given.force ?? false,
  }
}
