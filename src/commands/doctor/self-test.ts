import type { Engine } from '../../linalg/engine.ts'
import {
  type Float64Matrix,
  type FloatArray,
  type Matrix,
  matrix,
  zeros,
} from '../../linalg/matrix/matrix.ts'
import { largestAbs } from '../../linalg/matrix/norms.ts'
import { seedrandomNormals } from '../../random/seedrandom.ts'

/** Order of the test matrix: above it every route of the SVD is taken, and it takes a fraction of a second. */
const TEST_ORDER = 200
/** LAPACK's own tests pass below 50 units of rounding; ours ask for 10. */
const PASSING_RATIO = 10

export interface SelfTest {
  readonly passed: boolean
  /** max |σᵢ − σ̂ᵢ| / (n·eps·σ₁) against singular values that are known. */
  readonly valuesRatio: number
  /** max |A − U·diag(S)·Vᵀ| / (n·eps·σ₁). */
  readonly residualRatio: number
}

/** Decomposes a matrix of known singular values 1, 0.9, 0.9² … with `engine` and says how far off it is. */
export function selfTest(engine: Engine): SelfTest {
  const S = Float64Array.from({ length: TEST_ORDER }, (_, i) => 0.9 ** i)
  const A = reflected(S)
  const { U, S: found, V } = engine.svd(A, 'thin')
  const unit = TEST_ORDER * Number.EPSILON
  const valuesRatio = largestAbs(found.map((s, i) => s - S[i])) / unit
  const US = matrix(
    TEST_ORDER,
    TEST_ORDER,
    U.data.map((u, at) => u * found[at % TEST_ORDER]),
  )
  const product = engine.multiply(US, V, { transposeB: true })
  const residualRatio = largestAbs(A.data.map((a, at) => a - product.data[at])) / unit
  return { passed: valuesRatio < PASSING_RATIO && residualRatio < PASSING_RATIO, valuesRatio, residualRatio }
}

/** H₁ · diag(S) · H₂ with two Householder reflections of random vectors: singular values S, and no entry zero. */
function reflected(S: Float64Array): Float64Matrix {
  const n = S.length
  const stream = seedrandomNormals('doctor')
  const [u, v] = [unitVector(stream.normals(n, 'f64')), unitVector(stream.normals(n, 'f64'))]
  const uSv = S.reduce((sum, s, i) => sum + s * u[i] * v[i], 0)
  const A = zeros(n, n)
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const diagonal = i === j ? S[i] : 0
      A.data[i * n + j] = diagonal - 2 * u[i] * u[j] * S[j] - 2 * S[i] * v[i] * v[j] + 4 * u[i] * uSv * v[j]
    }
  }
  return A
}

function unitVector(x: Float64Array): Float64Array {
  const length = Math.sqrt(x.reduce((sum, xi) => sum + xi * xi, 0))
  return x.map((xi) => xi / length)
}

/** Large enough for a product to be all arithmetic, small enough to be done in a blink. */
const SPEED_ORDER = 768
/** The first run also starts threads; the best of a few is what the machine can do. */
const RUNS = 5

export interface Speed {
  /** 10⁹ floating-point operations a second in a matrix product, over all threads. */
  readonly f32: number
  readonly f64: number
}

export function speedOf(engine: Engine): Speed {
  const stream = seedrandomNormals('doctor')
  const square = (data: FloatArray) => matrix(SPEED_ORDER, SPEED_ORDER, data)
  return {
    f32: bestOf(engine, square(stream.normals(SPEED_ORDER * SPEED_ORDER, 'f32'))),
    f64: bestOf(engine, square(stream.normals(SPEED_ORDER * SPEED_ORDER, 'f64'))),
  }
}

function bestOf(engine: Engine, A: Matrix): number {
  let best = Number.POSITIVE_INFINITY
  for (let run = 0; run < RUNS; run++) {
    const start = performance.now()
    engine.multiply(A, A)
    best = Math.min(best, performance.now() - start)
  }
  return (2 * SPEED_ORDER ** 3) / (best * 1e6)
}
