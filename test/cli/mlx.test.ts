import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { writeNpz } from '../../src/formats/npz.ts'
import { matrix, transpose } from '../../src/linalg/matrix/matrix.ts'
import { combined, densesOf, openAdapter } from '../combine/support.ts'
import { temporaryFolder } from '../temporary.ts'
import { applied, distance, fileOf, folderWith, jsonOf, random, read, type Weights } from './apply-support.ts'
import { compared, peftFolder } from './compare-support.ts'
import { runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder()
let count = 0
const fresh = (end = '') => join(folder, `${count++}${end}`)

const MODULE = 'model.layers.0.self_attn.q_proj'
const RUN = {
  fine_tune_type: 'lora',
  num_layers: 16,
  model: '/Users/someone/models/x',
  data: '/Users/someone/secret',
  lora_parameters: { rank: 2, scale: 20, dropout: 0 },
}
const A = random([2, 5], 1)
const B = random([6, 2], 2)
const floats = ({ shape, data }: Weights) => matrix(shape[0], shape[1], Float64Array.from(data))
const turned = (weights: Weights): Weights => {
  const { rows, columns, data } = transpose(floats(weights))
  return { dtype: 'F32', shape: [rows, columns], data: Float64Array.from(data) }
}
const FACTORS = { [`${MODULE}.lora_a`]: turned(A), [`${MODULE}.lora_b`]: turned(B) }

const mlx = (config: object = RUN) =>
  folderWith(fresh(), {
    'adapters.safetensors': fileOf(FACTORS),
    '0000100_adapters.safetensors': fileOf(FACTORS),
    'adapter_config.json': config,
  })
/** The same change as a PEFT adapter: alpha/r is MLX's scale. */
const peft = () =>
  peftFolder(fresh(), { [MODULE]: { U: floats(B), V: transpose(floats(A)) } }, { r: 2, lora_alpha: 40 })

describe('an adapter folder of MLX', () => {
  test('is the same to compare as the one of PEFT that has its factors', async () => {
    const { adapters, cosines, layers } = await compared([mlx(), peft()])
    expect(adapters.map(({ format }: { format: string }) => format)).toEqual(['mlx', 'peft'])
    expect(layers.map(({ name }: { name: string }) => name)).toEqual([MODULE])
    expect(adapters[0].frobenius).toBeCloseTo(adapters[1].frobenius, 12)
    expect(cosines[0][1]).toBeCloseTo(1, 12)
  })

  test('is resized into a PEFT adapter, without the paths of the training', async () => {
    const [path, out] = [mlx(), fresh()]
    const { output } = await combined('resize', [path, '-o', out, '--rank=2', '--format=peft'])
    expect(output).toMatchObject({ format: 'peft' })
    expect(readdirSync(out).sort()).toEqual(['README.md', 'adapter_config.json', 'adapter_model.safetensors'])
    const [module] = (await openAdapter(out)).modules
    expect(module).toMatchObject({ path: MODULE, scale: 1, rank: 2 })
    const text = readFileSync(join(out, 'adapter_config.json'), 'utf8')
    expect(text).not.toMatch(/someone|lora_parameters|fine_tune_type/)
    expect(jsonOf(out, 'adapter_config.json')).toMatchObject({ peft_type: 'LORA', target_modules: [MODULE] })
    const { cosines } = await compared([out, path])
    expect(cosines[0][1]).toBeCloseTo(1, 6)
  })

  test('is merged with one of PEFT, which needs no base', async () => {
    const out = fresh()
    const { layers } = await combined('merge', [mlx(), peft(), '-o', out, '--weights=1,-1'])
    expect(layers).toHaveLength(1)
    const [module] = (await openAdapter(out)).modules
    expect(module.rank).toBe(1)
  })

  test('is applied as PEFT’s is', async () => {
    const W = random([6, 5], 3)
    const base = folderWith(fresh(), { 'model.safetensors': fileOf({ [`${MODULE}.weight`]: W }) })
    const [ours, theirs] = [fresh(), fresh()]
    const { source } = await applied([base, mlx(), '-o', ours])
    expect(source.adapters[0].format).toBe('mlx')
    await applied([base, peft(), '-o', theirs])
    const values = (path: string) => read(path).get(`${MODULE}.weight`)!.data
    expect(distance(values(ours), values(theirs))).toBeLessThan(1e-7)
    expect(distance(values(ours), W.data)).toBeGreaterThan(0.1)
  })

  test('in bf16, of which an exact sum widens nothing', async () => {
    const halves = {
      [`${MODULE}.lora_a`]: random([5, 2], 7, 'BF16'),
      [`${MODULE}.lora_b`]: random([2, 6], 8, 'BF16'),
    }
    const path = folderWith(fresh(), { 'adapters.safetensors': fileOf(halves), 'adapter_config.json': RUN })
    const out = fresh()
    await combined('merge', [path, '-o', out, '--dtype=f32'])
    const [a, b] = Object.values(halves).map(({ data }) => data)
    const wanted = Array.from({ length: 6 * 5 }, (_, at) => {
      const [i, j] = [Math.floor(at / 5), at % 5]
      return 20 * (a[j * 2] * b[i] + a[j * 2 + 1] * b[6 + i])
    })
    for (const found of [path, out]) {
      expect(distance((await densesOf(found)).get(MODULE)!, wanted)).toBeLessThan(1e-6)
    }
  })

  test('DoRA’s magnitudes stay', async () => {
    const path = folderWith(fresh(), {
      'adapters.safetensors': fileOf({ ...FACTORS, [`${MODULE}.m`]: random([6], 5) }),
      'adapter_config.json': { ...RUN, fine_tune_type: 'dora' },
    })
    const out = fresh()
    await combined('resize', [path, '-o', out, '--rank=1', '--format=peft'])
    expect(jsonOf(out, 'adapter_config.json')).toMatchObject({ use_dora: true })
    const [module] = (await openAdapter(out)).modules
    expect(module.magnitude?.name).toBe(`base_model.model.${MODULE}.lora_magnitude_vector`)
  })

  test('a file of an earlier iteration has the same config', async () => {
    const { stdout, code } = await runInProcess([
      'inspect',
      join(mlx(), '0000100_adapters.safetensors'),
      '--json',
    ])
    expect(code).toBe(0)
    const { matrices } = documentOf(stdout, 'inspect-1')
    expect(matrices[0].adapter).toMatchObject({ scale: 20, nominalRank: 2 })
  })

  test('a full fine-tune is refused in one line', async () => {
    const { stderr, code } = await runInProcess(['inspect', mlx({ fine_tune_type: 'full' })])
    expect(code).toBe(2)
    expect(stderr.trim().split('\n')).toHaveLength(1)
    expect(stderr).toMatch(/adapter_config\.json: fine_tune_type is "full"/)
  })
})

test('adapters.npz of the first trainers: no config, and the scale has to be known', async () => {
  const path = fresh()
  folderWith(path, { 'README.md': 'x' })
  const arrays = Object.entries(FACTORS).map(([name, { shape, data }]) => ({
    name,
    array: matrix(shape[0], shape[1], Float32Array.from(data)),
  }))
  writeFileSync(join(path, 'adapters.npz'), writeNpz(arrays))
  const out = fresh()
  await combined('resize', [path, '-o', out, '--rank=2', '--alpha=40'])
  const { cosines, adapters } = await compared([out, peft()])
  expect(cosines[0][1]).toBeCloseTo(1, 6)
  expect(adapters[0].frobenius / adapters[1].frobenius).toBeCloseTo(1, 6)
})
