import type { Engine } from '../engine.ts'
import { type Float64Matrix, zeros } from '../matrix/matrix.ts'
import type { RitzPairs } from './krylov.ts'

/**
 * How far the best approximation can be from what Ritz pairs of AᵀA show.
 *
 * Let V [n, l] be orthonormal, VᵀAᵀA·V = diag(θ) with θ non-increasing, S = AᵀA·V − V·diag(θ), and μ at least the largest
 * eigenvalue of AᵀA on the complement of V. In the basis [V, complement]
 *
 *     AᵀA  ≤  [ diag(θ)  Sᵀ  ]          and, for the part that is orthogonal to the first k Ritz vectors,
 *             [ S        μ·I ]          AᵀA ≤ μ_k,  μ_k = (θ_{k+1} + μ)/2 + √(((θ_{k+1} − μ)/2)² + ‖S_{k+1…l}‖₂²).
 *
 * With σ the singular values of A, for every k ≤ r:
 *
 *     (G0)  Σ_{i≤k} (σ_i² − θ_i) ≤ k·‖S‖₂² / (θ_k − μ)                       where θ_k > μ
 *     (G1)  Σ_{i≤k} (σ_i² − θ_i) ≤ Σ_{i≤k} ‖s_i‖² / (θ_i − μ_k)              where θ_k > μ_k
 *     (W)   σ_i² ≤ μ_{i−1}
 *     (K)   Σ_{k<i≤r} σ_i² ≤ Σ_{i≤r−k} λ_i,  λ the eigenvalues of the matrix on the right without the first k Ritz vectors, and as many more that are μ
 *
 * G1: subtract μ_k; K = [[D, Sᵀ], [S, 0]] has as many positive eigenvalues as D > 0 has, so the sum of the k largest less
 * tr D is the sum of the moduli of the negative ones, which completing the square bounds by tr(S·D⁻¹·Sᵀ). G0: Young's
 * inequality with one constant for all vectors (one for each would reorder them). W: the min-max theorem with the
 * first i − 1 Ritz vectors as the space left out; never weaker than Weyl's max(θ_i, μ) + ‖S‖₂. K: the same, with
 * Weyl's monotonicity. With k = 0 and nothing rounded the others follow from K; where the values around the r-th lie close together it is several times
 * as sharp.
 *
 * Rounding. What is subtracted in the end is not θ_i but S_i², formed in float64 from the leading Ritz vectors: eigenvalues of
 * AᵀA on their span, which lie within shift(i) of the computed θ_i, as the exact eigenvalues on the whole of V do. G1 takes that
 * span as the space and counts the rest of V with the residual, so that its D is diag(S_i²) itself: a longer residual by
 * shift(i), and a gap that is smaller by it. G0 bounds by eigenvalues on V, two shifts above S_i²; W by θ_i, one above. In K
 * the errors of the block on V and of the residuals raise the sum of eigenvalues by at most the sum of shifts of k < i ≤ r each (Ky Fan; Horn
 * for the products of A·V with its errors), and what was left out of the residuals by √(r − k) times its length: G1 for what stands apart and K for the rest keep that small.
 */

/** In how many places at most the split of the bound into G and W is tried: evenly spaced, and close to r. */
const SPLITS = 8
/** Places among the first half of the Ritz values at which G may leave the rest to K: few, since each takes the eigenvalues of a matrix. */
const KY_FAN_SPLITS = 8

/** What floating point may have done to the Ritz pairs. */
export interface Rounding {
  /** How far a computed A·x or Aᵀ·y may be off for a unit vector: shifts √θ_i, and s_i by twice that times √θ_i. */
  readonly product: number
  /** How far the eigenvalues of a Gram matrix may be off: shifts every θ_i and s_i by as much. */
  readonly sum: number
  /** The length of what was left out of the residuals. */
  readonly lost: number
}

/** How far θ_i, and the length of s_i, may be off. */
export function shiftOf(theta: number, { product, sum }: Rounding): number {
  return 2 * product * Math.sqrt(theta + sum) + product * product + sum
}

