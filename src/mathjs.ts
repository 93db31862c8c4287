/**
 * Singular values for mathjs.
 *
 * ```ts
 * import { all, create } from 'mathjs'
 * import { loraSvd } from 'lora-svd/mathjs'
 *
 * const math = create(all)
 * math.import(loraSvd)
 * math.svd([[1, 2], [3, 4]])                         // { U, S, V } as arrays
 * math.evaluate('svd([1, 2; 3, 4]).S')               // a mathjs vector
 * const F = math.floatMatrix([[1, 2], [3, 4]])       // one typed array inside
 * math.multiply(F, F)                                // and no nested arrays on the way
 * ```
 */

import { docs, type MathArray, type Matrix as MathMatrix } from 'mathjs'
import { engineFor } from './engine/engine-for.ts'
import { embeddedDocs } from './mathjs/docs.ts'
import { createFloatMatrix, createFloatMatrixClass, type FloatMatrix } from './mathjs/float-matrix.ts'
import { type LowRankOptions, type LowRankResult, lowRankFactory } from './mathjs/low-rank.ts'
import {
  createFloatAdd,
  createFloatSubtract,
  createFloatTranspose,
  floatMultiplyFactory,
} from './mathjs/operations.ts'
import { floatPinvFactory } from './mathjs/pinv.ts'
import { rankFactory } from './mathjs/rank.ts'
import { type SvdOptions, type SvdResult, svdFactory } from './mathjs/svd.ts'

export type { FloatMatrix, LowRankOptions, LowRankResult, SvdOptions, SvdResult }
export {
  createFloatAdd,
  createFloatMatrix,
  createFloatMatrixClass,
  createFloatSubtract,
  createFloatTranspose,
}

export const createFloatMultiply = floatMultiplyFactory(engineFor)
export const createSvd = svdFactory(engineFor)
export const createLowRank = lowRankFactory(engineFor)
export const createRank = rankFactory(engineFor)
export const createFloatPinv = floatPinvFactory(engineFor)

/** All factories, in an order `math.import` can take: the type first. */
export const loraSvd = [
  createFloatMatrixClass,
  createFloatMatrix,
  createFloatMultiply,
  createFloatAdd,
  createFloatSubtract,
  createFloatTranspose,
  createSvd,
  createLowRank,
  createRank,
  createFloatPinv,
]

// `math.help(name)` looks its text up in this one object, which mathjs shares between instances.
Object.assign(docs, embeddedDocs)

type Thin<R> = Required<R>

declare module 'mathjs' {
  interface MathJsInstance {
    /** Singular value decomposition A = U · diag(S) · Vᵀ; see `help('svd')`. */
    svd(A: FloatMatrix): Thin<SvdResult<FloatMatrix, MathMatrix>>
    svd(A: FloatMatrix, options: SvdOptions): SvdResult<FloatMatrix, MathMatrix>
    svd(A: MathMatrix): Thin<SvdResult<MathMatrix, MathMatrix>>
    svd(A: MathMatrix, options: SvdOptions): SvdResult<MathMatrix, MathMatrix>
    svd(A: MathArray): Thin<SvdResult<number[][], number[]>>
    svd(A: MathArray, options: SvdOptions): SvdResult<number[][], number[]>
    /** The two factors of the best approximation of a rank; see `help('lowRank')`. */
    lowRank(A: FloatMatrix, options: LowRankOptions): LowRankResult<FloatMatrix & MathMatrix>
    lowRank(A: MathMatrix, options: LowRankOptions): LowRankResult<MathMatrix>
    lowRank(A: MathArray, options: LowRankOptions): LowRankResult<number[][]>
    /** How many singular values exceed the tolerance; see `help('rank')`. */
    rank(A: FloatMatrix | MathMatrix | MathArray, tolerance?: number): number
    pinv(A: FloatMatrix): FloatMatrix & MathMatrix
    /** A matrix of numbers over one typed array; see `help('floatMatrix')`. */
    floatMatrix(A: MathArray | MathMatrix, type?: 'f32' | 'f64'): FloatMatrix & MathMatrix
  }
}
