import { LoraSvdError } from '../../errors.ts'
import type { HalfMatrix } from '../../linalg/engine.ts'
import { type FloatType, floatType, type Matrix } from '../../linalg/matrix/matrix.ts'
import type { TypeCode } from './contract.ts'

/**
 * The memory that the kernels and all their threads share.
 *
 *     0          base                                                        byteLength      maximum
 *     [ statics ][ task | thread scratch | resident A | … free … | operands ][ grows to ➔    ]
 *
 * Everything above `base` is handed out by one first-fit allocator with 64-byte blocks: what lives long
 * (the task, the threads' scratch, resident matrices) settles at the bottom, and the operands of a single
 * product come and go above it. Freed neighbours merge. The memory grows by what is missing, in steps of
 * GROWTH_PAGES, and WebAssembly has no way to give pages back; a shared buffer keeps its older views valid.
 */

const PAGE_BYTES = 65_536
/** 4 MiB: few growths, little waste. */
const GROWTH_PAGES = 64
/** All that 32-bit addresses reach: 4 GiB. Reserved as address space, not used until written. */
const MAXIMUM_PAGES = 65_536
/** Where a system forbids reserving 4 GiB of address space, half of it each time, down to 256 MiB. */
const SMALLEST_MAXIMUM_PAGES = 4_096
/** A cache line, so that no two blocks share one. */
const ALIGNMENT = 64

export interface Heap {
  /** The address of a new block of at least `bytes` bytes, at a multiple of 64. Throws LoraSvdError 'system'. */
  allocate(bytes: number): number
  /** Returns a block got from `allocate`. Throws RangeError for any other address. */
  free(address: number): void
  /** Bytes handed out and not yet freed. */
  usedBytes(): number
  /** So many float32 numbers at an address, which `holds` knows again. */
  floats(address: number, length: number): Float32Array
  /** Whether this is a view that `floats` gave. */
  holds(data: ArrayBufferView): boolean
}

const system = (message: string, cause: unknown) => new LoraSvdError('system', message, { cause })

/** A shared memory that can grow up to 4 GiB. Throws LoraSvdError 'system' when no address space is to be had. */
export function createSharedMemory(): WebAssembly.Memory {
  for (let maximum = MAXIMUM_PAGES; ; maximum /= 2) {
    try {
      return new WebAssembly.Memory({ initial: 1, maximum, shared: true })
    } catch (cause) {
      if (maximum > SMALLEST_MAXIMUM_PAGES) continue
      const mebibytes = (maximum * PAGE_BYTES) / 2 ** 20
      throw system(
        `the embedded engine can't reserve ${mebibytes} MiB of address space; raise the limit (ulimit -v)`,
        cause,
      )
    }
  }
}

interface FreeBlock {
  start: number
  size: number
}

/** An allocator of the part of `memory` from `base` on. */
export function createHeap(memory: WebAssembly.Memory, base: number): Heap {
  const sizes = new Map<number, number>()
  const start = roundUp(base, ALIGNMENT)
  const free: FreeBlock[] = [{ start, size: Math.max(0, memory.buffer.byteLength - start) }]
  // views and not buffers: of these V8 makes new ones when any shared memory grows
  const views = new WeakSet<ArrayBufferView>()
  let used = 0

  function grow(bytes: number): void {
    const end = memory.buffer.byteLength
    const last = free.at(-1)
    const atEnd = last !== undefined && last.start + last.size === end ? last : undefined
    const pages = Math.ceil((bytes - (atEnd?.size ?? 0)) / PAGE_BYTES)
    growPages(memory, pages, bytes)
    const added = memory.buffer.byteLength - end
    if (atEnd === undefined) free.push({ start: end, size: added })
    else atEnd.size += added
  }

  function allocate(bytes: number): number {
    const size = roundUp(Math.max(bytes, 1), ALIGNMENT)
    let index = free.findIndex((block) => block.size >= size)
    if (index < 0) {
      grow(size)
      index = free.length - 1
    }
    const block = free[index]
    const address = block.start
    block.start += size
    block.size -= size
    if (block.size === 0) free.splice(index, 1)
    sizes.set(address, size)
    used += size
    return address
  }

  function release(address: number): void {
    const size = sizes.get(address)
    if (size === undefined) throw new RangeError(`no block of engine memory starts at ${address}`)
    sizes.delete(address)
    used -= size
    const next = free.findIndex((block) => block.start > address)
    const at = next < 0 ? free.length : next
    free.splice(at, 0, { start: address, size })
    mergeWithNext(free, at)
    if (at > 0) mergeWithNext(free, at - 1)
  }

  return {
    allocate,
    free: release,
    usedBytes: () => used,
    floats: (address, length) => {
      const view = new Float32Array(memory.buffer, address, length)
      views.add(view)
      return view
    },
    holds: (data) => views.has(data),
  }
}

/** Runs `use` on blocks of the given sizes and frees them afterwards, whatever happens. */
export function withBlocks<T>(heap: Heap, sizes: readonly number[], use: (...addresses: number[]) => T): T {
  const addresses: number[] = []
  try {
    for (const size of sizes) addresses.push(heap.allocate(size))
    return use(...addresses)
  } finally {
    for (const address of addresses) heap.free(address)
  }
}

function growPages(memory: WebAssembly.Memory, pages: number, wantedBytes: number): void {
  try {
    memory.grow(roundUp(pages, GROWTH_PAGES))
    return
  } catch {
    // near the maximum only the exact number of pages may fit
  }
  try {
    memory.grow(pages)
  } catch (cause) {
    const [wanted, held] = [wantedBytes, memory.buffer.byteLength].map((n) => Math.ceil(n / 2 ** 20))
    throw system(
      `the embedded engine got no memory for a block of ${wanted} MiB beside the ${held} MiB it holds ` +
        `(it can address 4096 MiB); use a smaller matrix or --engine lapack`,
      cause,
    )
  }
}

function mergeWithNext(free: FreeBlock[], index: number): void {
  const block = free[index]
  const next = free[index + 1]
  if (next === undefined || block.start + block.size !== next.start) return
  block.size += next.size
  free.splice(index + 1, 1)
}

function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step
}

/** Matrices on their way into and out of the shared memory. */

export type StorageType = keyof typeof TypeCode

const BYTES = { f32: 4, f64: 8, bf16: 2, f16: 2 } as const

export const bytesPerEntry = (type: StorageType): number => BYTES[type]

export function storageType(A: Matrix | HalfMatrix): StorageType {
  if ('dtype' in A) return A.dtype
  return floatType(A)
}

/** Copies entries [from, to) of A to `address`. */
export function copyIn(
  memory: WebAssembly.Memory,
  address: number,
  A: Matrix | HalfMatrix,
  from = 0,
  to = A.data.length,
): void {
  const View = A.data.constructor as Float64ArrayConstructor
  new View(memory.buffer, address, to - from).set(A.data.subarray(from, to) as Float64Array)
}

/** Copies `target.length` numbers from `address`. */
export function copyOut(
  memory: WebAssembly.Memory,
  address: number,
  target: Float32Array | Float64Array,
): void {
  const View = target.constructor as Float64ArrayConstructor
  target.set(new View(memory.buffer, address, target.length))
}

export function floats(type: FloatType, length: number): Float32Array | Float64Array {
  return type === 'f32' ? new Float32Array(length) : new Float64Array(length)
}
