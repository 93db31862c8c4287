/**
 * The library behind the command line.
 *
 * ```ts
 * import { fromRows, matrixRank, svd } from 'lora-svd'
 *
 * const { U, S, V } = svd(fromRows([[1, 2], [3, 4]]))   // A = U · diag(S) · Vᵀ
 * matrixRank(fromRows([[1, 2], [2, 4]]))                // 1
 * ```
 */
export { LoraSvdError } from './errors.ts'
export { type NamedMatrix, readMatrix } from './formats/read-matrix.ts'
export { readStoredTensor, readTensor } from './formats/safetensors.ts'
export { readSafetensorsHeader } from './formats/safetensors-header.ts'
export { openFile } from './formats/source.ts'
export { matrixRank, multiply, svd, truncatedSvd } from './library.ts'
export { allclose } from './matrix/allclose.ts'
export { addMultiple, frobeniusNorm } from './matrix/arithmetic.ts'
export {
  type FloatArray,
  fromRows,
  type HalfMatrix,
  type Matrix,
  matrix,
  toRows,
  transpose,
  zeros,
} from './matrix/matrix.ts'
export { relativeResidual } from './matrix/residual.ts'
export type { NormalStream } from './random/normal-stream.ts'
export { seedrandomNormals } from './random/seedrandom-normal.ts'
export { torchNormals } from './random/torch-normal.ts'
export {
  effectiveRank,
  energyRank,
  epsilonOf,
  errorRank,
  numericalRank,
  optimalError,
  rankTolerance,
  stableRank,
} from './rank/measures.ts'
export { chooseRank, type RankLimits, type RankRule } from './rank/rules.ts'
export { type Factors, factorsOf } from './svd/factors.ts'
export type { Svd, Vectors } from './svd/types.ts'
export type { Certificate, TruncatedSvd, TruncationOptions } from './truncation/types.ts'
