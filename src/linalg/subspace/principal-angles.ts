import { arcTangent } from '../../random/portable-math.ts'
import type { Engine } from '../engine.ts'
import type { Matrix } from '../matrix/matrix.ts'
import { difference } from '../truncation/columns.ts'

/** What multiplies and decomposes. */
export type AngleEngine = Pick<Engine, 'multiply' | 'qr' | 'svd'>

/** From this squared cosine on, 45°, the sine tells the angle better than the cosine does. */
const HALF = 0.5

const DEGREES = 180 / Math.PI

/**
 * The principal angles between the spans of two bases P [n, p] and Q [n, q], min(p, q) of them, in degrees and ascending. The bases are
 * made orthonormal to rounding first: it is enough that their vectors are independent. Large ones are had from the singular values of PᵀQ, their cosines; small ones from those of Q − P·PᵀQ, their sines, so
 * that each is right to rounding (Björck and Golub, Numerical Methods for Computing Angles between Linear Subspaces, 1973, 3;
 * Knyazev and Argentati 2002, algorithm 3.1).
 */
export function principalAngles(engine: AngleEngine, P: Matrix, Q: Matrix): Float64Array {
  if (P.columns === 0 || Q.columns === 0) return new Float64Array(0)
  const [large, small] = (P.columns >= Q.columns ? [P, Q] : [Q, P]).map((X) => engine.qr(X).Q)
  const along = engine.multiply(large, small, { transposeA: true })
  const across = difference(small, engine.multiply(large, along))
  const cosines = engine.svd(along, 'none').S
  const sines = engine.svd(engine.qr(across).R, 'none').S
  return cosines.map((cosine, k) => angleOf(cosine, sines[sines.length - 1 - k])).sort()
}

/** By the one of the two that is not near 1. */
function angleOf(cosine: number, sine: number): number {
  if (cosine * cosine >= HALF) return DEGREES * arcTangent(sine / Math.sqrt(1 - sine * sine))
  return DEGREES * arcTangent(Math.sqrt(1 - cosine * cosine) / cosine)
}
