import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { writeTensors } from '../combine/support.ts'
import {
  adapterTensors,
  asPipeline,
  changed,
  factorsFor,
  type Valued,
  type ValuedTensors,
  valued,
  withValues,
} from '../lora/families/valued.ts'
import { singleFile } from '../lora/families/whole.ts'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import { applied, folderWith, jsonOf } from './apply-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

/** Pipelines of diffusers: a folder of folders. */

const folder = temporaryFolder('pipelines')
const at = (...names: string[]) => join(folder, ...names)
const BASE = at('flux')
const SINGLE = at('flux.safetensors')

const ENCODERS = {
  'text_encoders.clip_l.transformer.': 'text_encoder.',
  'text_encoders.t5xxl.transformer.': 'text_encoder_2.',
}
const file = withValues(singleFile('flux'))

/** As the pipeline's folders have it. */
const inFolders = (tensors: ValuedTensors): ValuedTensors =>
  new Map(
    [...asPipeline(tensors)].map(([name, tensor]): [string, Valued] => {
      const found = Object.entries(ENCODERS).find(([prefix]) => name.startsWith(prefix))
      return [found === undefined ? name : found[1] + name.slice(found[0].length), tensor]
    }),
  )
const VAE = { 'decoder.conv_in.weight': valued([4, 3, 3, 3], 1), 'encoder.conv_in.weight': valued([4, 3], 2) }

const tensorsOf = (component: string, tensors: ValuedTensors) =>
  Object.fromEntries(
    [...tensors].flatMap(([name, tensor]) =>
      name.startsWith(`${component}.`) ? [[name.slice(component.length + 1), tensor] as const] : [],
    ),
  )

/** Writes it as diffusers does: the transformer in two shards. */
async function writePipeline(path: string, tensors: ValuedTensors) {
  for (const name of ['transformer', 'text_encoder', 'text_encoder_2', 'vae']) {
    mkdirSync(join(path, name), { recursive: true })
  }
  const all = Object.entries(tensorsOf('transformer', tensors))
  const shards = [all.slice(0, 20), all.slice(20)]
  const nameOf = (i: number) => `diffusion_pytorch_model-0000${i + 1}-of-00002.safetensors`
  for (const [i, shard] of shards.entries()) {
    await writeTensors(join(path, 'transformer', nameOf(i)), Object.fromEntries(shard), { format: 'pt' })
  }
  const map = Object.fromEntries(shards.flatMap((shard, i) => shard.map(([name]) => [name, nameOf(i)])))
  folderWith(path, {
    'model_index.json': {
      _class_name: 'FluxPipeline',
      scheduler: ['diffusers', 'FlowMatchEulerDiscreteScheduler'],
      text_encoder: ['transformers', 'CLIPTextModel'],
      text_encoder_2: ['transformers', 'T5EncoderModel'],
      tokenizer: ['transformers', 'CLIPTokenizer'],
      transformer: ['diffusers', 'FluxTransformer2DModel'],
      vae: ['diffusers', 'AutoencoderKL'],
    },
    'transformer/diffusion_pytorch_model.safetensors.index.json': { metadata: {}, weight_map: map },
    'transformer/config.json': { _class_name: 'FluxTransformer2DModel' },
    'text_encoder/config.json': { model_type: 'clip_text_model', torch_dtype: 'float32' },
    'text_encoder_2/config.json': { model_type: 't5' },
    'vae/config.json': { _class_name: 'AutoencoderKL' },
    'scheduler/scheduler_config.json': { shift: 3 },
    'tokenizer/vocab.json': {},
    'README.md': 'the base',
  })
  for (const name of ['text_encoder', 'text_encoder_2']) {
    await writeTensors(join(path, name, 'model.safetensors'), tensorsOf(name, tensors))
  }
  await writeTensors(join(path, 'vae', 'diffusion_pytorch_model.safetensors'), VAE)
}

const CHANGED = [
  'model.diffusion_model.double_blocks.0.img_attn.qkv.weight',
  'model.diffusion_model.single_blocks.1.linear1.weight',
  'text_encoders.clip_l.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight',
]
const factors = new Map(CHANGED.map((name, i) => [name, factorsFor(file.get(name)!, 500 + 2 * i)]))
const merged: ValuedTensors = new Map(
  [...file].map(([name, tensor]): [string, Valued] => {
    const own = factors.get(name)
    return [name, own === undefined ? tensor : { ...tensor, data: changed(tensor, own) }]
  }),
)
const KOHYA = at('kohya.safetensors')
const DIFFUSERS = at('diffusers.safetensors')
const TUNED = at('tuned')

