import { execFileSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** What dist/ is made from. */
const SOURCES = ['src', 'assembly', 'scripts', 'package.json']

/** Builds dist/ for the tests that run the command line, where it is missing or older than its sources. */
export default function buildOnce(): void {
  if (newest('dist/cli.cjs') >= Math.max(...SOURCES.map(newest))) return
  execFileSync(process.execPath, ['scripts/build.mjs'], { stdio: 'inherit' })
}

/** When the file, or the youngest file in the folder, was written; 0 where there is none. */
function newest(path: string): number {
  const found = statSync(path, { throwIfNoEntry: false })
  if (!found?.isDirectory()) return found?.mtimeMs ?? 0
  return Math.max(0, ...readdirSync(path).map((name) => newest(join(path, name))))
}
