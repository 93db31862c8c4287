import { createHash } from 'node:crypto'
import { decodeFloats, encodeFloats, type FloatDtype } from '../formats/dtype.ts'
import { type Float64Matrix, leadingColumns, type Matrix, rowRange, zeros } from '../linalg/matrix/matrix.ts'
import type { NoiseFloor } from '../linalg/spectrum/noise-floor.ts'
import { numericalRank } from '../linalg/spectrum/ranks.ts'
import type { AskedRule, MatrixRule, RankLimits, RankRule } from '../linalg/spectrum/rules.ts'
import { type KnownDelta, leadingValues, settledFloor } from '../linalg/spectrum/settled-floor.ts'
import type { Spectrum } from '../linalg/spectrum/spectrum.ts'
import { balancedFactors, type Factors, factorsOf, type Svd } from '../linalg/svd/svd.ts'
import type { TruncatedSvd } from '../linalg/truncation/truncated-svd.ts'
import type { MomentKind } from '../moments/types.ts'

/** How many singular triplets of a layer are asked for. */
export interface RankRequest {
  readonly rule: MatrixRule | { readonly kind: 'noise-floor' }
  readonly limits: RankLimits
}

/** What stored factors leave of a delta. */
export interface MeasuredLayer {
  readonly rank: number
  /** ‖Δ − B·A‖ with B and A rounded as they are stored, in the norm of the spectrum, summed in float64. */
  readonly residual: number
  /** The same in the plain norm, where `residual` is in that of the inputs. */
  readonly plainResidual?: number
  /** `digestOf` these factors. */
  readonly digest: string
}

/** What weighed a layer, and what its delta is without. */
export interface WeighedFacts {
  readonly kind: MomentKind
  /** Inputs of the layer. */
  readonly inputs: number
  /** How many inputs the moments are of, where the file says. */
  readonly samples?: number
  /** Directions for which the floor of the eigenvalues stands in. */
  readonly floored: number
  /** The spectrum of Δ itself, at the rank that was found. */
  readonly plain: Spectrum
}

