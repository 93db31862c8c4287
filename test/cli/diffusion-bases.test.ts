import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { readFactors } from '../../src/lora/factors.ts'
import type { Naming } from '../../src/lora/families/types.ts'
import { matchToBase } from '../../src/lora/match.ts'
import { openAdapter, writeTensors } from '../combine/support.ts'
import {
  adapterTensors,
  asPipeline,
  changed,
  factorsFor,
  type TestFactors,
  type Valued,
  type ValuedTensors,
  withValues,
} from '../lora/families/valued.ts'
import { SMALL } from '../lora/families/whole.ts'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import type { TestTensor } from '../lora/support.ts'
import { applied, distance } from './apply-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

/** Adapters under names of one layout, and bases of the other. */

const folder = temporaryFolder('diffusion-bases')
const at = (name: string) => join(folder, name)
const NAMINGS: readonly Naming[] = ['kohya', 'comfyui', 'diffusers']

/** What of Flux is fused in one layout and apart in the other, what has its halves swapped, and what is the same. */
const CHANGED = [
  'double_blocks.0.img_attn.qkv.weight',
  'double_blocks.1.txt_mlp.0.weight',
  'single_blocks.1.linear1.weight',
  'final_layer.adaLN_modulation.1.weight',
]
const flux = withValues(SMALL.flux())
const factors = (seed: number) =>
  new Map(CHANGED.map((name, i) => [name, factorsFor(flux.get(name)!, seed + 2 * i)]))
const LAYOUTS: Readonly<Record<string, (all: ValuedTensors) => ValuedTensors>> = {
  original: (all) => all,
  diffusers: (all) => asPipeline(all),
}
const baseAt = (layout: string) => at(`${layout}.safetensors`)

beforeAll(async () => {
  for (const [layout, to] of Object.entries(LAYOUTS)) {
    await writeTensors(baseAt(layout), Object.fromEntries(to(flux)))
  }
})

/** The factors of a merged adapter are rounded to float32. */
const FLOAT32 = 1e-6

let written = 0
const adapterFile = (tensors: Readonly<Record<string, TestTensor>>) =>
  writeTensors(at(`adapter-${written++}.safetensors`), tensors)
const named = (naming: Naming, of: ReadonlyMap<string, TestFactors>) =>
  adapterFile(adapterTensors(flux, naming, of).tensors)

/** The model with every weight changed by the sum of these, in a layout. */
function merged(layout: string, ...sums: readonly ReadonlyMap<string, TestFactors>[]): ValuedTensors {
  const all = new Map<string, Valued>(flux)
  for (const of of sums) {
    for (const [name, one] of of) all.set(name, { ...all.get(name)!, data: changed(all.get(name)!, one) })
  }
  return LAYOUTS[layout](all)
}

async function expectFile(path: string, expected: ValuedTensors) {
  const tensors = readSafetensorsFile(path)
  for (const [name, { data }] of expected) {
    expect([name, distance(tensors.get(name)!.data, data)]).toEqual([name, 0])
  }
}

const BOTH = Object.keys(LAYOUTS)

