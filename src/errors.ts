/** The exit codes of the command line, as `lora-svd help exit-codes` prints them. */
export const ExitCode = {
  ok: 0,
  checkFailed: 1,
  badInput: 2,
  systemFailed: 3,
  interrupted: 130,
} as const

export type ErrorCode =
  | 'bad-usage'
  | 'bad-input'
  | 'not-finite'
  | 'output-exists'
  | 'no-convergence'
  | 'no-engine'
  | 'system'
  | 'interrupted'

/** Where an error happened; each part is named in the message and in the JSON error document. */
export interface ErrorPlace {
  readonly file?: string
  readonly tensor?: string
  readonly cause?: unknown
}

const BRAND = Symbol.for('lora-svd/error')

/**
 * An error with one line for a person (what, where, what to do) and a code for a script.
 * Recover by doing what the message says; `code` tells the kinds apart.
 */
export class LoraSvdError extends Error {
  /** Each command is a bundle with a copy of this class: an error of any of them is an instance. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return (value as { [BRAND]?: boolean } | null)?.[BRAND] === true
  }

  readonly [BRAND] = true
  readonly code: ErrorCode
  readonly file: string | undefined
  readonly tensor: string | undefined

  constructor(code: ErrorCode, message: string, place: ErrorPlace = {}) {
    super(message, place.cause === undefined ? undefined : { cause: place.cause })
    this.name = 'LoraSvdError'
    this.code = code
    this.file = place.file
    this.tensor = place.tensor
  }
}

/** The command line is wrong: correct the argument the message names. */
export const badUsage = (message: string) => new LoraSvdError('bad-usage', message)

/** A file or matrix can't be used as it is: correct the input the message names. */
export const badInput = (message: string, place?: ErrorPlace) => new LoraSvdError('bad-input', message, place)

/** The process exit code that stands for an error. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof LoraSvdError)) return ExitCode.systemFailed
  if (error.code === 'interrupted') return ExitCode.interrupted
  return error.code === 'system' ? ExitCode.systemFailed : ExitCode.badInput
}
