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
export type { DemoResult, WorstEntry } from './commands/demo/demo.ts'
export type { DemoOptions } from './commands/demo/options.ts'
export { extract } from './commands/extract/extract.ts'
export type { ExtractOptions } from './commands/extract/options.ts'
export type {
  BrokenGuarantee,
  BudgetSpent,
  ExtractedLayer,
  ExtractPreview,
  ExtractResult,
  LeftBecause,
  LeftReason,
} from './commands/extract/result.ts'
export { type FactorResult, factor } from './commands/factor/factor.ts'
export type { FactorOptions } from './commands/factor/options.ts'
export { inspect } from './commands/inspect/inspect.ts'
export type { InspectOptions } from './commands/inspect/options.ts'
export type { InspectResult, MatrixReport, Verdict, VerdictKind } from './commands/inspect/result.ts'
export type { VerifyOptions } from './commands/verify/options.ts'
export { type VerifyResult, verify } from './commands/verify/verify.ts'
export { type ErrorCode, LoraSvdError } from './errors.ts'
export { readStoredTensor, readTensor } from './formats/safetensors.ts'
export { readSafetensorsHeader } from './formats/safetensors-header.ts'
export { openFile } from './io/source.ts'
export type { CommonOptions, ProgressEvent, ReadingOptions } from './jobs/context.ts'
export { demo, matrixRank, multiply, svd, truncatedSvd } from './library.ts'
export { allclose } from './linalg/matrix/allclose.ts'
export {
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
  epsilonOf,
  errorRank,
  numericalRank,
  optimalError,
  rankTolerance,
  stableRank,
} from './linalg/spectrum/ranks.ts'
export { chooseRank, type RankLimits, type RankRule } from './linalg/spectrum/rules.ts'
export type { Svd, Vectors } from './linalg/svd/svd.ts'
export { type Factors, factorsOf } from './linalg/svd/svd.ts'
export type { Certificate, Interval, TruncatedSvd, TruncationOptions } from './linalg/truncation/types.ts'
export type { NotCarried, VerifiedLayer, VerifiedTensor } from './measure/result.ts'
export type { NormalStream } from './random/seedrandom.ts'
export { seedrandomNormals } from './random/seedrandom.ts'
export { torchNormals } from './random/torch.ts'
