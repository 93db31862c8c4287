import { types } from 'node:util'

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
