import { problemOf, problemOfLine } from './judge.ts'
import type { Target } from './told.ts'

/** Runs an input through a target. Gives what is wrong with how it went, or undefined. */
export async function problemWith(
  { run, mayBeSystem }: Target,
  input: Uint8Array,
): Promise<string | undefined> {
  const problems: (string | undefined)[] = []
  const refused = (error: unknown) => problems.push(problemOf(error, mayBeSystem === true))
  try {
    // what is read from files is no Buffer, which behaves otherwise
    await run(new Uint8Array(input), { refused, said: (line) => problems.push(problemOfLine(line)) })
  } catch (error) {
    refused(error)
  }
  return problems.find((problem) => problem !== undefined)
}
