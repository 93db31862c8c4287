import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import '../property-seed.ts'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { factorsFor } from '../../src/compress/layer-result.ts'
import { decodeFloats, encodeFloats, type FloatDtype } from '../../src/formats/dtype.ts'
import { type Float64Matrix, type Matrix, zeros } from '../../src/linalg/matrix/matrix.ts'
import type { Factors } from '../../src/linalg/svd/svd.ts'
import { readFactors, readFloats } from '../../src/lora/factors.ts'
import { matchToBase } from '../../src/lora/match.ts'
import type { ModuleKind, TargetModule } from '../../src/lora/model.ts'
import { adapterOf } from '../../src/lora/read/adapter.ts'
import { modelTraits } from '../../src/lora/traits.ts'
import { type AdapterLayout, planAdapter } from '../../src/lora/write/peft.ts'
import { savedModules } from '../../src/lora/write/targets.ts'
import { type ComfyCase, distance, flat, goldens, mergedByReader, type Nested, tensorsOf } from './goldens.ts'
import { readSafetensorsFile } from './peft-rules.ts'
import { checkpointOf } from './support.ts'
import { adapterFiles, f32Shapes, modelOf, moduleOf, numbers, withFolder } from './write-support.ts'

/**
 * Module kinds × formats. Written: what the writer makes of random factors, the reader alone gives back number for number. Read:
 * what the peers' own code makes of a file is W + scale·B·A of what the reader gives.
 */

interface Part {
  readonly name: string
  readonly shape: readonly number[]
  readonly view: 'matrix' | 'conv' | 'expert'
}

const size = fc.integer({ min: 1, max: 7 })
const sizes = (count: number) => fc.tuple(...Array.from({ length: count }, () => size))
const layer = fc.nat(12)

const matrixAt = (name: (i: number) => string, shape: fc.Arbitrary<readonly number[]>) =>
  fc.tuple(layer, shape).map(([i, shape]): Part[] => [{ name: name(i), shape, view: 'matrix' }])
const kernelOf = (dimensions: number) =>
  fc
    .tuple(layer, fc.integer({ min: 2, max: 6 }), fc.integer({ min: 2, max: 6 }), sizes(dimensions))
    .map(([i, out, ins, kernel]): Part[] => [
      { name: `encoder.down.${i}.conv.weight`, shape: [out, ins, ...kernel], view: 'conv' },
    ])
const square = size.map((n) => [n, n])

/** One model of two parts: a Conv1D in the decoder, and experts of either order in the encoder. */
const configOf = (encoder: string) => ({
  model_type: 'vision-encoder-decoder',
  encoder: { model_type: encoder },
  decoder: { model_type: 'gpt2' },
})

interface Kind {
  readonly kind: ModuleKind
  readonly parts: fc.Arbitrary<Part[]>
  readonly encoder?: string
}

const experts = (encoder: string, isSquare: boolean): Kind => ({
  kind: 'experts',
  encoder,
  parts: fc
    .tuple(layer, fc.integer({ min: 2, max: 4 }), size, size, fc.boolean())
    .map(([i, count, hidden, inner, isNested]): Part[] => {
      const at = `encoder.layers.${i}.mlp.experts`
      const shapes = isSquare
        ? { gate_up_proj: [hidden, 2 * hidden], down_proj: [hidden, hidden] }
        : { gate_up_proj: [hidden, 2 * inner], down_proj: [inner + hidden, hidden] }
      const names = isNested ? (['gate_up_proj', 'down_proj'] as const) : (['down_proj'] as const)
      return names.map((name) => ({ name: `${at}.${name}`, shape: [count, ...shapes[name]], view: 'expert' }))
    }),
})

