import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { type CombinePlan, planSum, type Summand } from '../../src/combine/plan.ts'
import { type SumRequest, sumModules } from '../../src/compress/sum.ts'
import { widened } from '../../src/linalg/matrix/half.ts'
import type { Matrix } from '../../src/linalg/matrix/matrix.ts'
import { frobeniusNorm } from '../../src/linalg/matrix/norms.ts'
import { jsEngine, wasmEngine } from '../linalg/truncation/engines.ts'
import { distance } from '../lora/goldens.ts'
import { elements } from '../lora/support.ts'
import { temporaryFolder } from '../temporary.ts'
import {
  combined,
  densesOf,
  openAdapter,
  type Tensors,
  weightedSum,
  writeBase,
  writePeft,
  writeTensors,
} from './support.ts'

interface Stored {
  readonly shape: readonly number[]
  readonly data: readonly number[]
}
interface OracleCase {
  readonly what: string
  readonly adapters: readonly {
    readonly tensors: Readonly<Record<string, Stored>>
    readonly config?: object
  }[]
  readonly base: { readonly tensors: Readonly<Record<string, readonly number[]>> } | null
  readonly weights: readonly number[]
  readonly rank: number
  readonly layers: readonly {
    readonly name: string
    readonly shape: readonly [number, number]
    readonly S: readonly number[]
    readonly sum: readonly number[]
    readonly sumS: readonly number[]
    readonly inner: readonly (readonly number[])[]
    readonly first: boolean
  }[]
}
/** A layer of a report has the module's name, the oracle's that of the base's tensor. */
const moduleOf = (name: string) => name.replace(/\.weight$/, '')
const cases: OracleCase[] = JSON.parse(
  readFileSync(new URL('../fixtures/sums.json', import.meta.url), 'utf8'),
).cases

/** Of ‖Δ‖: before anything is rounded to the type it is stored in. */
const EXACT = 1e-12
/** Of ‖Δ‖: what one rounding to float32 of each factor leaves. */
const FLOAT32 = 2e-7

const folder = temporaryFolder()
let count = 0
const fresh = (end = '') => join(folder, `${count++}${end}`)

async function written({ adapters, base }: OracleCase) {
  const paths: string[] = []
  for (const { tensors, config } of adapters) {
    const stored: Tensors = Object.fromEntries(
      Object.entries(tensors).map(([name, { shape, data }]) => [
        name,
        { shape, data: Float64Array.from(data) },
      ]),
    )
    paths.push(
      config === undefined
        ? await writeTensors(fresh('.safetensors'), stored)
        : await writePeft(fresh(), stored, config),
    )
  }
  const zeros = (shape: readonly number[]) => ({ shape, data: new Float64Array(elements(shape)) })
  const model =
    base === null
      ? undefined
      : await writeBase(
          fresh(),
          Object.fromEntries(Object.entries(base.tensors).map(([name, shape]) => [name, zeros(shape)])),
        )
  return { paths, model, end: adapters[0].config === undefined ? '.safetensors' : '' }
}

async function planOf(paths: readonly string[], weights: readonly number[], model: string | undefined) {
  const summands: Summand[] = []
  for (const [i, path] of paths.entries()) {
    summands.push({
      adapter: await openAdapter(path),
      checkpoint: await openCheckpoint(path),
      weight: weights[i],
    })
  }
  return planSum(summands, model === undefined ? {} : { base: await openCheckpoint(model) })
}

const multiply = (B: Matrix, A: Matrix) => jsEngine.multiply(B, A)

/** The layers of a plan by their names, each as `ask` wants it, in float64. */
async function sumsOf({ layers }: CombinePlan, ask: SumRequest, engine = jsEngine) {
  const found = new Map<string, Awaited<ReturnType<typeof sumModules>>>()
  for (const { name, module, terms, expert } of layers) {
    const { rows, columns } = module
    const job = {
      name,
      terms,
      rows,
      columns,
      ask,
      dtype: 'f64',
      ...(expert !== undefined && { expert }),
    } as const
    found.set(name, await sumModules(job, { engine: async () => engine, notice: () => {} }))
  }
  return found
}

