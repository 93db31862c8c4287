import { LoraSvdError } from '../../src/errors.ts'

/** The longest message that is still a line which someone reads. */
const LONGEST_LINE = 2000
/** What breaks a line, or disguises it on a terminal. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]|\p{Cs}/u

/** What is wrong with how an input was refused; undefined where it was refused as it should be, in one line. */
export function problemOf(error: unknown, mayBeSystem: boolean): string | undefined {
  if (!(error instanceof LoraSvdError)) return crashOf(error)
  const { code, message } = error
  if (
    code !== 'bad-input' &&
    code !== 'bad-usage' &&
    code !== 'not-finite' &&
    !(mayBeSystem && code === 'system')
  ) {
    return `refused as ${code}: ${message.slice(0, 200)}`
  }
  if (UNPRINTABLE.test(message))
    return `a message of more than one line: ${JSON.stringify(message.slice(0, 300))}`
  return problemOfLine(message)
}

/** What is wrong with a line that a person is to read. What a report says holds names as they are: it is made printable where it is printed. */
export function problemOfLine(line: string): string | undefined {
  if (line.length > LONGEST_LINE) return `a message of ${line.length} characters: ${line.slice(0, 120)}`
  return line === '' ? 'a message without a word' : undefined
}

function crashOf(error: unknown): string {
  if (!(error instanceof Error)) return `threw ${String(error)}`
  const frame = /\n\s+at (.*)/.exec(error.stack ?? '')?.[1] ?? ''
  return `${error.name}: ${error.message.slice(0, 200)} (at ${frame})`
}
