import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { openCheckpoint } from '../../../src/checkpoint/open.ts'
import { extract } from '../../../src/commands/extract/extract.ts'
import { verify } from '../../../src/commands/verify/verify.ts'
import { partOf } from '../../../src/lora/families/layout.ts'
import { moduleNames } from '../../../src/lora/families/modules.ts'
import type { Naming } from '../../../src/lora/families/types.ts'
import { openAdapter, writeTensors } from '../../combine/support.ts'
import { weightsOf } from '../../lora/families/hollow.ts'
import {
  adapterTensors,
  asPipeline,
  changed,
  factorsFor,
  type TestFactors,
  type Valued,
  type ValuedTensors,
  valued,
  withValues,
} from '../../lora/families/valued.ts'
import { layoutOfAll, SMALL, singleFile } from '../../lora/families/whole.ts'
import { mergedByReader } from '../../lora/goldens.ts'
import { readSafetensorsFile } from '../../lora/peft-rules.ts'
import { temporaryFolder } from '../../temporary.ts'

/** Each family's fine-tune, of rank 2 in one weight of each kind, extracted from both layouts under each tool's names. */

const folder = temporaryFolder('extract-families')
const FORMATS = ['comfyui', 'kohya', 'diffusers'] as const
const LAYOUTS = { original: (all: ValuedTensors) => all, pipeline: asPipeline } as const
const LOADERS = { comfyui: 'ComfyUI', kohya: 'kohya', diffusers: 'diffusers' } as const

/** float32's rounding of both factors. */
const ROUNDING = 1e-6

/** Of names that differ in their numbers alone the last. */
const ofEachKind = (names: readonly string[]) => {
  const kindOf = (name: string) => name.replace(/\d+/g, 'N')
  return names.filter((name, i) => names.findLastIndex((one) => kindOf(one) === kindOf(name)) === i)
}

const VAE = 'first_stage_model.decoder.conv_in.weight'

type Read = ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: ArrayLike<number> }>

/** Factors under the names of a format: in a file for ComfyUI those that most tools take, and of text encoders kohya's where it has some. */
function named(file: ValuedTensors, format: Naming, factors: ReadonlyMap<string, TestFactors>): Read {
  const layout = layoutOfAll(file)
  const under = (naming: Naming, one: ReadonlyMap<string, TestFactors>) =>
    Object.entries(adapterTensors(file, naming, one).tensors).map(
      ([name, { shape, data }]) => [name, { shape, data: data as Float64Array }] as const,
    )
  if (format !== 'comfyui') return new Map(under(format, factors))
  return new Map(
    [...factors].flatMap(([name, one]) => {
      const of = new Map([[name, one]])
      if (partOf(layout, name).kind !== 'encoder') return under(layout.family.portable, of)
      const byKohya = under('kohya', of)
      return byKohya.length > 0 ? byKohya : under('comfyui', of)
    }),
  )
}

/** scale·B·A of each module of a file, by the rule that all of its loaders have: alpha over rank. */
function productsOf(tensors: Read) {
  const products = new Map<string, Float64Array>()
  for (const [name, down] of tensors) {
    const module = /^(.+)\.lora_(?:A|down)\.weight$/.exec(name)?.[1]
    if (module === undefined) continue
    const up = tensors.get(name.replace('lora_A', 'lora_B').replace('lora_down', 'lora_up'))!
    const r = down.shape[0]
    const scale = (tensors.get(`${module}.alpha`)?.data[0] ?? r) / r
    products.set(module, product(up.data, down.data, r, scale))
  }
  return products
}

function product(B: ArrayLike<number>, A: ArrayLike<number>, r: number, scale: number): Float64Array {
  const [rows, columns] = [B.length / r, A.length / r]
  return Float64Array.from({ length: rows * columns }, (_, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns]
    let sum = 0
    for (let k = 0; k < r; k++) sum += B[i * r + k] * A[k * columns + j]
    return scale * sum
  })
}

const norm = (values: Float64Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0))
const near = (found: Float64Array, wanted: Float64Array) =>
  norm(found.map((x, i) => x - wanted[i])) <= ROUNDING * norm(wanted)

/** Layers at most of a family: those that lie otherwise in other names, and some of the others. */
const MOST_LAYERS = 10
const MOST_OTHERS = 6

/** Weights of all the ways in which they lie in the namings of their tools, and of each part of the model. */
function chosen(file: ValuedTensors): string[] {
  const layout = layoutOfAll(file)
  const namers = FORMATS.map((naming: Naming) => moduleNames(layout, naming))
  const all = ofEachKind(weightsOf(file)).filter((name) => name !== VAE)
  const isOther = (name: string) =>
    namers.some((namer) => namer(name)?.some((one) => one.rows ?? one.swapHalves ?? one.isTransposed))
  const others = all.filter(isOther).slice(0, MOST_OTHERS)
  const rest = all.filter((name) => !isOther(name))
  const step = Math.ceil(rest.length / (MOST_LAYERS - others.length))
  return [...others, ...rest.filter((_, i) => i % step === 0)]
}

