import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { refused, type Tensors, writePeft, writeTensors } from '../combine/support.ts'
import { asPipeline, valued, withValues } from '../lora/families/valued.ts'
import { SMALL, singleFile } from '../lora/families/whole.ts'
import { type ComfyCase, distance, flat, goldens, type Nested, tensorsOf } from '../lora/goldens.ts'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import type { TestTensor } from '../lora/support.ts'
import { temporaryFolder } from '../temporary.ts'
import { applied, rounded } from './apply-support.ts'
import { runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

/** DoRA for ComfyUI: all of the change of a weight, added by ComfyUI's rule, is the weight that the trainer meant. */

const folder = temporaryFolder('convert-dora')
let count = 0
const fresh = (end = '.safetensors') => join(folder, `${count++}${end}`)

/** By a tensor of Chroma, of whose other names ComfyUI takes each as it is. */
const MARK: Tensors = { 'distilled_guidance_layer.in_proj.weight': valued([2, 2], 1) }
const baseOf = (tensors: Tensors) => writeTensors(fresh(), { ...MARK, ...tensors })

async function converted(args: readonly string[], code = 0) {
  const out = fresh()
  const all = ['convert', ...args, '-o', out, '--format=comfyui']
  const result = await runInProcess([...all, '--json'])
  expect(result.stderr).toBe('')
  expect(result.code).toBe(code)
  return { out, document: documentOf(result.stdout, 'convert-1') }
}

const refusal = async (args: readonly string[]) => {
  const out = fresh()
  const line = await refused(['convert', ...args, '-o', out])
  expect(existsSync(out)).toBe(false)
  return line.replaceAll(`${folder}/`, '')
}

/**
 * What ComfyUI makes of a file: each weight by the names that it has for it; a `.diff` is added times the strength, and so is up·down times
 * alpha over the rank; both of one weight it does not add up (comfy/lora.py, load_lora and calculate_weight).
 */
function byComfyui(base: string, adapter: string, strength = 1): Map<string, Float64Array> {
  const weights = new Map(
    [...readSafetensorsFile(base)].map(([name, { data }]) => [name, Float64Array.from(data)]),
  )
  const tensors = readSafetensorsFile(adapter)
  const loaded = new Set<string>()
  const take = (name: string) => {
    const tensor = tensors.get(name)
    if (tensor !== undefined) loaded.add(name)
    return tensor
  }
  for (const [name, W] of weights) {
    const path = name.replace(/^(?:model\.diffusion_model|diffusion_model)\./, '').replace(/\.weight$/, '')
    for (const key of [`diffusion_model.${path}`, `lora_unet_${path.replaceAll('.', '_')}`]) {
      const [diff, up, down] = ['diff', 'lora_up.weight', 'lora_down.weight'].map((end) =>
        take(`${key}.${end}`),
      )
      expect(diff !== undefined && up !== undefined, key).toBe(false)
      for (let i = 0; diff !== undefined && i < W.length; i++) W[i] += strength * diff.data[i]
      const bias = take(`${key}.diff_b`)
      const ofBias = weights.get(name.replace(/weight$/, 'bias'))
      for (let i = 0; bias !== undefined && i < bias.data.length; i++) ofBias![i] += strength * bias.data[i]
      if (up === undefined || down === undefined) continue
      const r = down.shape[0]
      const scale = (take(`${key}.alpha`)?.data[0] ?? r) / r
      const columns = down.data.length / r
      for (const [i, x] of product(up.data, down.data, r, columns).entries()) W[i] += strength * scale * x
    }
  }
  expect([...tensors.keys()].filter((name) => !loaded.has(name))).toEqual([])
  return weights
}

function product(B: ArrayLike<number>, A: ArrayLike<number>, r: number, columns: number): Float64Array {
  return Float64Array.from({ length: (B.length / r) * columns }, (_, at) => {
    let sum = 0
    for (let k = 0; k < r; k++) sum += B[Math.floor(at / columns) * r + k] * A[k * columns + (at % columns)]
    return sum
  })
}

/** The peers computed in float32. */
const FLOAT32 = 1e-6

interface PeftCase {
  readonly what: string
  readonly config?: { readonly use_dora?: boolean }
  readonly base: Nested
  readonly tensors: Readonly<Record<string, Nested>>
  readonly merged: Nested
}

describe('what PEFT merges', () => {
  const cases = (goldens('goldens/peft') as readonly PeftCase[]).filter(({ config }) => config?.use_dora)
  test('a linear layer, one that lies [in, out], and a kernel', () => expect(cases).toHaveLength(3))
  test.each(cases)('$what', async ({ base, tensors, config, merged }) => {
    const named = Object.entries(tensorsOf(tensors)).map(([name, tensor]): [string, TestTensor] => {
      const saved = name.replace(/\.default(?=$|\.)/, '').replace(/(magnitude_vector)\.weight$/, '$1')
      return [`base_model.model.x.${saved}`, tensor]
    })
    const adapter = await writePeft(fresh(''), Object.fromEntries(named), {
      ...config,
      target_modules: ['x'],
    })
    const model = await baseOf(tensorsOf({ 'x.weight': base }))
    const { out, document } = await converted([adapter, '--base', model])
    expect([...readSafetensorsFile(out).keys()]).toEqual(['diffusion_model.x.diff'])
    expect(document.layers).toMatchObject([{ form: 'difference', rankBefore: 2, rank: 0 }])
    expect(distance(byComfyui(model, out).get('x.weight')!, flat(merged))).toBeLessThan(FLOAT32)
  })
})

const comfy = goldens('goldens/comfy') as readonly ComfyCase[]

/** Over the inputs ComfyUI divides by the norms of the changed weight, as LyCORIS trains it. */
describe('what ComfyUI makes of magnitudes over the inputs', () => {
  const cases = comfy.filter(
    ({ what, strength }) => /(?:dora_scale|DoRA) \[1, ?in/.test(what) && strength === 1,
  )
  test('a linear layer and a kernel', () => expect(cases).toHaveLength(2))
  test.each(cases)('$what', async (one) => {
    const [adapter, model] = [
      await writeTensors(fresh(), tensorsOf(one.adapter)),
      await baseOf(tensorsOf(one.base)),
    ]
    const { out } = await converted([adapter, '--base', model])
    const [[name, result]] = Object.entries(one.result)
    const found = byComfyui(model, out).get(name.replace('diffusion_model.', ''))!
    expect(distance(found, flat(result))).toBeLessThan(FLOAT32)
  })
})

interface LycorisCase {
  readonly what: string
  readonly multiplier: number
  readonly base: Nested
  readonly adapter?: Readonly<Record<string, Nested>>
  readonly merged?: Nested
}

describe('over the outputs it is what LyCORIS trains, and not what ComfyUI makes of the magnitudes', () => {
  test('LyCORIS’ own weight, at the multiplier 1', async () => {
    const all = goldens('goldens/lycoris') as readonly LycorisCase[]
    const { base, adapter, merged, multiplier } = all.find((one) => one.adapter?.dora_scale && one.merged)!
    const tensors = tensorsOf(adapter!)
    const named = Object.entries(tensors).map(([name, tensor]) => [`lora_unet_x.${name}`, tensor])
    const file = await writeTensors(fresh(), Object.fromEntries(named))
    const model = await baseOf(tensorsOf({ 'x.weight': base }))
    const found = byComfyui(model, (await converted([file, '--base', model])).out).get('x.weight')!
    // V·(λ(m/‖V‖ − 1) + 1) goes on from V in one direction
    const r = tensors['lora_down.weight'].shape[0]
    const [B, A] = [tensors['lora_up.weight'].data!, tensors['lora_down.weight'].data!] as ArrayLike<number>[]
    const scale = tensors.alpha.data![0] / r
    const V = product(B, A, r, tensors['lora_down.weight'].shape[1]).map((x, i) => flat(base)[i] + scale * x)
    const expected = V.map((v, i) => v + (flat(merged!)[i] - v) / multiplier)
    expect(distance(found, expected)).toBeLessThan(FLOAT32)
  })

  test.each(comfy.filter(({ what }) => /(?:dora_scale \[out, 1|DoRA \[out,1)/.test(what)))(
    '$what',
    async (one) => {
      const tensors = tensorsOf(one.adapter)
      const [[weight, base]] = Object.entries(tensorsOf(one.base))
      const [file, model] = [await writeTensors(fresh(), tensors), await baseOf({ [weight]: base })]
      const found = byComfyui(model, (await converted([file, '--base', model])).out).get(weight)!
      const [magnitude] = Object.entries(tensors).flatMap(([name, { data }]) =>
        name.endsWith('dora_scale') ? [data!] : [],
      )
      // W' has the norms that the magnitudes say, whatever its factors are
      const width = found.length / magnitude.length
      for (let i = 0; i < magnitude.length; i++) {
        expect(Math.hypot(...found.subarray(i * width, (i + 1) * width))).toBeCloseTo(
          Math.abs(magnitude[i]),
          5,
        )
      }
      expect(distance(found, flat(Object.values(one.result)[0]))).toBeGreaterThan(0.01)
    },
  )
})

const factors = (stem: string, [out, columns]: readonly number[], seed: number): Tensors => ({
  [`${stem}.lora_down.weight`]: valued([2, columns], seed),
  [`${stem}.lora_up.weight`]: valued([out, 2], seed + 1),
})
const magnitude = (shape: readonly number[], seed: number): TestTensor => ({
  shape,
  data: valued(shape, seed).data.map((x) => 1 + Math.abs(x)),
})

describe('beside modules that are no DoRA', () => {
  const W: Tensors = {
    'a.weight': valued([6, 4], 2),
    'a.bias': valued([6], 3),
    'b.weight': valued([5, 4], 4),
  }
  const A: Tensors = {
    ...factors('lora_unet_a', [6, 4], 5),
    'lora_unet_a.dora_scale': magnitude([6, 1], 7),
    ...factors('lora_unet_b', [5, 4], 8),
  }
  let [base, adapter] = ['', '']
  beforeAll(async () => {
    base = await baseOf(W)
    adapter = await writeTensors(fresh(), A)
  })

  test('those are factors, it is a difference, and together they are what apply writes', async () => {
    const { out, document } = await converted([adapter, '--base', base])
    expect(document).toMatchObject({
      ...{ dtype: 'f32', differences: { modules: 1, bytes: 96 }, kept: [], dropped: [], holds: true },
      ...{ exact: false, totals: { layers: 2, modules: 1, rank: 2 }, warnings: [] },
      layers: [
        { name: 'a', form: 'difference', shape: [6, 4], rankBefore: 2, rank: 0, exact: false },
        { name: 'b', form: 'factors', shape: [5, 4], rankBefore: 2, rank: 2, exact: true, relativeError: 0 },
      ],
    })
    expect(document.largestError).toBeGreaterThan(0)
    expect(document.largestError).toBeLessThan(2 ** -24)
    const merged = fresh()
    await applied([base, adapter, '-o', merged])
    const [found, wanted] = [byComfyui(base, out), readSafetensorsFile(merged)]
    for (const [name, { data }] of wanted)
      expect(distance(found.get(name)!, data), name).toBeLessThan(FLOAT32)
    expect(distance(byComfyui(base, out, 0).get('a.weight')!, wanted.get('a.weight')!.data)).toBeGreaterThan(
      0.1,
    )
  })

  test('each entry is rounded once to the type that is asked for', async () => {
    const [wide, narrow] = [
      await converted([adapter, '--base', base]),
      await converted([adapter, '--base', base, '--dtype=bf16']),
    ]
    const [meant, stored] = [wide, narrow].map(
      ({ out }) => readSafetensorsFile(out).get('diffusion_model.a.diff')!,
    )
    expect(Array.from(stored.data)).toEqual(Array.from(meant.data, (x) => rounded(x, 'BF16')))
    const [{ relativeError }] = narrow.document.layers
    expect(relativeError / distance(stored.data, meant.data)).toBeCloseTo(1, 4)
  })

  test('a dry run tells the very bytes, and the report why', async () => {
    const out = fresh()
    const args = ['convert', adapter, '-o', out, '--format=comfyui', '--base', base]
    const { stdout } = await runInProcess([...args, '--dry-run', '--json'])
    const plan = documentOf(stdout, 'convert-plan-1')
    expect(plan.differences).toEqual({ modules: 1, bytes: 96 })
    expect(plan.modules).toMatchObject([
      { form: 'factors', rank: 2, storedRank: 2 },
      { name: 'diffusion_model.a', weights: ['a.weight'], form: 'difference', rank: 2, storedRank: 0 },
    ])
    const text = (await runInProcess([...args, '--dry-run'])).stdout
    const report = (await runInProcess(args)).stdout
    expect(statSync(out).size).toBe(plan.output.bytes)
    for (const one of [text, report]) {
      const line = one.replaceAll(/\s+/g, ' ')
      expect(line).toMatch(
        /1 module is written whole, as \.diff of 96 B, because it is DoRA.* extract --rank/,
      )
    }
    expect(report).toMatch(/a +6 × 4 +whole +\d/)
    expect(report).toMatch(/whole +│ 1 difference, 96 B, f32/)
  })

  test('a bias of its factors goes to the bias', async () => {
    const bias = valued([6], 10)
    const peft = await writePeft(
      fresh(''),
      {
        'base_model.model.a.lora_A.weight': valued([2, 4], 5),
        'base_model.model.a.lora_B.weight': valued([6, 2], 6),
        'base_model.model.a.lora_B.bias': bias,
        'base_model.model.a.lora_magnitude_vector': magnitude([6], 7),
      },
      { target_modules: ['a'], use_dora: true, lora_bias: true },
    )
    const { out, document } = await converted([peft, '--base', base])
    expect(document.kept).toEqual(['diffusion_model.a.diff_b'])
    expect(byComfyui(base, out).get('a.bias')).toEqual(W['a.bias'].data!.map((x, i) => x + bias.data[i]))
  })

  test('refused: without the base, for formats without it, and where an entry can’t be written', async () => {
    expect(await refusal([adapter, '--format=comfyui'])).toMatch(/"a" is DoRA.*give that by --base$/)
    expect(await refusal([adapter, '--format=diffusers', '--base', base])).toMatch(
      /diffusers has no place for its magnitudes; apply/,
    )
    const zeros = await baseOf({ ...W, 'a.weight': { shape: [6, 4], data: new Float64Array(24) } })
    const still = await writeTensors(fresh(), {
      ...A,
      'lora_unet_a.lora_up.weight': { shape: [6, 2], data: new Float64Array(12) },
    })
    // LyCORIS adds to the norm, PEFT does not
    await converted([still, '--base', zeros])
    const large = await writeTensors(fresh(), {
      ...A,
      'lora_unet_a.dora_scale': { shape: [6, 1], data: new Float64Array(6).fill(1e6) },
    })
    expect(await refusal([large, '--format=comfyui', '--base', base, '--dtype=f16'])).toMatch(
      /"a\.weight" has an entry that is too large in f16; write --dtype bf16 or f32/,
    )
    const nan = await baseOf({
      ...W,
      'a.weight': { shape: [6, 4], data: new Float64Array(24).fill(Number.NaN) },
    })
    expect(await refusal([adapter, '--format=comfyui', '--base', nan])).toMatch(/"a\.weight".*NaN/)
    const bnb = await baseOf({ ...W, 'a.weight.absmax': valued([2], 13) })
    expect(await refusal([adapter, '--format=comfyui', '--base', bnb])).toMatch(
      /is quantised with bitsandbytes/,
    )
    const integers = await baseOf({
      ...W,
      'a.weight': { shape: [6, 4], dtype: 'I8', data: new Uint8Array(24) as never },
    })
    expect(await refusal([adapter, '--format=comfyui', '--base', integers])).toMatch(/stored as I8/)
  })

  test('refused: another change of the same weight, and a smaller rank', async () => {
    const inOne = Object.entries(A).map(([name, tensor]) => [
      name.replace('lora_unet_', 'diffusion_model.'),
      tensor,
    ])
    const both = await writeTensors(fresh(), {
      ...Object.fromEntries(inOne),
      'diffusion_model.a.diff': valued([6, 4], 12),
    })
    expect(await refusal([both, '--format=comfyui', '--base', base])).toMatch(
      /another change of "a\.weight" is asked for/,
    )
    const line = await refused([
      'resize',
      adapter,
      '-o',
      fresh(),
      '--rank=1',
      '--format=comfyui',
      '--base',
      base,
    ])
    expect(line).toMatch(/"a" is DoRA.*convert the result$/)
  })
})

describe('weights that a base has in one or apart', () => {
  const flux = withValues(SMALL.flux())
  const QKV = 'double_blocks.0.img_attn.qkv'
  const APART = 'transformer.transformer_blocks.0.attn'
  const ab = (name: string, seed: number): Tensors => ({
    [`${APART}.${name}.lora_A.weight`]: valued([2, 12], seed),
    [`${APART}.${name}.lora_B.weight`]: valued([12, 2], seed + 1),
  })
  const tensors: Tensors = {
    ...ab('to_q', 31),
    ...ab('to_k', 33),
    [`${APART}.to_k.dora_scale`]: magnitude([12, 1], 35),
    ...ab('to_out.0', 37),
  }
  const BIAS = `${APART}.to_k.lora_B.bias`

  test('rows of a fused weight: one difference of all of it, with what is no DoRA', async () => {
    const [base, adapter] = [
      await writeTensors(fresh(), Object.fromEntries(flux)),
      await writeTensors(fresh(), tensors),
    ]
    const { out, document } = await converted([adapter, '--base', base])
    expect(document).toMatchObject({
      differences: { modules: 1, bytes: 4 * 36 * 12 },
      totals: { layers: 2, modules: 1 },
    })
    const merged = fresh()
    await applied([base, adapter, '-o', merged])
    const difference = readSafetensorsFile(out).get(`diffusion_model.${QKV}.diff`)!
    const after = readSafetensorsFile(merged).get(`${QKV}.weight`)!.data
    const before = flux.get(`${QKV}.weight`)!.data
    expect(
      distance(
        before.map((x, i) => x + difference.data[i]),
        after,
      ),
    ).toBeLessThan(FLOAT32)
    expect(difference.data.subarray(24 * 12).every((x) => x === 0)).toBe(true)
  })

  test('a bias of rows of it has no place', async () => {
    const [base, adapter] = [
      await writeTensors(fresh(), Object.fromEntries(flux)),
      await writeTensors(fresh(), { ...tensors, [BIAS]: valued([12], 39) }),
    ]
    expect(await refusal([adapter, '--format=comfyui', '--base', base])).toMatch(
      /to_k\.lora_B\.bias" ComfyUI has no place for a bias/,
    )
  })

  test('a part of what ComfyUI has in one is refused, or left out', async () => {
    const [base, adapter] = [
      await writeTensors(fresh(), Object.fromEntries(asPipeline(flux))),
      await writeTensors(fresh(), tensors),
    ]
    const args = [adapter, '--format=comfyui', '--base', base]
    expect(await refusal(args)).toMatch(
      /to_k" is DoRA, and ComfyUI has .* as a part of "diffusion_model\..*qkv".*original layout as --base/,
    )
    const { out, document } = await converted([adapter, '--base', base, '--drop'], 1)
    expect(document).toMatchObject({
      differences: { modules: 0, bytes: 0 },
      holds: false,
      totals: { layers: 2 },
    })
    expect([...readSafetensorsFile(out).keys()].some((name) => name.includes('to_k'))).toBe(false)
  })

  test('queries of OpenCLIP, which ComfyUI takes apart: a difference of their rows', async () => {
    const base = withValues(singleFile('sdxl'))
    const IN = 'conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight'
    const [rows, width] = base.get(IN)!.shape
    const embed = base.get('model.diffusion_model.time_embed.0.weight')!.shape
    const stem = 'lora_te2_text_model_encoder_layers_0_self_attn_k_proj'
    const [model, adapter] = [
      await writeTensors(fresh(), Object.fromEntries(base)),
      await writeTensors(fresh(), {
        ...factors(stem, [rows / 3, width], 51),
        [`${stem}.dora_scale`]: magnitude([rows / 3, 1], 53),
        ...factors('lora_unet_time_embed_0', embed, 55),
      }),
    ]
    const { out, document } = await converted([adapter, '--base', model])
    expect(document.gaps).toContainEqual(
      expect.objectContaining({
        loader: 'diffusers',
        reason: expect.stringMatching(/all names are kohya’s/),
      }),
    )
    const tensors = readSafetensorsFile(out)
    const name = 'text_encoders.clip_g.transformer.text_model.encoder.layers.0.self_attn.k_proj.diff'
    expect([...tensors.keys()].sort()).toEqual([
      ...['alpha', 'lora_down.weight', 'lora_up.weight'].map((end) => `lora_unet_time_embed_0.${end}`),
      name,
    ])
    const { data } = tensors.get(name)!
    const merged = fresh()
    await applied([model, adapter, '-o', merged])
    const after = readSafetensorsFile(merged).get(IN)!.data
    const size = (rows / 3) * width
    const expected = after.slice(size, 2 * size).map((x, i) => x - base.get(IN)!.data[size + i])
    expect(distance(data, expected)).toBeLessThan(1e-5)
  })
})

test('worker threads write what the calling one does by itself', async () => {
  const [rows, columns, r] = [700, 300, 128]
  const base = await baseOf({
    'a.weight': valued([rows, columns], 2),
    'c.weight': valued([rows, columns / 10, 5, 2], 3),
  })
  const parts: Tensors[] = [
    {
      'lora_unet_a.lora_down.weight': valued([r, columns], 5),
      'lora_unet_a.lora_up.weight': valued([rows, r], 6),
      'lora_unet_a.dora_scale': magnitude([1, columns], 7),
    },
    {
      'lora_unet_c.lora_down.weight': valued([r, columns / 10, 5, 2], 8),
      'lora_unet_c.lora_up.weight': valued([rows, r, 1, 1], 9),
      'lora_unet_c.dora_scale': magnitude([rows, 1, 1, 1], 10),
    },
  ]
  // each is as much as one thread does by itself, both are more
  const [a, c, both] = [
    await convertedFrom(parts[0], base),
    await convertedFrom(parts[1], base),
    await convertedFrom({ ...parts[0], ...parts[1] }, base, '--threads=2', '--memory=1MiB'),
  ]
  expect([...both.keys()].sort()).toEqual(['diffusion_model.a.diff', 'diffusion_model.c.diff'])
  for (const [name, { data }] of [...a, ...c])
    expect(
      both.get(name)!.data.every((x, i) => x === data[i]),
      name,
    ).toBe(true)
})

async function convertedFrom(tensors: Tensors, base: string, ...more: string[]) {
  const adapter = await writeTensors(fresh(), tensors)
  return readSafetensorsFile((await converted([adapter, '--base', base, ...more])).out)
}