const KINDS: Readonly<Record<string, Kind>> = {
  linear: { kind: 'linear', parts: matrixAt((i) => `encoder.layers.${i}.mlp.fc.weight`, sizes(2)) },
  'linear, square': { kind: 'linear', parts: matrixAt((i) => `encoder.layers.${i}.query.weight`, square) },
  'linear, stacked with a neighbour': {
    kind: 'linear',
    parts: fc.tuple(layer, sizes(3)).map(([i, [q, k, columns]]): Part[] => [
      { name: `encoder.layers.${i}.self_attn.q_proj.weight`, shape: [q, columns], view: 'matrix' },
      { name: `encoder.layers.${i}.self_attn.k_proj.weight`, shape: [k, columns], view: 'matrix' },
    ]),
  },
  Conv1D: { kind: 'conv1d', parts: matrixAt((i) => `decoder.h.${i}.mlp.c_fc.weight`, sizes(2)) },
  'Conv1D, square': { kind: 'conv1d', parts: matrixAt((i) => `decoder.h.${i}.attn.c_proj.weight`, square) },
  embedding: { kind: 'embedding', parts: matrixAt((i) => `encoder.${i}.embed_tokens.weight`, sizes(2)) },
  'convolution, 1-d': { kind: 'convolution', parts: kernelOf(1) },
  'convolution, 2-d': { kind: 'convolution', parts: kernelOf(2) },
  'convolution, 3-d': { kind: 'convolution', parts: kernelOf(3) },
  'experts [out, in]': experts('qwen3_moe', false),
  'experts [out, in], square': experts('qwen3_moe', true),
  'experts [in, out]': experts('gpt_oss', false),
  'experts [in, out], square': experts('gpt_oss', true),
}

const LAYOUTS: readonly AdapterLayout[] = ['portable', 'pattern']
const how = fc.record({
  dtype: fc.constantFrom<FloatDtype>('f64', 'f32', 'bf16', 'f16'),
  distributeScale: fc.boolean(),
  ranks: fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 4, maxLength: 4 }),
})
type How = typeof how extends fc.Arbitrary<infer T> ? T : never

const randomMatrix = (rows: number, columns: number, seed: number): Float64Matrix => ({
  ...zeros(rows, columns),
  data: numbers(rows * columns, seed),
})

/** Factors of a rank for each matrix of a module, made as extract makes them. */
const randomFactors = (module: TargetModule, rank: number, seed: number, distributeScale: boolean) =>
  Array.from({ length: module.experts }, (_, e): Factors => {
    const S = numbers(rank, seed + e).map((x) => 1 + Math.abs(x))
    const U = randomMatrix(module.rows, rank, seed + 2 * e + 1)
    const V = randomMatrix(module.columns, rank, seed + 2 * e + 2)
    return factorsFor({ U, S, V }, rank, distributeScale)
  })

/** Rounded to what is stored, and with zeros up to the stored rank. */
function asStored({ B, A }: Factors, rank: number, dtype: FloatDtype): { B: number[]; A: number[] } {
  const rounded = (data: Matrix['data']) => Array.from(decodeFloats(encodeFloats(data, dtype), dtype))
  const [b, a] = [rounded(B.data), rounded(A.data)]
  const row = (i: number) => Array.from({ length: rank }, (_, k) => (k < A.rows ? b[i * A.rows + k] : 0))
  return {
    B: Array.from({ length: B.rows }, (_, i) => row(i)).flat(),
    A: [...a, ...Array.from({ length: (rank - A.rows) * A.columns }, () => 0)],
  }
}

