import type { AdapterFormat } from '../../lora/model.ts'
import { gain, type RoundingAccount, roundingError } from '../../update/account.ts'

/** How much of a change rounding leaves. */
export interface Rounding {
  /** ⟨stored − W, Δ⟩ / ‖Δ‖²: how much of the change is kept; 1 where all is. */
  readonly gain: number
  /** ‖stored − W − Δ‖_F / ‖Δ‖_F. */
  readonly roundingError: number
}

/** The same, told before anything is written. */
export interface ExpectedRounding extends Rounding {
  /** Rows that were looked at, of so many. */
  readonly rows: number
  readonly of: number
}

/** What is done to a tensor: a product of factors is added, DoRA, a tensor is added, or it is replaced, or new. */
export type How = 'factors' | 'dora' | 'added' | 'replaced' | 'new'

/** A tensor that the adapters change. */
export interface PlannedTensor {
  readonly name: string
  readonly shape: readonly number[]
  /** As it is written. */
  readonly dtype: string
  readonly how: How
  /** Of the factors of all adapters together. */
  readonly rank: number
  readonly expected: ExpectedRounding
}

/** The same, once it is written. */
export interface AppliedTensor extends PlannedTensor, Rounding {
  /** ‖Δ‖_F of what was to be added. */
  readonly deltaFrobenius: number
  /** The share of the entries that are stored as another number than before. */
  readonly changed: number
}

/** Tensors of which a type of float keeps so little that something better can be done. */
export interface Advice {
  readonly dtype: string
  /** Over these tensors. */
  readonly gain: number
  readonly names: readonly string[]
}

interface Told {
  readonly source: {
    readonly base: string
    readonly adapters: readonly {
      readonly path: string
      readonly weight: number
      readonly format: AdapterFormat
    }[]
  }
  /** Set where the head had to become a tensor of its own. */
  readonly untied?: { readonly head: string; readonly embedding: string }
  /** Set where the vocabulary has another length now. */
  readonly vocabulary?: number
  /** What the adapters hold and nothing reads. */
  readonly ignored: readonly { readonly adapter: string; readonly name: string; readonly reason: string }[]
  readonly advice: readonly Advice[]
  readonly warnings: readonly string[]
}

export interface ApplyTotals {
  /** Tensors that are changed, that are written in another type, and that are copied. */
  readonly changed: number
  readonly converted: number
  readonly copied: number
  readonly expected: Rounding
}

/** What `apply` would do. */
export interface ApplyPreview extends Told {
  readonly layers: readonly PlannedTensor[]
  readonly totals: ApplyTotals
  readonly output: {
    readonly path: string
    readonly bytes: number
    readonly files: readonly { readonly name: string; readonly bytes: number }[]
  }
  /** Whether an unfinished run is there to go on with. */
  readonly resumable: boolean
  /** Whether all of each adapter is applied. */
  readonly holds: boolean
}

/** What `apply` did. */
export interface ApplyResult extends Told {
  readonly layers: readonly AppliedTensor[]
  readonly totals: ApplyTotals & Rounding
  readonly output: {
    readonly path: string
    readonly bytes: number
    readonly files: readonly { readonly name: string; readonly bytes: number }[]
    /** Files of the base's folder that are not part of the merged checkpoint. */
    readonly leftOut: readonly string[]
  }
  /** Whether all of each adapter is applied. */
  readonly holds: boolean
  /** Pieces of the output that an earlier run had done. */
  readonly resumed: number
  readonly seconds: number
}

export const roundingOf = (account: RoundingAccount): Rounding => ({
  gain: gain(account),
  roundingError: roundingError(account),
})

/** Below this gain the type keeps too little of the adapter to be silent about. */
const WEAK_GAIN = 0.9

/** A change of this root mean square is what is left where adapters cancel: rounding of float64 beside any weight of a model. */
const NOTHING = 2 ** -50

/** The tensors of which rounding leaves too little, by the type that they are written in. */
export function adviceOf(
  tensors: readonly { readonly name: string; readonly dtype: string; readonly account: RoundingAccount }[],
): Advice[] {
  const groups = new Map<string, { names: string[]; kept: number; deltaSquared: number }>()
  for (const { name, dtype, account } of tensors) {
    if (gain(account) >= WEAK_GAIN || account.deltaSquared < NOTHING ** 2 * account.entries) continue
    const group = groups.get(dtype) ?? { names: [], kept: 0, deltaSquared: 0 }
    group.names.push(name)
    group.kept += account.kept
    group.deltaSquared += account.deltaSquared
    groups.set(dtype, group)
  }
  return [...groups].map(([dtype, { names, kept, deltaSquared }]) => ({
    dtype,
    gain: kept / deltaSquared,
    names,
  }))
}
