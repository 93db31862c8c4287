import type { Engine, ResidentMatrix } from '../../linalg/engine.ts'
import { type Float64Matrix, type Matrix, matrix, toFloat64 } from '../../linalg/matrix/matrix.ts'
import { addMultiple, frobeniusNorm } from '../../linalg/matrix/norms.ts'
import { orthonormalize } from '../../linalg/truncation/orthonormalize.ts'
import { type NormalStream, seedrandomNormals } from '../../random/seedrandom.ts'

/** How factors are found that aren't those of the SVD. */
export type OtherKind = 'random' | 'fitted' | 'gradient'

/** The relative errors of some factors. */
export interface Others {
  readonly kind: OtherKind
  readonly errors: readonly number[]
}

/** How many of each: a thousand in all. */
const RANDOM = 300
const FITTED = 300
const DESCENTS = 8
const STEPS = 50
/** So many are told at a time. */
const BATCH = 50

/**
 * Tries a thousand other pairs of factors of W of this rank, each judged by ‖W − B·A‖_F / ‖W‖_F as it is: random ones, as long as
 * suits W best; random B with the best A for it; and every step of eight descents along the gradient, from random beginnings. `seed` is
 * the notebook's: another stream is drawn, since the first numbers of that one are the very factors that W was made of.
 */
export function* otherFactors(W: Matrix, rank: number, seed: bigint, engine: Engine): Generator<Others> {
  const stream = seedrandomNormals(-1n - seed)
  const exact = toFloat64(W)
  const resident = engine.resident(exact)
  const trial = { W: exact, rank, engine, resident, norm: frobeniusNorm(exact.data), stream }
  try {
    for (const [kind, count, draw] of [
      ['random', RANDOM, scaledRandom],
      ['fitted', FITTED, fittedRandom],
    ] as const) {
      for (let i = 0; i < count; i += BATCH) {
        yield { kind, errors: Array.from({ length: BATCH }, () => errorOf(trial, draw(trial))) }
      }
    }
    for (let i = 0; i < DESCENTS; i++) yield { kind: 'gradient', errors: descent(trial) }
  } finally {
    resident.release()
  }
}

interface Trial {
  readonly W: Float64Matrix
  readonly rank: number
  readonly engine: Engine
  readonly resident: ResidentMatrix
  readonly norm: number
  readonly stream: NormalStream
}

interface Pair {
  readonly B: Matrix
  readonly A: Matrix
}

const errorOf = ({ resident, norm }: Trial, { B, A }: Pair) =>
  norm === 0 ? 0 : Math.sqrt(resident.residualSquared(B, A)) / norm

const drawn = ({ stream }: Trial, rows: number, columns: number) =>
  matrix(rows, columns, stream.normals(rows * columns, 'f64'))

function randomPair(trial: Trial): Pair {
  const { W, rank } = trial
  return { B: drawn(trial, W.rows, rank), A: drawn(trial, rank, W.columns) }
}

/** Random factors, times what brings their product nearest to W. */
function scaledRandom(trial: Trial): Pair {
  const { B, A } = randomPair(trial)
  const product = trial.engine.multiply(B, A)
  const best = inner(trial.W, product) / inner(product, product)
  return { B: { ...B, data: B.data.map((b) => b * best) } as Matrix, A }
}

/** The columns of a random B, made orthonormal, and the A that suits them best: Bᵀ·W. */
function fittedRandom(trial: Trial): Pair {
  const { W, rank, engine } = trial
  const { basis } = orthonormalize(engine, drawn(trial, W.rows, rank), [], (columns) =>
    drawn(trial, W.rows, columns),
  )
  return { B: basis, A: engine.multiply(basis, W, { transposeA: true }) }
}

/** Steepest descent on ‖W − B·A‖_F², B and A by turns, each step as long as suits it best. */
function descent(trial: Trial): number[] {
  const { W, engine } = trial
  let { B, A } = scaledRandom(trial)
  return Array.from({ length: STEPS }, (_, step) => {
    const rest = addMultiple(W, engine.multiply(B, A), -1)
    if (step % 2 === 0) {
      const slope = engine.multiply(rest, A, { transposeB: true })
      B = addMultiple(B, slope, lengthOf(rest, engine.multiply(slope, A)))
    } else {
      const slope = engine.multiply(B, rest, { transposeA: true })
      A = addMultiple(A, slope, lengthOf(rest, engine.multiply(B, slope)))
    }
    return errorOf(trial, { B, A })
  })
}

/** By how much of `change` the rest gets shortest. */
function lengthOf(rest: Matrix, change: Matrix): number {
  const square = inner(change, change)
  return square > 0 ? inner(rest, change) / square : 0
}

function inner(A: Matrix, B: Matrix): number {
  let sum = 0
  for (let i = 0; i < A.data.length; i++) sum += A.data[i] * B.data[i]
  return sum
}