/** Writes an adapter for these parts, and expects the reader to give back every module, kind, shape, scale and number. */
async function expectReadBack(
  parts: readonly Part[],
  encoder: string,
  layout: AdapterLayout,
  { dtype, distributeScale, ranks: chosen }: How,
) {
  const config = configOf(encoder)
  const model = modelOf({
    ...Object.fromEntries(parts.map(({ name, shape }) => [name, shape])),
    'encoder.norm.weight': [3],
    'encoder.norm.bias': [3],
  })
  const traits = modelTraits(config, model)
  const modules = parts.map(({ name, shape, view }) =>
    moduleOf(name, shape, { view, traits, embeddings: true, experts: true }),
  )
  // of a rank 0 only the rest of its group is written, if there is one
  const ranks = new Map(modules.map((module, i) => [module, i === 0 ? chosen[0] + 1 : chosen[i % 4]]))
  const factored = new Set(modules.map(({ path }) => path))
  const { saved } = savedModules(['encoder.norm.bias'], model.keys(), factored, traits)
  const plan = planAdapter({ ranks, layout, dtype, base: f32Shapes(model), traits, saved })
  const factors = new Map(
    [...ranks].map(([module, rank], i) => [module, randomFactors(module, rank, 7 * i + 1, distributeScale)]),
  )
  const files = await adapterFiles(plan, factors, model, traits)
  const tensors = Object.fromEntries([...model].map(([name, { shape, data }]) => [name, { shape, data }]))
  const base = await checkpointOf({ tensors, config })
  await withFolder(files, async (folder) => {
    const adapter = (await adapterOf(await openCheckpoint(folder)))!
    const { matched, unmatched, replaced } = matchToBase(adapter, base)
    expect({ unmatched, ignored: adapter.ignored, format: adapter.format }).toEqual({
      unmatched: [],
      ignored: [],
      format: 'peft',
    })
    expect(matched).toHaveLength(plan.modules.length)
    for (const { module: written, storedRank, rank } of plan.modules) {
      const { module } = matched.find(({ base }) => base.name === written.tensor)!
      const { tensor, kind, shape, rows, columns, experts, isTransposed } = written
      expect(module).toMatchObject({ tensor, kind, shape, rows, columns, experts, isTransposed })
      if (kind !== 'experts') expect(module.path).toBe(written.path)
      expect([module.scale, module.rank]).toEqual([1, storedRank])
      for (let e = 0; e < experts; e++) {
        const { B, A, scale } = await readFactors(module, kind === 'experts' ? e : undefined)
        const none = { B: zeros(rows, 0), A: zeros(0, columns) }
        const expected = asStored(rank === 0 ? none : factors.get(written)![e], storedRank, dtype)
        expect(scale).toBe(1)
        expect([B.rows, B.columns, A.rows, A.columns]).toEqual([rows, storedRank, storedRank, columns])
        expect({ B: Array.from(B.data), A: Array.from(A.data) }).toEqual(expected)
      }
    }
    expect(replaced.map(({ replaced: { name, how } }) => [name, how]).sort()).toEqual([
      ['encoder.norm.bias', 'replace'],
      ['encoder.norm.weight', 'replace'],
    ])
    for (const { replaced: whole, base: stored } of replaced) {
      expect(await readFloats(whole.tensor)).toEqual(await readFloats(stored!))
    }
  })
  return plan
}

describe('written and read back', () => {
  const table = Object.entries(KINDS).flatMap(([name, kind]) =>
    LAYOUTS.map((layout) => [name, layout, kind] as const),
  )
  test.each(table)('%s × PEFT, %s', async (_, layout, { kind, parts, encoder = 'vit' }) => {
    await fc.assert(
      fc.asyncProperty(parts, how, async (parts, how) => {
        const plan = await expectReadBack(parts, encoder, layout, how)
        expect(new Set(plan.modules.map(({ module }) => module.kind))).toEqual(new Set([kind]))
      }),
      { numRuns: 15 },
    )
  })

  test.each(LAYOUTS)('all kinds in one adapter, and modules saved whole × PEFT, %s', async (layout) => {
    const all = (encoder: string) =>
      fc
        .tuple(
          ...Object.values(KINDS)
            .filter((kind) => kind.encoder === undefined || kind.encoder === encoder)
            .map(({ parts }) => parts),
        )
        .map((found) => [...new Map(found.flat().map((part) => [part.name, part])).values()])
    for (const encoder of ['qwen3_moe', 'gpt_oss']) {
      await fc.assert(
        fc.asyncProperty(all(encoder), how, async (parts, how) => {
          await expectReadBack(parts, encoder, layout, how)
        }),
        { numRuns: 15 },
      )
    }
  })
})

