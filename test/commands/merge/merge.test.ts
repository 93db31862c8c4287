import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type MergeResult, merge } from '../../../src/commands/merge/merge.ts'
import type { MergeOptions } from '../../../src/commands/merge/options.ts'
import { LoraSvdError } from '../../../src/errors.ts'
import type { ProgressEvent } from '../../../src/jobs/context.ts'
import { expectSameFiles } from '../../cli/extract-support.ts'
import { runInProcess } from '../../cli/run.ts'
import { documentOf } from '../../cli/schema.ts'
import { densesOf, type Tensors, weightedSum, writeBase, writePeft } from '../../combine/support.ts'
import { numbers } from '../../lora/write-support.ts'
import { temporaryFolder } from '../../temporary.ts'

const folder = temporaryFolder()
let count = 0
const fresh = () => join(folder, `${count++}`)

/** Beyond what is worth threads of its own: three modules are. */
const [ROWS, COLUMNS, RANK] = [128, 112, 64]
const NAMES = ['q', 'k', 'v']

async function large(seed: number): Promise<string> {
  const tensors: Record<string, Tensors[string]> = {}
  for (const [i, name] of NAMES.entries()) {
    const stem = `base_model.model.layers.0.${name}`
    tensors[`${stem}.lora_A.weight`] = { shape: [RANK, COLUMNS], data: numbers(RANK * COLUMNS, seed + 2 * i) }
    tensors[`${stem}.lora_B.weight`] = { shape: [ROWS, RANK], data: numbers(ROWS * RANK, seed + 2 * i + 1) }
  }
  return writePeft(fresh(), tensors, { r: RANK, lora_alpha: 1, target_modules: NAMES })
}
const [one, other] = [await large(1), await large(50)]
const entries = () => readdirSync(folder).sort()

describe('whatever the number of threads, the same bytes', () => {
  test.each<[string, Omit<MergeOptions, 'adapters' | 'out' | 'dryRun'>]>([
    ['exact', { weights: [1, -0.5] }],
    ['uniform', { energy: 0.6, uniform: true, layout: 'pattern' }],
    ['a budget', { budget: '100KiB', layout: 'pattern', dtype: 'bf16' }],
  ])('%s', async (_, options) => {
    const outs: string[] = []
    const results: MergeResult[] = []
    for (const threads of [1, 4]) {
      const out = fresh()
      results.push(await merge({ adapters: [one, other], out, engine: 'wasm', ...options, threads }))
      outs.push(out)
    }
    expectSameFiles(outs[0], outs[1])
    const told = (result: MergeResult) => ({ ...result, seconds: 0, output: { ...result.output, path: '' } })
    expect(told(results[0])).toEqual(told(results[1]))
  })
})

describe('as functions of a program', () => {
  test('progress starts, counts and ends', async () => {
    const events: ProgressEvent[] = []
    await merge({
      adapters: [one, other],
      out: fresh(),
      rank: 4,
      threads: 1,
      onProgress: (event) => events.push(event),
    })
    expect(events[0]).toMatchObject({ kind: 'start', phase: 'summing', items: 3, done: 0 })
    expect(events.at(-1)).toMatchObject({ kind: 'end', done: 3, items: 3 })
    expect(
      events
        .filter(({ kind }) => kind === 'done')
        .map(({ name }) => name)
        .sort(),
    ).toEqual(NAMES.map((name) => `layers.0.${name}`).sort())
  })

  test.each([1, 4])('an abort leaves nothing (%i threads)', async (threads) => {
    for (const stopAt of ['begin', 'done'] as const) {
      const controller = new AbortController()
      const out = fresh()
      const before = entries()
      const onProgress = ({ kind }: ProgressEvent) => kind === stopAt && controller.abort()
      const options: MergeOptions = {
        adapters: [one, other],
        out,
        rank: 4,
        threads,
        signal: controller.signal,
        onProgress,
      }
      await expect(merge(options)).rejects.toMatchObject({ code: 'interrupted' })
      expect(entries()).toEqual(before)
    }
    const aborted = merge({
      adapters: [one, other],
      out: join(folder, 'never'),
      signal: AbortSignal.abort(),
      threads,
    })
    await expect(aborted).rejects.toMatchObject({ code: 'interrupted' })
    expect(existsSync(join(folder, 'never'))).toBe(false)
  })

  test.each<[string, unknown, RegExp]>([
    ['no adapters', { adapters: [], out: 'x' }, /option 'adapters' takes an array of paths, at least one/],
    [
      'weights that are none',
      { adapters: ['a'], out: 'x', weights: [0] },
      /an array of numbers other than 0/,
    ],
    ['NaN', { adapters: ['a'], out: 'x', weights: [Number.NaN] }, /an array of numbers other than 0/],
    ['a slip', { adapters: ['a'], out: 'x', wieghts: [1] }, /no option 'wieghts'; did you mean "weights"/],
    ['prefer', { adapters: ['a'], out: 'x', prefer: 'second' }, /one of 'first', 'last'/],
    ['no out', { adapters: ['a'] }, /option 'out' is missing/],
  ])('%s: bad usage', async (_, options, message) => {
    const error = await merge(options as MergeOptions).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(LoraSvdError)
    expect(error).toMatchObject({ code: 'bad-usage', message: expect.stringMatching(message) })
  })
})

test('what is written survives verify against the base and the base with the sum in it', async () => {
  const weights = [1, -0.5]
  const all = [await densesOf(one), await densesOf(other)]
  const tensor = (data: Float64Array) => ({ shape: [ROWS, COLUMNS], dtype: 'F64' as const, data })
  const before = Object.fromEntries(
    NAMES.map((name, i) => [`layers.0.${name}.weight`, tensor(numbers(ROWS * COLUMNS, 90 + i))]),
  )
  const after = Object.fromEntries(
    NAMES.map((name) => {
      const sum = weightedSum(
        weights,
        all.map((one) => one.get(`layers.0.${name}`)!),
      )
      const { data } = before[`layers.0.${name}.weight`]
      return [`layers.0.${name}.weight`, tensor(sum.map((x, i) => x + data[i]))]
    }),
  )
  const [base, tuned] = [await writeBase(fresh(), before), await writeBase(fresh(), after)]
  const exact = fresh()
  const { layers: sums } = await merge({ adapters: [one, other], weights, out: exact, threads: 1 })
  const verified = async (adapter: string, most: number) => {
    const { code, stdout } = await runInProcess([
      'verify',
      adapter,
      base,
      tuned,
      `--max-error=${most}`,
      '--json',
    ])
    expect(code).toBe(0)
    return documentOf(stdout, 'verify-1')
  }
  const whole = await verified(exact, 1e-6)
  for (const [i, { deltaFrobenius, relativeError }] of whole.layers.entries()) {
    expect(deltaFrobenius / sums[i].frobenius).toBeCloseTo(1, 10)
    expect(relativeError / sums[i].relativeError).toBeCloseTo(1, 3)
  }
  const cut = fresh()
  const { totals } = await merge({ adapters: [one, other], weights, out: cut, rank: 20, threads: 1 })
  const found = await verified(cut, 0.99)
  expect(found.totals.relativeError).toBeCloseTo(totals.relativeError, 10)
})
