import type { EngineChoice } from '../engine/policy.ts'
import { type ErrorCode, LoraSvdError } from '../errors.ts'

/** What a worker is told at its start. */
export interface WorkerStart {
  readonly kind: string
  readonly engine: EngineChoice
  readonly threads: number
}

/** To a worker. */
export interface Order {
  readonly index: number
  readonly job: unknown
}

/** From a worker. */
export type Report =
  | { readonly type: 'result'; readonly index: number; readonly result: unknown }
  | { readonly type: 'failure'; readonly index: number; readonly error: PlainError }
  | { readonly type: 'notice'; readonly line: string }

/** An error as plain data: messages between threads carry no classes. */
export interface PlainError {
  readonly name: string
  readonly message: string
  readonly stack?: string | undefined
  readonly code?: ErrorCode
  readonly file?: string | undefined
  readonly tensor?: string | undefined
}

export function plainError(error: unknown): PlainError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) }
  const { name, message, stack } = error
  if (!(error instanceof LoraSvdError)) return { name, message, stack }
  const { code, file, tensor } = error
  return { name, message, stack, code, file, tensor }
}

/** The error that `plain` was made from, with the stack it had; a LoraSvdError is one again. */
export function revivedError(plain: PlainError): Error {
  const error = revive(plain)
  if (plain.stack !== undefined) error.stack = plain.stack
  return error
}

function revive({ name, message, code, file, tensor }: PlainError): Error {
  if (code !== undefined) {
    return new LoraSvdError(code, message, {
      ...(file !== undefined && { file }),
      ...(tensor !== undefined && { tensor }),
    })
  }
  // Memory that can't be had is a RangeError, and reported as such.
  if (name === 'RangeError') return new RangeError(message)
  return Object.assign(new Error(message), { name })
}