beforeAll(async () => {
  await writePipeline(BASE, inFolders(file))
  await writePipeline(TUNED, inFolders(merged))
  await writeTensors(join(BASE, 'text_encoder', 'model.fp16.safetensors'), { x: valued([1], 1) })
  await writeTensors(SINGLE, Object.fromEntries(file))
  await writeTensors(KOHYA, adapterTensors(file, 'kohya', factors).tensors)
  await writeTensors(DIFFUSERS, adapterTensors(file, 'diffusers', factors).tensors)
})

function expectPipeline(path: string, tensors: ValuedTensors) {
  const found = new Map<string, Float64Array>()
  for (const component of ['transformer', 'text_encoder', 'text_encoder_2']) {
    for (const name of readdirSync(join(path, component)).filter((one) => one.endsWith('.safetensors'))) {
      for (const [own, { data }] of readSafetensorsFile(join(path, component, name))) {
        found.set(`${component}.${own}`, data)
      }
    }
  }
  expect([...found.keys()].sort()).toEqual([...tensors.keys()].sort())
  const wrong = [...tensors].filter(([name, { data }]) => data.some((x, i) => x !== found.get(name)![i]))
  expect(wrong.map(([name]) => name)).toEqual([])
}

test('all components are one checkpoint, with their names before their tensors’', async () => {
  const { tensors, components, warnings } = await openCheckpoint(BASE)
  const vae = Object.keys(VAE).map((name) => `vae.${name}`)
  expect([...tensors.keys()].sort()).toEqual([...inFolders(file).keys(), ...vae].sort())
  expect(components?.map(({ name }) => name)).toEqual([
    'text_encoder',
    'text_encoder_2',
    'transformer',
    'vae',
  ])
  expect(warnings).toEqual([])
})

describe('apply', () => {
  test.each([
    ['kohya’s names', KOHYA],
    ['diffusers’ names', DIFFUSERS],
  ])('%s: every file of the pipeline is there, each with what is its', async (_, adapter) => {
    const out = at('out')
    rmSync(out, { recursive: true, force: true })
    const { output, layers } = await applied([BASE, adapter, '-o', out])
    expect((layers as { name: string }[]).map(({ name }) => name).sort()).toEqual([
      'text_encoder.text_model.encoder.layers.0.self_attn.q_proj.weight',
      ...['mlp', 'k', 'q', 'v']
        .map(
          (part) =>
            `transformer.single_transformer_blocks.1.${part === 'mlp' ? 'proj_mlp' : `attn.to_${part}`}.weight`,
        )
        .sort(),
      ...['k', 'q', 'v'].map((part) => `transformer.transformer_blocks.0.attn.to_${part}.weight`),
    ])
    expectPipeline(out, inFolders(merged))
    const { leftOut } = output as { leftOut: string[] }
    expect(leftOut).toEqual(['README.md', 'text_encoder/model.fp16.safetensors'])
    const same = [
      'model_index.json',
      'scheduler/scheduler_config.json',
      'tokenizer/vocab.json',
      'text_encoder/config.json',
    ]
    for (const name of same) expect(readFileSync(join(out, name))).toEqual(readFileSync(join(BASE, name)))
    const vae = ['vae', 'diffusion_pytorch_model.safetensors']
    expect(readSafetensorsFile(join(out, ...vae))).toEqual(readSafetensorsFile(join(BASE, ...vae)))
    const index = 'transformer/diffusion_pytorch_model.safetensors.index.json'
    expect(jsonOf(out, index).weight_map).toEqual(jsonOf(BASE, index).weight_map)
    expect(readFileSync(join(out, 'README.md'), 'utf8')).toContain('# Merged checkpoint')
    expect((await openCheckpoint(out)).warnings).toEqual([])
  })

  test('the single file of the same model changes alike', async () => {
    const out = at('single.safetensors')
    await applied([SINGLE, DIFFUSERS, '-o', out])
    const found = readSafetensorsFile(out)
    const wrong = [...merged].filter(([name, { data }]) =>
      data.some((x, i) => x !== found.get(name)!.data[i]),
    )
    expect(wrong.map(([name]) => name)).toEqual([])
  })

  test('a dry run tells the files that come', async () => {
    const dry = await applied([BASE, KOHYA, '-o', at('dry'), '--dry-run'])
    const { output } = await applied([BASE, KOHYA, '-o', at('dry')])
    const namesOf = (one: unknown) => (one as { files: { name: string }[] }).files.map(({ name }) => name)
    expect([...namesOf(dry.output), 'README.md'].sort()).toEqual(namesOf(output).sort())
  })

  test('in other shards, in another type, over what is there', async () => {
    const out = at('again')
    await applied([BASE, KOHYA, '-o', out])
    await applied([BASE, KOHYA, '-o', out, '--force', '--dtype', 'bf16', '--max-shard-size', '30KB'])
    const config = jsonOf(out, 'text_encoder/config.json')
    expect([config.torch_dtype, jsonOf(out, 'transformer/config.json').torch_dtype]).toEqual([
      'bfloat16',
      undefined,
    ])
    const shards = readdirSync(join(out, 'transformer')).filter((name) => name.endsWith('.safetensors'))
    expect(shards.length).toBeGreaterThan(2)
    const index = jsonOf(out, 'transformer/diffusion_pytorch_model.safetensors.index.json')
    expect([...new Set(Object.values(index.weight_map))].sort()).toEqual(shards.sort())
    const { tensors } = await openCheckpoint(out)
    expect(tensors.get('transformer.proj_out.weight')!.dtype).toBe('BF16')
  })

  test('a component alone is a base as before', async () => {
    const adapter = at('transformer-only.safetensors')
    const own = new Map([...factors].slice(0, 2))
    await writeTensors(adapter, adapterTensors(file, 'diffusers', own).tensors)
    await applied([join(BASE, 'transformer'), adapter, '-o', at('component')])
    const before = readSafetensorsFile(
      join(BASE, 'transformer', 'diffusion_pytorch_model-00001-of-00002.safetensors'),
    )
    const after = readSafetensorsFile(
      join(at('component'), 'diffusion_pytorch_model-00001-of-00002.safetensors'),
    )
    expect([...after.keys()]).toEqual([...before.keys()])
    expect(existsSync(join(at('component'), 'model_index.json'))).toBe(false)
  })
})