describe('read as the peers’ own code reads it', () => {
  const folders = fileURLToPath(new URL('../fixtures/peft', import.meta.url))
  const KINDS_OF: Readonly<Record<string, string>> = {
    conv1d: 'Conv1D',
    convolutions: 'convolutions, 1-d and 2-d',
    experts: 'experts [out, in], nested; linear',
    'experts-transposed': 'experts [in, out]',
    saved: 'modules saved whole; linear',
    embedding: 'embedding; linear',
  }
  test.each(readdirSync(folders).map((name) => [KINDS_OF[name] ?? `linear (${name})`, name]))(
    '%s × PEFT',
    async (_, name) => {
      const adapter = (await adapterOf(await openCheckpoint(`${folders}/${name}`)))!
      const base = await openCheckpoint(`${folders}/${name}/base.safetensors`)
      const found = await mergedByReader(adapter, base)
      const before = readSafetensorsFile(`${folders}/${name}/base.safetensors`)
      const after = readSafetensorsFile(`${folders}/${name}/merged.safetensors`)
      let changed = 0
      for (const [tensor, { data }] of after) {
        const W = found.get(tensor) ?? before.get(tensor)!.data
        expect(distance(W, data), tensor).toBeLessThan(1e-13)
        if (data.some((x, i) => x !== before.get(tensor)!.data[i])) changed++
      }
      expect(changed).toBeGreaterThan(0)
    },
  )

  const named = (tensors: readonly string[]) =>
    tensors.some((name) => /^(?:lora_unet_)/.test(name)) ? 'kohya' : 'ComfyUI'
  test.each(
    (goldens('adapter/comfyui') as ComfyCase[]).map(
      (one) => [one.what, named(Object.keys(one.adapter)), one] as const,
    ),
  )('%s × %s', async (_, format, { base: before, adapter: tensors, result }) => {
    const adapter = (await adapterOf(await checkpointOf({ tensors: tensorsOf(tensors) })))!
    expect(adapter.format).toBe(format.toLowerCase())
    const inModel = Object.entries(tensorsOf(before)).map(([name, one]) => [`diffusion_model.${name}`, one])
    const found = await mergedByReader(adapter, await checkpointOf({ tensors: Object.fromEntries(inModel) }))
    expect([...found.keys()].sort()).toEqual(Object.keys(result).sort())
    for (const [name, value] of Object.entries(result)) {
      expect(distance(found.get(name)!, flat(value)), name).toBeLessThan(1e-6)
    }
  })

  interface PeftCase {
    readonly what: string
    readonly config: Readonly<Record<string, unknown>>
    readonly base: Nested
    readonly tensors: Readonly<Record<string, Nested>>
    readonly merged: Nested
  }
  // diffusers hands its files to PEFT, with the config from the file's metadata
  test.each((goldens('adapter/peft-layers') as PeftCase[]).map((one) => [one.what, one] as const))(
    '%s × diffusers',
    async (_, { config, base: before, tensors, merged }) => {
      const names = Object.entries(tensors).map(
        ([name, value]) => [`transformer.x.${name.replace('.default', '')}`, value] as const,
      )
      const fields = Object.entries(config).map(([key, value]) => [`transformer.${key}`, value])
      const metadata = { lora_adapter_metadata: JSON.stringify(Object.fromEntries(fields)) }
      const file = await checkpointOf({ tensors: tensorsOf(Object.fromEntries(names)), metadata })
      const adapter = (await adapterOf(file))!
      expect(adapter.format).toBe('diffusers')
      const found = await mergedByReader(
        adapter,
        await checkpointOf({ tensors: tensorsOf({ 'x.weight': before }) }),
      )
      expect(distance(found.get('x.weight')!, flat(merged))).toBeLessThan(1e-6)
    },
  )
})
