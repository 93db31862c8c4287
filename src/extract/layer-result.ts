import { type Float64Matrix, zeros } from '../matrix/matrix.ts'
import type { MatrixRule } from '../rank/asked.ts'
import type { RankLimits } from '../rank/rules.ts'
import type { Spectrum } from '../spectrum/types.ts'

/** How many singular triplets of a layer are asked for. */
export interface LayerAsk {
  readonly rule: MatrixRule | { readonly kind: 'noise-floor' }
  readonly limits: RankLimits
}

/** What stored factors leave of a delta. */
export interface MeasuredLayer {
  readonly rank: number
  /** ‖Δ − B·A‖_F with B and A rounded as they are stored, summed in float64. */
  readonly residual: number
  /** `digestOf` these factors. */
  readonly digest: string
}

/** The leading singular triplets of a layer's delta, and what is known of the rest. */
export interface LayerResult {
  readonly name: string
  readonly asked: LayerAsk
  /** Of the delta; its `singularValues` are those of the triplets. Frobenius norm 0 where base and tuned are equal in number. */
  readonly spectrum: Spectrum
  /** [rows, r] and [columns, r]. */
  readonly U: Float64Matrix
  readonly V: Float64Matrix
  /** Of the factors that these triplets will be, where their rank was known at once. */
  readonly measured?: MeasuredLayer
  /** ‖base‖_F. */
  readonly baseFrobenius: number
  /** Singular values up to this can't be told from the rounding of the stored dtypes; where the rule asks for it. */
  readonly noiseFloor?: number
  /** Most entries did not move, and no direction stands out of what is left of the change. */
  readonly isNotUnderstood?: boolean
  /** Why the interval of the best error is wider than asked, where it is. */
  readonly openBecause?: string
  /** What computed it. */
  readonly engine: string
  readonly seconds: number
}

export const withoutVectors = (result: LayerResult): LayerResult => ({
  ...result,
  U: zeros(result.U.rows, 0),
  V: zeros(result.V.rows, 0),
})
