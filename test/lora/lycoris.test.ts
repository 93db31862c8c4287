import { describe, expect, test } from 'vitest'
import { readFactors } from '../../src/lora/factors.ts'
import { type AdapterOptions, adapterOf } from '../../src/lora/read/adapter.ts'
import { errorOf } from '../formats/fixtures.ts'
import { type ComfyCase, distance, flat, goldens, mergedByReader, type Nested, tensorsOf } from './goldens.ts'
import { adapterFrom, checkpointOf, moduleNamed, type TestTensor } from './support.ts'

const isLycoris = (names: Iterable<string>) => [...names].some((name) => /hada_|lokr_/.test(name))

describe('ComfyUI’s own numbers', () => {
  // with a DoRA scale the change is no product; the Tucker core fails there, on that torch
  const cases = (goldens('goldens/comfy') as (ComfyCase & { notLoaded: string[] })[]).filter(
    ({ adapter, notLoaded }) => {
      const names = Object.keys(adapter)
      return isLycoris(names) && notLoaded.length === 0 && !names.some((name) => name.endsWith('dora_scale'))
    },
  )
  test('there are five', () => expect(cases.length).toBe(5))

  test.each(cases.map((one) => [one.what, one] as const))('%s', async (_, { base, adapter, result }) => {
    const read = await adapterFrom({ tensors: tensorsOf(adapter) })
    const inModel = Object.entries(tensorsOf(base)).map(([name, one]) => [`diffusion_model.${name}`, one])
    const found = await mergedByReader(read, await checkpointOf({ tensors: Object.fromEntries(inModel) }))
    expect([...found.keys()]).toEqual(Object.keys(result))
    for (const [name, value] of Object.entries(result)) {
      expect(distance(found.get(name)!, flat(value)), name).toBeLessThan(1e-6)
    }
  })
})

describe('what LyCORIS trains', () => {
  interface LycorisCase {
    readonly what: string
    readonly multiplier: number
    readonly base: Nested
    readonly adapter: Readonly<Record<string, Nested>>
    readonly forward?: Nested | null
    readonly merged: Nested
  }
  const cases = (goldens('goldens/lycoris') as Partial<LycorisCase>[]).filter(
    (one): one is LycorisCase => one.adapter !== undefined && isLycoris(Object.keys(one.adapter)),
  )

  test.each(cases.map((one) => [one.what, one] as const))('%s', async (_, one) => {
    const tensors = Object.entries(one.adapter).map(([name, value]) => [`lycoris_x.${name}`, value])
    const read = await adapterFrom({ tensors: tensorsOf(Object.fromEntries(tensors)) })
    const base = tensorsOf({ 'x.weight': one.base })
    const found = await mergedByReader(read, await checkpointOf({ tensors: base }), one.multiplier)
    // where the two differ, its own merge scales twice
    expect(distance(found.get('x.weight')!, flat(one.forward ?? one.merged))).toBeLessThan(1e-6)
  })
})

test('an alpha of 0 is the rank to LyCORIS, and with `off` no change', async () => {
  const golden = goldens('goldens/lycoris').find(
    ({ what }: { what: string }) => what === 'LoCon alpha 0 counts as rank',
  )
  const names = Object.entries(golden.adapter as Record<string, Nested>).map(
    ([name, value]) => [`lycoris_x.${name}`, value] as const,
  )
  const checkpoint = await checkpointOf({ tensors: tensorsOf(Object.fromEntries(names)) })
  const base = await checkpointOf({ tensors: tensorsOf({ 'x.weight': golden.base }) })
  for (const [alphaZero, wanted] of [
    ['rank', golden.merged],
    ['off', golden.base],
  ] as const) {
    const found = await mergedByReader((await adapterOf(checkpoint, { alphaZero }))!, base)
    expect(distance(found.get('x.weight')!, flat(wanted)), alphaZero).toBeLessThan(1e-6)
  }
})

describe('PEFT’s own numbers', () => {
  interface PeftCase {
    readonly what: string
    readonly config?: Readonly<Record<string, unknown>>
    readonly base: Nested
    readonly tensors: Readonly<Record<string, Nested>>
    readonly file: Readonly<Record<string, readonly number[]>>
    readonly merged: Nested
  }
  const cases = (goldens('goldens/peft') as PeftCase[]).filter(({ config }) =>
    /LO[HK]/.test(String(config?.peft_type)),
  )

  test.each(cases.map((one) => [one.what, one] as const))('%s', async (_, one) => {
    const values = tensorsOf(one.tensors)
    const ofFile = Object.keys(one.file).map((name): [string, TestTensor] => [
      name,
      values[`${name.slice(name.lastIndexOf('.') + 1)}.default`],
    ])
    const adapterConfig = { ...one.config, target_modules: ['x'] }
    const read = await adapterFrom({ tensors: Object.fromEntries(ofFile), adapterConfig })
    expect(read.format).toBe('peft')
    const found = await mergedByReader(
      read,
      await checkpointOf({ tensors: tensorsOf({ 'x.weight': one.base }) }),
    )
    expect(distance(found.get('x.weight')!, flat(one.merged))).toBeLessThan(1e-6)
  })

  test('there are three', () => expect(cases.length).toBe(3))

  test('a rank that the config does not have is refused', async () => {
    const tensors = tensorsOf(
      Object.fromEntries(
        Object.entries(cases[0].tensors).map(([n, v]) => [`x.${n.replace('.default', '')}`, v]),
      ),
    )
    const error = await errorOf(() => adapterFrom({ tensors, adapterConfig: { peft_type: 'LOHA', r: 3 } }))
    expect(error.message).toMatch(/"x.hada_w1_a" is of rank 2, the config says rank 3/)
  })
})

