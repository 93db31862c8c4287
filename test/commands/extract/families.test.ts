import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { openCheckpoint } from '../../../src/checkpoint/open.ts'
import { extract } from '../../../src/commands/extract/extract.ts'
import { verify } from '../../../src/commands/verify/verify.ts'
import { moduleNames } from '../../../src/lora/families/modules.ts'
import type { Naming } from '../../../src/lora/families/types.ts'
import { openAdapter, writeTensors } from '../../combine/support.ts'
import { weightsOf } from '../../lora/families/hollow.ts'
import {
  adapterTensors,
  asPipeline,
  changed,
  factorsFor,
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

const EMBEDDING = /(?:token_embedding|position_embedding|shared|embed_tokens)\.weight$/
const VAE = 'first_stage_model.decoder.conv_in.weight'

/** scale·B·A of each module of a file, by the rule that all of its loaders have: alpha over rank. */
function productsOf(path: string) {
  const tensors = readSafetensorsFile(path)
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
const MOST_LAYERS = 12

/** Weights of all the ways in which they lie in the namings of their tools, and of each part of the model. */
function chosen(file: ValuedTensors): string[] {
  const layout = layoutOfAll(file)
  const namers = FORMATS.map((naming: Naming) => moduleNames(layout, naming))
  const all = ofEachKind(weightsOf(file)).filter((name) => name !== VAE)
  const isOther = (name: string) =>
    namers.some((namer) => namer(name)?.some((one) => one.rows ?? one.swapHalves ?? one.isTransposed))
  const others = all.filter(isOther).slice(0, MOST_LAYERS / 2)
  const rest = all.filter((name) => !isOther(name))
  const step = Math.ceil(rest.length / (MOST_LAYERS - others.length))
  return [...others, ...rest.filter((_, i) => i % step === 0)]
}

describe.each(Object.keys(SMALL))('%s', (id) => {
  const file = new Map([...withValues(singleFile(id)), [VAE, valued([4, 3, 3, 3], 7)]])
  const weights = chosen(file)
  const factors = new Map(weights.map((name, i) => [name, factorsFor(file.get(name)!, 1000 + 2 * i)]))
  const pathOf = (name: string) => join(folder, `${id}-${name}.safetensors`)
  const tuned: ValuedTensors = new Map(
    [...file].map(([name, tensor]): [string, Valued] => {
      const own = factors.get(name) ?? (name === VAE ? factorsFor(tensor, 5) : undefined)
      return [name, own === undefined ? tensor : { ...tensor, data: changed(tensor, own) }]
    }),
  )

  beforeAll(async () => {
    for (const [name, layout] of Object.entries(LAYOUTS)) {
      await writeTensors(pathOf(name), Object.fromEntries(layout(file)))
      await writeTensors(pathOf(`${name}-tuned`), Object.fromEntries(layout(tuned)))
    }
  })

  const cases = Object.keys(LAYOUTS).flatMap((layout) =>
    FORMATS.map((format) => [format, layout as keyof typeof LAYOUTS] as const),
  )
  test.each(cases)('as %s, from the %s layout', async (format, layout) => {
    const [base, after] = [pathOf(layout), pathOf(`${layout}-tuned`)]
    const out = pathOf(`${layout}-${format}`)
    const result = await extract({ base, tuned: after, out, format, rank: 2, embeddings: true, threads: 1 })
    expect(result.output).toMatchObject({ format, files: [out.split('/').at(-1)] })
    // as it is read back, on the base
    const merged = await mergedByReader(await openAdapter(out), await openCheckpoint(base))
    const left = new Set(result.notCarried.map(({ name }) => name))
    const before = LAYOUTS[layout](file)
    for (const [name, { data }] of LAYOUTS[layout](tuned)) {
      const found = merged.get(name) ?? before.get(name)!.data
      const delta = found.map((x, i) => x - before.get(name)!.data[i])
      const wanted = left.has(name) ? delta.map(() => 0) : data.map((x, i) => x - before.get(name)!.data[i])
      expect(near(delta, wanted), name).toBe(true)
    }
    expect(left.has(VAE)).toBe(true)
    expect(result.notCarried.every(({ because: { kind } }) => ['vae', 'no-place'].includes(kind))).toBe(true)
    expect(result.gaps.some(({ loader }) => loader === LOADERS[format])).toBe(false)
    expect(Math.max(...result.layers.map(({ relativeError }) => relativeError))).toBeLessThan(ROUNDING)
    // what verify finds
    const verified = await verify({ adapter: out, base, tuned: after, threads: 1 })
    expect(verified.layers.length).toBe(result.layers.length)
    expect(verified.totals.relativeError).toBeCloseTo(result.totals.relativeError, 12)
    expect(verified.totals.wholeRelativeError).toBeCloseTo(result.totals.wholeRelativeError, 12)
  })
})
