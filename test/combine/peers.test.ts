import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { fromRows, matrix } from '../../src/linalg/matrix/matrix.ts'
import { frobeniusNorm } from '../../src/linalg/matrix/norms.ts'
import { jsEngine } from '../linalg/truncation/engines.ts'
import { distance, flat, goldens, type Nested, shapeOf } from '../lora/goldens.ts'
import { numbers } from '../lora/write-support.ts'
import { temporaryFolder } from '../temporary.ts'
import {
  combined,
  densesOf,
  openAdapter,
  type Tensors,
  weightedSum,
  writePeft,
  writeTensors,
} from './support.ts'

/** The peers computed in float32. */
const FLOAT32 = 1e-6

const folder = temporaryFolder()
const at = (name: string) => join(folder, name)
let count = 0

const tensor = (value: Nested) => ({ shape: shapeOf(value), data: Float64Array.from(flat(value)) })
const singularValues = (rows: Nested) => jsEngine.svd(fromRows(rows as number[][]), 'none').S
const tail = (S: Float64Array, rank: number) => frobeniusNorm(S.subarray(rank)) / frobeniusNorm(S)

describe('kohya’s resize', () => {
  interface KohyaCase {
    readonly peer: string
    readonly what: string
    readonly new_rank: number
    readonly dynamic_method?: 'sv_ratio' | 'sv_cumulative' | 'sv_fro'
    readonly dynamic_param?: number
    readonly scaleBefore?: number
    readonly rank?: number
    readonly relativeError?: number
    readonly error?: string
  }
  const cases = (goldens('goldens/resize') as KohyaCase[]).filter(({ peer }) => peer.startsWith('kohya'))
  const S = Float64Array.of(8, 4, 2, 1, 0.5, 0.25, 0.125, 0.0625)
  const [OUT, IN, STEM] = [12, 10, 'lora_unet_x']

  /** up·down with these singular values, whatever its vectors. */
  async function input(scale: number | undefined): Promise<string> {
    const U = jsEngine.qr(matrix(OUT, 8, numbers(OUT * 8, 1))).Q
    const V = jsEngine.qr(matrix(IN, 8, numbers(IN * 8, 2))).Q
    const up = Float64Array.from(U.data, (x, i) => x * S[i % 8])
    const down = Float64Array.from({ length: 8 * IN }, (_, i) => V.data[(i % IN) * 8 + Math.floor(i / IN)])
    const alpha =
      scale === undefined ? {} : { [`${STEM}.alpha`]: { shape: [], data: Float64Array.of(8 * scale) } }
    return writeTensors(at(`kohya-${count++}.safetensors`), {
      [`${STEM}.lora_up.weight`]: { shape: [OUT, 8], data: up },
      [`${STEM}.lora_down.weight`]: { shape: [8, IN], data: down },
      ...alpha,
    })
  }

  /** What a rule is meant to keep: the code keeps one more. */
  function meantRank({ dynamic_method, dynamic_param: p = 1, new_rank }: KohyaCase): number {
    const least = (power: number, share: number) => {
      const of = (values: Float64Array) => values.reduce((sum, s) => sum + s ** power, 0)
      for (let r = 1; r < S.length; r++) if (of(S.subarray(0, r)) >= share * of(S)) return r
      return S.length
    }
    const found = {
      sv_ratio: () => S.filter((s) => s > S[0] / p).length,
      sv_cumulative: () => least(1, p),
      sv_fro: () => least(2, p * p),
    }
    return Math.min(dynamic_method === undefined ? new_rank : found[dynamic_method](), new_rank, S.length)
  }

  test('there are sixteen', () => expect(cases.length).toBe(16))

  test.each(
    cases.map(
      (one) =>
        [`${one.what}, ${one.dynamic_method ?? ''} ${one.dynamic_param ?? one.new_rank}`, one] as const,
    ),
  )('%s', async (_, one) => {
    const { new_rank, dynamic_method, dynamic_param = 1, rank: theirs } = one
    const given = await input(one.what === 'no alpha tensor' ? undefined : one.scaleBefore)
    const scale = one.scaleBefore ?? 1
    const before = (await densesOf(given)).get('x')!
    const meant = meantRank(one)
    // where the code has no error, it has found no rank either
    const ranks = new Set([meant, Math.min(theirs ?? new_rank, 64)])
    for (const rank of ranks) {
      const out = at(`resized-${count++}.safetensors`)
      const document = await combined('resize', [given, '-o', out, '--rank', String(rank)])
      const [layer] = document.layers
      expect(layer.rank).toBe(Math.min(rank, 8))
      expect(layer.frobenius / (scale * frobeniusNorm(S)) - 1).toBeLessThan(FLOAT32)
      const error = distance((await densesOf(out)).get('x')!, before)
      expect(Math.abs(layer.relativeError - error)).toBeLessThan(1e-12)
      expect(Math.abs(error - tail(S, rank))).toBeLessThan(FLOAT32)
      const [module] = (await openAdapter(out)).modules
      expect(module).toMatchObject({ scale: 1, rank: Math.min(rank, 8) })
      if (rank !== theirs) continue
      expect(Math.abs(error - one.relativeError!)).toBeLessThan(FLOAT32)
    }
    if (theirs !== undefined) expect(meant).toBeLessThanOrEqual(theirs)
    if (dynamic_method !== 'sv_fro') return
    // the help: --energy p² is the same, and --max-rank what --new_rank is beside it
    const limit = ['--max-rank', String(new_rank)]
    const rule = ['--energy', String(dynamic_param ** 2), ...limit]
    const { layers } = await combined('resize', [given, '-o', at(`energy-${count++}.safetensors`), ...rule], {
      code: meant < meantRank({ ...one, new_rank: 64 }) ? 1 : 0,
    })
    expect(layers[0].rank).toBe(meant)
  })
})

