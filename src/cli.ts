import { run } from './commands/run.ts'
import { tidyBeforeSignals, whileInterruptible } from './terminal/interrupt.ts'

/** Runs the command line in this process and sets its exit code; output is left to drain rather than cut off by process.exit. */
export async function main(argv: readonly string[]): Promise<void> {
  tidyBeforeSignals()
  const { stdout, stderr, env } = process
  process.exitCode = await run(argv, {
    stdout,
    stderr,
    // looking at process.stdin opens it, which only a command that reads it may do
    stdin: { [Symbol.asyncIterator]: () => process.stdin[Symbol.asyncIterator]() },
    env,
    interruptible: whileInterruptible,
  })
}
