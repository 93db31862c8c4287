import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import {
  applied,
  fileOf,
  folderWith,
  PEFT,
  random,
  rounded,
  type Stored,
  type Weights,
} from './apply-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'

/** DoRA of both implementations along both axes, against their formulas in float64, rounded once. */

const folder = temporaryFolder('apply-dora')
const at = (name: string) => join(folder, name)

/** More rows than are summed at once, for norms of whole columns. */
const [LONG, SHORT] = [1100, 6]

/** W + factor·B·A for B [out, r] and A [r, in], with the entry's place in W as stored. */
function sumOf(W: Weights, B: Weights, A: Weights, factor: number, isTransposed: boolean): Float64Array {
  const rank = A.shape[0]
  const [rows, columns] = W.shape
  return Float64Array.from(W.data, (w, place) => {
    const [row, column] = [Math.floor(place / columns), place % columns]
    const [i, j] = isTransposed ? [column, row] : [row, column]
    let sum = 0
    for (let k = 0; k < rank; k++)
      sum += B.data[i * rank + k] * factor * A.data[(k * A.data.length) / rank + j]
    expect(row).toBeLessThan(rows)
    return w + sum
  })
}

/** v·(1 + share·(m/(‖v‖ + epsilon) − 1)) for the rows or the columns v of a matrix. */
function rescaled(
  V: Float64Array,
  [rows, columns]: readonly number[],
  magnitude: Weights,
  axis: 'rows' | 'columns',
  { epsilon = 0, share = 1 } = {},
): Float64Array {
  const of = (place: number) => (axis === 'rows' ? Math.floor(place / columns) : place % columns)
  const squares = new Float64Array(axis === 'rows' ? rows : columns)
  for (const [place, v] of V.entries()) squares[of(place)] += v * v
  return V.map((v, place) => {
    const norm = Math.sqrt(squares[of(place)]) + epsilon
    return v * (1 + share * (magnitude.data[of(place)] / norm - 1))
  })
}

const magnitudes = (shape: readonly number[], seed: number): Weights => {
  const { data, dtype } = random(shape, seed, 'F32', 1)
  return { dtype, shape, data: Array.from(data, (x) => Math.fround(1.5 + x)) }
}

/** As good as equal: a norm's last bits depend on the order of its sum, and an entry may lie between two numbers. */
function expectRounded(found: ArrayLike<number>, wanted: Float64Array, dtype: Stored): void {
  const off = Array.from(found).filter((x, i) => x !== rounded(wanted[i], dtype))
  expect(off.length).toBeLessThanOrEqual(Math.ceil(wanted.length / 5000))
}

const config = { peft_type: 'LORA', r: 2, lora_alpha: 4, use_dora: true }

describe.each(['F32', 'BF16'] as const)('PEFT, %s', (dtype) => {
  const kinds: readonly (readonly [
    what: string,
    tensor: string,
    shape: readonly [number, number],
    isTransposed: boolean,
    model: object,
  ])[] = [
    ['a linear layer', 'x.weight', [LONG, SHORT], false, {}],
    ['Conv1D', 'h.0.mlp.c_fc.weight', [LONG, SHORT], true, { model_type: 'gpt2' }],
    ['an embedding', 'model.embed_tokens.weight', [LONG, SHORT], true, { tie_word_embeddings: false }],
  ]
  test.each(kinds)('%s, at the weight 1 and at others', async (what, tensor, shape, isTransposed, model) => {
    const id = `${what}-${dtype}`
    const W = random(shape, 1, dtype, 1)
    const [out, inputs] = isTransposed ? [shape[1], shape[0]] : shape
    const [B, A] = [random([out, 2], 2), random([2, inputs], 3)]
    const m = magnitudes([out], 4)
    const module = tensor.replace(/\.weight$/, '')
    const factors = what.includes('embedding')
      ? { lora_embedding_A: A, lora_embedding_B: B }
      : { 'lora_A.weight': A, 'lora_B.weight': B }
    const named = Object.entries({ ...factors, lora_magnitude_vector: m })
    const adapter = folderWith(at(`adapter ${id}`), {
      'adapter_config.json': {
        ...config,
        fan_in_fan_out: what === 'Conv1D',
        target_modules: [module.split('.').at(-1)],
      },
      'adapter_model.safetensors': fileOf(
        Object.fromEntries(named.map(([name, value]) => [`${PEFT}${module}.${name}`, value])),
      ),
    })
    const base = folderWith(at(`base ${id}`), {
      'config.json': model,
      'model.safetensors': fileOf({ [tensor]: W }),
    })
    for (const weight of [1, 0.5]) {
      const { layers } = await applied([
        base,
        adapter,
        '-o',
        at(`out ${id} ${weight}`),
        '--weights',
        String(weight),
      ])
      expect(layers[0].how).toBe('dora')
      const V = sumOf(W, B, A, 2 * weight, isTransposed)
      const wanted = rescaled(V, shape, m, isTransposed ? 'columns' : 'rows')
      const found = readSafetensorsFile(join(at(`out ${id} ${weight}`), 'model.safetensors')).get(tensor)!
      expectRounded(found.data, wanted, dtype)
    }
  })
})