describe('sizes and refusals', () => {
  const loha = (r: number, out: number, columns: number, more: Record<string, TestTensor> = {}) => ({
    'lora_unet_x.hada_w1_a': { shape: [out, r] },
    'lora_unet_x.hada_w1_b': { shape: [r, columns] },
    'lora_unet_x.hada_w2_a': { shape: [out, r] },
    'lora_unet_x.hada_w2_b': { shape: [r, columns] },
    ...more,
  })

  test('a rank whose square is beyond the shorter side: the product itself is one of the factors', async () => {
    const [module] = (await adapterFrom({ tensors: loha(3, 5, 7) })).modules
    const { B, A } = await readFactors(module)
    expect([module.rank, module.dim]).toEqual([5, 3])
    expect([B.rows, B.columns, A.rows, A.columns]).toEqual([5, 5, 5, 7])
    // entry (0, 0) by hand: (1·1 + 2·8 + 3·15)², as both halves count from 1
    expect(A.data[0]).toBe(62 ** 2)
  })

  test('alpha 0, which loaders read in two ways, has to be said', async () => {
    const zero = { shape: [], data: Float64Array.of(0) }
    const tensors = loha(2, 4, 3, { 'lora_unet_x.alpha': zero })
    const checkpoint = await checkpointOf({ tensors })
    const read = async (options: AdapterOptions) => (await adapterOf(checkpoint, options))!
    const error = await errorOf(() => read({ isStrict: true }))
    expect(error).toMatchObject({ code: 'bad-input', tensor: 'lora_unet_x.alpha' })
    expect(error.message).toMatch(
      /"lora_unet_x\.alpha" is 0, which kohya's tools and LyCORIS read as the rank, .* --alpha-zero rank or --alpha-zero off/,
    )
    expect((await read({ alphaZero: 'rank' })).modules[0]).toMatchObject({
      scale: 1,
      alpha: 2,
      storedAlpha: 0,
    })
    expect((await read({ alphaZero: 'off' })).modules[0]).toMatchObject({ scale: 0, alpha: 0 })
    expect((await read({ isStrict: true, alpha: 4 })).modules[0].scale).toBe(2)
    expect((await read({ alphaZero: 'rank' })).warnings).toEqual([])
    const { modules, warnings } = await read({})
    expect(modules[0].scale).toBe(1)
    expect(warnings).toEqual([expect.stringMatching(/"lora_unet_x\.alpha" is 0, .* the rank is taken/)])
  })

  test.each<[string, Record<string, TestTensor>, RegExp]>([
    [
      'halves of other shapes',
      loha(2, 4, 3, { 'lora_unet_x.hada_w2_b': { shape: [2, 5] } }),
      /are no two matrices of one shape/,
    ],
    [
      'no pair',
      loha(2, 4, 3, { 'lora_unet_x.hada_w2_b': { shape: [3, 3] } }),
      /of the shapes \[4, 2\] and \[3, 3\] are no pair/,
    ],
    [
      'LoRA beside it',
      loha(2, 4, 3, {
        'lora_unet_x.lora_down.weight': { shape: [2, 3] },
        'lora_unet_x.lora_up.weight': { shape: [4, 2] },
      }),
      /are of one module: it is one kind of product or another/,
    ],
    [
      'integers',
      loha(2, 4, 3, { 'lora_unet_x.hada_w2_b': { shape: [2, 3], dtype: 'I32', data: new Uint8Array(24) } }),
      /is stored as I32; a factor is made of floats/,
    ],
    [
      'a core that does not fit',
      loha(2, 4, 3, { 'lora_unet_x.hada_t1': { shape: [3, 3, 3, 3] } }),
      /a core is \[r, r, …kernel\]/,
    ],
  ])('%s', async (_, tensors, message) => {
    expect((await errorOf(() => adapterFrom({ tensors }))).message).toMatch(message)
  })

  test('a kernel that the tensors hold flat is the base’s', async () => {
    const adapter = await adapterFrom({ tensors: loha(2, 4, 27) })
    expect(moduleNamed(adapter, 'x').kind).toBe('linear')
    const base = await checkpointOf({ tensors: { 'x.weight': { shape: [4, 3, 3, 3] } } })
    const found = await mergedByReader(adapter, base)
    expect(found.get('x.weight')!.length).toBe(108)
  })
})
