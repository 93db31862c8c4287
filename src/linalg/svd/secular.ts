import { LoraSvdError } from '../../errors.ts'
import { epsilonOf } from '../matrix/matrix.ts'
import { type Block, rowOf } from './kernels.ts'

/** Steps allowed for one root; four to seven are usual, bisection between them bounds the rest. */
const MAX_STEPS = 120

/** A step must shrink |f| by this factor, or the next one uses the other model, then bisection. */
const SUFFICIENT_DECREASE = 0.1

/** The eigenproblem diag(d) + rho·z·zᵀ with d strictly ascending, every z(i) ≠ 0, ‖z‖ ≤ 1 and rho > 0. */
export interface RankOneUpdate {
  readonly d: Float64Array
  /** The squares of z. */
  readonly z2: Float64Array
  readonly rho: number
}

/**
 * Root j of f(x) = 1/rho + Σ z(i)²/(d(i) − x), counted from 0, which lies between d(j) and d(j + 1), the last one
 * between d(n − 1) and d(n − 1) + rho. `delta` [n] receives d(i) − x, each with small relative error: the unknown is
 * the distance from the nearer pole. Rational interpolation at the two neighbouring poles, the fixed-weight scheme
 * and the middle way in turn (Li 1994, LAPACK working note 89; xLAED4), kept inside a bracket by bisection.
 */
export function secularRoot(problem: RankOneUpdate, j: number, delta: Float64Array): number {
  const { d, z2, rho } = problem
  const n = d.length
  if (n === 1) {
    delta[0] = -rho * z2[0]
    return d[0] + rho * z2[0]
  }
  const start = j === n - 1 ? startLast(problem) : startInner(problem, j)
  const { origin } = start
  let { low, high, tau } = start
  const base = d[origin]
  // The poles of the interpolation: those beside the root, for the last root the two below it.
  const left = j === n - 1 ? n - 2 : j
  const right = left + 1
  const value = new Float64Array(5)
  let previous = Number.POSITIVE_INFINITY
  let slow = 0
  for (let step = 0; step < MAX_STEPS; step++) {
    evaluate(problem, left, base, tau, value)
    const f = value[0]
    if (Math.abs(f) <= epsilonOf.f64 * value[3]) return finish(d, base, tau, delta)
    if (f < 0) low = tau
    else high = tau
    slow = Math.abs(f) > SUFFICIENT_DECREASE * previous ? slow + 1 : 0
    previous = Math.abs(f)
    let next = tau
    if (slow < 3) {
      const dl = d[left] - base - tau
      const dr = d[right] - base - tau
      next =
        tau +
        interpolate(
          value,
          dl,
          dr,
          j === n - 1,
          slow % 2 === 0,
          origin === left ? z2[left] : z2[right],
          origin === left,
        )
    }
    if (!(next > low && next < high)) {
      next = low + (high - low) / 2
      // The bracket is down to neighbouring numbers: no better root exists.
      if (next === low || next === high) return finish(d, base, tau, delta)
    }
    if (slow >= 3) slow = 0
    tau = next
  }
  throw rootNotFound(j, n)
}

export const rootNotFound = (j: number, n: number) =>
  new LoraSvdError('no-convergence', `root ${j} of the secular equation of order ${n} did not converge`)

function finish(d: Float64Array, base: number, tau: number, delta: Float64Array): number {
  for (let i = 0; i < d.length; i++) delta[i] = d[i] - base - tau
  return base + tau
}

/**
 * At x = base + tau: value[0] = f, value[1] = Σ of z²/δ² over i ≤ left, value[2] = the same over i > left,
 * value[3] = a bound, in units of epsilonOf.f64, of the rounding error of f. Sums run towards the root, small terms first.
 */
function evaluate(
  problem: RankOneUpdate,
  left: number,
  base: number,
  tau: number,
  value: Float64Array,
): void {
  const { d, z2, rho } = problem
  let psi = 0
  let slopeLeft = 0
  let error = 0
  for (let i = 0; i <= left; i++) {
    const inverse = 1 / (d[i] - base - tau)
    const term = z2[i] * inverse
    psi += term
    slopeLeft += term * inverse
    error += psi
  }
  error = Math.abs(error)
  let phi = 0
  let slopeRight = 0
  let errorRight = 0
  for (let i = d.length - 1; i > left; i--) {
    const inverse = 1 / (d[i] - base - tau)
    const term = z2[i] * inverse
    phi += term
    slopeRight += term * inverse
    errorRight += phi
  }
  const constant = 1 / rho
  value[0] = constant + psi + phi
  value[1] = slopeLeft
  value[2] = slopeRight
  value[3] =
    error +
    Math.abs(errorRight) +
    8 * (Math.abs(psi) + Math.abs(phi)) +
    constant +
    Math.abs(tau) * (slopeLeft + slopeRight)
}

/**
 * The step to the root of c + q/(dl − η) + s/(dr − η), which agrees with f and its slope at η = 0. The middle way
 * matches the two halves of f separately; the fixed weight keeps q (or s) = z² of the pole at the origin.
 */
