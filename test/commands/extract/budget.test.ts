import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { budgetPlan } from '../../../src/commands/extract/budget.ts'
import type { ExtractSettings } from '../../../src/commands/extract/options.ts'
import { adapterBytes } from '../../../src/commands/extract/output.ts'
import { type ExtractionPlan, planExtraction } from '../../../src/commands/extract/plan.ts'
import { type RankLimits, withinLimits } from '../../../src/linalg/spectrum/rules.ts'
import type { Spectrum } from '../../../src/linalg/spectrum/spectrum.ts'
import { checkpointOf } from '../../lora/support.ts'
import { numbers } from '../../lora/write-support.ts'
import { extractOptions } from './extract-options.ts'

const OPTIONS = extractOptions({
  rule: { kind: 'budget', bytes: 0 },
  layout: 'pattern',
  experts: true,
})

/** The plan for a model of these tensors. */
async function planFor(shapes: Readonly<Record<string, readonly number[]>>, options = OPTIONS) {
  const [base, tuned] = await Promise.all(
    [1, 1000].map((seed) =>
      checkpointOf({
        tensors: Object.fromEntries(
          Object.entries(shapes).map(([name, shape], i) => {
            const count = shape.reduce((product, n) => product * n, 1)
            return [name, { shape, data: numbers(count, seed + i) }]
          }),
        ),
      }),
    ),
  )
  return planExtraction(base, tuned, options)
}

/** The spectrum of a layer of which `known` values have been computed, exactly. */
function spectrumOf(rows: number, columns: number, values: readonly number[], known: number): Spectrum {
  const complete = known >= values.length
  const next = complete ? 0 : values[known]
  return {
    rows,
    columns,
    frobenius: Math.hypot(...values),
    singularValues: Float64Array.from(values.slice(0, known)),
    complete,
    excess: 0,
    next: { atLeast: next, atMost: next },
    epsilon: 2 ** -23,
    method: 'krylov',
    failureProbability: 0,
  }
}

const squares = (values: readonly number[], rank: number) =>
  values.slice(0, rank).reduce((sum, s) => sum + s * s, 0)

/** Runs the rounds as extract does, with spectra that are known in advance. */
function spend(plan: ExtractionPlan, options: ExtractSettings, bytes: number, all: readonly number[][]) {
  const rule = { kind: 'budget', bytes } as const
  const how = { ...options, rule }
  const budget = budgetPlan(plan, how, bytes)
  let known = budget.firstRanks
  for (;;) {
    const spectra = plan.layers.map(({ pair: { tuned } }, i) =>
      spectrumOf(tuned.rows, tuned.columns, all[i], known[i]),
    )
    const decision = budget.decide(spectra)
    if ('ranks' in decision) {
      const spent = budget.spent(decision.ranks, spectra)
      return { ranks: decision.ranks, ...spent, size: adapterBytes(plan, how, decision.ranks) }
    }
    known = known.map((count, i) => {
      const rule = decision.asks[i]?.rule
      return rule?.kind === 'rank' ? rule.rank : count
    })
  }
}

/** Every choice of ranks, one for all layers of a module, with its true bytes for budgets of so many digits. */
function everyChoice(plan: ExtractionPlan, options: ExtractSettings, digits: number) {
  const modules = [...new Set(plan.layers.map(({ module }) => module))]
  const how = { ...options, rule: { kind: 'budget', bytes: 10 ** (digits - 1) } as const }
  const choices: { ranks: number[]; bytes: number }[] = []
  const extend = (chosen: readonly number[]) => {
    if (chosen.length < modules.length) {
      const { rows, columns } = modules[chosen.length]
      const order = Math.min(rows, columns)
      const allowed = new Set(
        Array.from({ length: order + 1 }, (_, r) => withinLimits(r, order, options.limits)),
      )
      for (const rank of allowed) extend([...chosen, rank])
      return
    }
    const ranks = plan.layers.map(({ module }) => chosen[modules.indexOf(module)])
    choices.push({ ranks, bytes: adapterBytes(plan, how, ranks) })
  }
  extend([])
  return choices
}

const SHAPES = {
  'model.layers.0.self_attn.q_proj.weight': [6, 5],
  'model.layers.0.self_attn.o_proj.weight': [9, 4],
  'model.layers.1.mlp.experts.down_proj': [2, 5, 30],
  'model.layers.11.a_name_that_makes_patterns_long.fc.weight': [40, 6],
} as const

const LIMITS: readonly RankLimits[] = [{}, { minRank: 2, maxRank: 4 }, { multipleOf: 2 }, { maxRank: 3 }]

