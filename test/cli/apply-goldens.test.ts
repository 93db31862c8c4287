import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Tensors } from '../../src/lora/families/types.ts'
import { flux } from '../lora/families/hollow.ts'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import {
  applied,
  distance,
  fileOf,
  flat,
  folderWith,
  type Nested,
  rounded,
  type Stored,
  type Weights,
  weightsOf,
} from './apply-support.ts'
import { temporaryFolder } from './run.ts'

/** What PEFT, ComfyUI and LyCORIS themselves made of small cases: test/fixtures/goldens, from their own code. */

const folder = temporaryFolder('apply-goldens')
const at = (name: string) => join(folder, name)
const golden = (name: string) =>
  JSON.parse(readFileSync(new URL(`../fixtures/goldens/${name}.json`, import.meta.url), 'utf8')).cases

/** The peers computed in float32. */
const FLOAT32 = 1e-6

interface PeftCase {
  readonly what: string
  readonly config?: Readonly<Record<string, unknown>>
  readonly base: Nested
  readonly tensors?: Readonly<Record<string, Nested>>
  readonly merged: Nested
}

const peft: readonly PeftCase[] = golden('peft').filter(({ config }: PeftCase) => config !== undefined)

describe('what PEFT merges', () => {
  test.each(peft.map((one): [string, PeftCase] => [one.what, one]))('%s', async (what, one) => {
    const tensors = Object.fromEntries(
      Object.entries(one.tensors!).map(([name, value]): [string, Weights] => {
        const saved = name.replace(/\.default(?=$|\.)/, '').replace(/(magnitude_vector)\.weight$/, '$1')
        return [`base_model.model.x.${saved}`, weightsOf(value)]
      }),
    )
    const adapter = folderWith(at(`adapter ${what.replaceAll('/', ' ')}`), {
      'adapter_config.json': { ...one.config, target_modules: ['x'] },
      'adapter_model.safetensors': fileOf(tensors),
    })
    const base = folderWith(at(`base ${what.replaceAll('/', ' ')}`), {
      'model.safetensors': fileOf({ 'x.weight': weightsOf(one.base) }),
      'config.json': {},
    })
    const out = at(`merged ${what.replaceAll('/', ' ')}`)
    const { layers } = await applied([base, adapter, '-o', out])
    expect(layers).toHaveLength(1)
    const merged = readSafetensorsFile(join(out, 'model.safetensors')).get('x.weight')!
    expect(distance(merged.data, flat(one.merged))).toBeLessThan(FLOAT32)
  })
})

interface ComfyCase {
  readonly what: string
  readonly strength: number
  readonly base: Readonly<Record<string, { readonly dtype: string; readonly values: Nested }>>
  readonly adapter: Readonly<Record<string, Nested>>
  readonly result: Readonly<Record<string, Nested>>
}

const STORED: Readonly<Record<string, Stored>> = { float32: 'F32', bfloat16: 'BF16', float16: 'F16' }

