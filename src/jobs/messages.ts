import { types } from 'node:util'
import type { EngineChoice } from '../engine/open.ts'
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

/**
 * The value with every typed array alone in its buffer: parts of larger buffers, and all that lies in shared memory, are
 * copied. A message carries whole buffers, so that a part would take the rest of its buffer along.
 */
export function withOwnBuffers<T>(value: T): T {
  return mapped(value, (view) => (isWhole(view) ? view : (view as Uint8Array).slice())) as T
}

/** The buffers in `value`, each once: to be moved to another thread and not copied. */
export function buffersOf(value: unknown): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>()
  mapped(value, (view) => {
    buffers.add(view.buffer as ArrayBuffer)
    return view
  })
  return [...buffers]
}

/** The bytes of all buffers in `value`. */
export const bufferBytes = (value: unknown): number =>
  buffersOf(value).reduce((sum, { byteLength }) => sum + byteLength, 0)

const isWhole = (view: NodeJS.TypedArray): boolean =>
  view.byteLength === view.buffer.byteLength && view.buffer instanceof ArrayBuffer

/** Plain data with each typed array replaced; Maps and plain objects are gone through, anything else is left as it is. */
function mapped(value: unknown, replace: (view: NodeJS.TypedArray) => NodeJS.TypedArray): unknown {
  if (types.isTypedArray(value)) return replace(value)
  if (Array.isArray(value)) return value.map((entry) => mapped(entry, replace))
  if (value instanceof Map)
    return new Map([...value].map(([key, entry]) => [key, mapped(entry, replace)] as const))
  if (typeof value !== 'object' || value === null || !isPlain(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, mapped(entry, replace)]))
}

function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