/** Falling values for each layer; some fall off a cliff. */
const spectraFor = (plan: ExtractionPlan) =>
  fc.tuple(
    ...plan.layers.map(({ pair: { tuned } }) =>
      fc
        .array(fc.oneof(fc.double({ min: 0.01, max: 9, noNaN: true }), fc.constant(0.001)), {
          minLength: Math.min(tuned.rows, tuned.columns),
          maxLength: Math.min(tuned.rows, tuned.columns),
        })
        .map((values) => values.sort((a, b) => b - a)),
    ),
  )

describe('500 budgets against every choice of ranks with its true bytes', () => {
  test.each(
    (['pattern', 'portable'] as const).flatMap((layout) => LIMITS.map((limits) => [layout, limits] as const)),
  )(
    '%s, %o: never above the budget, no collapse, and the error is within couldGain of the least',
    async (layout, limits) => {
      const options = { ...OPTIONS, layout, limits }
      const plan = await planFor(SHAPES, options)
      const choices = everyChoice(plan, options, 4)
      const sizes = choices.map(({ bytes }) => bytes)
      const [least, most] = [Math.min(...sizes), Math.max(...sizes)]
      expect([least, most].map((size) => String(size).length)).toEqual([4, 4])
      fc.assert(
        fc.property(fc.integer({ min: least, max: most + 50 }), spectraFor(plan), (bytes, all) => {
          const { ranks, used, size, couldGain } = spend(plan, options, bytes, all)
          const gain = (ranks: readonly number[]) =>
            all.reduce((sum, values, i) => sum + squares(values, ranks[i]), 0)
          const total = gain(all.map(({ length }) => length))
          const fitting = choices.filter((choice) => choice.bytes <= bytes)
          const best = fitting.reduce((most, choice) => Math.max(most, gain(choice.ranks)), 0)
          expect(size).toBe(used)
          expect(used).toBeLessThanOrEqual(bytes)
          expect((best - gain(ranks)) / total).toBeLessThanOrEqual(couldGain + 1e-9)
          expect(couldGain).toBeLessThanOrEqual(1)
          const equal = Array.from({ length: 6 }, (_, r) =>
            plan.layers.map(({ pair: { tuned } }) =>
              withinLimits(r + 1, Math.min(tuned.rows, tuned.columns), limits),
            ),
          ).filter((one) => adapterBytes(plan, { ...options, rule: { kind: 'budget', bytes } }, one) <= bytes)
          for (const one of equal) expect(gain(one)).toBeLessThanOrEqual(gain(ranks) + 1e-9)
        }),
        { numRuns: 63 },
      )
    },
  )
})

test('a few bytes too many of headers don’t make all ranks 1', async () => {
  const shapes = Object.fromEntries(
    Array.from({ length: 6 }, (_, i) => [`model.layers.${i}.mlp.up_proj.weight`, [64, 48]]),
  )
  const plan = await planFor(shapes)
  const all = plan.layers.map((_, i) => Array.from({ length: 48 }, (_, j) => (1 + i / 3) * 0.9 ** j))
  for (let bytes = 60_000; bytes < 61_000; bytes += 37) {
    const { ranks, used } = spend(plan, OPTIONS, bytes, all)
    expect(used).toBeLessThanOrEqual(bytes)
    // a rank takes 448 bytes, and headers and patterns a few more
    expect(bytes - used).toBeLessThan(2 * 448)
    expect(Math.min(...ranks)).toBeGreaterThan(5)
  }
})

test('where the first triplets end between two multiples, more are asked for', async () => {
  const plan = await planFor({ 'model.layers.0.mlp.up_proj.weight': [120, 96] })
  const all = [Array.from({ length: 96 }, (_, j) => 0.99 ** j)]
  const { ranks } = spend(plan, { ...OPTIONS, limits: { multipleOf: 5 } }, 60_000, all)
  expect(ranks[0]).toBeGreaterThan(32)
  expect(ranks[0] % 5).toBe(0)
})

test('directions that hold only rounding aren’t bought', async () => {
  const plan = await planFor({ 'model.layers.0.mlp.up_proj.weight': [40, 30] })
  const all = [Array.from({ length: 30 }, (_, j) => (j < 3 ? 3 - j : 1e-9))]
  for (const layout of ['pattern', 'portable'] as const) {
    const { ranks, couldGain } = spend(plan, { ...OPTIONS, layout }, 20_000, all)
    expect(ranks).toEqual([3])
    expect(couldGain).toBeLessThan(1e-9)
  }
})

test('where --max-rank leaves most of a budget, no portable adapter could gain more', async () => {
  const plan = await planFor(SHAPES)
  const all = plan.layers.map(({ pair: { tuned } }) =>
    Array.from({ length: Math.min(tuned.rows, tuned.columns) }, (_, j) => 1 - j / 10),
  )
  const { ranks, couldGain } = spend(
    plan,
    { ...OPTIONS, layout: 'portable', limits: { maxRank: 2 } },
    100_000,
    all,
  )
  expect(ranks).toEqual(all.map(() => 2))
  expect(couldGain).toBe(0)
})
