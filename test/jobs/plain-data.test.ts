import { expect, test } from 'vitest'
import { bufferBytes, buffersOf, withOwnBuffers } from '../../src/jobs/worker.ts'

const whole = new Float64Array([1, 2])
const part = new Float32Array([1, 2, 3, 4]).subarray(1, 3)
const shared = new Int32Array(new SharedArrayBuffer(4))
const value = { whole, list: [part, 'text', null], map: new Map([['x', shared]]), again: whole, big: 3n }

test('typed arrays get buffers of their own, and those that have one keep it', () => {
  const own = withOwnBuffers(value)
  expect(own).toEqual(value)
  expect(own.whole).toBe(whole)
  expect((own.list[0] as Float32Array).buffer.byteLength).toBe(8)
  expect(own.map.get('x')?.buffer).toBeInstanceOf(ArrayBuffer)
})

test('each buffer is listed once', () => {
  const own = withOwnBuffers(structuredClone(value))
  expect(buffersOf(own).map(({ byteLength }) => byteLength)).toEqual([16, 8, 4])
  expect(bufferBytes(own)).toBe(28)
  expect(structuredClone(own, { transfer: buffersOf(own) })).toEqual(value)
})