/** At least the sum of all eigenvalues of AᵀA on the complement of the basis, hence at least the largest. */
export function leftoverEnergy({ theta }: RitzPairs, total: number, rounding: Rounding): number {
  let left = total
  let slack = rounding.sum
  for (const value of theta) {
    left -= value
    slack += shiftOf(value, rounding)
  }
  return Math.max(0, left) + slack
}

export interface ExcessBound {
  /** At least Σ_{i≤r} (σ_i² − θ_i), for r ≤ l; a coarser bound where none is as low as `enough`. */
  excess(r: number, enough?: number): number
  /** At least σ_{r+1}², and ‖A − A·V_r·V_rᵀ‖₂²: μ_r. For r ≤ l. */
  beyond(r: number): number
  /** At most σ_{r+1}²: θ_{r+1}, by Cauchy's interlacing. */
  next(r: number): number
}

/** The theorem above as numbers. Bounds for different μ share the norms in `norms`. */
export function excessBound(
  { theta, residuals }: RitzPairs,
  norms: ResidualNorms,
  mu: number,
  rounding: Rounding,
): ExcessBound {
  const l = theta.length
  const shift = (i: number) => shiftOf(theta[i], rounding)
  const shifts = (count: number) => theta.subarray(0, count).reduce((sum, _, i) => sum + shift(i), 0)

  function beyond(k: number, normOf = k): number {
    if (k >= l) return mu
    const slack = shift(k)
    const top = theta[k] + slack
    const norm = norms.from(normOf) + slack + rounding.lost
    const half = (top - mu) / 2
    return Math.max(mu, (top + mu) / 2 + Math.sqrt(half * half + norm * norm))
  }

  function gapBound(k: number): number {
    const muK = beyond(k)
    let sum = 0
    for (let i = 0; i < k; i++) {
      const gap = theta[i] - shift(i) - muK
      if (!(gap > 0)) return Number.POSITIVE_INFINITY
      sum += (norms.of(i) + shift(i) + rounding.lost) ** 2 / gap
    }
    const gap = k === 0 ? 0 : theta[k - 1] - shift(k - 1) - mu
    const constant =
      gap > 0
        ? (k * (norms.from(0) + shift(0) + rounding.lost) ** 2) / gap + 2 * shifts(k)
        : Number.POSITIVE_INFINITY
    return Math.min(sum, constant)
  }

  /** Σ_{i=from+1…r} of W; norms of more columns than needed only enlarge it, so few of them are computed. */
  function minMaxBound(from: number, r: number): number {
    let sum = 0
    for (let i = from; i < r; i++) sum += Math.max(0, beyond(i, from) - theta[i] + shift(i))
    return sum
  }

  const compound = new Map<number, Float64Array>()
  /** K without the first k Ritz vectors. */
  function kyFanBound(k: number, r: number): number {
    let sums = compound.get(k)
    if (sums === undefined) {
      sums = norms.compoundSums(theta, mu, k)
      compound.set(k, sums)
    }
    const known = theta.subarray(k, r).reduce((sum, value) => sum + value, 0)
    return Math.max(0, sums[r - k] - known) + kyFanSlack(k, r)
  }
  const kyFanSlack = (k: number, r: number) => 3 * (shifts(r) - shifts(k)) + Math.sqrt(r - k) * rounding.lost

  /** What K comes to at least, without its eigenvalues. */
  function leastKyFan(k: number, r: number): number {
    let sum = kyFanSlack(k, r)
    for (let i = k; i < r; i++) sum += Math.max(0, mu - theta[i])
    return sum
  }

  /** G with K for the rest, where it promises most. */
  function gapWithKyFan(r: number, enough: number): number {
    let best = { k: 0, gap: 0, least: Number.POSITIVE_INFINITY }
    for (let j = 0; j < KY_FAN_SPLITS; j++) {
      const k = Math.floor((l * j) / (2 * KY_FAN_SPLITS))
      if (k > r) break
      const gap = gapBound(k)
      const least = gap + leastKyFan(k, r)
      if (least < best.least) best = { k, gap, least }
    }
    return best.least > enough ? best.least : best.gap + kyFanBound(best.k, r)
  }

  function excess(r: number, enough = Number.POSITIVE_INFINITY): number {
    if (residuals.rows === 0 && rounding.lost === 0) return 2 * shifts(r)
    const splits = splitsOf(r)
    let best = Number.POSITIVE_INFINITY
    let beyondSplit = 0
    for (let s = splits.length - 1; s >= 0; s--) {
      const k = splits[s]
      beyondSplit += minMaxBound(k, splits[s + 1] ?? r)
      best = Math.min(best, gapBound(k) + beyondSplit)
    }
    const least = gapWithKyFan(r, Math.min(best, enough))
    return least > enough ? best : Math.min(best, least)
  }
  const next = (r: number) => (r < l ? Math.max(0, theta[r] - shift(r)) : 0)
  return { excess, beyond, next }
}

