// tsc writes the types of every module of the program; a program that uses the library sees those that its entry points lead to.
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Another module in the text of one: `from './x.ts'` and `import('./x.ts')`. */
const REFERENCE = /(?:\bfrom|\bimport)\s*\(?\s*['"](\.[^'"]+)\.ts['"]/g

/** Deletes the declarations in `folder` that none of `entries` leads to. */
export function pruneTypes(folder, entries) {
  const needed = new Set(entries.map((entry) => join(folder, entry)))
  for (const path of needed)
    for (const [, other] of readFileSync(path, 'utf8').matchAll(REFERENCE))
      needed.add(join(dirname(path), `${other}.d.ts`))
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isFile() && !needed.has(path)) rmSync(path)
  }
}
