import type { DemoResult } from './commands/demo/notebook.ts'
import type { DemoOptions } from './commands/demo/options.ts'
import { decompositionFlops } from './engine/choice.ts'
import { engineFor } from './engine/open.ts'
import type { MultiplyOptions } from './linalg/engine.ts'
import { epsilonOf, floatType, type HalfMatrix, type Matrix } from './linalg/matrix/matrix.ts'
import { numericalRank } from './linalg/spectrum/ranks.ts'
import type { RankRule } from './linalg/spectrum/rules.ts'
import { awayFromExtremes } from './linalg/svd/scaling.ts'
import type { Svd, Vectors } from './linalg/svd/svd.ts'
import {
  type TruncatedSvd,
  type TruncationOptions,
  truncatedSvd as truncate,
} from './linalg/truncation/truncated-svd.ts'

/**
 * The library behind the command line.
 *
 * ```ts
 * import { fromRows, matrixRank, svd } from 'lora-svd'
 *
 * const { U, S, V } = svd(fromRows([[1, 2], [3, 4]]))   // A = U · diag(S) · Vᵀ
 * matrixRank(fromRows([[1, 2], [2, 4]]))                // 1
 * ```
 *
 * What the commands do, each with one object of options:
 *
 * ```ts
 * import { extract, verify } from 'lora-svd'
 *
 * const { totals, output } = await extract({ base: 'base/', tuned: 'tuned/', out: 'adapter/', rank: 16 })
 * const { holds } = await verify({ adapter: 'adapter/', base: 'base/', tuned: 'tuned/', maxError: 0.3 })
 * ```
 */

export { type NamedMatrix, readMatrix } from './checkpoint/read-matrix.ts'
export type { CombinePreview } from './combine/preview.ts'
export type { Combined, CombinedLayer } from './combine/result.ts'
export { apply } from './commands/apply/apply.ts'
export type { ApplyOptions, WrittenDtype } from './commands/apply/options.ts'
export type {
  Advice,
  AppliedTensor,
  ApplyPreview,
  ApplyResult,
  ApplyTotals,
  ExpectedRounding,
  PlannedTensor,
  Rounding,
} from './commands/apply/result.ts'
export { check } from './commands/check/check.ts'
export type { CheckOptions } from './commands/check/options.ts'
export type { CheckedDefect, CheckedLoader, CheckResult, LoaderReason } from './commands/check/result.ts'
export { compare } from './commands/compare/compare.ts'
export type { CompareOptions } from './commands/compare/options.ts'
export type {
  AdapterGroup,
  ComparedAdapter,
  ComparedLayer,
  ComparedPair,
  CompareResult,
  NotCompared,
  OverlapFigures,
  PairLayer,
  SubspaceFigures,
} from './commands/compare/result.ts'
export type { ConvertPreview, ConvertResult } from './commands/convert/convert.ts'
export { convert } from './commands/convert/convert.ts'
export type { ConvertOptions } from './commands/convert/options.ts'
export type { DemoResult, WorstEntry } from './commands/demo/notebook.ts'
export type { DemoOptions } from './commands/demo/options.ts'
export { extract } from './commands/extract/extract.ts'
export type { ExtractOptions } from './commands/extract/options.ts'
export type {
  BrokenGuarantee,
  BudgetSpent,
  ExtractedLayer,
  ExtractPreview,
  ExtractResult,
  ExtractShard,
  LeftBecause,
  LeftReason,
  PlacedModule,
  PlannedShard,
} from './commands/extract/result.ts'
export { type FactorResult, factor } from './commands/factor/factor.ts'
export type { FactorOptions } from './commands/factor/options.ts'
export { inspect } from './commands/inspect/inspect.ts'
export type { InspectJoinOptions, InspectOptions } from './commands/inspect/options.ts'
export type {
  InspectResult,
  IntruderFindings,
  MatrixReport,
  NextRun,
  Verdict,
  VerdictKind,
} from './commands/inspect/result.ts'
export type { InspectShard } from './commands/inspect/shard.ts'
export { type MergePreview, type MergeResult, merge } from './commands/merge/merge.ts'
export type { MergeOptions } from './commands/merge/options.ts'
export type { Overlap } from './commands/merge/overlap.ts'
export type { ResizeOptions } from './commands/resize/options.ts'
export { type ResizePreview, type ResizeResult, resize } from './commands/resize/resize.ts'
export type { VerifyJoinOptions, VerifyOptions } from './commands/verify/options.ts'
export type { VerifyShard } from './commands/verify/shard.ts'
export { type VerifyResult, verify } from './commands/verify/verify.ts'
export type { Conversion, ConvertedLayer, DifferenceTotals, LoaderGap } from './convert/convert.ts'
export type { Dropped } from './convert/target.ts'
export { type ErrorCode, LoraSvdError } from './errors.ts'
export { readStoredTensor, readTensor } from './formats/safetensors.ts'
export { readSafetensorsHeader } from './formats/safetensors-header.ts'
export { openFile } from './io/source.ts'
export type { CommonOptions, ProgressEvent, ReadingOptions } from './jobs/context.ts'
export { allclose } from './linalg/matrix/allclose.ts'
export {
  epsilonOf,
  type FloatArray,
  fromRows,
  type HalfMatrix,
  type Matrix,
  matrix,
  toRows,
  transpose,
  zeros,
} from './linalg/matrix/matrix.ts'
export { addMultiple, frobeniusNorm, relativeResidual } from './linalg/matrix/norms.ts'
export {
  effectiveRank,
  energyRank,
  errorRank,
  numericalRank,
  optimalError,
  rankTolerance,
  stableRank,
} from './linalg/spectrum/ranks.ts'
export { chooseRank, type RankLimits, type RankRule } from './linalg/spectrum/rules.ts'
export type { Svd, Vectors } from './linalg/svd/svd.ts'
export { type Factors, factorsOf } from './linalg/svd/svd.ts'
export type {
  Certificate,
  Interval,
  TruncatedSvd,
  TruncationOptions,
} from './linalg/truncation/truncated-svd.ts'
export type { NotCarried, VerifiedLayer, VerifiedTensor } from './measure/measure.ts'
export type { NormalStream } from './random/seedrandom.ts'
export { seedrandomNormals } from './random/seedrandom.ts'
export { torchNormals } from './random/torch.ts'
export type { Shard } from './shards/shard.ts'

