import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { outputBytes, planOutput } from '../../src/combine/output.ts'
import { type CombinePlan, planSum } from '../../src/combine/plan.ts'
import { rankSums } from '../../src/combine/ranks.ts'
import { inContext } from '../../src/jobs/context.ts'
import { numbers } from '../lora/write-support.ts'
import { temporaryFolder } from '../temporary.ts'
import { combined, openAdapter, type Tensors, writePeft } from './support.ts'

const folder = temporaryFolder()
let count = 0
const fresh = () => join(folder, String(count++))

/** Modules of these shapes, their factors of such sizes. */
async function adapterOf(
  shapes: readonly (readonly [rows: number, columns: number, rank: number, size: number])[],
) {
  const tensors: Record<string, Tensors[string]> = {}
  for (const [i, [rows, columns, rank, size]] of shapes.entries()) {
    const stem = `base_model.model.m${i}`
    tensors[`${stem}.lora_A.weight`] = { shape: [rank, columns], data: numbers(rank * columns, 2 * i + 1) }
    tensors[`${stem}.lora_B.weight`] = {
      shape: [rows, rank],
      data: numbers(rows * rank, 2 * i + 2).map((x) => x * size),
    }
  }
  const rank_pattern = Object.fromEntries(shapes.map(([, , rank], i) => [`m${i}`, rank]))
  return writePeft(fresh(), tensors, { rank_pattern, target_modules: ['m.*'] })
}

async function planOf(path: string): Promise<CombinePlan> {
  const [adapter, checkpoint] = [await openAdapter(path), await openCheckpoint(path)]
  return planSum([{ adapter, checkpoint, weight: 1 }], {})
}

test('a budget is split so that no other split has less error by more than is said', async () => {
  const shape = fc.tuple(
    fc.integer({ min: 2, max: 9 }),
    fc.integer({ min: 2, max: 9 }),
    fc.integer({ min: 1, max: 4 }),
    fc.constantFrom(0.1, 1, 3),
  )
  const shapes = fc.array(shape, { minLength: 2, maxLength: 3 })
  await fc.assert(
    fc.asyncProperty(shapes, fc.double({ min: 0, max: 1, noNaN: true }), async (given, share) => {
      const plan = await planOf(await adapterOf(given))
      const layout = 'pattern' as const
      const sizeAt = (ranks: readonly number[]) =>
        outputBytes(planOutput(plan, ranks, { layout, limits: {}, command: '' }))
      const [least, most] = [sizeAt(given.map(() => 1)), sizeAt(given.map(([, , rank]) => rank))]
      const bytes = Math.round(least + share * (most - least))
      const rule = { kind: 'budget', bytes } as const
      const {
        ranks,
        results,
        couldGain = 0,
      } = await inContext({ threads: 1 }, (context) =>
        rankSums(plan, { rule, limits: {}, uniform: false, layout }, sizeAt, context),
      )
      const errorOf = (some: readonly number[]) =>
        results.reduce(
          (sum, { singularValues }, i) =>
            sum + singularValues.subarray(some[i]).reduce((all, s) => all + s * s, 0),
          0,
        )
      expect(sizeAt(ranks)).toBeLessThanOrEqual(bytes)
      const total = errorOf(given.map(() => 0))
      const orders = results.map(({ singularValues }) => singularValues.length)
      const all = orders.reduce<number[][]>(
        (some, order) => some.flatMap((one) => Array.from({ length: order }, (_, r) => [...one, r + 1])),
        [[]],
      )
      const best = Math.min(...all.filter((some) => sizeAt(some) <= bytes).map(errorOf))
      expect(errorOf(ranks) - best).toBeLessThanOrEqual(couldGain * total + 1e-12 * total)
    }),
    { numRuns: 40 },
  )
})

test('factors that are made again are those that were kept', async () => {
  const adapter = await adapterOf([
    [9, 7, 5, 1],
    [6, 8, 4, 2],
  ])
  const bytesOf = async (...args: string[]) => {
    const out = fresh()
    const { layers } = await combined('resize', [adapter, '-o', out, ...args])
    expect(layers.map(({ rank }: { rank: number }) => rank)).toEqual([3, 3])
    return readFileSync(join(out, 'adapter_model.safetensors'))
  }
  const kept = await bytesOf('--rank=3')
  const size = kept.length
  expect((await bytesOf('--rank=3', '--uniform')).equals(kept)).toBe(true)
  const { totals } = await combined('resize', [adapter, '-o', fresh(), '--rank=3'])
  expect(totals.bytes).toBeGreaterThan(size)
  expect((await bytesOf(`--budget=${totals.bytes + 40}`)).equals(kept)).toBe(true)
})

test('limits hold in a budget as beside other rules', async () => {
  const adapter = await adapterOf([
    [9, 7, 6, 1],
    [6, 8, 5, 0.01],
  ])
  const ranksOf = async (...args: string[]) => {
    const { layers } = await combined('resize', [adapter, '-o', fresh(), '--layout=pattern', ...args])
    return layers.map(({ rank }: { rank: number }) => rank)
  }
  const [first, second] = await ranksOf('--budget=2700')
  expect(first).toBeGreaterThan(second)
  expect(await ranksOf('--budget=1MiB', '--max-rank=2')).toEqual([2, 2])
  expect((await ranksOf('--budget=2700', '--min-rank=3'))[1]).toBeGreaterThanOrEqual(3)
  // of 9 × 7 and 6 × 8: multiples of 4 beyond either side there are none
  expect(await ranksOf('--budget=1MiB', '--multiple-of=4')).toEqual([4, 4])
  for (const rule of ['--rank=5', '--budget=1MiB', '--error=1e-5']) {
    for (const layout of ['portable', 'pattern']) {
      const more = [rule, `--layout=${layout}`, '--multiple-of=3']
      const { layers } = await combined('resize', [adapter, '-o', fresh(), ...more])
      const pairs = layers.map(({ rank, storedRank }: { rank: number; storedRank: number }) => [
        rank,
        storedRank,
      ])
      // five directions are all that the second has: the sixth is of zeros
      expect(pairs, more.join(' ')).toEqual([
        [6, 6],
        [5, 6],
      ])
    }
  }
})
