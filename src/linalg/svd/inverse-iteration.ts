import { epsilonOf } from '../matrix/matrix.ts'
import { largestAbs } from '../matrix/norms.ts'
import { add, dot } from '../matrix/vector.ts'
import { type Block, rowOf } from './kernels.ts'
import type { TridiagonalReduction } from './symmetric-eigen.ts'

/** Solves for one vector; two are usual. */
const MOST_SOLVES = 5
/** What is left of T·z − ρ·z at most, in epsilons of ‖T‖, and how far ρ may be from the eigenvalue. */
const RESIDUAL = 16
const DISTANCE = 64

/**
 * Z ← eigenvectors of G = Q·T·Qᵀ, orthonormal in its rows [r, n], for the eigenvalues λ(0), λ(1), … of T [r]: a few that lie next to one another
 * at one end. Inverse iteration on T (LAPACK xSTEIN), each vector made orthogonal to all before it and not only to those of its cluster; then
 * the reflectors of the reduction. Gives whether every vector has a residual as small as divide and conquer leaves, which is likely but
 * not sure.
 */
export function inverseIteration(reduction: TridiagonalReduction, values: Float64Array, Z: Block): boolean {
  const { diagonal: d, offDiagonal: e, reflectors, tau } = reduction
  const n = d.length
  let norm = 0
  for (let i = 0; i < n; i++)
    norm = Math.max(norm, Math.abs(d[i]) + Math.abs(e[i - 1] ?? 0) + Math.abs(e[i] ?? 0))
  const ulp = epsilonOf.f64 * norm
  for (let j = 0; j < values.length; j++) if (!findVector(d, e, values[j], ulp, Z, j)) return false
  for (let i = tau.length - 1; i >= 0; i--) {
    const v = rowOf(reflectors, i, i + 1).slice()
    v[0] = 1
    for (let j = 0; j < Z.rows; j++) {
      const z = rowOf(Z, j, i + 1)
      add(-tau[i] * dot(z, v), v, z)
    }
  }
  return true
}

/** Row j of Z ← the unit eigenvector of λ, orthogonal to the rows before it; whether its residual is small. */
function findVector(
  d: Float64Array,
  e: Float64Array,
  lambda: number,
  ulp: number,
  Z: Block,
  j: number,
): boolean {
  const lu = factors(d, e, lambda, ulp)
  const z = startVector(rowOf(Z, j), j)
  for (let solves = 1; solves <= MOST_SOLVES; solves++) {
    solve(lu, z)
    normalise(z, largestAbs(z))
    // once more, since what is left may be little beside what was taken away
    for (let times = 0; times < 2; times++) {
      for (let k = 0; k < j; k++) {
        const before = rowOf(Z, k)
        add(-dot(z, before), before, z)
      }
      normalise(z, Math.sqrt(dot(z, z)))
    }
    if (solves > 1 && isEigenvector(d, e, lambda, ulp, z)) return true
  }
  return false
}

/** Numbers in [−1/2, 1/2) that look random, other ones for each vector. */
function startVector(z: Float64Array, j: number): Float64Array {
  let state = j + 1
  for (let i = 0; i < z.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    z[i] = state / 2 ** 32 - 0.5
  }
  return z
}

function normalise(z: Float64Array, size: number): void {
  for (let i = 0; i < z.length; i++) z[i] /= size
}

function isEigenvector(
  d: Float64Array,
  e: Float64Array,
  lambda: number,
  ulp: number,
  z: Float64Array,
): boolean {
  const n = z.length
  const product = (i: number) =>
    (i > 0 ? e[i - 1] * z[i - 1] : 0) + d[i] * z[i] + (i < n - 1 ? e[i] * z[i + 1] : 0)
  let quotient = 0
  for (let i = 0; i < n; i++) quotient += z[i] * product(i)
  let squares = 0
  for (let i = 0; i < n; i++) squares += (product(i) - quotient * z[i]) ** 2
  return Math.sqrt(squares) <= RESIDUAL * ulp && Math.abs(quotient - lambda) <= DISTANCE * ulp
}

/** P·(T − λ) = L·U by rows, with partial pivoting (LAPACK xLAGTF): U has two diagonals above its own. */
interface Factors {
  readonly u0: Float64Array
  readonly u1: Float64Array
  readonly u2: Float64Array
  readonly multiplier: Float64Array
  /** 1 where row i was exchanged with the next. */
  readonly swapped: Uint8Array
}

function factors(d: Float64Array, e: Float64Array, lambda: number, ulp: number): Factors {
  const n = d.length
  const [u0, u1, u2, multiplier] = [0, 1, 2, 3].map(() => new Float64Array(n))
  const swapped = new Uint8Array(n)
  let diagonal = d[0] - lambda
  let beside = n > 1 ? e[0] : 0
  for (let i = 0; i < n - 1; i++) {
    const below = e[i]
    const next = d[i + 1] - lambda
    const nextBeside = i + 2 < n ? e[i + 1] : 0
    if (Math.abs(below) > Math.abs(diagonal)) {
      swapped[i] = 1
      multiplier[i] = diagonal / below
      u0[i] = below
      u1[i] = next
      u2[i] = nextBeside
      diagonal = beside - multiplier[i] * next
      beside = -multiplier[i] * nextBeside
    } else {
      u0[i] = atLeast(ulp, diagonal)
      multiplier[i] = below / u0[i]
      u1[i] = beside
      diagonal = next - multiplier[i] * beside
      beside = nextBeside
    }
  }
  u0[n - 1] = atLeast(ulp, diagonal)
  return { u0, u1, u2, multiplier, swapped }
}

const atLeast = (ulp: number, x: number): number => (Math.abs(x) >= ulp ? x : x < 0 ? -ulp : ulp)

/** z ← (T − λ)⁻¹·z. */
function solve({ u0, u1, u2, multiplier, swapped }: Factors, z: Float64Array): void {
  const n = z.length
  for (let i = 0; i < n - 1; i++) {
    if (swapped[i] === 1) {
      const held = z[i]
      z[i] = z[i + 1]
      z[i + 1] = held - multiplier[i] * z[i]
    } else z[i + 1] -= multiplier[i] * z[i]
  }
  for (let i = n - 1; i >= 0; i--) {
    let sum = z[i]
    if (i + 1 < n) sum -= u1[i] * z[i + 1]
    if (i + 2 < n) sum -= u2[i] * z[i + 2]
    z[i] = sum / u0[i]
  }
}
