import { filesBelow } from '../../io/copy-files.ts'
import { joinAccounts, NOTHING_ROUNDED, type RoundingAccount } from '../../update/account.ts'
import { type Change, rankOf } from '../../update/change.ts'
import type { RowSample } from '../../update/sample.ts'
import type { Companions } from './companions.ts'
import { isSingleFile, type OutputFiles } from './files.ts'
import type { ApplySettings } from './options.ts'
import type { ApplyPlan } from './plan.ts'
import {
  type Advice,
  type ApplyPreview,
  type ApplyResult,
  type ApplyTotals,
  adviceOf,
  type How,
  type PlannedTensor,
  type Rounding,
  roundingOf,
} from './result.ts'
import { expectedOver } from './rounding.ts'

export type Sampled = ReadonlyMap<string, RowSample>
type Accounts = ReadonlyMap<string, RoundingAccount>

/** How many tensors there are of each kind, and what rounding leaves of all changes. */
export function totalsOf(plan: ApplyPlan, samples: Sampled, accounts: Accounts): ApplyTotals & Rounding {
  return { ...plannedTotals(plan, samples), ...roundingOf(joinAccounts(accounts.values())) }
}

function plannedTotals({ tensors }: ApplyPlan, samples: Sampled): ApplyTotals {
  const count = (kind: string) => tensors.filter(({ content }) => content.kind === kind).length
  return {
    ...{ changed: count('change'), converted: count('convert'), copied: count('same') },
    expected: roundingOf(expectedOver(samples.values())),
  }
}

/** Each changed tensor in the order of the base. */
function layersOf({ tensors }: ApplyPlan, samples: Sampled): (PlannedTensor & { readonly key: string })[] {
  return tensors.flatMap(({ name, shape, content }) => {
    if (content.kind !== 'change') return []
    const { change, dtype } = content
    const { account, rows, of } = samples.get(change.name)!
    const expected = { ...roundingOf(account), rows, of }
    return [{ name, shape, dtype, how: howOf(change), rank: rankOf(change), expected, key: change.name }]
  })
}

function howOf({ base, replacement, rescale, factors }: Change): How {
  if (base === undefined) return 'new'
  if (replacement !== undefined) return 'replaced'
  if (rescale !== undefined) return 'dora'
  return factors.length > 0 ? 'factors' : 'added'
}

function toldOf({ base, adapters, untied, vocabulary, ignored, warnings }: ApplyPlan) {
  return {
    source: {
      base: base.path,
      adapters: adapters.map(({ adapter: { path, format }, weight }) => ({ path, weight, format })),
    },
    ...(untied !== undefined && { untied: { head: untied.head, embedding: untied.embedding } }),
    ...(vocabulary !== undefined && { vocabulary }),
    ignored: ignored.map(({ adapter, name, reason }) => ({ adapter, name, reason })),
    warnings: [...new Set(warnings)],
  }
}

/** A head that has to be untied in a config that isn't written here leaves the checkpoint incomplete. */
function holds(plan: ApplyPlan): boolean {
  return plan.ignored.length === 0
}

/** What follows from what rounding is expected to leave. */
export const expectedAdvice = (plan: ApplyPlan, samples: Sampled): Advice[] =>
  adviceOf(layersOf(plan, samples).map((layer) => ({ ...layer, account: samples.get(layer.key)!.account })))

/** What would be done. */
export function previewOf(
  plan: ApplyPlan,
  { output }: ApplySettings,
  { files, indices }: OutputFiles,
  { copied }: Companions,
  samples: Sampled,
  resumable: boolean,
): ApplyPreview {
  const encoder = new TextEncoder()
  const all = [
    ...files.map(({ name, byteLength }) => ({ name, bytes: byteLength })),
    ...indices.map(({ name, text }) => ({ name, bytes: encoder.encode(text).length })),
    ...copied.map(({ path, bytes }) => ({ name: path, bytes })),
  ]
  const layers = layersOf(plan, samples)
  return {
    ...toldOf(plan),
    layers: layers.map(({ key, ...layer }) => layer),
    totals: plannedTotals(plan, samples),
    advice: expectedAdvice(plan, samples),
    output: { path: output, bytes: all.reduce((sum, { bytes }) => sum + bytes, 0), files: all },
    resumable,
    holds: holds(plan),
  }
}

export interface Outcome {
  readonly samples: Sampled
  readonly accounts: Accounts
  readonly companions: Companions
  readonly totals: ApplyTotals & Rounding
  /** Where the whole output is at this moment. */
  readonly staging: string
  readonly resumed: number
  readonly seconds: () => number
}

/** What was done. */
export async function resultOf(
  plan: ApplyPlan,
  { output }: ApplySettings,
  { samples, accounts, companions, totals, staging, resumed, seconds }: Outcome,
): Promise<ApplyResult> {
  const files = (await filesBelow(staging, () => true)).map(({ path, bytes }) => ({ name: path, bytes }))
  const layers = layersOf(plan, samples)
  const accountOf = (key: string) => accounts.get(key) ?? NOTHING_ROUNDED
  return {
    ...toldOf(plan),
    layers: layers.map(({ key, ...layer }) => {
      const account = accountOf(key)
      return {
        ...{ ...layer, ...roundingOf(account), deltaFrobenius: Math.sqrt(account.deltaSquared) },
        changed: account.entries === 0 ? 0 : account.changed / account.entries,
      }
    }),
    totals,
    advice: adviceOf(layers.map((layer) => ({ ...layer, account: accountOf(layer.key) }))),
    output: {
      path: output,
      bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
      files,
      leftOut: isSingleFile(plan.base) ? [] : companions.leftOut,
    },
    holds: holds(plan),
    resumed,
    seconds: seconds(),
  }
}
