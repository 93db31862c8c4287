import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { writeTensors } from '../combine/support.ts'
import { asPipeline, type Valued, type ValuedTensors, valued, withValues } from '../lora/families/valued.ts'
import { SMALL } from '../lora/families/whole.ts'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import type { TestTensor } from '../lora/support.ts'
import { applied } from './apply-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'

/** Parts of an adapter beside its factors, on a base that has in one what the adapter has apart, and the other way round. */

const folder = temporaryFolder('diffusion-parts')
const at = (name: string) => join(folder, name)
const flux = withValues(SMALL.flux())
const ORIGINAL = at('original.safetensors')
const DIFFUSERS = at('diffusers.safetensors')
const HEIGHT = 12
const QKV = 'double_blocks.0.img_attn.qkv'
const FUSED = `diffusion_model.${QKV}`
const APART = 'transformer.transformer_blocks.0.attn'
const NORM = 'final_layer.adaLN_modulation.1'

beforeAll(async () => {
  await writeTensors(ORIGINAL, Object.fromEntries(flux))
  await writeTensors(DIFFUSERS, Object.fromEntries(asPipeline(flux)))
})

let written = 0
const file = (tensors: Readonly<Record<string, TestTensor>>) =>
  writeTensors(at(`adapter-${written++}.safetensors`), tensors)

async function appliedTo(base: string, adapter: string) {
  const out = at(`out-${written++}.safetensors`)
  await applied([base, adapter, '-o', out])
  return readSafetensorsFile(out)
}

/** Flux with something added to some of its tensors. */
const plus = (added: Readonly<Record<string, Float64Array>>): ValuedTensors =>
  new Map(
    [...flux].map(([name, tensor]): [string, Valued] => [
      name,
      { ...tensor, data: tensor.data.map((x, i) => x + (added[name]?.[i] ?? 0)) },
    ]),
  )

function expectEqual(found: ReadonlyMap<string, { readonly data: Float64Array }>, expected: ValuedTensors) {
  const wrong = [...expected].filter(([name, { data }]) =>
    data.some((x, i) => x !== found.get(name)!.data[i]),
  )
  expect(wrong.map(([name]) => name)).toEqual([])
}

const cut = ({ shape, data }: Valued, part: number): Valued => ({
  shape: [shape[0] / 3, ...shape.slice(1)],
  data: data.slice((part * data.length) / 3, ((part + 1) * data.length) / 3),
})

describe('differences', () => {
  const [D, b] = [valued([3 * HEIGHT, HEIGHT], 7), valued([3 * HEIGHT], 8)]
  const N = valued([2 * HEIGHT, HEIGHT], 9)
  const expected = plus({ [`${QKV}.weight`]: D.data, [`${QKV}.bias`]: b.data, [`${NORM}.weight`]: N.data })

  test.each([
    ['the base has apart what they are of', DIFFUSERS],
    ['the base is as they are', ORIGINAL],
  ])('%s', async (_, base) => {
    const adapter = await file({
      [`${FUSED}.diff`]: D,
      [`${FUSED}.diff_b`]: b,
      [`diffusion_model.${NORM}.diff`]: N,
    })
    expectEqual(await appliedTo(base, adapter), base === ORIGINAL ? expected : asPipeline(expected))
  })

  test('the base has in one what they are of', async () => {
    const parts = ['to_q', 'to_k', 'to_v'].flatMap((name, i): [string, TestTensor][] => [
      [`${APART}.${name}.diff`, cut(D, i)],
      [`${APART}.${name}.diff_b`, cut(b, i)],
    ])
    const swapped = {
      ...N,
      data: Float64Array.from(N.data, (_, i) => N.data[(i + N.data.length / 2) % N.data.length]),
    }
    const adapter = await file({ ...Object.fromEntries(parts), 'transformer.norm_out.linear.diff': swapped })
    expectEqual(await appliedTo(ORIGINAL, adapter), expected)
  })

  test('lora_B.bias goes to rows of the bias', async () => {
    const adapter = await file({
      [`${APART}.to_k.lora_A.weight`]: { shape: [2, HEIGHT], data: new Float64Array(2 * HEIGHT) },
      [`${APART}.to_k.lora_B.weight`]: { shape: [HEIGHT, 2], data: new Float64Array(2 * HEIGHT) },
      [`${APART}.to_k.lora_B.bias`]: cut(b, 1),
    })
    const rows = b.data.map((x, i) => (i >= HEIGHT && i < 2 * HEIGHT ? x : 0))
    expectEqual(await appliedTo(ORIGINAL, adapter), plus({ [`${QKV}.bias`]: rows }))
  })
})

