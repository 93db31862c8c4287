import type { ModelTraits } from './model-traits.ts'
import { peftModule } from './module.ts'
import type { PeftModule } from './types.ts'

/** Layers that SGLang stacks into one: a missing member is an error there (sglang #25913, #28199). */
export const STACKED_GROUPS = [
  ['q_proj', 'k_proj', 'v_proj'],
  ['gate_proj', 'up_proj'],
] as const

/** The modules stacked with this one, itself among them, as paths; nothing where it stands alone. */
export function stackedWith({ kind, path }: PeftModule): string[] {
  if (kind !== 'linear') return []
  const at = path.lastIndexOf('.') + 1
  const group = STACKED_GROUPS.find((names) => (names as readonly string[]).includes(path.slice(at)))
  return (group ?? []).map((name) => `${path.slice(0, at)}${name}`)
}

/**
 * The modules of the base that are missing from the stacked groups of `modules`: to be written with zeros, and zeros on
 * both sides, for nothing that isn't zero belongs there. `taken` are the paths that are written otherwise.
 */
export function completeGroups(
  modules: readonly PeftModule[],
  base: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  traits: ModelTraits,
  taken: ReadonlySet<string> = new Set(),
): PeftModule[] {
  const paths = new Set([...modules.map(({ path }) => path), ...taken])
  const missing: PeftModule[] = []
  for (const module of modules) {
    for (const path of stackedWith(module)) {
      if (paths.has(path)) continue
      const name = path.slice(path.lastIndexOf('.') + 1)
      const tensor = module.tensor.replace(/[^.]+\.weight$/, `${name}.weight`)
      const stored = base.get(tensor)
      if (stored?.shape.length !== 2) continue
      const sibling = peftModule(tensor, 'matrix', stored.shape, traits)
      if ('reason' in sibling) continue
      paths.add(path)
      missing.push(sibling)
    }
  }
  return missing
}
