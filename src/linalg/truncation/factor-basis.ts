import type { Engine, GramOf } from '../engine.ts'
import { widened } from '../matrix/half.ts'
import { type Float64Matrix, type HalfMatrix, type Matrix, toFloat64, transpose } from '../matrix/matrix.ts'
import { type GramQr, gramQr } from '../svd/gram-qr.ts'

/** What multiplies and decomposes. */
export type ProductEngine = Pick<Engine, 'multiply' | 'gram' | 'qr' | 'svd'>

/** Where the vectors of a factor lie: B has them in its columns, A in its rows. */
export type Side = GramOf

/**
 * An orthonormal basis Q of the vectors that a factor holds, as a rule never formed: F = Q·R, of A's rows Aᵀ = Q·R. Vectors that come in
 * or go out lie as those of the factor do, in columns or in rows.
 */
export interface FactorBasis {
  readonly R: Float64Matrix
  /** The inner products of the factor's vectors. */
  gram(): Float64Matrix
  /** Q·Y: [m, p], of rows [p, k], of coordinates Y [r, p]. */
  expand(Y: Float64Matrix): Float64Matrix
  /** Other vectors as coordinates in the basis and a rest that is orthogonal to it. */
  split(X: Matrix | HalfMatrix): Split
}

export interface Split {
  /** [r, p]. */
  readonly along: Float64Matrix
  /** As the vectors lie; left out where the basis is one of the whole space. */
  readonly across?: Float64Matrix
}

/**
 * How ill-conditioned vectors of unit length may be for the Gram matrix, so that its triangle is off by no more than sums of `length` terms
 * may be. What trained adapters in bfloat16 come to: rounding alone sets their directions apart. The basis is then orthonormal to 10⁻⁹,
 * and better by the condition for what is made of the factors themselves.
 */
const mostCondition = (length: number): number => Math.min(2 ** 13, 2 * length)

/**
 * The basis of a factor's r vectors. Where these are no fewer than their length, that of the space. Where they are well-conditioned but
 * for their lengths, as those of trained adapters are, Q = F·R⁻¹ with R from the Gram matrix, half the work of a QR at the speed of
 * a product. Else by Householder's QR, which errs by ε of each vector whatever the others are.
 */
export function factorBasis(engine: ProductEngine, F: Matrix | HalfMatrix, side: Side): FactorBasis {
  const [length, count] = side === 'columns' ? [F.rows, F.columns] : [F.columns, F.rows]
  if (length <= count) return wholeSpace(engine, F, side)
  const gram = engine.gram(F, side)
  const found = hasLostSquares(F, gram, side) ? undefined : gramQr(gram, mostCondition(length))
  const basis = found === undefined ? byHouseholder(engine, F, side) : byGram(engine, F, found, side)
  return { ...basis, gram: () => gram }
}

/** Whether the squares of a vector that isn't zero are all too small for float64: its length would be taken for zero. */
function hasLostSquares(F: Matrix | HalfMatrix, gram: Float64Matrix, side: Side): boolean {
  if (!(F.data instanceof Float64Array)) return false
  for (let j = 0; j < gram.rows; j++) {
    if (gram.data[j * gram.rows + j] !== 0) continue
    const [first, step, end] =
      side === 'columns' ? [j, F.columns, F.data.length] : [j * F.columns, 1, (j + 1) * F.columns]
    for (let at = first; at < end; at += step) if (F.data[at] !== 0) return true
  }
  return false
}

const asLying = (X: Float64Matrix, side: Side): Float64Matrix => (side === 'columns' ? X : transpose(X))

function wholeSpace(engine: ProductEngine, F: Matrix | HalfMatrix, side: Side): FactorBasis {
  return {
    R: toFloat64(side === 'columns' ? widened(F) : transpose(widened(F))),
    gram: () => engine.gram(F, side),
    expand: (Y) => asLying(Y, side),
    split: (X) => ({ along: asLying(toFloat64(widened(X)), side) }),
  }
}

type BasisAlone = Omit<FactorBasis, 'gram'>

function byGram(
  engine: ProductEngine,
  F: Matrix | HalfMatrix,
  { R, inverse }: GramQr,
  side: Side,
): BasisAlone {
  const { multiply } = inFloat64(engine)
  const combine = (Y: Float64Matrix) =>
    side === 'columns' ? multiply(F, Y) : multiply(Y, F, { transposeA: true })
  return {
    R,
    expand: (Y) => combine(multiply(inverse, Y)),
    split(X) {
      // so that the products are in float64
      const wide = 'dtype' in X ? X : toFloat64(X)
      const products =
        side === 'columns'
          ? transpose(multiply(wide, F, { transposeA: true }))
          : multiply(F, wide, { transposeB: true })
      const along = multiply(inverse, products, { transposeA: true })
      return { along, across: lessFrom(widened(X), combine(multiply(inverse, along))) }
    },
  }
}

function byHouseholder(engine: ProductEngine, F: Matrix | HalfMatrix, side: Side): BasisAlone {
  const { multiply } = inFloat64(engine)
  const { Q, R } = engine.qr(side === 'columns' ? widened(F) : transpose(widened(F)))
  const expand = (Y: Float64Matrix) =>
    side === 'columns' ? multiply(Q, Y) : multiply(Y, Q, { transposeA: true, transposeB: true })
  return {
    R,
    expand,
    split(X) {
      const along = multiply(Q, X, { transposeA: true, transposeB: side === 'rows' })
      return { along, across: lessFrom(widened(X), expand(along)) }
    },
  }
}

const inFloat64 = (engine: ProductEngine) => ({
  multiply: (...operands: Parameters<Engine['multiply']>) => engine.multiply(...operands) as Float64Matrix,
})

/** X − Y in the place of Y. */
function lessFrom(X: Matrix, Y: Float64Matrix): Float64Matrix {
  for (let i = 0; i < Y.data.length; i++) Y.data[i] = X.data[i] - Y.data[i]
  return Y
}
