import { describe, expect, test } from 'vitest'
import { jsEngine } from '../../src/engine/js/js-engine.ts'
import { matrix, transpose } from '../../src/linalg/matrix/matrix.ts'
import { f32, factorsOf, fileOf, folderOf, noise, type Tensors, withSpectrum } from './checkpoints.ts'
import { runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

/** GPT-2's names: an embedding [50, 12], a Conv1D stored [in, out], a linear head, each with its factors as PEFT stores them. */
const RANK = 2
const SCALE = 2
const config = (fields: object = {}) =>
  JSON.stringify({
    peft_type: 'LORA',
    r: RANK,
    lora_alpha: SCALE * RANK,
    target_modules: ['c_attn', 'wte', 'lm_head'],
    fan_in_fan_out: true,
    ...fields,
  })

const small = (length: number, seed: number, size: number) => noise(length, seed).map((x) => x * size)

interface Planted {
  readonly base: string
  readonly shape: readonly [number, number]
  readonly A: string
  readonly B: string
  /** The factors are those of Wᵀ. */
  readonly isTransposed: boolean
  readonly size: number
}

const PLANTED: readonly Planted[] = [
  {
    base: 'h.0.attn.c_attn.weight',
    shape: [12, 36],
    A: 'h.0.attn.c_attn.lora_A.weight',
    B: 'h.0.attn.c_attn.lora_B.weight',
    isTransposed: true,
    size: 3,
  },
  {
    base: 'wte.weight',
    shape: [50, 12],
    A: 'wte.lora_embedding_A',
    B: 'wte.lora_embedding_B',
    isTransposed: true,
    size: 3,
  },
  {
    base: 'lm_head.weight',
    shape: [50, 12],
    A: 'lm_head.lora_A.weight',
    B: 'lm_head.lora_B.weight',
    isTransposed: false,
    size: 0.01,
  },
]

function modelAndAdapter() {
  const [base, adapter]: [Record<string, Tensors[string]>, Record<string, Tensors[string]>] = [{}, {}]
  const truth = new Map<string, { cosines: number[]; dominance: number }>()
  for (const [i, { base: name, shape, A, B, isTransposed, size }] of PLANTED.entries()) {
    const [rows, columns] = shape
    const [inside, out] = isTransposed ? [rows, columns] : [columns, rows]
    const W = matrix(rows, columns, Float32Array.from(noise(rows * columns, 10 + i)))
    const a = matrix(RANK, inside, Float32Array.from(small(RANK * inside, 20 + i, size)))
    const b = matrix(out, RANK, Float32Array.from(noise(out * RANK, 30 + i)))
    base[name] = f32(shape, W.data)
    adapter[`base_model.model.${A}`] = f32([RANK, inside], a.data)
    adapter[`base_model.model.${B}`] = f32([out, RANK], b.data)
    const product = jsEngine.multiply(b, a)
    const delta = isTransposed ? transpose(product) : product
    const sum = matrix(
      rows,
      columns,
      Float64Array.from(W.data, (x, at) => x + SCALE * delta.data[at]),
    )
    const [before, after] = [W, sum].map((X) => jsEngine.svd(X, 'thin'))
    const products = jsEngine.multiply(after.U, before.U, { transposeA: true })
    const cosines = Array.from({ length: 10 }, (_, j) =>
      Math.max(
        ...Array.from(products.data.subarray(j * products.columns, (j + 1) * products.columns), Math.abs),
      ),
    )
    const dominance = (SCALE * jsEngine.svd(product, 'none').S[0]) / before.S[0]
    truth.set(name.replace(/\.weight$/, ''), { cosines, dominance })
  }
  return { base, adapter, truth }
}

const { base, adapter, truth } = modelAndAdapter()
const zero = Object.fromEntries(
  Object.entries(adapter).map(([name, { shape }]) => [
    name,
    f32(shape, new Float32Array(shape.reduce((a, b) => a * b, 1))),
  ]),
)
const dora = { ...adapter, 'base_model.model.lm_head.lora_magnitude_vector': f32([50], noise(50, 4)) }
const cwd = folderOf({
  'base/model.safetensors': fileOf(base),
  'base/config.json': JSON.stringify({ model_type: 'gpt2', architectures: ['GPT2LMHeadModel'] }),
  'adapter/adapter_model.safetensors': fileOf(adapter),
  'adapter/adapter_config.json': config(),
  'zero/adapter_model.safetensors': fileOf(zero),
  'zero/adapter_config.json': config(),
  'large-base/model.safetensors': fileOf({
    'lm_head.weight': f32([512, 512], withSpectrum(512, 512, [64, 8, 4, 2])),
  }),
  'large/adapter_model.safetensors': fileOf({
    'base_model.model.lm_head.lora_A.weight': f32([1, 512], factorsOf(512, 512, [3]).A),
    'base_model.model.lm_head.lora_B.weight': f32([512, 1], factorsOf(512, 512, [3]).B),
  }),
  'large/adapter_config.json': JSON.stringify({
    peft_type: 'LORA',
    r: 1,
    lora_alpha: 1,
    target_modules: ['lm_head'],
  }),
  'dora/adapter_model.safetensors': fileOf(dora),
  'dora/adapter_config.json': config({ use_dora: true }),
})

async function inspected(...args: string[]) {
  const { code, stdout, stderr } = await runInProcess(['inspect', ...args, '--json'], { cwd })
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return documentOf(stdout, 'inspect-1')
}

describe.concurrent('an adapter beside its base', () => {
  test('dominance and intruders of embeddings, Conv1D and linear layers, as W is stored', async () => {
    const { matrices, totals } = await inspected('adapter', '--base', 'base')
    expect(matrices.length).toBe(3)
    for (const { name, base: found } of matrices) {
      const { cosines, dominance } = truth.get(name.replace(/^transformer\./, ''))!
      expect(found.dominance.atLeast).toBeCloseTo(dominance, 5)
      expect(found.dominance.atMost).toBeCloseTo(dominance, 5)
      expect(found.intruders).toMatchObject({
        directions: 10,
        intruders: cosines.filter((cosine) => cosine < 0.5).length,
        undecided: 0,
      })
      for (const [j, { atLeast, atMost }] of found.intruders.cosines.entries()) {
        expect(atLeast).toBeLessThanOrEqual(cosines[j] + 1e-5)
        expect(atMost).toBeGreaterThanOrEqual(cosines[j] - 1e-5)
      }
    }
    const all = [...truth.values()].flatMap(({ cosines }) => cosines)
    const intruders = all.filter((cosine) => cosine < 0.5).length
    expect(intruders).toBeGreaterThan(0)
    expect(totals.intruders).toEqual({ directions: 30, intruders, undecided: 0 })
  })

  test('of zeros: no dominance, no intruders', async () => {
    const { matrices, totals } = await inspected('zero', '--base', 'base')
    expect(totals.intruders).toEqual({ directions: 30, intruders: 0, undecided: 0 })
    for (const { base } of matrices) expect(base.dominance).toEqual({ atLeast: 0, atMost: 0 })
  })

  test('DoRA: W + scale·B·A is not what it makes, so no intruders are counted', async () => {
    const { matrices } = await inspected('dora', '--base', 'base')
    const found = matrices.map(({ name, base }: { name: string; base: object }) => [
      name.replace(/^transformer\./, ''),
      'intruders' in base,
    ])
    expect(Object.fromEntries(found)).toEqual({ 'h.0.attn.c_attn': true, wte: true, lm_head: false })
  })

  test('--no-intruders: the dominance alone, of large weights too', async () => {
    const { matrices, totals } = await inspected('adapter', '--base', 'base', '--no-intruders')
    const whole = await inspected('adapter', '--base', 'base')
    expect(totals).not.toHaveProperty('intruders')
    for (const [i, { base }] of matrices.entries()) {
      expect(base).not.toHaveProperty('intruders')
      expect(base.dominance).toEqual(whole.matrices[i].base.dominance)
    }
    const large = await inspected('large', '--base', 'large-base', '--no-intruders')
    // σ₁ of the base is 64, of the change 3
    const { dominance } = large.matrices[0].base
    expect(dominance.atLeast).toBeLessThanOrEqual(3 / 64 + 1e-7)
    expect(dominance.atMost).toBeGreaterThanOrEqual(3 / 64 - 1e-7)
    expect(dominance.atMost / dominance.atLeast).toBeLessThan(1.001)
    const refused = await runInProcess(
      ['inspect', 'adapter', '--base', 'base', '--no-intruders', '--sort', 'intruders'],
      { cwd },
    )
    expect(refused.stderr).toBe(
      'lora-svd: --sort intruders orders by what is not counted: leave out --no-intruders and --emit\n',
    )
  })

  test('in the table, and in order', async () => {
    const { stdout } = await runInProcess(['inspect', 'adapter', '--base', 'base', '--sort', 'dominance'], {
      cwd,
    })
    expect(stdout).toMatch(/dominance/)
    expect(stdout).toMatch(/intruders \d+ of 30 leading directions/)
    const sorted = await inspected('adapter', '--base', 'base', '--sort', 'dominance')
    const dominances = sorted.matrices.map(
      (one: { base: { dominance: { atLeast: number } } }) => one.base.dominance.atLeast,
    )
    expect(dominances).toEqual([...dominances].sort((a, b) => b - a))
    const refused = await runInProcess(['inspect', 'adapter', '--sort', 'intruders'], { cwd })
    expect(refused).toMatchObject({
      code: 2,
      stderr: 'lora-svd: --sort intruders compares an adapter with its --base: give one\n',
    })
  })
})
