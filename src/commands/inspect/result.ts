import type { Skipped } from '../../checkpoint/types.ts'
import type { RankAdvice } from '../../linalg/spectrum/costs.ts'
import type { IntegerRange, Interval, RankCost, Spectrum } from '../../linalg/spectrum/spectrum.ts'
import type { LoaderScale } from '../../lora/loader-scales.ts'

import type { MomentKind } from '../../moments/types.ts'
import type { EmitFormat } from './options.ts'

export type { RankAdvice } from '../../linalg/spectrum/costs.ts'
export type { RankCost } from '../../linalg/spectrum/spectrum.ts'
export type { LoaderScale } from '../../lora/loader-scales.ts'

/** The shares of ‖A‖_F² whose ranks a report gives. */
export const ENERGY_SHARES = [0.5, 0.9, 0.95, 0.99] as const
export type EnergyShare = `${(typeof ENERGY_SHARES)[number]}`

/** The ranks whose cost and error a report tabulates. */
export const TABULATED_RANKS = [1, 2, 4, 8, 16, 32, 64, 128, 256] as const

/** The rounding of stored dtypes, as a part of a delta. */
export interface NoiseFindings {
  /** Singular values of the delta up to this can't be told from rounding. */
  readonly floor: number
  /** How many singular values exceed the floor. */
  readonly rankAbove: IntegerRange
  /** The share of entries that differ between base and tuned. */
  readonly changedShare: number
  /** Most changes are below one unit in the last place: the rounding is then not independent of the change. */
  readonly isSubUlp: boolean
}

/** What only an adapter's module has. */
export interface AdapterFindings {
  /** Rows of A. */
  readonly nominalRank: number
  readonly alpha?: number
  /** By which B·A is multiplied, as the adapter's own format says. */
  readonly scale: number
  /** nominalRank less the numerical rank. */
  readonly wasted: number
  readonly scales: readonly LoaderScale[]
}

export type VerdictKind =
  | 'zero'
  | 'low-rank'
  /** 90 % of ‖·‖_F² at a low rank, 99 % not. */
  | 'partly-low-rank'
  | 'not-low-rank'
  | 'unrelated'
  | 'below-rounding'
  /** The leading singular values alone don't say. */
  | 'open'

export interface Verdict {
  readonly kind: VerdictKind
  /** A sentence with its figures, for a person. */
  readonly text: string
}

/** What a change has to do with the weight that it is added to. */
export interface BaseFindings {
  readonly dtype: string
  readonly frobenius: number
  readonly relativeChange: number
  /** Of an adapter: σ₁ of the weight. */
  readonly spectral?: Interval
  /** Of an adapter: σ₁(scale·B·A) / σ₁ of the weight; infinite where that is zero. */
  readonly dominance?: Interval
  /** Of an adapter that is no DoRA, whose change is more than scale·B·A. */
  readonly intruders?: IntruderFindings
}

/**
 * Directions that an adapter brings into a weight: leading left singular vectors of W + scale·B·A that no left singular vector of W comes
 * near, as PEFT's reduce_intruder_dimension has them.
 */
export interface IntruderFindings {
  /** Leading vectors that were looked at: ten, or as many as there are. */
  readonly directions: number
  /** Those whose cosine with every vector of the weight is below 0.5. */
  readonly intruders: number
  /** Those of which the computed part of the weight's vectors doesn't tell. */
  readonly undecided: number
  /** Of each leading vector the largest |cosine| with a vector of the weight. */
  readonly cosines: readonly Interval[]
  /** That a bound is wrong. */
  readonly failureProbability: number
}

/** A delta in the norm of its inputs: of Δ·R, R·Rᵀ their second moments. */
export interface OutputFindings
  extends Pick<
    MatrixReport,
    'spectrum' | 'rank' | 'spectral' | 'stableRank' | 'effectiveRank' | 'energyRanks' | 'verdict'
  > {
  /** What is known of the inputs: all of C, or its diagonal. */
  readonly moments: MomentKind
  /** How many inputs the moments are of, where the file says. */
  readonly samples?: number
  /** Directions of so little in C that the floor of its eigenvalues stands in for it. */
  readonly floored: number
}

