import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createHeap, createSharedMemory, withBlocks } from '../../src/engine/wasm/memory.ts'
import { createWasmEngine } from '../../src/engine/wasm/wasm-engine.ts'
import { LoraSvdError } from '../../src/errors.ts'
import { generator, randomMatrix } from './support.ts'

describe('heap', () => {
  it('hands out aligned blocks inside the memory that never overlap', () => {
    const command = fc.oneof(
      fc.record({ bytes: fc.integer({ min: 0, max: 300_000 }) }),
      fc.record({ free: fc.nat() }),
    )
    fc.assert(
      fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
        const memory = createSharedMemory()
        const heap = createHeap(memory, 1000)
        const blocks: { start: number; end: number }[] = []
        for (const step of commands) {
          if ('bytes' in step) {
            const start = heap.allocate(step.bytes)
            const end = start + step.bytes
            expect(start % 64).toBe(0)
            expect(start).toBeGreaterThanOrEqual(1000)
            expect(end).toBeLessThanOrEqual(memory.buffer.byteLength)
            expect(blocks.every((other) => end <= other.start || other.end <= start)).toBe(true)
            blocks.push({ start, end })
          } else if (blocks.length > 0) {
            const [block] = blocks.splice(step.free % blocks.length, 1)
            heap.free(block.start)
          }
        }
        for (const { start } of blocks) heap.free(start)
        expect(heap.usedBytes()).toBe(0)
        // all merged: the whole memory is one block again
        const whole = Math.floor((memory.buffer.byteLength - 1024) / 64) * 64
        const before = memory.buffer.byteLength
        expect(heap.allocate(whole)).toBe(1024)
        expect(memory.buffer.byteLength).toBe(before)
      }),
      { numRuns: 40 },
    )
  })

  it('frees the blocks of a call that throws', () => {
    const heap = createHeap(createSharedMemory(), 0)
    const call = () =>
      withBlocks(heap, [100, 200], () => {
        throw new Error('inside')
      })
    expect(call).toThrow('inside')
    expect(heap.usedBytes()).toBe(0)
  })

  it('refuses to free what it has not handed out', () => {
    const heap = createHeap(createSharedMemory(), 0)
    const address = heap.allocate(10)
    heap.free(address)
    expect(() => heap.free(address)).toThrow(`no block of engine memory starts at ${address}`)
  })

  it('says how much was asked for when the memory cannot grow', () => {
    const heap = createHeap(createSharedMemory(), 0)
    let error: unknown
    try {
      heap.allocate(5 * 2 ** 30)
    } catch (thrown) {
      error = thrown
    }
    expect(error).toBeInstanceOf(LoraSvdError)
    expect(error).toMatchObject({
      code: 'system',
      message: expect.stringMatching(/no memory for a block of 5120 MiB beside the 1 MiB it holds/),
    })
    expect(heap.usedBytes()).toBe(0)
    expect(heap.allocate(2 ** 20)).toBe(0)
  })
})

describe('engine memory', () => {
  it('neither leaks nor grows over 10,000 calls', () => {
    const { runtime, ...engine } = createWasmEngine()
    const random = generator(21)
    const A = randomMatrix(40, 33, 'f32', random)
    const B = randomMatrix(33, 34, 'f32', random)
    const kept = engine.resident(A)
    const calls = [
      () => engine.multiply(A, B),
      () => engine.gram(A),
      () => engine.resident(A).release(),
      () => kept.multiply(B),
      () => kept.multiplyNormal(B),
      () => kept.frobeniusSquared(),
      () => kept.residualSquared(A, randomMatrix(33, 33, 'f64', random)),
      () => expect(() => kept.multiply(A)).toThrow(RangeError),
    ]
    for (const call of calls) call()
    const used = runtime.heap.usedBytes()
    const size = runtime.memory.buffer.byteLength
    for (let i = 0; i < 10_000; i++) calls[i % calls.length]()
    expect(runtime.heap.usedBytes()).toBe(used)
    expect(runtime.memory.buffer.byteLength).toBe(size)
  })
})

describe('a matrix that lies in the memory of the engine', () => {
  const { runtime, ...engine } = createWasmEngine()
  const A = randomMatrix(130, 70, 'f32', generator(3))
  const X = randomMatrix(70, 9, 'f32', generator(4))

  /** A, written into a block of the engine's memory. */
  function placed() {
    const address = runtime.heap.allocate(A.data.byteLength)
    const data = runtime.heap.floats(address, A.data.length)
    data.set(A.data)
    return { address, matrix: { ...A, data } }
  }

  it('is used where it is: it takes no more memory, and gives the bits of a copy', () => {
    const copy = engine.resident(A)
    const { address, matrix } = placed()
    const before = runtime.heap.usedBytes()
    const resident = engine.resident(matrix)
    expect(runtime.heap.usedBytes()).toBe(before)
    expect(resident.multiply(X).data).toEqual(copy.multiply(X).data)
    matrix.data[0] += 1
    expect(resident.multiply(X).data).not.toEqual(copy.multiply(X).data)
    // whoever made the block frees it
    resident.release()
    expect(runtime.heap.usedBytes()).toBe(before)
    runtime.heap.free(address)
    copy.release()
    expect(() => resident.multiply(X)).toThrow('released')
  })

  it('is so after the memory has grown', () => {
    const { address, matrix } = placed()
    const block = runtime.heap.allocate(runtime.memory.buffer.byteLength)
    expect(matrix.data.buffer).not.toBe(runtime.memory.buffer)
    const before = runtime.heap.usedBytes()
    const resident = engine.resident(matrix)
    expect(runtime.heap.usedBytes()).toBe(before)
    const copy = engine.resident(A)
    expect(resident.multiply(X).data).toEqual(copy.multiply(X).data)
    for (const held of [resident, copy]) held.release()
    for (const at of [address, block]) runtime.heap.free(at)
  })

  it('is copied by another engine', () => {
    const { address, matrix } = placed()
    const other = createWasmEngine()
    const before = other.runtime.heap.usedBytes()
    const resident = other.resident(matrix)
    expect(other.runtime.heap.usedBytes()).toBeGreaterThanOrEqual(before + A.data.byteLength)
    expect(resident.multiply(X).data).toEqual(engine.resident(A).multiply(X).data)
    resident.release()
    runtime.heap.free(address)
  })
})
