import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  isTarget,
  LOADER_SCALES,
  loadPeftAdapter,
  type ModuleClass,
  mergePeft,
  type Tensor,
} from '../lora/peft-rules.ts'
import {
  BASE,
  BF16_SPECTRA,
  errorLeft,
  extracted,
  norm,
  optimum,
  ROUNDING,
  SPECTRA,
  TUNED,
  TUNED_BF16,
  tail,
  weightsOf,
} from './extract-support.ts'
import { temporaryFolder } from './run.ts'

const folder = temporaryFolder()
const [base, tuned, rounded] = [BASE, TUNED, TUNED_BF16].map(weightsOf)
const get = <T>(map: ReadonlyMap<string, T>, name: string): T => {
  const found = map.get(name)
  if (found === undefined) throw new Error(`no ${name}`)
  return found
}
const classOf = (path: string, shape: readonly number[]): ModuleClass =>
  path.endsWith('embed_tokens') ? 'Embedding' : shape.length === 2 ? 'Linear' : 'other'

interface Layer {
  readonly name: string
  readonly shape: [number, number]
  readonly rank: number
  readonly storedRank: number
  readonly relativeError: number
  readonly optimalError: { readonly atLeast: number; readonly atMost: number }
}

/** The weights that a PEFT reader makes of an adapter; no module of it may be missing or left over. */
function mergedBy(adapter: string): ReadonlyMap<string, Tensor> {
  const { weights, missing, unexpected } = mergePeft(base, loadPeftAdapter(adapter), { classOf })
  expect({ missing, unexpected }).toEqual({ missing: [], unexpected: [] })
  return weights
}

/** Each layer's error as a PEFT reader's merge has it is the one stated, up to the delta's rounding to float32. */
function expectStatedErrors(adapter: string, layers: readonly Layer[], target = tuned): void {
  const merged = mergedBy(adapter)
  for (const { name, relativeError } of layers) {
    const left = errorLeft(name, get(merged, name), get(target, name), get(base, name))
    expect(Math.abs(left - relativeError), name).toBeLessThan(2 ** -24 * (1 + relativeError))
  }
}

describe.concurrent('against NumPy’s spectra', () => {
  test.for([1, 2, 4, 8, 16, 32])('rank %i: all 23 matrices at the optimum', async (rank) => {
    const out = join(folder, `rank-${rank}`)
    const { layers, holds } = await extracted(BASE, TUNED, out, ['--rank', `${rank}`, '--embeddings'])
    expect(layers.map(({ name }: Layer) => name).sort()).toEqual([...SPECTRA.keys()].sort())
    expect(holds).toBe(true)
    for (const { name, shape, rank: found, relativeError, optimalError } of layers as Layer[]) {
      const spectrum = get(SPECTRA, name)
      const best = optimum(spectrum, rank)
      expect(shape).toEqual(spectrum.shape)
      // the embedding's change is of rank 18: the few of its rows that training saw
      expect(found, name).toBe(Math.min(rank, ...shape, name.includes('embed') ? 18 : rank))
      expect(relativeError, name).toBeLessThan(1.0005 * best + ROUNDING)
      expect(relativeError, name).toBeGreaterThan(best * (1 - ROUNDING))
      expect(optimalError.atLeast, name).toBeLessThan(best + ROUNDING)
      expect(optimalError.atMost, name).toBeGreaterThan(best - ROUNDING)
    }
    expectStatedErrors(out, layers)
  })

  test('the bfloat16 shards with float32 factors: the optimum of what is stored', async () => {
    const out = join(folder, 'bf16-f32')
    const { layers } = await extracted(BASE, TUNED_BF16, out, ['--rank=8', '--embeddings', '--dtype=f32'])
    expect(layers).toHaveLength(23)
    for (const { name, relativeError } of layers as Layer[]) {
      const best = optimum(get(BF16_SPECTRA, name), 8)
      expect(relativeError, name).toBeLessThan(1.0005 * best + ROUNDING)
      expect(relativeError, name).toBeGreaterThan(best * (1 - ROUNDING))
      // and next to that of the float32 fine-tune
      expect(Math.abs(relativeError - optimum(get(SPECTRA, name), 8)), name).toBeLessThan(0.05)
    }
    expectStatedErrors(out, layers, rounded)
  })

  test('the bfloat16 shards with factors of their own type: to bfloat16’s rounding', async () => {
    const out = join(folder, 'bf16')
    const { layers } = await extracted(BASE, TUNED_BF16, out, ['--rank=8'])
    for (const { name, dtype, relativeError } of layers) {
      const spectrum = get(BF16_SPECTRA, name)
      expect(dtype).toBe('bf16')
      // entries of B = U√S and A = √S·Vᵀ are off by 2⁻⁹ of themselves at most: ‖δB·A‖_F ≤ 2⁻⁹ ‖√S‖_F ‖√S‖₂, and so for δA
      const kept = spectrum.values.slice(0, 8)
      const roots = Math.sqrt(kept[0] * kept.reduce((sum, s) => sum + s, 0))
      const rounding = (2 * 2 ** -9 * 1.01 * roots) / Math.sqrt(tail(spectrum.values, 0))
      expect(relativeError, name).toBeLessThan(1.0005 * optimum(spectrum, 8) + rounding)
    }
    expectStatedErrors(out, layers, rounded)
  })
})

const WHOLE = ['model.norm.weight', 'model.embed_tokens.weight', 'model.layers.1.input_layernorm.weight']

