import { LoraSvdError } from '../errors.ts'

/**
 * What the page and its workers say to each other. A worker takes one request at a time, in order; progress may come before the one
 * answer. Both sides are of one build, so nothing is checked.
 */

export interface Request {
  readonly id: number
  /** A name in the table of tasks. */
  readonly kind: string
  readonly input: unknown
}

export type Answer =
  | { readonly id: number; readonly kind: 'progress'; readonly value: unknown }
  | { readonly id: number; readonly kind: 'done'; readonly value: unknown }
  | { readonly id: number; readonly kind: 'failed'; readonly error: SentError }

/** An error as a message carries it; without a code it is a defect. */
interface SentError {
  readonly message: string
  readonly code?: LoraSvdError['code']
  readonly file?: string | undefined
  readonly tensor?: string | undefined
}

/** What a worker does for a kind of request: gives the result, and may tell of its progress. */
export type Task<Input, Result, Progress = never> = (
  input: Input,
  tell: (progress: Progress) => void,
) => Result | Promise<Result>

export function sentError(error: unknown): SentError {
  if (error instanceof LoraSvdError) {
    const { message, code, file, tensor } = error
    return { message, code, file, tensor }
  }
  return { message: error instanceof Error ? error.message : String(error) }
}

export function receivedError({ message, code, file, tensor }: SentError): Error {
  if (code === undefined) return new Error(message)
  return new LoraSvdError(code, message, { ...(file && { file }), ...(tensor && { tensor }) })
}
