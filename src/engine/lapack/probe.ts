import { spawnSync } from 'node:child_process'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isMainThread } from 'node:worker_threads'
import { errnoOf } from '../../formats/os-error.ts'

/** The bundle that the build makes of lapack-engine.ts: only that can be loaded by another process as it is. */
const BUNDLE = 'lapack-engine.js'

/** Longest that a library may take to load and to solve the small problems of the self-check, in milliseconds. */
const PROBE_LIMIT = 30_000

/** What the process that tries a library ends with; one that the library ends itself has another code, 0 as likely as not. */
const SURVIVED = 42

/** Libraries that another process has tried without harm. */
const harmless = new Set<string>()

/**
 * Whether the library at `path` ends the process that tries it, as a file of another machine or a broken build may: it is loaded and
 * called in a process of its own first. Says how that ended, or undefined where it lived, whatever it computed. `module` is the URL of
 * the program that tries libraries; where that is no bundle of this package's, nothing is tried.
 */
export function crashOf(path: string, module: string): string | undefined {
  // jobs go to worker threads only after the main one has opened the library
  if (!isMainThread || harmless.has(path) || !module.startsWith('file:')) return undefined
  if (basename(fileURLToPath(module)) !== BUNDLE) return undefined
  const program = `const { createLapackEngine } = await import(${JSON.stringify(module)})
createLapackEngine({ threads: 1, library: ${JSON.stringify(path)}, isProbe: true })
process.exitCode = ${SURVIVED}`
  const child = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    timeout: PROBE_LIMIT,
    killSignal: 'SIGKILL',
    stdio: 'ignore',
  })
  if (errnoOf(child.error) === 'ETIMEDOUT') return `did not answer for ${PROBE_LIMIT / 1000} s`
  // where no process can be started, the library is tried as it is
  if (child.error !== undefined) return undefined
  if (child.signal !== null) return `crashes (${child.signal})`
  if (child.status !== SURVIVED) return `ends the process, with exit code ${child.status}`
  harmless.add(path)
  return undefined
}
