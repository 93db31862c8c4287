// One process from its start to its end, with what it took.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const GNU_TIME = '/usr/bin/time'
/** The document of a model's spectra takes megabytes. */
const MOST_OUTPUT = 2 ** 28

/**
 * Runs `command` with `args` to its end. `peak` is the most memory that it held, in MiB: GNU time's maximum resident set size,
 * which is the kernel's VmHWM, all threads together, and which counts the library's and mapped files' pages too; NaN without
 * GNU time (apt-get install time). `processor` is the seconds of all its threads, which others on the machine change least.
 */
export function wholeProcess(command, args, env = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-bench-'))
  const report = join(folder, 'time')
  const options = { encoding: 'utf8', maxBuffer: MOST_OUTPUT, env: { ...process.env, ...env } }
  try {
    const start = performance.now()
    let child = spawnSync(GNU_TIME, ['-q', '-f', '%M %U %S', '-o', report, command, ...args], options)
    const isMeasured = child.error?.code !== 'ENOENT'
    if (!isMeasured) child = spawnSync(command, args, options)
    const seconds = (performance.now() - start) / 1000
    const [kilobytes, user, system] = isMeasured
      ? readFileSync(report, 'utf8').split(' ').map(Number)
      : [Number.NaN, Number.NaN, Number.NaN]
    const [peak, processor] = [kilobytes / 1024, user + system]
    return { status: child.status, seconds, peak, processor, stdout: child.stdout, stderr: child.stderr }
  } finally {
    rmSync(folder, { recursive: true })
  }
}