const factors = (stem: string, out: number, seed: number): Record<string, TestTensor> => ({
  [`${stem}.lora_A.weight`]: valued([2, HEIGHT], seed),
  [`${stem}.lora_B.weight`]: valued([out, 2], seed + 1),
})
const magnitude = (out: number, seed: number): TestTensor => ({
  shape: [out, 1],
  data: valued([out], seed).data.map((x) => 1 + Math.abs(x)),
})

describe('DoRA along the outputs', () => {
  /** The other layout has it without anything to fit. */
  test('of a module in one, on a base that has it apart', async () => {
    const adapter = await file({
      ...factors(FUSED, 3 * HEIGHT, 21),
      [`${FUSED}.dora_scale`]: magnitude(3 * HEIGHT, 23),
    })
    const reference = await appliedTo(ORIGINAL, adapter)
    expect(reference.get(`${QKV}.weight`)!.data).not.toEqual(flux.get(`${QKV}.weight`)!.data)
    expectEqual(await appliedTo(DIFFUSERS, adapter), asPipeline(reference))
  })

  test('of modules apart, one of them no DoRA, on a base that has them in one', async () => {
    const adapter = await file({
      ...factors(`${APART}.to_q`, HEIGHT, 31),
      [`${APART}.to_q.dora_scale`]: magnitude(HEIGHT, 33),
      ...factors(`${APART}.to_k`, HEIGHT, 35),
      ...factors(`${APART}.to_v`, HEIGHT, 37),
      [`${APART}.to_v.dora_scale`]: magnitude(HEIGHT, 39),
    })
    const found = await appliedTo(ORIGINAL, adapter)
    expectEqual(await appliedTo(DIFFUSERS, adapter), asPipeline(found))
  })

  test('one for each input is of a whole weight, and refused where the base has none', async () => {
    const adapter = await file({
      ...factors(FUSED, 3 * HEIGHT, 21),
      [`${FUSED}.dora_scale`]: { ...magnitude(HEIGHT, 23), shape: [1, HEIGHT] },
    })
    await appliedTo(ORIGINAL, adapter)
    await expectRefusal(
      DIFFUSERS,
      adapter,
      /"diffusion_model\..*qkv\.dora_scale" has a magnitude for each input/,
    )
  })
})

async function expectRefusal(base: string, adapter: string, message: RegExp) {
  const { code, stderr } = await runInProcess(['apply', base, adapter, '-o', at('refused.safetensors')])
  expect([code, stderr.trim().split('\n').length]).toEqual([2, 1])
  expect(stderr).toMatch(message)
}

describe('what is refused', () => {
  test('the same rows twice', async () => {
    const adapter = await file({ ...factors(FUSED, 3 * HEIGHT, 1), ...factors(`${APART}.to_k`, HEIGHT, 3) })
    await expectRefusal(ORIGINAL, adapter, /qkv\.weight", and so does another module/)
    await expectRefusal(DIFFUSERS, adapter, /to_k\.weight", and so does another module/)
  })

  test('factors and a difference of the same rows, and no others', async () => {
    const difference = { [`${APART}.to_v.diff`]: valued([HEIGHT, HEIGHT], 5) }
    await appliedTo(ORIGINAL, await file({ ...factors(`${APART}.to_q`, HEIGHT, 1), ...difference }))
    await expectRefusal(
      ORIGINAL,
      await file({ ...factors(FUSED, 3 * HEIGHT, 1), ...difference }),
      /for one weight/,
    )
  })

  test('a module that is higher than its parts together', async () => {
    await expectRefusal(
      DIFFUSERS,
      await file(factors(FUSED, 4 * HEIGHT, 1)),
      /don't fit the base's ".*to_[qkv]\.weight"/,
    )
    await expectRefusal(
      ORIGINAL,
      await file(factors(`${APART}.to_q`, 2 * HEIGHT, 1)),
      /don't fit the base's ".*qkv/,
    )
  })

  test('what takes the place of rows', async () => {
    const adapter = await file({ [`${APART}.to_q.set_weight`]: valued([HEIGHT, HEIGHT], 1) })
    await expectRefusal(ORIGINAL, adapter, /takes the place of rows of ".*qkv\.weight"/)
  })

  test('names of a pipeline with two denoisers that don’t say which', async () => {
    const one = [...withValues(SMALL.wan())]
    const two = ['transformer.', 'transformer_2.'].flatMap((prefix) =>
      [...asPipeline(new Map(one))].map(
        ([name, tensor]) => [name.replace('transformer.', prefix), tensor] as const,
      ),
    )
    const base = await writeTensors(at('wan.safetensors'), Object.fromEntries(two))
    const module = 'blocks.0.self_attn.q'
    await expectRefusal(
      base,
      await file(factors(`diffusion_model.${module}`, HEIGHT, 1)),
      /may be any of "transformer\.blocks\.0\.attn1\.to_q\.weight", "transformer_2\./,
    )
    await appliedTo(base, await file(factors('transformer_2.blocks.0.attn1.to_q', HEIGHT, 1)))
  })
})
