import { problemOf } from './judge.ts'
import type { Target } from './targets.ts'

/** Runs an input through a target. Gives what is wrong with how it went, or undefined. */
export async function problemWith(
  { run, mayBeSystem }: Target,
  input: Uint8Array,
): Promise<string | undefined> {
  const problems: (string | undefined)[] = []
  try {
    await run(input, (refusal) => problems.push(problemOf(refusal, mayBeSystem === true)))
  } catch (error) {
    problems.push(problemOf(error, mayBeSystem === true))
  }
  return problems.find((problem) => problem !== undefined)
}
