import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { convert } from '../../src/commands/convert/convert.ts'
import type { Naming } from '../../src/lora/families/types.ts'
import { openAdapter, writeTensors } from '../combine/support.ts'
import { weightsOf } from '../lora/families/hollow.ts'
import {
  adapterTensors,
  asPipeline,
  changed,
  factorsFor,
  type Valued,
  type ValuedTensors,
  withValues,
} from '../lora/families/valued.ts'
import { SMALL, singleFile } from '../lora/families/whole.ts'
import { mergedByReader } from '../lora/goldens.ts'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import type { TestTensor } from '../lora/support.ts'
import { temporaryFolder } from '../temporary.ts'

/** Each family's adapter in each naming, converted to each, on a base of either layout. */

const folder = temporaryFolder('convert-families')
const NAMINGS: readonly Naming[] = ['kohya', 'comfyui', 'diffusers']
const LAYOUTS = { original: (all: ValuedTensors) => all, pipeline: asPipeline } as const

/** Of names that differ in their numbers alone the last. */
const ofEachKind = (names: readonly string[]) => {
  const kindOf = (name: string) => name.replace(/\d+/g, 'N')
  return names.filter((name, i) => names.findLastIndex((one) => kindOf(one) === kindOf(name)) === i)
}

/** B·A of each module of a file of kohya's, ComfyUI's or diffusers' spelling, by the rule that all of their loaders have: alpha over rank. */
function productsOf(
  tensors: ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: Float64Array }>,
) {
  const products = new Map<string, number[]>()
  for (const [name, down] of tensors) {
    const module = /^(.+)\.lora_(?:A|down)\.weight$/.exec(name)?.[1]
    if (module === undefined) continue
    const up = tensors.get(name.replace('lora_A', 'lora_B').replace('lora_down', 'lora_up'))!
    const r = down.shape[0]
    const scale = (tensors.get(`${module}.alpha`)?.data[0] ?? r) / r
    const [rows, columns] = [up.data.length / r, down.data.length / r]
    const product = Array.from({ length: rows * columns }, (_, at) => {
      const [i, j] = [Math.floor(at / columns), at % columns]
      let sum = 0
      for (let k = 0; k < r; k++) sum += up.data[i * r + k] * down.data[k * columns + j]
      return scale * sum
    })
    products.set(module, product)
  }
  return products
}

const asRead = (tensors: Readonly<Record<string, TestTensor>>) =>
  new Map(
    Object.entries(tensors).map(([name, { shape, data }]) => [name, { shape, data: data as Float64Array }]),
  )

const isEqual = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  a.length === b.length && Array.prototype.every.call(a, (x, i) => x === b[i])

describe.each(Object.keys(SMALL))('%s', (id) => {
  const file = withValues(singleFile(id))
  const weights = ofEachKind(weightsOf(file))
  const factors = new Map(weights.map((name, i) => [name, factorsFor(file.get(name)!, 1000 + 2 * i)]))
  const pathOf = (name: string) => join(folder, `${id}-${name}.safetensors`)

  beforeAll(async () => {
    for (const [name, layout] of Object.entries(LAYOUTS)) {
      await writeTensors(pathOf(name), Object.fromEntries(layout(file)))
    }
    for (const naming of NAMINGS)
      await writeTensors(pathOf(naming), adapterTensors(file, naming, factors).tensors)
  })

  const cases = [
    ['kohya', 'diffusers', 'original'],
    ['kohya', 'comfyui', 'pipeline'],
    ['comfyui', 'kohya', 'pipeline'],
    ['comfyui', 'diffusers', 'pipeline'],
    ['diffusers', 'comfyui', 'original'],
    ['diffusers', 'kohya', 'original'],
  ] as const
  test.each(cases)('%s to %s, on the %s layout', async (from, to, layout) => {
    const out = pathOf(`${from}-${to}-${layout}`)
    const result = await convert({
      adapter: pathOf(from),
      out,
      format: to,
      base: pathOf(layout),
      drop: true,
      threads: 1,
    })
    expect(result.isExact).toBe(true)
    // nothing is dropped but what the naming has no name for
    const inFrom = new Set(adapterTensors(file, from, factors).named)
    const naming = to === 'comfyui' ? undefined : to
    const inTo = new Set(naming === undefined ? weights : adapterTensors(file, naming, factors).named)
    expect(result.dropped.length === 0).toBe([...inFrom].every((name) => inTo.has(name)))
    const merged = await mergedByReader(await openAdapter(out), await openCheckpoint(pathOf(layout)))
    const kept = [...inFrom].filter((name) => inTo.has(name))
    const expected: ValuedTensors = new Map(
      [...file].map(([name, tensor]): [string, Valued] => [
        name,
        kept.includes(name) ? { ...tensor, data: changed(tensor, factors.get(name)!) } : tensor,
      ]),
    )
    const before = LAYOUTS[layout](file)
    for (const [name, { data }] of LAYOUTS[layout](expected)) {
      expect(isEqual(merged.get(name) ?? before.get(name)!.data, data), name).toBe(true)
    }
    if (naming === undefined) return
    // by the loaders' rule alone: the modules that the naming has, and what each does
    const [found, wanted] = [
      productsOf(await readSafetensorsFile(out)),
      productsOf(
        asRead(adapterTensors(file, naming, new Map(kept.map((name) => [name, factors.get(name)!]))).tensors),
      ),
    ]
    expect(new Set(found.keys())).toEqual(new Set(wanted.keys()))
    for (const [module, product] of wanted) expect(isEqual(found.get(module)!, product), module).toBe(true)
  })
})