describe.each(BOTH)('a base in the %s layout', (layout) => {
  test.each(NAMINGS)('apply: an adapter under names of %s', async (naming) => {
    const adapter = await named(naming, factors(1))
    const out = at(`applied-${layout}-${naming}.safetensors`)
    const { layers } = await applied([baseAt(layout), adapter, '-o', out])
    await expectFile(out, merged(layout, factors(1)))
    const count = layout === 'original' ? CHANGED.length : 9
    expect((layers as object[]).length).toBe(count)
  })

  test('apply: two adapters of two namings', async () => {
    const adapters = [await named('kohya', factors(1)), await named('diffusers', factors(50))]
    const out = at(`both-${layout}.safetensors`)
    await applied([baseAt(layout), ...adapters, '-o', out])
    await expectFile(out, merged(layout, factors(1), factors(50)))
  })

  test.each(NAMINGS.flatMap((first) => NAMINGS.map((second) => [first, second] as const)))(
    'merge: names of %s and of %s are one adapter under the first’s',
    async (first, second) => {
      const out = at(`merged-${layout}-${first}-${second}.safetensors`)
      const [a, b] = [factors(1), new Map([...factors(50)].slice(1))]
      const run = await runInProcess([
        ...['merge', await named(first, a), await named(second, b), '--base', baseAt(layout)],
        ...['-o', out, '--dtype', 'f32', '--json'],
      ])
      expect([run.code, run.stderr]).toEqual([0, ''])
      documentOf(run.stdout, 'merge-1')
      const names = [...readSafetensorsFile(out).keys()].filter((name) =>
        /(?:down|lora_A)\.weight$/.test(name),
      )
      const own = Object.keys(adapterTensors(flux, first, a).tensors)
      expect(names.sort()).toEqual(own.filter((name) => /(?:down|lora_A)\.weight$/.test(name)).sort())
      const before = LAYOUTS[layout](flux)
      const sum = await sums(out, baseAt(layout))
      for (const [name, { data }] of merged(layout, a, b)) {
        const delta = data.map((x, i) => x - before.get(name)!.data[i])
        if (sum.has(name)) expect([name, distance(sum.get(name)!, delta) < FLOAT32]).toEqual([name, true])
        else expect(delta.every((x) => x === 0)).toBe(true)
      }
    },
  )

  test.each(NAMINGS)('verify: an adapter under names of %s reproduces what it changed', async (naming) => {
    const tuned = at(`tuned-${layout}.safetensors`)
    await writeTensors(tuned, Object.fromEntries(merged(layout, factors(1))))
    const run = await runInProcess([
      ...['verify', await named(naming, factors(1)), baseAt(layout), tuned, '--max-error', '1e-12', '--json'],
    ])
    expect([run.code, run.stderr]).toEqual([0, ''])
    const { layers, notCarried } = documentOf(run.stdout, 'verify-1')
    expect([(layers as object[]).length, notCarried]).toEqual([layout === 'original' ? 4 : 9, []])
  })

  test.each(NAMINGS)(
    'inspect: the change relative to the rows that it is of, under names of %s',
    async (naming) => {
      const run = await runInProcess([
        ...['inspect', await named(naming, factors(1)), '--base', baseAt(layout), '--json'],
      ])
      expect([run.code, run.stderr]).toEqual([0, ''])
      const { totals, matrices } = documentOf(run.stdout, 'inspect-1') as {
        totals: { elements: number; relativeChange: number }
        matrices: { shape: number[] }[]
      }
      const squares = (tensors: Iterable<ArrayLike<number>>) =>
        [...tensors].reduce((sum, data) => sum + Array.from(data).reduce((all, x) => all + x * x, 0), 0)
      const before = CHANGED.map((name) => flux.get(name)!.data)
      const after = merged('original', factors(1))
      const deltas = CHANGED.map((name, i) => after.get(name)!.data.map((x, j) => x - before[i][j]))
      expect(totals.elements).toBe(before.reduce((sum, { length }) => sum + length, 0))
      expect(totals.relativeChange).toBeCloseTo(Math.sqrt(squares(deltas) / squares(before)), 6)
      expect(matrices.length).toBe(layout === 'original' && naming !== 'diffusers' ? 4 : 9)
    },
  )

  test('compare: an adapter and itself under other names are one', async () => {
    const run = await runInProcess([
      ...['compare', await named('kohya', factors(1)), await named('diffusers', factors(1))],
      ...['--base', baseAt(layout), '--json'],
    ])
    expect([run.code, run.stderr]).toEqual([0, ''])
    const { pairs } = documentOf(run.stdout, 'compare-1') as { pairs: { cosine: number }[] }
    expect(pairs[0].cosine).toBeCloseTo(1, 12)
  })
})

/** ΔW of each of the base's tensors. */
async function sums(adapter: string, base: string): Promise<Map<string, Float64Array>> {
  const { matched, unmatched } = matchToBase(await openAdapter(adapter), await openCheckpoint(base))
  expect(unmatched).toEqual([])
  const found = new Map<string, Float64Array>()
  for (const { module } of matched) {
    const { B, A, scale } = await readFactors(module)
    const sum = found.get(module.tensor) ?? new Float64Array(module.rows * module.columns)
    for (let i = 0; i < sum.length; i++) {
      const [row, column] = [Math.floor(i / A.columns), i % A.columns]
      for (let k = 0; k < A.rows; k++) {
        sum[i] += scale * B.data[row * A.rows + k] * A.data[k * A.columns + column]
      }
    }
    found.set(module.tensor, sum)
  }
  return found
}
