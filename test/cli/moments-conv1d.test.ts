import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { float32File } from '../moments-fixture.ts'
import { extracted } from './extract-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder()
const [INPUTS, OUTPUTS] = [24, 40]
const at = (i: number, seed: number) => Math.sin(12.9898 * i + seed) * 43758.5453
const numbers = (count: number, seed: number) =>
  Float32Array.from({ length: count }, (_, i) => at(i, seed) - Math.floor(at(i, seed)) - 0.5)
const base = numbers(INPUTS * OUTPUTS, 1)
const tuned = base.map((x, i) => x + 0.1 * numbers(INPUTS * OUTPUTS, 2)[i])
const X = numbers(100 * INPUTS, 3).map((x, i) => x * 10 ** (-(i % INPUTS) / 12))
const C = Float32Array.from({ length: INPUTS * INPUTS }, (_, at) => {
  const [i, j] = [Math.floor(at / INPUTS), at % INPUTS]
  return (
    Array.from({ length: 100 }, (_, n) => X[n * INPUTS + i] * X[n * INPUTS + j]).reduce((a, b) => a + b) / 100
  )
})
/** [in, out] as [out, in]. */
const turned = (data: Float32Array) =>
  data.map((_, at) => data[(at % INPUTS) * OUTPUTS + Math.floor(at / INPUTS)])

/** A model of one layer, and its fine-tune. */
function models(kind: string, name: string, shape: number[], of: (data: Float32Array) => Float32Array) {
  return [base, tuned].map((data, i) => {
    const model = join(folder, `${kind}-${i}`)
    mkdirSync(model)
    writeFileSync(join(model, 'model.safetensors'), float32File({ [name]: { shape, data: of(data) } }))
    const config = kind === 'gpt2' ? { model_type: 'gpt2', architectures: ['GPT2LMHeadModel'] } : {}
    writeFileSync(join(model, 'config.json'), JSON.stringify(config))
    return model
  })
}

test('of transformers’ Conv1D, stored [in, out], the rows are the inputs: the errors are those of the linear layer', async () => {
  const figures = async (
    kind: string,
    name: string,
    shape: number[],
    of: (data: Float32Array) => Float32Array,
  ) => {
    const [before, after] = models(kind, name, shape, of)
    const moments = join(folder, `${kind}.safetensors`)
    writeFileSync(moments, float32File({ [`${name}.second_moment`]: { shape: [INPUTS, INPUTS], data: C } }))
    const out = join(folder, `${kind}-adapter`)
    const { layers } = await extracted(before, after, out, [
      '--rank',
      '3',
      '--dtype',
      'f32',
      '--moments',
      moments,
    ])
    const run = async (...args: string[]) =>
      (await runInProcess([...args, '--moments', moments, '--json'], {})).stdout
    const verified = documentOf(await run('verify', out, before, after), 'verify-1').layers
    const resized = documentOf(
      await run('resize', out, '-o', join(folder, `${kind}-small`), '--rank', '2', '--dtype', 'f32'),
      'resize-1',
    ).layers
    const { matrices } = documentOf(await run('inspect', after, '--base', before), 'inspect-1')
    return [
      layers[0].relativeError,
      layers[0].output.relativeError,
      layers[0].output.frobenius,
      verified[0].output.relativeError,
      resized[0].relativeError,
      resized[0].output.relativeError,
      ...matrices[0].output.singularValues.slice(0, 5),
    ]
  }
  const conv1d = await figures('gpt2', 'transformer.h.0.mlp.c_fc.weight', [INPUTS, OUTPUTS], (data) => data)
  const linear = await figures('linear', 'model.layers.0.mlp.up_proj.weight', [OUTPUTS, INPUTS], turned)
  for (const [i, figure] of conv1d.entries()) expect(figure).toBeCloseTo(linear[i], 6)
  expect(conv1d[3]).toBeCloseTo(conv1d[1], 9)
  expect(conv1d[1]).toBeLessThan(conv1d[0])
})