function interpolate(
  value: Float64Array,
  dl: number,
  dr: number,
  last: boolean,
  fixedWeight: boolean,
  weight: number,
  originLeft: boolean,
): number {
  const [f, slopeLeft, slopeRight] = value
  const slope = slopeLeft + slopeRight
  let c: number
  if (last || !fixedWeight) c = f - dl * slopeLeft - dr * slopeRight
  else if (originLeft) c = f - dr * slope - ((dl - dr) * weight) / (dl * dl)
  else c = f - dl * slope - ((dr - dl) * weight) / (dr * dr)
  const a = (dl + dr) * f - dl * dr * slope
  const b = dl * dr * f
  const root = Math.sqrt(Math.abs(a * a - 4 * b * c))
  let step: number
  if (c === 0) step = b / a
  else if (last) step = a >= 0 ? (a + root) / (2 * c) : (2 * b) / (a - root)
  else step = a <= 0 ? (a - root) / (2 * c) : (2 * b) / (a + root)
  return f * step < 0 ? step : -f / slope
}

interface Start {
  readonly origin: number
  readonly low: number
  readonly high: number
  readonly tau: number
}

/** Bracket and first guess for root j < n − 1: f at the middle tells which pole is nearer. */
function startInner({ d, z2, rho }: RankOneUpdate, j: number): Start {
  const gap = d[j + 1] - d[j]
  const middle = gap / 2
  let rest = 1 / rho
  for (let i = 0; i < d.length; i++) {
    if (i !== j && i !== j + 1) rest += z2[i] / (d[i] - d[j] - middle)
  }
  const f = rest - z2[j] / middle + z2[j + 1] / middle
  if (f >= 0) {
    const a = rest * gap + z2[j] + z2[j + 1]
    const b = z2[j] * gap
    const root = Math.sqrt(Math.abs(a * a - 4 * b * rest))
    const tau = a > 0 ? (2 * b) / (a + root) : (a - root) / (2 * rest)
    return within({ origin: j, low: 0, high: middle, tau })
  }
  const a = rest * gap - z2[j] - z2[j + 1]
  const b = z2[j + 1] * gap
  const root = Math.sqrt(Math.abs(a * a + 4 * b * rest))
  const tau = a < 0 ? (2 * b) / (a - root) : -(a + root) / (2 * rest)
  return within({ origin: j + 1, low: -middle, high: 0, tau })
}

/** Bracket and first guess for the last root, right of every pole. */
function startLast({ d, z2, rho }: RankOneUpdate): Start {
  const last = d.length - 1
  const gap = d[last] - d[last - 1]
  const middle = rho / 2
  let rest = 1 / rho
  for (let i = 0; i < last - 1; i++) rest += z2[i] / (d[i] - d[last] - middle)
  const f = rest + z2[last - 1] / (-gap - middle) - z2[last] / middle
  const a = -rest * gap + z2[last - 1] + z2[last]
  const b = z2[last] * gap
  const root = Math.sqrt(Math.max(0, a * a + 4 * b * rest))
  const tau = a < 0 ? (2 * b) / (root - a) : (a + root) / (2 * rest)
  // f is increasing and z may round to a norm a little above 1: twice rho bounds the root in any case.
  if (f <= 0) return within({ origin: last, low: middle, high: 2 * rho, tau })
  return within({ origin: last, low: 0, high: middle, tau })
}

/** The start with its guess moved to the middle of the bracket unless it lies inside. */
function within(start: Start): Start {
  const { low, high, tau } = start
  return tau > low && tau < high ? start : { ...start, tau: low + (high - low) / 2 }
}

/** All roots; row j of S receives d(i) − root(j) over i. */
export function secularRoots(problem: RankOneUpdate, S: Block): Float64Array {
  const roots = new Float64Array(problem.d.length)
  for (let j = 0; j < roots.length; j++) roots[j] = secularRoot(problem, j, rowOf(S, j))
  return roots
}

/**
 * Overwrites the first `needed` rows of S by the unit eigenvectors, entry i at column position(i). The z of which the
 * computed roots are exact: ẑ(i)² = Π (root(j) − d(i)) / Π over j ≠ i of (d(j) − d(i)).
 */
export function secularVectors(
  d: Float64Array,
  z: Float64Array,
  S: Block,
  position: Int32Array,
  needed: number,
): void {
  const k = d.length
  const squares = new Float64Array(k)
  for (let i = 0; i < k; i++) squares[i] = -rowOf(S, i)[i]
  for (let j = 0; j < k; j++) {
    const differences = rowOf(S, j)
    const dj = d[j]
    for (let i = 0; i < j; i++) squares[i] *= differences[i] / (d[i] - dj)
    for (let i = j + 1; i < k; i++) squares[i] *= differences[i] / (d[i] - dj)
  }
  const exact = new Float64Array(k)
  for (let i = 0; i < k; i++) {
    const root = Math.sqrt(Math.abs(squares[i]))
    exact[i] = z[i] < 0 ? -root : root
  }
  const vector = new Float64Array(k)
  for (let j = 0; j < needed; j++) {
    const row = rowOf(S, j)
    let sum = 0
    for (let i = 0; i < k; i++) {
      const entry = exact[i] / row[i]
      vector[i] = entry
      sum += entry * entry
    }
    const scale = 1 / Math.sqrt(sum)
    for (let i = 0; i < k; i++) row[position[i]] = vector[i] * scale
  }
}
