import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { shardOfEnvironment } from '../../src/shards/environment.ts'
import { parseShard, shardFlags, shardOfName } from '../../src/shards/shard.ts'
import { splitWork } from '../../src/shards/split.ts'

describe('work is split', () => {
  const costs = fc.array(fc.oneof(fc.nat(1000), fc.constant(null)), { maxLength: 60 })

  test('every piece goes to one shard, and no shard does more than another by more than one piece', () => {
    fc.assert(
      fc.property(costs, fc.integer({ min: 1, max: 70 }), (all, of) => {
        const shards = splitWork(all, of)
        for (const [i, cost] of all.entries()) {
          if (cost === null) expect(shards[i]).toBe(0)
          else expect(shards[i] >= 1 && shards[i] <= of).toBe(true)
        }
        const load = (shard: number) =>
          all.reduce<number>((sum, cost, i) => sum + (shards[i] === shard ? cost! : 0), 0)
        const loads = Array.from({ length: of }, (_, i) => load(i + 1))
        const largest = Math.max(0, ...all.map((cost) => cost ?? 0))
        expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(largest)
      }),
    )
  })

  test('as one would by hand: the largest first, each to who has least', () => {
    expect(splitWork([1, 5, 4, 3, 3], 2)).toEqual([2, 1, 2, 2, 1])
    expect(splitWork([7, 7], 4)).toEqual([1, 2])
    expect(splitWork([], 3)).toEqual([])
  })

  test('millions of shards cost nothing', () => {
    expect(splitWork([1, 1], 2 ** 40)).toEqual([1, 2])
  })
})

test.each(['', '2', '0/4', '5/4', '1/0', '-1/4', '1.5/4', '1/4/4', '1 / 4', '99999999999999999999/1'])(
  '--shard %j is no part',
  (text) => {
    expect(() => parseShard(text)).toThrow(/expected which part of how many, counted from 1/)
  },
)

test('there are no more shards than a job can have, for --join looks for each of them', () => {
  const most = /^there can be 100000 shards at most, not \d+$/
  expect(parseShard('100000/100000')).toEqual({ index: 100_000, of: 100_000 })
  expect(() => parseShard('1/100001')).toThrow(most)
  expect(() => parseShard('1/1000000000')).toThrow(most)
  expect(shardOfName('shard-1-of-1000000000')).toBeUndefined()
  expect(() => shardOfEnvironment({ SLURM_ARRAY_TASK_ID: '1' }, 100_001)).toThrow(most)
  expect(() =>
    shardOfEnvironment({ JOB_COMPLETION_INDEX: '0', JOB_COMPLETIONS: '100001' }, undefined),
  ).toThrow(most)
})

test('of many shards to run the first are named', () => {
  const shards = Array.from({ length: 60 }, (_, i) => ({ index: i + 1, of: 60 }))
  expect(shardFlags(shards.slice(0, 2))).toBe('--shard 1/60, --shard 2/60')
  expect(shardFlags(shards)).toMatch(/, --shard 50\/60, and 10 more$/)
})

describe('--shard auto', () => {
  const slurm = (id: number, more: Record<string, string> = {}) => ({
    SLURM_ARRAY_TASK_ID: String(id),
    ...more,
  })
  const array = (count: number, min: number, step = 1) => ({
    SLURM_ARRAY_TASK_COUNT: String(count),
    SLURM_ARRAY_TASK_MIN: String(min),
    SLURM_ARRAY_TASK_STEP: String(step),
  })

  test.each([
    ['sbatch --array=1-4', slurm(2, array(4, 1)), undefined, '2/4'],
    ['sbatch --array=0-3', slurm(3, array(4, 0)), undefined, '4/4'],
    ['sbatch --array=10-16:2', slurm(14, array(4, 10, 2)), undefined, '3/4'],
    ['one task of four again, sbatch --array=3', slurm(3, array(1, 3)), 4, '3/4'],
    [
      'a Job of Kubernetes that says how many',
      { JOB_COMPLETION_INDEX: '0', JOB_COMPLETIONS: '4' },
      undefined,
      '1/4',
    ],
    ['a Job of Kubernetes', { JOB_COMPLETION_INDEX: '3' }, 4, '4/4'],
  ])('%s', (_, env, shards, expected) => {
    const { index, of } = shardOfEnvironment(env, shards)
    expect(`${index}/${of}`).toBe(expected)
  })

  test.each([
    ['no array', {}, undefined, /neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set/],
    ['ids with gaps', slurm(7, array(3, 1)), undefined, /is not one of 3 that follow each other from 1 on/],
    ['ids with other gaps', slurm(4, array(3, 1, 2)), undefined, /is not one of 3 that follow/],
    ['an id that there is not', slurm(0), 4, /SLURM_ARRAY_TASK_ID is 0: give sbatch --array=1-4/],
    [
      'nobody says how many',
      { JOB_COMPLETION_INDEX: '1' },
      undefined,
      /give --shards N, or set JOB_COMPLETIONS/,
    ],
    [
      'more than there are',
      { JOB_COMPLETION_INDEX: '4' },
      4,
      /JOB_COMPLETION_INDEX is 4, and there are 4 shards, from 0/,
    ],
    [
      'fewer tasks than shards',
      { JOB_COMPLETION_INDEX: '0', JOB_COMPLETIONS: '4' },
      8,
      /JOB_COMPLETIONS is 4, so that the job would not do all of them/,
    ],
    ['a task without its array', { SLURM_ARRAY_TASK_ID: '2' }, undefined, /give --shards N/],
    ['no number', slurm(1, { SLURM_ARRAY_TASK_COUNT: 'x' }), undefined, /SLURM_ARRAY_TASK_COUNT is 'x'/],
    ['an empty one', { SLURM_ARRAY_TASK_ID: '' }, 4, /SLURM_ARRAY_TASK_ID is ''/],
  ])('%s is refused', (_, env, shards, message) => {
    expect(() => shardOfEnvironment(env, shards)).toThrow(message)
  })
})