/** r, r − 1, r − 2, r − 4, … and evenly spaced down to 0, ascending. */
function splitsOf(r: number): number[] {
  const places = new Set([0, r])
  for (let step = 1; step < r; step *= 2) places.add(r - step)
  for (let i = 1; i < SPLITS; i++) places.add(Math.floor((r * i) / SPLITS))
  return [...places].sort((a, b) => a - b)
}

export interface ResidualNorms {
  /** ‖s_i‖, i from 0. */
  of(i: number): number
  /** ‖S_{k+1…l}‖₂: the norm of all columns but the first k. */
  from(k: number): number
  /** At [r] the sum of the r largest of the eigenvalues of [[diag(θ), Sᵀ], [S, μ·I]], both without the first k columns, and of as many more that are μ. r ≤ l − k. */
  compoundSums(theta: Float64Array, mu: number, k: number): Float64Array
}

/** Norms of the columns of S, and of ranges of them, each computed when first asked for. */
export function residualNorms(
  engine: Pick<Engine, 'symmetricEigen'>,
  residuals: Float64Matrix,
): ResidualNorms {
  const { rows: b, columns: l, data } = residuals
  const lengths = new Float64Array(l)
  for (let i = 0; i < b; i++) for (let j = 0; j < l; j++) lengths[j] += data[i * l + j] ** 2
  for (let j = 0; j < l; j++) lengths[j] = Math.sqrt(lengths[j])
  const known = new Map<number, number>()

  function from(k: number): number {
    let norm = known.get(k)
    if (norm === undefined) {
      norm = Math.sqrt(largestEigenvalue(engine, outerGram(residuals, k)))
      known.set(k, norm)
    }
    return norm
  }
  function compoundSums(theta: Float64Array, mu: number, k: number): Float64Array {
    const kept = l - k
    const n = kept + b
    if (!Number.isFinite(mu)) return new Float64Array(kept + 1).fill(mu)
    const K = zeros(n, n)
    for (let i = 0; i < kept; i++) K.data[i * n + i] = theta[k + i]
    for (let i = 0; i < b; i++) {
      const row = kept + i
      K.data[row * n + row] = mu
      for (let j = 0; j < kept; j++) {
        K.data[row * n + j] = data[i * l + k + j]
        K.data[j * n + row] = data[i * l + k + j]
      }
    }
    const { values } = engine.symmetricEigen(K, 'none')
    const sums = new Float64Array(kept + 1)
    for (let r = 0; r < kept; r++) sums[r + 1] = sums[r] + Math.max(mu, values[n - 1 - r])
    return sums
  }

  return { of: (i) => lengths[i], from, compoundSums }
}

/** The largest eigenvalue of a positive semidefinite matrix. */
export function largestEigenvalue(engine: Pick<Engine, 'symmetricEigen'>, G: Float64Matrix): number {
  if (G.rows === 0) return 0
  return Math.max(0, engine.symmetricEigen(G, 'none').values[G.rows - 1])
}

/** Σ_{i≥k} s_i·s_iᵀ. */
function outerGram({ rows: b, columns: l, data }: Float64Matrix, k: number): Float64Matrix {
  const G = zeros(b, b)
  for (let i = 0; i < b; i++) {
    for (let j = i; j < b; j++) {
      let sum = 0
      for (let c = k; c < l; c++) sum += data[i * l + c] * data[j * l + c]
      G.data[i * b + j] = sum
      G.data[j * b + i] = sum
    }
  }
  return G
}