/** The weights, what families are known by in either form, and of each block one tensor, which is what names depend on. */
function thinned(whole: ValuedTensors, weights: readonly string[]): ValuedTensors {
  const layout = layoutOfAll(whole)
  const { family, denoiser } = layout
  const marks = new Set(family.marks.flatMap(({ tensors }) => tensors))
  const forms = (['original', 'diffusers'] as const).map((form) => family.rename(denoiser, form))
  const blocks = new Set<string>()
  const isNeeded = (name: string) => {
    const part = partOf(layout, name)
    if (part.kind === 'denoiser') {
      const paths = forms.flatMap((rename) => rename(part.path)!.map(({ path }) => path))
      if ([part.path, ...paths].some((path) => marks.has(path))) return true
      // whether it is a convolution tells Stable Diffusion 1 from 2
      if (part.path.endsWith('.proj_in.weight')) return true
    }
    const block = /^.*?\.\d+(?:\.\d+)?\./.exec(name)?.[0] ?? name
    return !blocks.has(block) && blocks.add(block)
  }
  return new Map([...whole].filter(([name]) => weights.includes(name) || isNeeded(name)))
}

/** Families whose pipelines are renamed as those of another here are: Stable Diffusion 1's, and Z-Image's. */
const RELATIVES = ['sd2', 'lumina2']

describe.each(Object.keys(SMALL))('%s', (id) => {
  const layouts = RELATIVES.includes(id) ? (['original'] as const) : (['original', 'pipeline'] as const)
  const whole = new Map([...withValues(singleFile(id)), [VAE, valued([4, 3, 3, 3], 7)]])
  const weights = chosen(whole)
  const file = thinned(whole, weights)
  const factors = new Map(weights.map((name, i) => [name, factorsFor(file.get(name)!, 1000 + 2 * i)]))
  const pathOf = (name: string) => join(folder, `${id}-${name}.safetensors`)
  const tuned: ValuedTensors = new Map(
    [...file].map(([name, tensor]): [string, Valued] => {
      const own = factors.get(name) ?? (name === VAE ? factorsFor(tensor, 5) : undefined)
      return [name, own === undefined ? tensor : { ...tensor, data: changed(tensor, own) }]
    }),
  )

  beforeAll(async () => {
    for (const name of layouts) {
      await writeTensors(pathOf(name), Object.fromEntries(LAYOUTS[name](file)))
      await writeTensors(pathOf(`${name}-tuned`), Object.fromEntries(LAYOUTS[name](tuned)))
    }
  })

  const cases = layouts.flatMap((layout) => FORMATS.map((format) => [format, layout] as const))
  test.concurrent.each(cases)('as %s, from the %s layout', async (format, layout) => {
    const [base, after] = [pathOf(layout), pathOf(`${layout}-tuned`)]
    const out = pathOf(`${layout}-${format}`)
    const result = await extract({ base, tuned: after, out, format, rank: 2, embeddings: true, threads: 1 })
    expect(result.output).toMatchObject({ format, files: [out.split('/').at(-1)] })
    expect(result.gaps.some(({ loader }) => loader === LOADERS[format])).toBe(false)
    expect(Math.max(...result.layers.map(({ relativeError }) => relativeError))).toBeLessThan(ROUNDING)
    expect(result.notCarried.every(({ because: { kind } }) => ['vae', 'no-place'].includes(kind))).toBe(true)
    const left = new Set(result.notCarried.map(({ name }) => name))
    expect(left.has(VAE)).toBe(true)
    // as it is read back, on the base
    const merged = await mergedByReader(await openAdapter(out), await openCheckpoint(base))
    const before = LAYOUTS[layout](file)
    for (const [name, { data }] of LAYOUTS[layout](tuned)) {
      const from = before.get(name)!.data
      const delta = (merged.get(name) ?? from).map((x, i) => x - from[i])
      const wanted = left.has(name) ? delta.map(() => 0) : data.map((x, i) => x - from[i])
      expect(near(delta, wanted), name).toBe(true)
    }
    if (layout === 'original') {
      // by the loaders' rule alone: the modules that they know, and what each does
      const carried = new Map([...factors].filter(([name]) => !left.has(name)))
      const wanted = productsOf(named(whole, format, carried))
      const found = productsOf(readSafetensorsFile(out))
      expect(new Set(found.keys())).toEqual(new Set(wanted.keys()))
      for (const [module, values] of wanted) expect(near(found.get(module)!, values), module).toBe(true)
    }
    if (layout !== 'original' || format !== 'comfyui') return
    // what verify finds
    const verified = await verify({ adapter: out, base, tuned: after, threads: 1 })
    expect(verified.layers.length).toBe(result.layers.length)
    expect(verified.totals.relativeError).toBeCloseTo(result.totals.relativeError, 12)
    expect(verified.totals.wholeRelativeError).toBeCloseTo(result.totals.wholeRelativeError, 12)
  })
})