describe.concurrent('merged by PEFT’s rules', () => {
  test.for([
    ['--rank=5', '--layout=portable'],
    ['--energy=0.9', '--layout=portable'],
    ['--energy=0.9', '--layout=pattern'],
    ['--error=0.3', '--layout=pattern', '--dtype=bf16', '--embeddings'],
    ['--rank=6', '--no-distribute-scale'],
    ['--rank=6', '--dtype=f16'],
    ['--rank=6', '--dtype=bf16'],
  ])('%s %s: tuned weights to the stated error', async (args) => {
    const out = join(folder, `merged${args.join('')}`)
    const { layers, warnings } = await extracted(BASE, TUNED, out, args)
    expectStatedErrors(out, layers)
    const { config, tensors } = loadPeftAdapter(out)
    const scales = (layers as Layer[])
      .filter(({ name }) => !name.includes('embed'))
      .flatMap(({ name, rank, storedRank }) => {
        const path = name.slice(0, -'.weight'.length)
        const [stored] = get(tensors, `base_model.model.${path}.lora_A.weight`).shape
        expect(stored).toBe(storedRank)
        expect(rank).toBeLessThanOrEqual(storedRank)
        return Object.values(LOADER_SCALES).map((scaleOf) => scaleOf(config, path, stored))
      })
    const isPattern = args.includes('--layout=pattern')
    // what every loader multiplies by, and what only PEFT reads
    if (isPattern) {
      expect(new Set(scales).size).toBeGreaterThan(1)
      expect(warnings.join('\n')).toContain('too strong')
    } else expect(new Set(scales)).toEqual(new Set([1]))
  })

  test('√S on both sides by default; B = U·S and A = Vᵀ without', async () => {
    for (const [i, args] of [[], ['--no-distribute-scale']].entries()) {
      const out = join(folder, `sides-${i}`)
      await extracted(BASE, TUNED, out, ['--rank=4', '--include=*.q_proj.weight', ...args])
      const { tensors } = loadPeftAdapter(out)
      for (const { name, values } of SPECTRA.values()) {
        if (!name.includes('q_proj')) continue
        const path = `base_model.model.${name.slice(0, -'.weight'.length)}`
        const [A, B] = [`${path}.lora_A.weight`, `${path}.lora_B.weight`].map((key) => get(tensors, key).data)
        for (let k = 0; k < 4; k++) {
          const row = norm(A.subarray(96 * k, 96 * (k + 1)))
          const column = norm(B.filter((_, at) => at % 4 === k))
          const expected = i === 0 ? [Math.sqrt(values[k]), Math.sqrt(values[k])] : [1, values[k]]
          expect(row / expected[0]).toBeCloseTo(1, 4)
          expect(column / expected[1]).toBeCloseTo(1, 4)
        }
      }
    }
  })

  test('--carry-rest: every tensor is carried, the whole ones exactly', async () => {
    const out = join(folder, 'rest')
    const document = await extracted(BASE, TUNED, out, ['--rank=8', '--carry-rest'])
    expect(document.notCarried).toEqual([])
    expect(document.saved).toHaveLength(8)
    for (const { name, relativeError } of document.saved) expect([name, relativeError]).toEqual([name, 0])
    expectStatedErrors(out, document.layers)
    const merged = mergedBy(out)
    for (const name of WHOLE) expect(get(merged, name).data, name).toEqual(get(tuned, name).data)
    expect(document.warnings.join()).toContain('vLLM refuses')
    // over the layers alone, so that it can be set beside their optimum
    const { relativeError, optimalError, wholeRelativeError } = document.totals
    expect(relativeError).toBeGreaterThanOrEqual(optimalError.atLeast)
    expect(wholeRelativeError).toBeLessThan(relativeError)
  })

  test('--save-full: a module whole instead of factored', async () => {
    const out = join(folder, 'full')
    const args = ['--rank=8', '--save-full=lm_head', '--save-full', 'model.layers.1.mlp.up_proj']
    const { layers, saved } = await extracted(BASE, TUNED, out, args)
    expect(saved.map(({ name }: Layer) => name).sort()).toEqual([
      'lm_head.weight',
      'model.layers.1.mlp.up_proj.weight',
    ])
    expect(layers).toHaveLength(20)
    expectStatedErrors(out, layers)
    const merged = mergedBy(out)
    for (const { name } of saved) expect(get(merged, name).data).toEqual(get(tuned, name).data)
    expect(isTarget(loadPeftAdapter(out).config, 'model.layers.0.mlp.up_proj')).toBe(true)
  })

  test('a part of q, k, v is completed with zeros, and nothing else is targeted', async () => {
    const out = join(folder, 'part')
    const args = ['--rank=4', '--include=*.0.self_attn.q_proj.weight', '--include=*.2.mlp.gate_proj.weight']
    const { layers } = await extracted(BASE, TUNED, out, args)
    expect(layers).toHaveLength(2)
    expectStatedErrors(out, layers)
    const merged = mergedBy(out)
    const changed = [...merged].filter(([name, { data }]) =>
      data.some((value, i) => value !== get(base, name).data[i]),
    )
    expect(changed.map(([name]) => name).sort()).toEqual(layers.map(({ name }: Layer) => name).sort())
    const targeted = [...base.keys()].map((name) => name.slice(0, name.lastIndexOf('.')))
    const { config } = loadPeftAdapter(out)
    expect(targeted.filter((path) => isTarget(config, path)).sort()).toEqual([
      'model.layers.0.self_attn.k_proj',
      'model.layers.0.self_attn.q_proj',
      'model.layers.0.self_attn.v_proj',
      'model.layers.2.mlp.gate_proj',
      'model.layers.2.mlp.up_proj',
    ])
  })
})
