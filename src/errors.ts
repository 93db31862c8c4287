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
  /** The rule of `check` that this breaks, where it is one. */
  readonly rule?: string
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
  readonly rule: string | undefined

  constructor(code: ErrorCode, message: string, place: ErrorPlace = {}) {
    super(message, place.cause === undefined ? undefined : { cause: place.cause })
    this.name = 'LoraSvdError'
    this.code = code
    this.file = place.file
    this.tensor = place.tensor
    this.rule = place.rule
  }
}

/** What the work gives; undefined where it throws what `tell` is told. Without `tell` all is thrown. */
export function tolerating<T>(
  tell: ((error: LoraSvdError) => void) | undefined,
  work: () => T,
): T | undefined {
  if (tell === undefined) return work()
  try {
    return work()
  } catch (error) {
    if (!(error instanceof LoraSvdError)) throw error
    tell(error)
    return undefined
  }
}

/** The command line is wrong: correct the argument the message names. */
export const badUsage = (message: string) => new LoraSvdError('bad-usage', message)

/** A file or matrix can't be used as it is: correct the input the message names. */
export const badInput = (message: string, place?: ErrorPlace) => new LoraSvdError('bad-input', message, place)

/** What is to be written is there already: say that it may be replaced, or name another. */
export const outputExists = (file: string) =>
  new LoraSvdError('output-exists', `${file}: exists already; add --force to replace it`, { file })

/** The process exit code that stands for an error. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof LoraSvdError)) return ExitCode.systemFailed
  if (error.code === 'interrupted') return ExitCode.interrupted
  return error.code === 'system' ? ExitCode.systemFailed : ExitCode.badInput
}

/** What the errno names of everyday failures mean. */
const MEANING = new Map([
  ['ENOSPC', 'the disk is full'],
  ['EDQUOT', 'the disk quota is used up'],
  ['EFBIG', 'the file is larger than this file system or the process limit allows'],
  ['EACCES', 'permission denied'],
  ['EPERM', 'the operating system does not permit it'],
  ['EROFS', 'the file system is read-only'],
  ['EIO', 'the device reports an input/output error'],
  ['EMFILE', 'this process has too many files open'],
  ['ENFILE', 'the system has too many files open'],
  ['EBUSY', 'the file is in use'],
  ['ETXTBSY', 'the file is in use'],
  ['EPIPE', 'the reader closed the pipe'],
  ['ENOENT', 'no such file or folder'],
  ['ENOTDIR', 'a part of the path is a file, not a folder'],
  ['EISDIR', 'it is a folder'],
  ['ENAMETOOLONG', 'the name is too long for this file system'],
  ['ELOOP', 'its symbolic links go in a circle'],
  ['ENXIO', 'it is a socket or a device that is not there'],
  ['ERR_INVALID_ARG_VALUE', 'the path holds a NUL character'],
])

/** What to do about those whose meaning doesn't say it. */
const WHAT_TO_DO = new Map([['EMFILE', 'allow it more, such as ulimit -n 256']])

/** The errnos that speak of the path given, not of the machine. */
const WRONG_PATH = new Set(['ENOENT', 'ENOTDIR', 'EISDIR', 'ENAMETOOLONG', 'ELOOP', 'ERR_INVALID_ARG_VALUE'])

/** The errno name of an error that Node's file system threw, else undefined. */
export function errnoOf(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  return typeof code === 'string' ? code : undefined
}

/** What went wrong, in words, with the errno name. */
export function osReason(error: unknown): string {
  const errno = errnoOf(error) ?? ''
  const meaning = MEANING.get(errno)
  if (meaning !== undefined) return `${meaning} (${errno})`
  return error instanceof Error ? error.message : String(error)
}

/** A failed file operation as one line: `system` where the machine failed us, `bad-input` where the path is wrong. */
export function osError(
  error: unknown,
  doing: string,
  file: string,
  whatToDo = WHAT_TO_DO.get(errnoOf(error) ?? '') ?? '',
): LoraSvdError {
  const message = `${file}: can't ${doing}: ${osReason(error)}${whatToDo === '' ? '' : `; ${whatToDo}`}`
  return WRONG_PATH.has(errnoOf(error) ?? '')
    ? badInput(message, { file, cause: error })
    : new LoraSvdError('system', message, { file, cause: error })
}
