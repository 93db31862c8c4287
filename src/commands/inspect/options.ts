import { resolve } from 'node:path'
import { badUsage } from '../../errors.ts'
import type { HeaderChoice } from '../../formats/text-matrix.ts'

/** By what the matrices are ordered; figures the largest first. `model` is the order of the file. */
export const SORT_KEYS = [
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
] as const
export type SortKey = (typeof SORT_KEYS)[number]

/** How much of each spectrum is computed: all of it, or at least its leading `count` values. */
export type Extent = { readonly kind: 'full' } | { readonly kind: 'leading'; readonly count: number }

/** What `inspect` is asked to do, all of it known before a byte is read. */
export interface InspectPlan {
  readonly path: string
  readonly base: string | undefined
  /** Whether the first row of a text is names; undefined: by its looks. */
  readonly header: HeaderChoice | undefined
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly sort: SortKey
  readonly reverse: boolean
  readonly top: number | undefined
  readonly extent: Extent
  /** Of an adapter that doesn't say it. */
  readonly alpha: number | undefined
  /** The matrix whose spectrum is plotted: its name, or a part of it. */
  readonly plot: string | undefined
  /** Files that are written beside the report. */
  readonly outputs: { readonly html?: string; readonly svg?: string; readonly csv?: string }
  readonly force: boolean
  readonly seed: bigint
  /** Go on where the two look like one model under two sets of names. */
  readonly allowUnpaired: boolean
  /** Bytes that the matrices in work may take, all together; undefined: a share of the machine's. */
  readonly memory: number | undefined
}

export interface InspectFlags {
  readonly base?: string
  readonly header?: HeaderChoice
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly sort: SortKey
  readonly reverse: boolean
  readonly top?: number
  readonly full: boolean
  readonly leading?: number
  readonly alpha?: number
  readonly plot?: string
  readonly html?: string
  readonly svg?: string
  readonly csv?: string
  readonly force: boolean
  readonly seed: bigint
  readonly allowUnpaired: boolean
  readonly memory?: number
}

/**
 * Singular values computed at least where not all are: enough for the ranks that adapters have, at a few per cent of the
 * work of all of them.
 */
const LEADING = 64

/** The plan that the command line asks for. Throws `bad-usage` where its parts don't go together. */
export function planInspect(path: string, flags: InspectFlags): InspectPlan {
  const { base, html, svg, csv, full, leading, plot, sort } = flags
  if (path === '') throw badUsage('<path> is empty: name a file, a folder, org/name, or - for standard input')
  if (base === '') throw badUsage('--base is empty: name a file, a folder or org/name')
  if (path === '-' && base === '-')
    throw badUsage('<path> and --base are both standard input: save one of them to a file')
  if (full && leading !== undefined) {
    throw badUsage('--full and --leading ask for all and for some of the singular values: give one of them')
  }
  if (plot === '') throw badUsage('--plot is empty: name a matrix, or a part of its name')
  if (sort === 'change' && base === undefined)
    throw badUsage('--sort change orders by the change from --base: give one')
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
    path,
    base,
    header: flags.header,
    include: flags.include,
    exclude: flags.exclude,
    sort,
    reverse: flags.reverse,
    top: flags.top,
    extent: full ? { kind: 'full' } : { kind: 'leading', count: leading ?? LEADING },
    alpha: flags.alpha,
    plot,
    outputs: Object.fromEntries(named),
    force: flags.force,
    seed: flags.seed,
    allowUnpaired: flags.allowUnpaired,
    memory: flags.memory,
  }
}