const tail = (S: readonly number[], rank: number) => frobeniusNorm(Float64Array.from(S.slice(rank)))
const least = (S: readonly number[]) => S.filter((s) => s > 1e-13 * (S[0] || 1)).length

describe.each(cases.map((one) => [one.what, one] as const))('%s', (_, one) => {
  const { layers, weights, rank } = one

  test.each([
    ['js', jsEngine],
    ['wasm', wasmEngine],
  ] as const)('before it is stored (%s)', async (_, engine) => {
    const { paths, model } = await written(one)
    const whole = await sumsOf(await planOf(paths, weights, model), { kind: 'exact' }, engine)
    const cut = await sumsOf(
      await planOf(paths, weights, model),
      { kind: 'rule', rule: { kind: 'rank', rank }, limits: {} },
      engine,
    )
    const alone = await sumsOf(await planOf(paths.slice(0, 1), [1], model), { kind: 'spectrum' }, engine)
    expect([...whole.keys()].sort()).toEqual(layers.map(({ name }) => moduleOf(name)).sort())
    for (const { name, shape, S, sum, sumS, inner, first } of layers) {
      const { singularValues, frobenius, factors, residual, inner: found } = whole.get(moduleOf(name))!
      const norm = frobeniusNorm(Float64Array.from(sumS))
      expect([factors.B.rows, factors.A.columns]).toEqual(shape)
      expect(singularValues.length).toBe(least(sumS))
      for (const [i, s] of sumS.entries()) {
        expect(Math.abs((singularValues[i] ?? 0) - s) / sumS[0], `${name} σ${i}`).toBeLessThan(EXACT)
      }
      expect(Math.abs(frobenius / norm - 1)).toBeLessThan(EXACT)
      expect(distance(multiply(widened(factors.B), widened(factors.A)).data, sum)).toBeLessThan(EXACT)
      expect(residual / norm).toBeLessThan(EXACT)
      for (const [i, row] of inner.entries()) {
        const size = Math.max(...inner.flat().map(Math.abs))
        for (const [j, x] of row.entries())
          expect(Math.abs((found[i]?.[j] ?? 0) - x)).toBeLessThan(EXACT * size)
      }
      const best = cut.get(moduleOf(name))!
      const optimum = tail(sumS, rank)
      const left = frobeniusNorm(
        weightedSum([1, -1], [sum, multiply(widened(best.factors.B), widened(best.factors.A)).data]),
      )
      expect(best.rank).toBe(Math.min(rank, least(sumS)))
      expect(Math.abs(left - optimum) / norm).toBeLessThan(EXACT)
      expect(Math.abs(best.residual - optimum) / norm).toBeLessThan(EXACT)
      if (!first) continue
      for (const [i, s] of S.entries()) {
        expect(Math.abs((alone.get(moduleOf(name))!.singularValues[i] ?? 0) - s) / S[0]).toBeLessThan(EXACT)
      }
    }
  })

  test('on disk', async () => {
    const { paths, model, end } = await written(one)
    const more = model === undefined ? [] : ['--base', model]
    const [sum, small] = [fresh(end), fresh(end)]
    await combined('merge', [...paths, `--weights=${weights.join()}`, '-o', sum, ...more])
    const { layers: cut } = await combined('resize', [paths[0], '-o', small, `--rank=${rank}`, ...more])
    const [summed, resized, before] = [
      await densesOf(sum, model),
      await densesOf(small, model),
      await densesOf(paths[0], model),
    ]
    for (const { name, sum: wanted, S, first } of layers) {
      expect(distance(summed.get(name)!, wanted), name).toBeLessThan(FLOAT32)
      if (!first) continue
      const norm = frobeniusNorm(Float64Array.from(S))
      const error = distance(resized.get(name)!, before.get(name)!)
      expect(Math.abs(error - tail(S, rank) / norm)).toBeLessThan(FLOAT32)
      const reported = cut.find((layer: { name: string }) => layer.name === moduleOf(name))
      expect(Math.abs(reported.relativeError - error)).toBeLessThan(EXACT)
      expect(reported.relativeError).toBeGreaterThanOrEqual(reported.optimalError.atLeast - EXACT)
    }
  })
})

test('there are adapters of 26 kinds', () => expect(cases.length).toBe(26))