describe('what peers make of a sum', () => {
  interface MergeCase {
    readonly peer: string
    readonly kind?: string
    readonly concat?: boolean
    readonly rslora?: boolean
    readonly svd_rank?: number
    readonly alphas: readonly number[]
    readonly weights: readonly number[]
    readonly adapters: readonly { readonly A: Nested; readonly B: Nested }[]
    readonly delta: Nested
    readonly truth: Nested
    readonly relativeError: number
    readonly scalar: number
  }
  const cases = (goldens('goldens/merge') as Partial<MergeCase>[]).filter(
    (one): one is MergeCase => one.truth !== undefined,
  )
  test('there are nineteen', () => expect(cases.length).toBe(19))

  const peft = async ({ A, B }: MergeCase['adapters'][number], lora_alpha: number, use_rslora: boolean) => {
    const tensors: Tensors = { 'x.lora_A.weight': tensor(A), 'x.lora_B.weight': tensor(B) }
    return writePeft(at(`in-${count++}`), tensors, {
      r: shapeOf(A)[0],
      lora_alpha,
      use_rslora,
      target_modules: ['x'],
    })
  }
  const kohya = ({ A, B }: MergeCase['adapters'][number], alpha: number) =>
    writeTensors(at(`in-${count++}.safetensors`), {
      'lora_unet_x.lora_down.weight': tensor(A),
      'lora_unet_x.lora_up.weight': tensor(B),
      'lora_unet_x.alpha': { shape: [], data: Float64Array.of(alpha) },
    })

  test.each(
    cases.map(
      (one, i) =>
        [`${i}: ${one.peer} ${one.kind ?? ''} ${one.concat === true ? '--concat' : ''}`, one] as const,
    ),
  )('%s', async (_, one) => {
    const { adapters, alphas, weights, truth, delta, relativeError, svd_rank, rslora = false } = one
    const isKohya = one.peer.startsWith('kohya')
    const paths: string[] = []
    for (const [i, adapter] of adapters.entries()) {
      paths.push(isKohya ? await kohya(adapter, alphas[i]) : await peft(adapter, alphas[i], rslora))
    }
    const end = isKohya ? '.safetensors' : ''
    const common = [...paths, `--weights=${weights.join()}`, '-o']
    const wanted = flat(truth)
    const out = at(`sum-${count++}${end}`)
    const { layers, overlap } = await combined('merge', [...common, out])
    const sum = (await densesOf(out)).get('x')!
    expect(distance(sum, wanted)).toBeLessThan(FLOAT32)
    const S = singularValues(truth)
    expect(layers[0].numericalRank).toBe(S.filter((s) => s > 1e-5 * S[0]).length)
    expect(Math.abs(layers[0].frobenius / frobeniusNorm(S) - 1)).toBeLessThan(FLOAT32)
    expect(overlap.norm / frobeniusNorm(S)).toBeCloseTo(1, 6)
    // ours isn't theirs where theirs is wrong
    if (relativeError > 1e-3) expect(distance(sum, flat(delta))).toBeGreaterThan(relativeError / 10)
    for (const rank of new Set([1, svd_rank ?? 2])) {
      const cut = at(`cut-${count++}${end}`)
      const document = await combined('merge', [...common, cut, '--rank', String(rank)])
      const error = distance((await densesOf(cut)).get('x')!, wanted)
      expect(Math.abs(error - tail(S, rank))).toBeLessThan(FLOAT32)
      expect(Math.abs(document.layers[0].relativeError - tail(S, rank))).toBeLessThan(FLOAT32)
      if (rank === svd_rank) expect(error).toBeLessThan(relativeError + FLOAT32)
    }
    const each = await Promise.all(paths.map(async (path) => (await densesOf(path)).get('x')!))
    expect(distance(weightedSum(weights, each), wanted)).toBeLessThan(FLOAT32)
  })
})