test('verify sets two pipelines beside each other', async () => {
  const run = await runInProcess(['verify', KOHYA, BASE, TUNED, '--json'])
  expect([run.code, run.stderr]).toEqual([0, ''])
  const { layers, notCarried } = documentOf(run.stdout, 'verify-1') as {
    layers: { relativeError: number }[]
    notCarried: unknown
  }
  expect(layers.length).toBe(8)
  expect(Math.max(...layers.map(({ relativeError }) => relativeError))).toBeLessThan(1e-12)
  expect(notCarried).toEqual([])
})

test('inspect lists the matrices of all components', async () => {
  const run = await runInProcess([
    'inspect',
    BASE,
    '--json',
    '--include',
    '*conv_in*',
    '--include',
    '*proj_mlp*',
  ])
  expect(run.code).toBe(0)
  const { matrices } = documentOf(run.stdout, 'inspect-1') as { matrices: { name: string }[] }
  expect(matrices.map(({ name }) => name).sort()).toEqual([
    'transformer.single_transformer_blocks.0.proj_mlp.weight',
    'transformer.single_transformer_blocks.1.proj_mlp.weight',
    'vae.decoder.conv_in.weight',
    'vae.encoder.conv_in.weight',
  ])
})

describe('what is no whole pipeline', () => {
  test('a component in another format is left as it is, and told', async () => {
    const path = at('with-bin')
    await writePipeline(path, inFolders(file))
    rmSync(join(path, 'vae', 'diffusion_pytorch_model.safetensors'))
    writeFileSync(join(path, 'vae', 'diffusion_pytorch_model.bin'), 'x')
    const { warnings, components } = await openCheckpoint(path)
    expect(components?.length).toBe(3)
    expect(warnings.join()).toMatch(/vae: .*this component is left as it is/)
  })

  test('a broken list is an error', async () => {
    const path = at('broken')
    await writePipeline(path, inFolders(file))
    writeFileSync(join(path, 'model_index.json'), '{"vae": ')
    const { code, stderr } = await runInProcess(['inspect', path])
    expect([code, stderr.trim().split('\n').length]).toEqual([2, 1])
    expect(stderr).toMatch(/model_index\.json: is no right JSON/)
    expect(statSync(path).isDirectory()).toBe(true)
  })

  test('a single file beside a pipeline is not read, and told', async () => {
    const path = at('beside')
    await writePipeline(path, inFolders(file))
    await writeTensors(join(path, 'flux1-dev.safetensors'), { x: valued([1], 1) })
    const { warnings, tensors } = await openCheckpoint(path)
    expect(warnings.join()).toMatch(/holds a pipeline and flux1-dev\.safetensors/)
    expect(tensors.has('x')).toBe(false)
  })
})
