// A Python process that does one thing at a time when asked, so that its runs can take turns with ours.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

const PYTHON = '/usr/bin/python3'

/**
 * Runs `script`, which must print one JSON line when ready and one for each line it reads; null where it can't run,
 * as without NumPy or PyTorch. Its BLAS gets `threads` threads.
 */
export async function startPython(script, threads) {
  const count = String(threads)
  const env = { ...process.env, OPENBLAS_NUM_THREADS: count, MKL_NUM_THREADS: count, OMP_NUM_THREADS: count }
  const child = spawn(PYTHON, ['-c', script], { env, stdio: ['pipe', 'pipe', 'ignore'] })
  child.on('error', () => {})
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async () => {
    const { value, done } = await lines.next()
    return done ? null : JSON.parse(value)
  }
  const about = await next()
  if (about === null) return null
  return {
    about,
    ask: (line) => {
      child.stdin.write(`${line}\n`)
      return next()
    },
    stop: () => child.stdin.end(),
  }
}
