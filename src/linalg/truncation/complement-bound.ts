import { type Float64Matrix, type Matrix, toFloat64, zeros } from '../matrix/matrix.ts'
import { largestEigenvalue } from './certificate.ts'
import type { Operator } from './krylov.ts'
import { extendBasis, type KrylovEngine, nextBlock, startBasis } from './krylov.ts'
import { orthonormalize } from './orthonormalize.ts'

/**
 * An upper bound, up to a known probability, on μ, the largest eigenvalue of AᵀA on the complement of a space V:
 * block Lanczos from p random vectors, in the manner of Kuczyński & Woźniakowski (SIMAX 13 (1992) 1094), with two
 * sharpenings: all p vectors count together, and the spectrum's own moments stand in for the dimension.
 *
 * Let C be AᵀA on the complement, u its top eigenvector, Z [n, p] a Gaussian block made independently of V and projected off
 * it, τ_j the largest eigenvalue of Zᵀ·Cʲ·Z, and ξ the largest Ritz value of C on [Z, C·Z, …, C^{k−1}·Z]. ζ = Zᵀu is
 * Gaussian with p entries. For every j ≤ 2k − 2, with tanh²α = 1 − ξ/μ,
 *
 *     ‖ζ‖²·μʲ·sinh²((2k − 1 − j)·α) ≤ τ_j.
 *
 * Proof: z = Zζ/‖ζ‖ has zᵀu = ‖ζ‖. Every polynomial f of degree below k has f(C)·z in the space, so Σ f(λ_i)²·(λ_i − ξ)·ζ_i² ≤ 0
 * over the eigenpairs of C with ζ_i = u_iᵀz, hence f(μ)²·(μ − ξ)·‖ζ‖² ≤ max_{λ≤ξ} [f(λ)²·(ξ − λ)/λʲ] · zᵀCʲz and zᵀCʲz ≤ τ_j.
 * For j = 0, λ = ξ·(1 − s²) turns f(λ)·√(ξ − λ) into √ξ times an odd polynomial of degree 2k − 1 in s, best the Chebyshev
 * polynomial, whose value at λ = μ, s = i·sinh α, is i·sinh((2k − 1)·α). For even j, f = λ^{j/2}·h costs j degrees of it. For
 * odd j, f = λ^{(j+1)/2}·h leaves f(λ)²·(ξ − λ)/λʲ = ξ²·(1 − s²)·(s·h)², with s·h of the odd degree 2k − 2 − j in s, best U, the
 * Chebyshev polynomial of the second kind: √(1 − s²)·U(s) = sin((2k − 1 − j)·φ) for s = cos φ, at most 1 in modulus where
 * |s| ≤ 1; and at s = i·sinh α, φ = π/2 − i·α, its modulus is sinh((2k − 1 − j)·α), since 2k − 1 − j is even.
 *
 * So μ is at most the root of the inequality with ‖ζ‖² replaced by a t that it exceeds but for the stated probability.
 * That is one event for all k and all j: looking at the bound after every step costs nothing.
 */

/** Gaussian vectors in the probing block: more make unlucky draws rarer, fewer leave time for more steps. */
export const PROBES = 8
/** Halvings of the bracket of μ/ξ: to 2⁻⁴⁰ of it. */
const BISECTIONS = 40
/** No bound is sought above this multiple of ξ: it would be of no use. */
const LARGEST_RATIO = 2 ** 20

/** What k steps show: ξ ≤ μ, and `mu` ≥ μ but for the probability asked for. */
export interface ComplementBound {
  readonly xi: number
  readonly mu: number
}

/** The t with P(‖ζ‖² < t) ≤ `probability` for ζ of 8 standard normals, from P ≤ (t/2)⁴/4!. */
export function smallChiSquare(probability: number): number {
  return 2 * Math.sqrt(Math.sqrt(24 * probability))
}

/**
 * Bounds on the largest eigenvalue of AᵀA on the complement of the rows of V [l, short], orthonormal, one for each step, sharper and
 * sharper; take as many as needed. Each costs two products of A with eight columns. `draw` must be
 * standard normals independent of V. `roundoff` is how far a computed A·x may be off for a unit x.
 */
export function* complementBounds(
  engine: KrylovEngine,
  A: Operator,
  V: Matrix,
  draw: (columns: number) => Matrix,
  failureProbability: number,
  roundoff: number,
): Generator<ComplementBound, void, void> {
  const room = V.columns - V.rows
  const Z = draw(PROBES)
  const first = orthonormalize(engine, Z, [V], draw).basis
  const start = toFloat64(engine.multiply(first, Z, { transposeA: true }))
  const least = smallChiSquare(failureProbability)
  let basis = startBasis(engine, A, first)
  for (;;) {
    const T = basis.gram
    const xi = (Math.sqrt(largestEigenvalue(engine, T)) + roundoff) ** 2
    if (T.rows >= room) {
      yield { xi, mu: xi }
      return
    }
    yield {
      xi,
      mu: xi * smallestRatio(scaledMoments(engine, T, start, xi, Math.ceil(T.rows / PROBES)), least),
    }
    basis = extendBasis(engine, A, basis, nextBlock(engine, A, basis, draw, [V]))
  }
}

/** τ_j / ξʲ for j = 0 … 2k − 2, from Zᵀ·Cʲ·Z = startᵀ·(Tʲ)₀₀·start. */
function scaledMoments(
  engine: KrylovEngine,
  T: Float64Matrix,
  start: Float64Matrix,
  xi: number,
  steps: number,
): number[] {
  const p = start.columns
  const C = { ...T, data: T.data.map((x) => (xi > 0 ? x / xi : 0)) }
  let X = zeros(T.rows, p)
  X.data.set(start.data)
  const moments: number[] = []
  for (let a = 0; a < steps; a++) {
    moments.push(largestEigenvalue(engine, engine.gram(X)))
    if (a === steps - 1) break
    const next = toFloat64(engine.multiply(C, X))
    const G = toFloat64(engine.multiply(X, next, { transposeA: true }))
    moments.push(largestEigenvalue(engine, G))
    X = next
  }
  return moments
}

/** The least ρ = μ/ξ that some j excludes anything above: t·ρʲ·sinh²((2k − 1 − j)·α) = τ_j / ξʲ, sinh α = √(ρ − 1). */
function smallestRatio(moments: readonly number[], least: number): number {
  const degree = moments.length
  const excluded = (ratio: number) => {
    const growth = Math.sqrt(ratio) + Math.sqrt(ratio - 1)
    return moments.some((moment, j) => {
      const power = integerPower(growth, degree - j)
      const sinh = (power - 1 / power) / 2
      return least * integerPower(ratio, j) * sinh * sinh > moment
    })
  }
  let low = 1
  let high = LARGEST_RATIO
  for (let i = 0; i < BISECTIONS; i++) {
    const middle = Math.sqrt(low * high)
    if (excluded(middle)) high = middle
    else low = middle
  }
  return high
}

/** xⁿ by products, which are the same bits everywhere. */
function integerPower(x: number, n: number): number {
  let power = 1
  for (let i = 0; i < n; i++) power *= x
  return power
}
