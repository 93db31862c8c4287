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
