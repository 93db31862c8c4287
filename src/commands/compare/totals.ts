import { frobeniusNorm } from '../../linalg/matrix/norms.ts'
import { type LayerOverlap, pairAt } from './compare-layer.ts'
import type { OverlapFigures } from './result.ts'

/** A layer with the shape of its weight. */
export interface ShapedOverlap extends LayerOverlap {
  readonly shape: readonly [rows: number, columns: number]
}

/** The figures of all pairs of adapters over all layers. */
export interface Totals {
  /** ‖Δ‖_F of each adapter. */
  readonly norms: readonly number[]
  /** Of i and j, in either order. */
  of(i: number, j: number): OverlapFigures
}

/** What is added up of a pair, i < j. */
const SUMS = [
  'cosine',
  'keptFirst',
  'keptSecond',
  'columns',
  'rows',
  'angles',
  'byColumns',
  'byRows',
] as const

/**
 * Adds up layers. A cosine and a share of ‖Δ‖² count by the norms that the adapters have in the layer, over the norms of the whole
 * adapters, so that what one alone changes counts as not shared; the mean cos² of subspaces by the number of their angles.
 */
export function totalsOf(layers: readonly ShapedOverlap[], count: number): Totals {
  const norms = normsOf(layers, count)
  const pairs = (count * (count - 1)) / 2
  const sums = Object.fromEntries(SUMS.map((name) => [name, new Float64Array(pairs)])) as Record<
    (typeof SUMS)[number],
    Float64Array
  >
  for (const { adapters, ranks, pairs: found, norms: own, shape } of layers) {
    const weights = own.map((norm, k) => (norm === 0 ? 0 : norm / norms[adapters[k]]))
    for (let k = 0; k < adapters.length; k++) {
      for (let l = k + 1; l < adapters.length; l++) {
        if (ranks[k] === 0 || ranks[l] === 0) continue
        const from = pairAt(k, l, adapters.length)
        const to = pairAt(adapters[k], adapters[l], count)
        const angles = Math.min(ranks[k], ranks[l])
        sums.cosine[to] += found.cosine[from] * weights[k] * weights[l]
        sums.keptFirst[to] += found.keptFirst[from] * weights[k] ** 2
        sums.keptSecond[to] += found.keptSecond[from] * weights[l] ** 2
        sums.columns[to] += found.columns[from] * angles
        sums.rows[to] += found.rows[from] * angles
        sums.angles[to] += angles
        sums.byColumns[to] += chanceOf(ranks[k], ranks[l], shape[0]) * angles
        sums.byRows[to] += chanceOf(ranks[k], ranks[l], shape[1]) * angles
      }
    }
  }
  return {
    norms,
    of(i, j) {
      if (norms[i] === 0 || norms[j] === 0) return NONE
      if (i === j) return SAME
      const at = pairAt(Math.min(i, j), Math.max(i, j), count)
      const kept = [Math.min(1, sums.keptFirst[at]), Math.min(1, sums.keptSecond[at])] as const
      const mean = (sum: number) => sum / sums.angles[at]
      return {
        cosine: Math.max(-1, Math.min(1, sums.cosine[at])),
        overlap: { columns: mean(sums.columns[at]), rows: mean(sums.rows[at]) },
        chance: { columns: mean(sums.byColumns[at]), rows: mean(sums.byRows[at]) },
        kept: i < j ? kept : [kept[1], kept[0]],
      }
    },
  }
}

const figures = (value: number): OverlapFigures => ({
  cosine: value,
  overlap: { columns: value, rows: value },
  chance: { columns: value, rows: value },
  kept: [value, value],
})
const NONE = figures(Number.NaN)
const SAME = figures(1)

/** The mean cos² that p and q directions of so many dimensions have on average: ‖PᵀQ‖² is p·q / n. */
export const chanceOf = (p: number, q: number, dimensions: number) => Math.max(p, q) / dimensions

function normsOf(layers: readonly ShapedOverlap[], count: number): number[] {
  const all = Array.from({ length: count }, (): number[] => [])
  for (const { adapters, norms } of layers) {
    for (const [k, adapter] of adapters.entries()) all[adapter].push(norms[k])
  }
  return all.map((norms) => frobeniusNorm(Float64Array.from(norms)))
}

/** The figures of the k-th and l-th adapter, k < l, of those of one layer. */
export function figuresIn(
  { adapters, ranks, pairs, shape }: ShapedOverlap,
  k: number,
  l: number,
): OverlapFigures {
  if (ranks[k] === 0 || ranks[l] === 0) return NONE
  const at = pairAt(k, l, adapters.length)
  return {
    cosine: pairs.cosine[at],
    overlap: { columns: pairs.columns[at], rows: pairs.rows[at] },
    chance: {
      columns: chanceOf(ranks[k], ranks[l], shape[0]),
      rows: chanceOf(ranks[k], ranks[l], shape[1]),
    },
    kept: [pairs.keptFirst[at], pairs.keptSecond[at]],
  }
}
