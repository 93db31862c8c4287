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

export { type NamedMatrix, readMatrix } from './checkpoint/read-matrix.ts'
export { LoraSvdError } from './errors.ts'
export { readStoredTensor, readTensor } from './formats/safetensors.ts'
export { readSafetensorsHeader } from './formats/safetensors-header.ts'
export { openFile } from './io/source.ts'
export { matrixRank, multiply, svd, truncatedSvd } from './library.ts'
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
export type { Certificate, TruncatedSvd, TruncationOptions } from './linalg/truncation/types.ts'
export type { NormalStream } from './random/seedrandom.ts'
export { seedrandomNormals } from './random/seedrandom.ts'
export { torchNormals } from './random/torch.ts'