/** What was found out about one matrix, or delta, or product of an adapter. */
export interface MatrixReport {
  readonly name: string
  readonly shape: readonly [rows: number, columns: number]
  readonly storedShape: readonly number[]
  /** As stored; of a delta the tuned one's. */
  readonly dtype: string
  /** Stored bytes; of a delta those of the tuned matrix, of an adapter's module those of its factors. */
  readonly bytes: number
  readonly spectrum: Spectrum
  /** The numerical rank, as NumPy's matrix_rank counts it. */
  readonly rank: IntegerRange
  /** ‖·‖₂. */
  readonly spectral: Interval
  readonly stableRank: Interval
  /** Needs all singular values. */
  readonly effectiveRank?: number
  readonly energyRanks: Readonly<Record<EnergyShare, IntegerRange>>
  /** Of a delta, or of an adapter beside its base. */
  readonly base?: BaseFindings
  readonly noise?: NoiseFindings
  readonly adapter?: AdapterFindings
  /** Of a delta: what inputs feel of it, where moments of them were given. */
  readonly output?: OutputFindings
  readonly verdict: Verdict
}

/** A matrix, or a vector, with entries that are NaN or infinite: nothing else can be said of it. */
export interface NonFinite {
  readonly name: string
  /** Which of the two checkpoints. */
  readonly file: string
  readonly count: number
  readonly first: { readonly row: number; readonly column: number; readonly value: string }
}

/** A module of the next training run. */
export interface NextModule {
  readonly name: string
  /** Its path in the model, as PEFT has it. */
  readonly path: string
  readonly rank: number
  /** Entries of its factors. */
  readonly parameters: number
}

/** Ranks for the next training run, spread so that the best factors carry most of the change. */
export interface NextRun {
  readonly format: EmitFormat
  /** Entries that all factors may have, and those that they have. */
  readonly budget: number
  readonly parameters: number
  /** The share of ‖Δ‖_F² of all that was looked at that the best factors of these ranks carry. */
  readonly kept: Interval
  readonly modules: readonly NextModule[]
  /** What changed and is not named, and why. */
  readonly left: readonly Skipped[]
  /** Modules of which all singular values that were computed are taken, and more exist. */
  readonly ranOut: readonly string[]
  /** PEFT's fields, for `LoraConfig(**config)`. */
  readonly config: {
    readonly r: number
    readonly lora_alpha: number
    readonly target_modules: readonly string[] | string
    readonly rank_pattern: Readonly<Record<string, number>>
    readonly alpha_pattern: Readonly<Record<string, number>>
    readonly fan_in_fan_out?: true
  }
  /** The config in the words of the format. */
  readonly text: string
}

/** What was found out about weights, a change, or an adapter. */
export interface InspectResult {
  readonly source: { readonly path: string; readonly base?: string }
  readonly subject: 'weights' | 'delta' | 'adapter'
  /** In the order in which they are to be shown. */
  readonly matrices: readonly MatrixReport[]
  /** Of a delta: the names of matrices that are equal in both, entry by entry. */
  readonly unchanged: readonly string[]
  readonly nonFinite: readonly NonFinite[]
  readonly skipped: readonly Skipped[]
  /** The files that were written. */
  readonly outputs: { readonly html?: string; readonly svg?: string; readonly csv?: string }
  /** The matrix that was asked for by `plot`, or why there is nothing to plot. */
  readonly plotted?:
    | { readonly name: string; readonly matrix: MatrixReport }
    | { readonly name: string; readonly nothing: 'equal' | 'not-finite' }
  /** Over all matrices, also those that --top leaves out of `matrices`. */
  readonly totals: {
    readonly matrices: number
    readonly elements: number
    readonly bytes: number
    readonly frobenius: number
    /** Matrices whose bounds hold but for a small chance each; left out where there are none. */
    readonly certified?: number
    readonly relativeChange?: number
    /** Of an adapter beside its base: intruder directions over all modules. */
    readonly intruders?: Pick<IntruderFindings, 'directions' | 'intruders' | 'undecided'>
    /** Of a delta: tensors that both have. */
    readonly matched?: number
    /** Of a delta: tensors that one of the two alone has, or that can't be compared. */
    readonly unmatched?: number
  }
  readonly costs: readonly RankCost[]
  /** One rank for all matrices, and why; no rank where none is both small and good. */
  readonly recommended?: RankAdvice
  /** Where `emit` asked for them. */
  readonly next?: NextRun
  /** What a user should know, such as loaders that scale an adapter differently. */
  readonly warnings: readonly string[]
  readonly engine: string
  readonly seconds: number
}