/**
 * The thin singular value decomposition A = U · diag(S) · Vᵀ in float64: A [m, k], U [m, n], S [n] non-increasing,
 * V [k, n], n = min(m, k); `vectors: 'none'` gives S alone. The largest |entry| of each left vector is positive.
 * Throws LoraSvdError 'not-finite' on NaN and infinity.
 */
export function svd(A: Matrix, { vectors = 'thin' }: { vectors?: Vectors } = {}): Svd {
  return engineFor(decompositionFlops(A.rows, A.columns)).svd(A, vectors)
}

/** op(A)·op(B): float32 arithmetic where both are float32, else float64. Throws RangeError when shapes don't fit. */
export function multiply(A: Matrix, B: Matrix, options: MultiplyOptions = {}): Matrix {
  return engineFor(A.data.length * Math.max(B.rows, B.columns)).multiply(A, B, options)
}

/**
 * The leading singular triplets of A [m, k], as many as `rule` asks for, with an interval that holds the error of the best
 * approximation of that rank: `truncatedSvd(W, { kind: 'error', error: 0.05 })`. By block Krylov iteration, or by the full
 * SVD where that is cheaper or where only it decides the rank. Throws LoraSvdError 'not-finite' on NaN and infinity.
 */
export function truncatedSvd(
  A: Matrix | HalfMatrix,
  rule: RankRule,
  options: Partial<TruncationOptions> = {},
): TruncatedSvd {
  return truncate(A, rule, { engine: engineFor(decompositionFlops(A.rows, A.columns)), ...options })
}

/** The numerical rank of A, counted as NumPy's `matrix_rank` counts. Throws LoraSvdError 'not-finite'. */
export function matrixRank(A: Matrix): number {
  const { S } = svd(awayFromExtremes(A).A, { vectors: 'none' })
  return numericalRank(S, A.rows, A.columns, epsilonOf[floatType(A)])
}

/**
 * The notebook's experiment: W = randn(d, rank)·randn(rank, k), its rank, its SVD, B and A in its place, and whether
 * (B·A)·x + bias is allclose to W·x + bias. Loads mathjs when it is called. Throws LoraSvdError 'bad-usage'.
 */
export async function demo(options: DemoOptions = {}): Promise<DemoResult> {
  const { demo: run } = await import('./commands/demo/demo.ts')
  return run(options)
}
