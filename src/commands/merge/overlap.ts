/** How parts of a sum lie to each other, in a layer or over all of them. */
export interface Overlap {
  /** ‖wᵢΔᵢ‖_F of each adapter. */
  readonly norms: readonly number[]
  /** Each adapter's share of Σ‖wᵢΔᵢ‖². */
  readonly shares: readonly number[]
  /** The cosine of each pair: 1 where both do the same, −1 where one undoes the other; NaN where one does nothing. */
  readonly cosines: readonly (readonly number[])[]
  /** ‖Σ wᵢΔᵢ‖_F. */
  readonly norm: number
  /**
   * 1 − ‖Σ wᵢΔᵢ‖ / √Σ‖wᵢΔᵢ‖²: what is lost against parts that are orthogonal. 0 where they are, 1 where they cancel, below 0 where
   * they strengthen each other.
   */
  readonly interference: number
}

type Inner = readonly (readonly number[])[]

/** The overlap that inner products ⟨wᵢΔᵢ, wⱼΔⱼ⟩ tell; over several layers they add up. A layer that lacks the last adapters has a smaller matrix. */
export function overlapOf(all: readonly Inner[], count: number): Overlap {
  const at = (i: number, j: number) => all.reduce((sum, inner) => sum + (inner[i]?.[j] ?? 0), 0)
  const indices = Array.from({ length: count }, (_, i) => i)
  const gram = indices.map((i) => indices.map((j) => at(i, j)))
  const norms = gram.map((row, i) => Math.sqrt(Math.max(0, row[i])))
  const squares = norms.reduce((sum, norm) => sum + norm ** 2, 0)
  const norm = Math.sqrt(
    Math.max(
      0,
      gram.flat().reduce((sum, x) => sum + x, 0),
    ),
  )
  return {
    norms,
    shares: norms.map((one) => (squares === 0 ? 0 : one ** 2 / squares)),
    cosines: gram.map((row, i) =>
      row.map((x, j) => (i === j && norms[i] > 0 ? 1 : cosine(x, norms[i] * norms[j]))),
    ),
    norm,
    interference: squares === 0 ? 0 : 1 - norm / Math.sqrt(squares),
  }
}

/** Rounding lets a cosine be a little beyond 1. */
const cosine = (inner: number, norms: number) =>
  norms === 0 ? Number.NaN : Math.max(-1, Math.min(1, inner / norms))
