import type { Engine } from '../linalg/engine.ts'
import { type Float64Matrix, floatType, type Matrix, toFloat64, transpose } from '../linalg/matrix/matrix.ts'
import { frobeniusNorm, isSquarable, relativeResidual } from '../linalg/matrix/norms.ts'
import type { Digested } from '../linalg/truncation/streams.ts'
import type { TruncatedSvd } from '../linalg/truncation/truncated-svd.ts'
import type { Root } from '../linalg/weighting/root.ts'
import { type Formation, formationError, timesRoot, weighed } from '../linalg/weighting/weigh.ts'
import { bothResiduals } from './felt-residuals.ts'
import { plainResidual, WIDE_UP_TO } from './plain-residual.ts'

/** What is decomposed for a layer: its delta Δ, or Δ·R where moments of its inputs weigh it. */
export interface Subject extends Digested {
  readonly matrix: Matrix
  /** Its own. */
  readonly frobenius: number
  /** What factors of Δ are made of, given the triplets of the matrix: B·A = U·diag(lengths)·Vᵀ. */
  directions(found: TruncatedSvd): Directions
  /** What factors leave that were made of the triplets. */
  residuals(found: TruncatedSvd, B: Matrix, A: Matrix): Residuals
  /** Factors of the matrix are factors of Δ, of which sums of squares tell all: one of them may be fitted to the other. */
  readonly isFittable: boolean
  /** How far the matrix is from what it stands for, relative to its norm; nothing where it is left out. */
  formationError?(): number
}

export interface Residuals {
  /** ‖Δ − B·A‖ in the norm in which the matrix is decomposed. */
  readonly residual: number
  /** ‖Δ − B·A‖_F, where that is another norm. */
  readonly plainResidual?: number
}

export interface Directions {
  readonly U: Float64Matrix
  readonly V: Float64Matrix
  /** The singular values themselves where it is left out. */
  readonly lengths?: readonly number[]
}

/** Δ as it is, in Frobenius' norm. */
export const plainSubject = (
  delta: Matrix,
  frobenius: number,
  engine: Engine,
  digest?: Digested['digest'],
): Subject => ({
  matrix: delta,
  frobenius,
  digest,
  isFittable: isSquarable(frobenius) && floatType(delta) === 'f32' && delta.data.length > WIDE_UP_TO,
  directions: ({ U, V }) => ({ U, V }),
  residuals: (found, B, A) => {
    const known = isSquarable(frobenius) ? plainResidual(engine, delta, frobenius, found, B, A) : undefined
    return { residual: known ?? residualOf(delta, frobenius, B, A, engine) }
  },
})

/**
 * Δ in the norm of its inputs: the best of rank r is U·Uᵀ·Δ, U of Δ·R, so that the rows of A are those of Uᵀ·Δ, each of length 1 with its length beside
 * it. With `isOfRows` W is stored [in, out], and all is of its transpose. `formed` is how Δ·R is.
 */
export function weighedSubject(
  { matrix: delta, frobenius: plainFrobenius }: Pick<Subject, 'matrix' | 'frobenius'>,
  root: Root,
  isOfRows: boolean,
  engine: Engine,
  formed: Formation = 'wide',
): Subject {
  const own = isOfRows ? transposed(delta) : delta
  const matrix = weighed(engine, own, root, formed)
  const frobenius = normOf(matrix)
  const triplets = lastOf((found: TruncatedSvd) => {
    const U = isOfRows ? found.V : found.U
    const rows = toFloat64(engine.multiply(U, own, { transposeA: true }))
    const { unit, lengths } = unitRows(rows)
    return { U, rows, lengths, right: transpose(unit) as Float64Matrix }
  })
  return {
    matrix: isOfRows ? transposed(matrix) : matrix,
    frobenius,
    isFittable: false,
    formationError: () => formationError(engine, own, root, matrix, frobenius),
    directions: (found) => {
      const { U, right, lengths } = triplets(found)
      return { ...(isOfRows ? { U: right, V: U } : { U, V: right }), lengths }
    },
    residuals: (found, B, A) => {
      const [left, right] = isOfRows ? [transposed(A), transposed(B)] : [B, A]
      const isInRange = [plainFrobenius, frobenius].every(isSquarable)
      const known = { delta: own, frobenius: plainFrobenius, feltFrobenius: frobenius, root }
      const { plain, felt } = isInRange
        ? bothResiduals(engine, { ...known, ...triplets(found) }, left, right)
        : { plain: undefined, felt: undefined }
      return {
        residual: felt ?? residualOf(matrix, frobenius, left, timesRoot(engine, right, root), engine),
        plainResidual: plain ?? residualOf(own, plainFrobenius, left, right, engine),
      }
    },
  }
}

const transposed = (A: Matrix): Matrix => transpose(A)

/** Remembers the last result: factors are made of the same triplets to be measured and to be given. */
function lastOf<K, V>(compute: (key: K) => V): (key: K) => V {
  let last: { readonly key: K; readonly value: V } | undefined
  return (key) => {
    if (last?.key !== key) last = { key, value: compute(key) }
    return last.value
  }
}

/** ‖X‖_F by one plain sum of squares, where these stay in range. */
function normOf({ data }: Matrix): number {
  let squares = 0
  for (let i = 0; i < data.length; i++) squares += data[i] * data[i]
  const norm = Math.sqrt(squares)
  return isSquarable(norm) ? norm : frobeniusNorm(data)
}

/** The rows, each divided by its length, and the lengths. */
function unitRows({ rows, columns, data }: Float64Matrix) {
  const unit = data.slice()
  const lengths = Array.from({ length: rows }, (_, i) => {
    const row = unit.subarray(i * columns, (i + 1) * columns)
    const length = frobeniusNorm(row)
    if (length > 0) for (let j = 0; j < columns; j++) row[j] /= length
    return length
  })
  return { unit: { rows, columns, data: unit }, lengths }
}

/** ‖X − B·A‖_F, summed in float64. */
export function residualOf(X: Matrix, frobenius: number, B: Matrix, A: Matrix, engine: Engine): number {
  if (!isSquarable(frobenius)) return relativeResidual(X, B, A) * frobenius
  const resident = engine.resident(X)
  try {
    return Math.sqrt(resident.residualSquared(B, A))
  } finally {
    resident.release()
  }
}
