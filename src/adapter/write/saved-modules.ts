import type { Skipped } from '../../checkpoint/types.ts'
import { quoted } from '../../formats/quote.ts'
import type { ModelTraits } from './model-traits.ts'
import { pathOf } from './module.ts'
import { withContainers } from './target-modules.ts'
import type { SavedModule } from './types.ts'

/** The tensor names of a module's parameters in the adapter file. */
export const savedTensorName = (tensor: string, traits: ModelTraits) =>
  `base_model.model.${pathOf(tensor, traits)}`

/**
 * The modules that have to be written whole so that the tensors `wanted` are carried: PEFT replaces modules, all their
 * parameters at once, and finds them by the endings of their paths (utils/other.py, _set_trainable).
 * `tuned` are all tensors of the tuned model; `factored` the paths of modules that get LoRA factors, which PEFT can't also
 * replace. What can't be carried is returned with the reason.
 */
export function savedModules(
  wanted: readonly string[],
  tuned: Iterable<string>,
  factored: ReadonlySet<string>,
  traits: ModelTraits,
): { readonly saved: SavedModule[]; readonly notCarried: Skipped[] } {
  const parameters = new Map<string, string[]>()
  for (const tensor of tuned) {
    const owner = ownerOf(tensor, traits)
    const known = parameters.get(owner)
    if (known === undefined) parameters.set(owner, [tensor])
    else known.push(tensor)
  }
  const everything = withContainers([...parameters.keys(), ...factored])
  const containers = new Set([...everything].map(ownerOfPath))
  const notCarried: Skipped[] = []
  const paths = new Set<string>()
  for (const name of wanted) {
    const path = ownerOf(name, traits)
    if (path === '' || containers.has(path)) {
      notCarried.push({ name, reason: 'a parameter of a module that holds other modules' })
    } else if (factored.has(path)) notCarried.push({ name, reason: 'its module gets LoRA factors' })
    else paths.add(path)
  }
  // each refusal can make another path's match a wrong one
  for (let before = -1; before !== paths.size; ) {
    before = paths.size
    for (const path of [...paths]) {
      const clash = [...everything].find((other) => !paths.has(other) && isReplaced(path, other))
      const excluded = excludedBy(path)
      const hidden = [...factored].find((other) => excluded.test(other))
      if (clash === undefined && hidden === undefined) continue
      paths.delete(path)
      for (const name of wanted.filter((tensor) => ownerOf(tensor, traits) === path)) {
        notCarried.push({ name, reason: `PEFT would take ${quoted(clash ?? hidden!)} for it too` })
      }
    }
  }
  return { saved: [...paths].map((path) => ({ path, tensors: parameters.get(path)! })), notCarried }
}

const ownerOf = (tensor: string, traits: ModelTraits) => ownerOfPath(pathOf(tensor, traits))
const ownerOfPath = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf('.')))

/** PEFT replaces every module whose path ends so, be it amid a name. */
const isReplaced = (item: string, path: string) => path.endsWith(item)

/** What PEFT gives no factors: all at, or under, a module that it replaces; the item is a regular expression there. */
function excludedBy(item: string): RegExp {
  try {
    return new RegExp(`^(?:|.*\\.)${item}(?:$|\\..*)`)
  } catch {
    // PEFT would stop at it
    return /^/
  }
}
