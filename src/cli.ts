import { run } from './commands/run.ts'
import { ExitCode } from './errors.ts'
import { wholeWrites } from './io/whole-writes.ts'
import { tidyBeforeSignals, whileInterruptible } from './terminal/interrupt.ts'

/** Runs the command line in this process and sets its exit code; output is left to drain rather than cut off by process.exit. */
export async function main(argv: readonly string[]): Promise<void> {
  tidyBeforeSignals()
  const { stdout, stderr, env } = process
  let isStdinOpen = false
  // looking at process.stdin opens it, which only a command that reads it may do
  const stdin = {
    [Symbol.asyncIterator]() {
      isStdinOpen = true
      return process.stdin[Symbol.asyncIterator]()
    },
  }
  // until there is another: a run that nothing goes on with any more is ended by Node, and isn't done
  process.exitCode = ExitCode.systemFailed
  const streams = { stdout: wholeWrites(stdout), stderr: wholeWrites(stderr) }
  process.exitCode = await run(argv, { ...streams, stdin, env, interruptible: whileInterruptible })
  // after an interruption nobody waits for it any more, but an open pipe would keep the process
  if (isStdinOpen) process.stdin.destroy()
}
