import { docs, type MathArray, type Matrix as MathMatrix } from 'mathjs'
import { engineFor } from './engine/open.ts'
import { embeddedDocs } from './mathjs/factory.ts'
import { type FloatMatrix, floatMatrixFactory } from './mathjs/float-matrix.ts'
import { floatAdd, floatMultiply, floatSubtract, floatTranspose, numericPinv } from './mathjs/operations.ts'
import {
  type LowRankOptions,
  type LowRankResult,
  lowRankFactory,
  rankFactory,
  type SvdOptions,
  type SvdResult,
  svdFactory,
} from './mathjs/svd.ts'

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

export type { FloatMatrix, LowRankOptions, LowRankResult, SvdOptions, SvdResult }

/** `floatMatrix`; importing it also teaches multiply, add, subtract, transpose and pinv what they didn't know. */
export const createFloatMatrix = floatMatrixFactory([
  floatMultiply(engineFor),
  floatAdd,
  floatSubtract,
  floatTranspose,
  numericPinv(engineFor),
])
export const createSvd = svdFactory(engineFor)
export const createLowRank = lowRankFactory(engineFor)
export const createRank = rankFactory(engineFor)

/** All factories. Importing them again, or with `override`, takes nothing away from the instance. */
export const loraSvd = [createFloatMatrix, createSvd, createLowRank, createRank]

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
    pinv(A: number[][]): number[][]
    /** A matrix of numbers over one typed array; see `help('floatMatrix')`. */
    floatMatrix(A: MathArray | MathMatrix, type?: 'f32' | 'f64'): FloatMatrix & MathMatrix
  }

  interface MathJsChain<TValue> {
    svd(this: MathJsChain<FloatMatrix>): MathJsChain<Thin<SvdResult<FloatMatrix, MathMatrix>>>
    svd(this: MathJsChain<FloatMatrix>, options: SvdOptions): MathJsChain<SvdResult<FloatMatrix, MathMatrix>>
    svd(this: MathJsChain<MathMatrix>): MathJsChain<Thin<SvdResult<MathMatrix, MathMatrix>>>
    svd(this: MathJsChain<MathMatrix>, options: SvdOptions): MathJsChain<SvdResult<MathMatrix, MathMatrix>>
    svd(this: MathJsChain<MathArray>): MathJsChain<Thin<SvdResult<number[][], number[]>>>
    svd(this: MathJsChain<MathArray>, options: SvdOptions): MathJsChain<SvdResult<number[][], number[]>>
    lowRank(
      this: MathJsChain<FloatMatrix>,
      options: LowRankOptions,
    ): MathJsChain<LowRankResult<FloatMatrix & MathMatrix>>
    lowRank(this: MathJsChain<MathMatrix>, options: LowRankOptions): MathJsChain<LowRankResult<MathMatrix>>
    lowRank(this: MathJsChain<MathArray>, options: LowRankOptions): MathJsChain<LowRankResult<number[][]>>
    rank(this: MathJsChain<FloatMatrix | MathMatrix | MathArray>, tolerance?: number): MathJsChain<number>
    pinv<T extends FloatMatrix | MathMatrix | MathArray>(this: MathJsChain<T>): MathJsChain<T>
    floatMatrix(
      this: MathJsChain<MathMatrix | MathArray>,
      type?: 'f32' | 'f64',
    ): MathJsChain<FloatMatrix & MathMatrix>
  }
}