/** ComfyUI leaves these out or overwrites them (ADAPTERS 3), divides by another norm, or has a rule of its own for a strength. */
const OTHERS =
  /not read|another shape|the last read wins|DoRA \[out|dora_scale \[out|dora_scale \[\d|1-D|LoKr 3x3, Tucker|GLoRA|reshape|set_weight/

const comfy: readonly ComfyCase[] = golden('comfy').filter(
  ({ what, strength, adapter }: ComfyCase) =>
    !OTHERS.test(what) &&
    !(strength !== 1 && Object.keys(adapter).some((name) => name.endsWith('dora_scale'))),
)

const zerosOf = (tensors: Tensors): Record<string, Weights> =>
  Object.fromEntries(
    [...tensors].map(([name, { shape }]) => [
      name,
      { dtype: 'F32', shape, data: new Float64Array(shape.reduce((a, b) => a * b, 1)) },
    ]),
  )

describe('what ComfyUI loads', () => {
  test.each(comfy.map((one, i): [string, ComfyCase, number] => [`${one.what} × ${one.strength}`, one, i]))(
    '%s',
    async (_, one, i) => {
      const base = at(`base-${i}.safetensors`)
      const named = Object.entries(one.base).map(([name, { dtype, values }]): [string, Weights] => [
        name,
        weightsOf(values, STORED[dtype]),
      ])
      // ComfyUI was given the table of names of a model of which the golden has some tensors
      const others = /^Flux/.test(one.what) ? zerosOf(flux({ hidden: 4, head: 4, double: 1, single: 1 })) : {}
      writeFileSync(base, fileOf({ ...others, ...Object.fromEntries(named) }))
      const adapter = at(`adapter-${i}.safetensors`)
      writeFileSync(
        adapter,
        fileOf(
          Object.fromEntries(Object.entries(one.adapter).map(([name, value]) => [name, weightsOf(value)])),
        ),
      )
      const out = at(`merged-${i}.safetensors`)
      await applied([base, adapter, '-o', out, '--weights', String(one.strength)])
      const merged = readSafetensorsFile(out)
      for (const [name, values] of Object.entries(one.result)) {
        const { dtype } = one.base[name.replace('diffusion_model.', '')]
        const found = merged.get(name.replace('diffusion_model.', ''))!
        if (dtype === 'float32') expect(distance(found.data, flat(values)), name).toBeLessThan(FLOAT32)
        else expect([...found.data], name).toEqual(flat(values).map((x) => rounded(x, STORED[dtype])))
      }
    },
  )
})

interface LycorisCase {
  readonly what: string
  readonly base: Nested
  readonly merged: Nested
  readonly adapter?: Readonly<Record<string, Nested>>
  readonly multiplier: number
}

describe('what LyCORIS makes of DoRA along the outputs, at any weight', () => {
  test.each(
    (golden('lycoris') as LycorisCase[]).filter(
      ({ adapter, merged }) => adapter?.dora_scale !== undefined && merged !== undefined,
    ),
  )('$what × $multiplier', async (one) => {
    const { base, adapter, multiplier, merged } = one
    const [from, file, out] = ['base', 'adapter', 'merged'].map((name) =>
      at(`lycoris-${name}-${multiplier}.safetensors`),
    )
    writeFileSync(from, fileOf({ 'x.weight': weightsOf(base) }))
    const tensors = Object.entries(adapter!).map(([name, value]) => [`lora_unet_x.${name}`, weightsOf(value)])
    writeFileSync(file, fileOf(Object.fromEntries(tensors)))
    await applied([from, file, '-o', out, '--weights', String(multiplier)])
    expect(distance(readSafetensorsFile(out).get('x.weight')!.data, flat(merged))).toBeLessThan(FLOAT32)
  })
})

/** Element i of the golden's inputs. */
const ramp = (count: number, seed: number, scale: number) =>
  Float64Array.from({ length: count }, (_, i) => {
    const mixed = (BigInt(i) * 2654435761n + BigInt(seed) * 40503n) % 2n ** 32n
    return ((Number((mixed >> 11n) % 128n) - 64) / 64) * scale
  })

test('all in bfloat16, 256 × 256: one rounding of each entry, where PEFT has two', async () => {
  const n = 256
  const stored = (values: Float64Array) => values.map((x) => rounded(x, 'BF16'))
  const W = stored(ramp(n * n, 1, 1.7))
  const A = stored(ramp(4 * n, 2, 0.0137))
  const B = stored(ramp(n * 4, 3, 0.93))
  const base = folderWith(at('wide-base'), {
    'model.safetensors': fileOf({ 'x.weight': { dtype: 'BF16', shape: [n, n], data: W } }),
  })
  const adapter = folderWith(at('wide-adapter'), {
    'adapter_config.json': { peft_type: 'LORA', r: 4, lora_alpha: 6, target_modules: ['x'] },
    'adapter_model.safetensors': fileOf({
      'base_model.model.x.lora_A.weight': { dtype: 'BF16', shape: [4, n], data: A },
      'base_model.model.x.lora_B.weight': { dtype: 'BF16', shape: [n, 4], data: B },
    }),
  })
  await applied([base, adapter, '-o', at('wide')])
  const merged = readSafetensorsFile(join(at('wide'), 'model.safetensors')).get('x.weight')!.data
  let differing = 0
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      let delta = 0
      for (let k = 0; k < 4; k++) delta += 1.5 * B[i * 4 + k] * A[k * n + j]
      if (merged[i * n + j] !== rounded(W[i * n + j] + delta, 'BF16')) differing++
    }
  }
  expect(differing).toBe(0)
})
