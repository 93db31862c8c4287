import type { Engine } from '../engine/engine.ts'
import { type FloatArray, type Matrix, matrix } from '../matrix/matrix.ts'
import { seedrandomNormals } from '../random/seedrandom-normal.ts'

/** Large enough for a product to be all arithmetic, small enough to be done in a blink. */
const ORDER = 768
/** The first run also starts threads; the best of a few is what the machine can do. */
const RUNS = 5

export interface Speed {
  /** 10⁹ floating-point operations a second in a matrix product, over all threads. */
  readonly f32: number
  readonly f64: number
}

export function speedOf(engine: Engine): Speed {
  const stream = seedrandomNormals('doctor')
  const square = (data: FloatArray) => matrix(ORDER, ORDER, data)
  return {
    f32: bestOf(engine, square(stream.normals(ORDER * ORDER, 'f32'))),
    f64: bestOf(engine, square(stream.normals(ORDER * ORDER, 'f64'))),
  }
}

function bestOf(engine: Engine, A: Matrix): number {
  let best = Number.POSITIVE_INFINITY
  for (let run = 0; run < RUNS; run++) {
    const start = performance.now()
    engine.multiply(A, A)
    best = Math.min(best, performance.now() - start)
  }
  return (2 * ORDER ** 3) / (best * 1e6)
}
