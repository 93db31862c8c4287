import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { allot, createSchedule, type JobSize } from '../../src/jobs/schedule.ts'

const jobs = (count: number, flops = 1e9, bytes = 1): JobSize[] => Array(count).fill({ flops, bytes })
const plenty = { memory: 1e12, isEngineShared: false }

describe('the threads of a machine', () => {
  test.each([
    ['many matrices: one each', jobs(200), 16, Array(16).fill(1)],
    ['four matrices: four each', jobs(4), 16, [4, 4, 4, 4]],
    ['one matrix: all', jobs(1), 16, [16]],
    ['what is left over is spread', jobs(3), 11, [4, 4, 3]],
    ['one thread', jobs(5), 1, [1]],
    [
      'a matrix that takes longer than all others: all, for each',
      [...jobs(1, 1e12), ...jobs(9, 1e8)],
      16,
      [16],
    ],
    ['a matrix that takes as long as all others', [...jobs(1, 9e8), ...jobs(9, 1e8)], 16, [8, 8]],
  ])('%s', (_, sizes, threads, expected) => {
    expect(allot(sizes, { ...plenty, threads })).toEqual(expected)
  })

  test('where memory holds few at once, those get more threads', () => {
    expect(allot(jobs(100, 1e9, 400), { threads: 16, memory: 1000, isEngineShared: false })).toEqual([8, 8])
    expect(allot(jobs(100, 1e9, 4000), { threads: 16, memory: 1000, isEngineShared: false })).toEqual([16])
  })

  test('a library that serves callers with several threads one by one gets one caller, or one thread from each', () => {
    const shared = { memory: 1e12, isEngineShared: true }
    expect(allot(jobs(200), { ...shared, threads: 16 })).toEqual(Array(16).fill(1))
    expect(allot(jobs(3), { ...shared, threads: 16 })).toEqual([16])
  })

  test('are never more than there are, nor more workers than jobs', () => {
    const size = fc.record({
      flops: fc.integer({ min: 0, max: 1e12 }),
      bytes: fc.integer({ min: 0, max: 1e9 }),
    })
    fc.assert(
      fc.property(
        fc.array(size, { minLength: 1, maxLength: 30 }),
        fc.integer({ min: 1, max: 64 }),
        fc.integer({ min: 1, max: 1e10 }),
        fc.boolean(),
        (sizes, threads, memory, isEngineShared) => {
          const allotment = allot(sizes, { threads, memory, isEngineShared })
          expect(allotment.length).toBeGreaterThanOrEqual(1)
          expect(allotment.length).toBeLessThanOrEqual(sizes.length)
          expect(Math.min(...allotment)).toBeGreaterThanOrEqual(1)
          const sum = allotment.reduce((a, b) => a + b)
          if (isEngineShared && allotment.length > 1) expect(sum).toBe(allotment.length)
          else expect(sum).toBe(threads)
        },
      ),
    )
  })
})

describe('the job that starts next', () => {
  const sizes = [5, 9, 7, 30, 1].map((flops) => ({ flops, bytes: flops * 10 }))

  test('is the largest that is near enough and fits', () => {
    const { pick } = createSchedule(sizes, 3)
    expect([pick(80, false), pick(1000, false), pick(1000, false), pick(1000, false)]).toEqual([
      2,
      1,
      0,
      undefined,
    ])
  })

  test('may be one further on when the next result has been taken', () => {
    const { pick, taken } = createSchedule(sizes, 3)
    for (let i = 0; i < 3; i++) pick(1000, false)
    taken()
    expect(pick(1000, false)).toBe(3)
  })

  test('is the largest of the first that are left where results come as they are there', () => {
    const { pick } = createSchedule(sizes, 2, false)
    const order = sizes.map(() => pick(1000, false))
    const left = sizes.map((_, i) => i)
    for (const picked of order) {
      const among = left.slice(0, 2)
      const largest = Math.max(...among.map((i) => sizes[i].flops))
      expect(among).toContain(picked)
      expect(sizes[picked!].flops).toBe(largest)
      left.splice(left.indexOf(picked!), 1)
    }
    expect(pick(1000, true)).toBeUndefined()
  })

  test('is the next one where nothing fits and something must run', () => {
    const { pick } = createSchedule(sizes, 5)
    expect([pick(5, false), pick(5, true), pick(5, true)]).toEqual([undefined, 0, undefined])
  })
})