describe('LyCORIS', () => {
  const epsilon = 2 ** -23
  test.each([
    ['along the outputs', [LONG, 1], 'rows'],
    ['along the inputs', [1, SHORT], 'columns'],
  ] as const)('%s', async (what, shape, axis) => {
    const W = random([LONG, SHORT], 1, 'F16', 1)
    const [B, A] = [random([LONG, 2], 2), random([2, SHORT], 3)]
    const m = magnitudes(shape, 4)
    const [base, adapter] = [at(`base ${what}.safetensors`), at(`adapter ${what}.safetensors`)]
    writeFileSync(base, fileOf({ 'x.weight': W }))
    writeFileSync(
      adapter,
      fileOf({
        ...{
          'lora_unet_x.lora_down.weight': A,
          'lora_unet_x.lora_up.weight': B,
          'lora_unet_x.dora_scale': m,
        },
        'lora_unet_x.alpha': { dtype: 'F32', shape: [], data: [4] },
      }),
    )
    const V = sumOf(W, B, A, 2, false)
    for (const share of [1, 0.25]) {
      const out = at(`out ${what} ${share}.safetensors`)
      const { warnings } = await applied([base, adapter, '-o', out, '--weights', String(share)])
      expect(warnings.length > 0).toBe(share !== 1)
      const wanted = rescaled(V, [LONG, SHORT], m, axis, { epsilon, share })
      expectRounded(readSafetensorsFile(out).get('x.weight')!.data, wanted, 'F16')
    }
  })

  test('one number for each of as many rows as columns is taken for rows, and it says so', async () => {
    const [base, adapter] = [at('square.safetensors'), at('square-adapter.safetensors')]
    const W = random([6, 6], 5, 'F32', 1)
    const [B, A, m] = [random([6, 2], 6), random([2, 6], 7), magnitudes([6], 8)]
    writeFileSync(base, fileOf({ 'x.weight': W }))
    writeFileSync(
      adapter,
      fileOf({
        'lora_unet_x.lora_down.weight': A,
        'lora_unet_x.lora_up.weight': B,
        'lora_unet_x.dora_scale': m,
      }),
    )
    const { warnings } = await applied([base, adapter, '-o', at('square-out.safetensors')])
    expect(warnings[0]).toContain('one number for each of 6 rows or columns; rows are taken')
    const wanted = rescaled(sumOf(W, B, A, 1, false), [6, 6], m, 'rows', { epsilon })
    expectRounded(readSafetensorsFile(at('square-out.safetensors')).get('x.weight')!.data, wanted, 'F32')
  })
})

test('a row of zeros has no direction: refused, by name', async () => {
  const base = folderWith(at('zeros'), {
    'model.safetensors': fileOf({ 'x.weight': { dtype: 'F32', shape: [4, 3], data: Array(12).fill(0) } }),
  })
  const adapter = folderWith(at('zeros-adapter'), {
    'adapter_config.json': { ...config, target_modules: ['x'] },
    'adapter_model.safetensors': fileOf({
      [`${PEFT}x.lora_A.weight`]: random([2, 3], 1),
      [`${PEFT}x.lora_B.weight`]: { dtype: 'F32', shape: [4, 2], data: Array(8).fill(0) },
      [`${PEFT}x.lora_magnitude_vector`]: magnitudes([4], 2),
    }),
  })
  const { code, stderr } = await runInProcess(['apply', base, adapter, '-o', at('never')])
  expect([code, stderr]).toEqual([
    2,
    expect.stringContaining('with its change the tensor "x.weight" has entries that are no numbers'),
  ])
})
