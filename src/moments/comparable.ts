import { ratioOfNorms } from '../linalg/matrix/norms.ts'

/**
 * Layers that can be added up: one without moments counts as if its inputs were as large as those of the others are on average. `norms` gives
 * ‖Δ·R‖_F and ‖Δ‖_F of a layer that has them, and `scaled` makes one larger.
 */
export function comparable<L>(
  layers: readonly L[],
  norms: (layer: L) => { readonly felt: number; readonly plain: number } | undefined,
  scaled: (layer: L, by: number) => L,
): readonly L[] {
  const known = layers.flatMap((layer) => norms(layer) ?? [])
  if (known.length === 0 || known.length === layers.length) return layers
  const size = ratioOfNorms(
    known.map(({ felt }) => felt),
    known.map(({ plain }) => plain),
  )
  return layers.map((layer) => (norms(layer) === undefined ? scaled(layer, size) : layer))
}
