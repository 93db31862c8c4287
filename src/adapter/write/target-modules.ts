import { compareUtf8 } from '../../formats/safetensors-writer.ts'

/** PEFT's rule for a list (tuners_utils.py, check_target_module_exists). */
const isTargeted = (item: string, path: string) => path === item || path.endsWith(`.${item}`)

/** Every ending of a path that begins at a name: `c`, `b.c`, `a.b.c`. */
function suffixes(path: string): string[] {
  const names = path.split('.')
  return names.map((_, i) => names.slice(names.length - 1 - i).join('.'))
}

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

/** `text` as a regular expression, Python's or JavaScript's, that matches it alone. */
export const escapedPattern = (text: string) => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')

/**
 * PEFT's `target_modules` that match `emitted` and nothing else of `others` (module paths of the model, which may repeat
 * those of `emitted`): as few suffixes as there can be, the shortest of each; full paths where a suffix would match more.
 * Where even a full path ends another module's, only a regular expression is exact: a string.
 */
export function targetModules(emitted: readonly string[], others: Iterable<string>): string[] | string {
  const wanted = new Set(emitted)
  const unwantedSuffixes = new Set<string>()
  for (const path of withContainers([...emitted, ...others])) {
    if (!wanted.has(path)) for (const suffix of suffixes(path)) unwantedSuffixes.add(suffix)
  }
  const items = new Set<string>()
  for (const path of wanted) {
    const item = suffixes(path).find(
      (suffix) => !unwantedSuffixes.has(suffix) && (suffix === path || !/^\d+(\.|$)/.test(suffix)),
    )
    if (item === undefined) {
      return [...wanted].sort(compareUtf8).map(escapedPattern).join('|')
    }
    items.add(item)
  }
  const list = [...items]
  // a full path that begins with a number can repeat what a suffix of another has matched
  return list
    .filter((item) => !suffixes(item).some((suffix) => suffix !== item && items.has(suffix)))
    .sort(compareUtf8)
}

/** Whether PEFT would adapt the module at `path`. */
export const matchesTargets = (targets: readonly string[] | string, path: string) =>
  typeof targets === 'string'
    ? new RegExp(`^(?:${targets})$`).test(path)
    : targets.some((item) => isTargeted(item, path))
