import type { Skipped } from '../../checkpoint/types.ts'
import { quoted } from '../../text/quote.ts'
import { PatternSet } from '../pattern/pattern-set.ts'
import { PatternError } from '../pattern/syntax.ts'
import type { ModelTraits } from './model-traits.ts'
import { pathOf } from './module.ts'
import { MOST_NAMES } from './target-modules.ts'
import type { SavedModule } from './types.ts'

/** The paths and all the modules that hold them. */
export function withContainers(paths: Iterable<string>): Set<string> {
  const all = new Set<string>()
  for (const path of paths) {
    for (let at = path.length; at > 0; at = path.lastIndexOf('.', at - 1)) {
      const container = path.slice(0, at)
      if (all.has(container)) break
      all.add(container)
    }
  }
  return all
}

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
  if (wanted.length === 0) return { saved: [], notCarried: [] }
  const everything = withContainers([...parameters.keys(), ...factored])
  const containers = new Set([...everything].map(ownerOfPath))
  const notCarried: Skipped[] = []
  const paths = new Set<string>()
  const refused = new Map<string, string>()
  for (const name of wanted) {
    const path = ownerOf(name, traits)
    if (path === '' || containers.has(path)) {
      notCarried.push({ name, reason: 'a parameter of a module that holds other modules' })
    } else if (path.split('.').length > MOST_NAMES) {
      notCarried.push({ name, reason: `its path has more than ${MOST_NAMES} names` })
    } else if (factored.has(path)) notCarried.push({ name, reason: 'its module gets LoRA factors' })
    else paths.add(path)
  }
  const candidates = [...paths]
  const clashes = othersEndingIn(candidates, everything)
  const hides = hiddenBy(candidates, factored)
  // each refusal can make another path's match a wrong one
  for (let before = -1; before !== paths.size; ) {
    before = paths.size
    for (const [i, path] of candidates.entries()) {
      if (!paths.has(path)) continue
      const clash = clashes[i].find((other) => !paths.has(other)) ?? hides[i]
      if (clash === undefined) continue
      paths.delete(path)
      refused.set(path, clash)
    }
  }
  for (const name of wanted) {
    const clash = refused.get(ownerOf(name, traits))
    if (clash !== undefined) notCarried.push({ name, reason: `PEFT would take ${quoted(clash)} for it too` })
  }
  return { saved: [...paths].map((path) => ({ path, tensors: parameters.get(path)! })), notCarried }
}

const ownerOf = (tensor: string, traits: ModelTraits) => ownerOfPath(pathOf(tensor, traits))
const ownerOfPath = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf('.')))

/** PEFT replaces every module whose path ends so, be it amid a name: of each item those of `paths`, itself among them. */
function othersEndingIn(items: readonly string[], paths: Iterable<string>): string[][] {
  const found: string[][] = items.map(() => [])
  const endings = PatternSet.ofEndings(items)
  for (const path of paths) for (const item of endings.all(path)) found[item].push(path)
  return found
}

/**
 * A module that PEFT gives no factors because of each item: all at, or under, a module that it replaces, by the item as a regular
 * expression (tuners_utils.py, check_target_module_exists). At an item that is none PEFT stops.
 */
function hiddenBy(items: readonly string[], factored: ReadonlySet<string>): (string | undefined)[] {
  const [any] = factored
  const isExpression = items.map(isPattern)
  const hidden = items.map((_, i) => (isExpression[i] ? undefined : any))
  const readable = items.flatMap((_, i) => (isExpression[i] ? [i] : []))
  const patterns = PatternSet.ofKeys(readable.map((i) => items[i]))
  for (const path of withContainers(factored)) {
    for (const found of patterns.all(path)) hidden[readable[found]] ??= path
  }
  return hidden
}

function isPattern(item: string): boolean {
  try {
    PatternSet.ofKeys([item])
    return true
  } catch (error) {
    if (error instanceof PatternError) return false
    throw error
  }
}