/** The leading singular triplets of a layer's delta, and what is known of the rest. */
export interface LayerResult {
  readonly name: string
  readonly asked: RankRequest
  /**
   * The spectrum of the delta, or of Δ·R where moments weigh it; its `singularValues` are those of the triplets. Frobenius norm 0 where base
   * and tuned are equal in number.
   */
  readonly spectrum: Spectrum
  /** [rows, r] and [columns, r]. */
  readonly U: Float64Matrix
  readonly V: Float64Matrix
  /** What stands for the singular values in the factors, where moments weigh the layer. */
  readonly lengths?: readonly number[]
  readonly weighed?: WeighedFacts
  /** What the factors that these triplets will be leave of the delta, where their rank was known at once. */
  readonly measured?: MeasuredLayer
  /** ‖base‖_F. */
  readonly baseFrobenius: number
  /** Singular values up to this can't be told from the rounding of the stored dtypes; where the rule asks for it. */
  readonly noiseFloor?: number
  /** Most entries did not move, and no direction stands out of what is left of the change. */
  readonly isNotUnderstood?: boolean
  /** Where the base is quantised: what energy the rounding to its steps has. */
  readonly quantised?: number
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

/** The directions of a delta that stand above its noise. */
export interface AboveNoise {
  readonly found: TruncatedSvd
  readonly floor: number
  /** Most entries did not move, and no direction stands out of what is left of the change: one is kept all the same. */
  readonly isNotUnderstood: boolean
}

/** The least that is kept of a change that isn't understood. */
const LEAST_KEPT = 1

/**
 * Truncates where the spectrum settles the noise floor: what stands above it may lower it, which may let more stand above.
 * `noise` is left out for numbers that aren't rounded.
 */
export function aboveNoise(
  truncate: (rule: RankRule, limits: RankLimits) => TruncatedSvd,
  noise: NoiseFloor | undefined,
  { rows, columns }: { readonly rows: number; readonly columns: number },
  frobenius: number,
  limits: RankLimits,
): AboveNoise {
  const known = (S: Float64Array): KnownDelta => leadingValues(rows, columns, frobenius ** 2, S)
  const settledBy = (S: Float64Array) => (noise === undefined ? 0 : settledFloor(noise, known(S)))
  const above = (floor: number) => truncate({ kind: 'noise-floor', floor }, { minRank: 0, ...limits })
  const { maxRank = Number.POSITIVE_INFINITY } = limits
  let floor = settledBy(new Float64Array(0))
  let found = above(floor)
  for (;;) {
    const settled = settledBy(found.spectrum ?? found.S)
    if (!(settled < floor)) break
    floor = settled
    if (found.certificate.spectral.atMost <= floor || found.rank >= maxRank) break
    const before = known(found.S).above(floor)
    found = above(floor)
    if (known(found.S).above(floor) <= before) break
  }
  const isNotUnderstood = noise?.isSubUlp === true && known(found.S).above(floor) === 0
  const isEmpty = found.rank === 0 && limits.minRank === undefined
  return {
    found: isNotUnderstood && isEmpty ? truncate({ kind: 'rank', rank: LEAST_KEPT }, {}) : found,
    floor,
    isNotUnderstood,
  }
}

/** What factors are made of: B·A = U·diag(S)·Vᵀ. */
export const directionsOf = ({
  U,
  V,
  spectrum,
  lengths,
}: Pick<LayerResult, 'U' | 'V' | 'spectrum' | 'lengths'>): Svd => ({
  U,
  S: lengths === undefined ? spectrum.singularValues : Float64Array.from(lengths),
  V,
})

/** The spectrum of Δ itself. */
export const plainSpectrum = ({ spectrum, weighed }: Pick<LayerResult, 'spectrum' | 'weighed'>): Spectrum =>
  weighed?.plain ?? spectrum

/** How factors are made of triplets and stored. */
export interface FactorForm {
  /** √S on both factors; otherwise B = U·S. */
  readonly distributeScale: boolean
  readonly dtype: FloatDtype
}

/** The factors of the leading `rank` triplets, before they are rounded. */
export function factorsFor({ U, S, V }: Svd, rank: number, distributeScale: boolean): Factors {
  const leading = { U: leadingColumns(U, rank), S: S.subarray(0, rank), V: leadingColumns(V, rank) }
  return distributeScale ? balancedFactors(leading, rank) : factorsOf(leading, rank)
}

/** The same as they will be read back: rounded once. */
export function factorsAsStored(svd: Svd, rank: number, { distributeScale, dtype }: FactorForm): Factors {
  const { B, A } = factorsFor(svd, rank, distributeScale)
  return { B: rounded(B, dtype), A: rounded(A, dtype) }
}

/** What tells these numbers from all others. */
export function digestOf({ B, A }: Factors): string {
  const hash = createHash('sha256').update(`${B.rows} ${B.columns} ${A.columns} `)
  for (const { data } of [B, A]) hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  return hash.digest('base64')
}

/** Whether factors that were read are those of this digest, padded with zeros beyond their rank. */
export const areFactors = ({ B, A }: Factors, rank: number, digest: string): boolean =>
  isZeroBeyond(B, A, rank) &&
  digestOf({ B: B.columns === rank ? B : leadingColumns(B, rank), A: rowRange(A, 0, rank) }) === digest

function isZeroBeyond(B: Matrix, A: Matrix, rank: number): boolean {
  if (B.columns < rank || A.data.subarray(rank * A.columns).some((x) => x !== 0)) return false
  for (let i = 0; i < B.rows; i++) {
    for (let j = rank; j < B.columns; j++) if (B.data[i * B.columns + j] !== 0) return false
  }
  return true
}

/** The numbers that are read back where these were stored. */
export const rounded = ({ rows, columns, data }: Matrix, dtype: FloatDtype): Matrix => ({
  rows,
  columns,
  data: decodeFloats(encodeFloats(data, dtype), dtype),
})

/** The rank that a rule of one matrix gives, from what was asked: a delta of lower rank ends at its own. */
export function ownRank(
  spectrum: Spectrum,
  rule: { readonly kind: AskedRule['kind'] },
  { minRank = 0 }: RankLimits,
): number {
  const found = spectrum.singularValues.length
  if (rule.kind !== 'rank' && rule.kind !== 'budget') return found
  const { singularValues, rows, columns, epsilon } = spectrum
  return Math.min(found, Math.max(minRank, numericalRank(singularValues, rows, columns, epsilon)))
}

/** Asks for this many triplets, or as many as there are. */
export const rankRequest = (rank: number): RankRequest => ({ rule: { kind: 'rank', rank }, limits: {} })
