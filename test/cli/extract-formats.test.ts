import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { modelGguf } from '../../bench/gguf.mjs'
import { writeTensors } from '../combine/support.ts'
import {
  asPipeline,
  changed,
  factorsFor,
  type Valued,
  type ValuedTensors,
  valued,
  withValues,
} from '../lora/families/valued.ts'
import { SMALL, singleFile } from '../lora/families/whole.ts'
import { goldens } from '../lora/goldens.ts'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import { BASE, TUNED } from './extract-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

/** `extract --format`: what is written for the tools of diffusion models, MLX and llama.cpp. */

const folder = temporaryFolder('extract-formats')
const at = (name: string) => join(folder, name)

async function extracted(args: readonly string[], code = 0) {
  const run = await runInProcess(['extract', ...args, '--json'])
  expect([run.stderr, run.code]).toEqual(['', code])
  return documentOf(run.stdout, args.includes('--dry-run') ? 'extract-plan-1' : 'extract-1')
}

async function refused(args: readonly string[]) {
  const run = await runInProcess(['extract', ...args, '--rank', '2'])
  expect([run.code, run.stdout]).toEqual([2, ''])
  return run.stderr
}

const [QKV, BIAS, NORM, MODULATION] = [
  'model.diffusion_model.blocks.0.self_attn.q.weight',
  'model.diffusion_model.blocks.0.self_attn.q.bias',
  'model.diffusion_model.blocks.1.norm3.weight',
  'model.diffusion_model.blocks.1.modulation',
] as const
const T5 = 'text_encoders.umt5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.weight'
const VAE = 'vae.decoder.conv_in.weight'

/** A Wan of which a weight of rank 2, a bias, a norm, a parameter, a text encoder and the VAE have changed. */
const wan = new Map([...withValues(singleFile('wan')), [VAE, valued([4, 3, 3, 3], 7)]])
const moved = ({ shape, data }: Valued, by: number): Valued => ({ shape, data: data.map((x) => x + by) })
const tunedWan: ValuedTensors = new Map<string, Valued>([
  ...wan,
  ...[QKV, T5].map((name, i): [string, Valued] => {
    const one = wan.get(name)!
    return [name, { ...one, data: changed(one, factorsFor(one, 10 * i + 1)) }]
  }),
  ...[BIAS, NORM, MODULATION, VAE].map((name): [string, Valued] => [name, moved(wan.get(name)!, 0.25)]),
])
const [WAN, TUNED_WAN] = [at('wan.safetensors'), at('wan-tuned.safetensors')]

/** A folder with one for each component, the transformer in two shards. The tuned one's VAE is another. */
async function writePipeline(path: string, tensors: ValuedTensors) {
  const components = {
    transformer: 'transformer.',
    text_encoder: 'text_encoders.clip_l.transformer.',
    text_encoder_2: 'text_encoders.t5xxl.transformer.',
  }
  mkdirSync(path)
  const index = { _class_name: 'FluxPipeline', _diffusers_version: '0.36.0' }
  const listed = [...Object.keys(components), 'vae'].map((name) => [name, ['diffusers', 'Any']])
  writeFileSync(join(path, 'model_index.json'), JSON.stringify({ ...index, ...Object.fromEntries(listed) }))
  for (const [component, prefix] of Object.entries(components)) {
    const own = [...tensors].flatMap(([name, tensor]): [string, Valued][] =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), tensor]] : [],
    )
    const folder = join(path, component)
    mkdirSync(folder)
    if (component !== 'transformer') {
      await writeTensors(join(folder, 'model.safetensors'), Object.fromEntries(own))
      continue
    }
    const map: Record<string, string> = {}
    for (const i of [0, 1]) {
      const shard = `diffusion_pytorch_model-0000${i + 1}-of-00002.safetensors`
      const half = own.filter((_, at) => at % 2 === i)
      for (const [name] of half) map[name] = shard
      await writeTensors(join(folder, shard), Object.fromEntries(half))
    }
    writeFileSync(
      join(folder, 'diffusion_pytorch_model.safetensors.index.json'),
      JSON.stringify({ metadata: { total_size: 0 }, weight_map: map }),
    )
  }
  mkdirSync(join(path, 'vae'))
  const vae = valued([4, 4], path.length)
  await writeTensors(join(path, 'vae/diffusion_pytorch_model.safetensors'), { 'conv.weight': vae })
}

beforeAll(async () => {
  await writeTensors(WAN, Object.fromEntries(wan))
  await writeTensors(TUNED_WAN, Object.fromEntries(tunedWan))
})

describe('a diffusion model', () => {
  test('is ComfyUI’s by default: factors alone, and what else changed is told', async () => {
    const out = at('plain.safetensors')
    const document = await extracted([WAN, TUNED_WAN, '-o', out, '--rank', '2'])
    expect(document.output).toMatchObject({ path: out, format: 'comfyui', files: ['plain.safetensors'] })
    expect([...readSafetensorsFile(out).keys()].sort()).toEqual([
      'diffusion_model.blocks.0.self_attn.q.alpha',
      'diffusion_model.blocks.0.self_attn.q.lora_down.weight',
      'diffusion_model.blocks.0.self_attn.q.lora_up.weight',
      'text_encoders.umt5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.alpha',
      'text_encoders.umt5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.lora_down.weight',
      'text_encoders.umt5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.lora_up.weight',
    ])
    const left = new Map(
      document.notCarried.map(({ name, reason }: Record<string, string>) => [name, reason]),
    )
    expect(left.get(VAE)).toBe('of the VAE, which no adapter changes')
    expect([...left.keys()].sort()).toEqual([BIAS, MODULATION, NORM, VAE].sort())
    // diffusers reads no such text encoder, and in fact refuses the file
    expect(document.gaps.some(({ loader }: { loader: string }) => loader === 'diffusers')).toBe(true)
    expect(existsSync(`${out}.partial`)).toBe(false)
  })

  test('--carry-rest adds the differences of norms, biases and parameters', async () => {
    const out = at('whole.safetensors')
    const document = await extracted([WAN, TUNED_WAN, '-o', out, '--rank', '2', '--carry-rest'])
    const tensors = readSafetensorsFile(out)
    const added = [...tensors].filter(([name]) => /\.diff(?:_b)?$/.test(name))
    expect(added.map(([name]) => name).sort()).toEqual([
      'diffusion_model.blocks.0.self_attn.q.diff_b',
      'diffusion_model.blocks.1.modulation.diff',
      'diffusion_model.blocks.1.norm3.diff',
    ])
    for (const [, { data }] of added) expect(data.every((x) => x === 0.25)).toBe(true)
    // never factors and a difference of one weight
    expect(tensors.has('diffusion_model.blocks.0.self_attn.q.diff')).toBe(false)
    expect(document.saved.map(({ name }: { name: string }) => name).sort()).toEqual(
      [BIAS, MODULATION, NORM].sort(),
    )
    expect(document.saved.every(({ relativeError }: { relativeError: number }) => relativeError === 0)).toBe(
      true,
    )
    expect(document.notCarried.map(({ name }: { name: string }) => name)).toEqual([VAE])
    const gaps = document.gaps.filter(({ modules }: { modules: string[] }) => modules.length === 3)
    expect(gaps.map(({ loader, effect }: Record<string, string>) => [loader, effect])).toEqual([
      ['diffusers', 'dropped'],
    ])
  })

  test('--save-full stores one module’s differences; other formats have no place for them', async () => {
    const out = at('one.safetensors')
    const args = [WAN, TUNED_WAN, '-o', out, '--rank', '2', '--save-full', 'norm3']
    const document = await extracted(args)
    expect(document.saved.map(({ name }: { name: string }) => name)).toEqual([NORM])
    const other = await extracted([...args, '--format', 'diffusers', '--force'])
    expect(other.saved).toEqual([])
    const reason = other.notCarried.find(({ name }: { name: string }) => name === NORM).reason
    expect(reason).toContain('diffusers has no place for a whole tensor')
  })

  test('--no-text-encoder leaves text encoders out, and says so', async () => {
    const out = at('no-text.safetensors')
    const document = await extracted([WAN, TUNED_WAN, '-o', out, '--rank', '2', '--no-text-encoder'])
    expect(document.layers.map(({ name }: { name: string }) => name)).toEqual([QKV])
    const left = document.notCarried.find(({ name }: { name: string }) => name === T5)
    expect(left.reason).toBe('of a text encoder, left out by --no-text-encoder')
  })

  test('--format peft leaves out the same, and says who finds its names', async () => {
    const args = [WAN, TUNED_WAN, '-o', at('peft'), '--rank', '2', '--format', 'peft', '--carry-rest']
    const document = await extracted([...args, '--no-text-encoder'])
    expect(document.layers.map(({ name }: { name: string }) => name)).toEqual([QKV])
    const left = document.notCarried.map(({ name }: { name: string }) => name)
    expect(left).toEqual(expect.arrayContaining([VAE, T5]))
    expect(document.saved.map(({ name }: { name: string }) => name)).not.toContain(VAE)
    expect(document.warnings.join()).toMatch(/diffusion model \(Wan\).*for PEFT alone.*--format comfyui/)
  })

  test('a fine-tune without VAE and text encoders is the denoiser’s', async () => {
    const [denoiser, out] = [at('denoiser.safetensors'), at('bare.safetensors')]
    const own = [...tunedWan].filter(([name]) => name.startsWith('model.diffusion_model.'))
    await writeTensors(denoiser, Object.fromEntries(own))
    const document = await extracted([WAN, denoiser, '-o', out, '--rank', '2', '--no-text-encoder'])
    expect(document.totals.unmatched).toBe(0)
    expect(document.holds).toBe(true)
  })

  test('--dry-run tells names, size and gaps', async () => {
    const out = at('dry.safetensors')
    const args = [WAN, TUNED_WAN, '-o', out, '--rank', '2', '--carry-rest']
    const preview = await extracted([...args, '--dry-run'])
    expect(preview.modules[0]).toEqual({
      name: 'diffusion_model.blocks.0.self_attn.q',
      weights: [QKV],
    })
    expect(preview.output.format).toBe('comfyui')
    expect(preview.gaps.length).toBeGreaterThan(0)
    expect(existsSync(out)).toBe(false)
    await extracted(args)
    expect(statSync(out).size).toBe(preview.output.bytes)
    const text = await runInProcess(['extract', ...args.with(3, at('dry-2.safetensors')), '--dry-run'])
    expect(text.stdout).toContain('diffusion_model.blocks.0.self_attn.q')
  })

  test.each(['comfyui', 'kohya', 'diffusers'] as const)(
    '--budget holds for the file of %s',
    async (format) => {
      const [base, tuned] = [at('flux-b.safetensors'), at('flux-t.safetensors')]
      if (!existsSync(base)) {
        const flux = withValues(SMALL.flux())
        const names = ['double_blocks.0.img_attn.qkv.weight', 'single_blocks.1.linear1.weight']
        const after = names.map((name): [string, Valued] => {
          const one = flux.get(name)!
          const four = changed({ ...one, data: changed(one, factorsFor(one, 3)) }, factorsFor(one, 30))
          return [name, { ...one, data: four }]
        })
        await writeTensors(base, Object.fromEntries(asPipeline(flux)))
        await writeTensors(tuned, Object.fromEntries(asPipeline(new Map([...flux, ...after]))))
      }
      for (const layout of ['portable', 'pattern']) {
        const out = at(`budget-${format}-${layout}.safetensors`)
        const args = [base, tuned, '-o', out, '--budget', '5000', '--layout', layout, '--format', format]
        const document = await extracted(args)
        expect(document.budget.used).toBe(statSync(out).size)
        expect(statSync(out).size).toBeLessThanOrEqual(5000)
      }
    },
  )

  test('a pipeline of diffusers, sharded: the denoiser and its text encoders', async () => {
    const names = [
      'model.diffusion_model.single_blocks.1.linear1.weight',
      'text_encoders.clip_l.transformer.text_model.encoder.layers.1.mlp.fc1.weight',
    ]
    const file = withValues(singleFile('flux'))
    const after = names.map((name): [string, Valued] => {
      const one = file.get(name)!
      return [name, { ...one, data: changed(one, factorsFor(one, 3)) }]
    })
    const [base, tuned, out] = [at('pipeline'), at('pipeline-tuned'), at('pipeline.safetensors')]
    await writePipeline(base, asPipeline(file))
    await writePipeline(tuned, asPipeline(new Map([...file, ...after])))
    const document = await extracted([base, tuned, '-o', out, '--rank', '2'])
    expect(document.layers.map(({ name }: { name: string }) => name)).toEqual([
      'text_encoder.text_model.encoder.layers.1.mlp.fc1.weight',
      'transformer.single_transformer_blocks.1.attn.to_k.weight',
      'transformer.single_transformer_blocks.1.attn.to_q.weight',
      'transformer.single_transformer_blocks.1.attn.to_v.weight',
      'transformer.single_transformer_blocks.1.proj_mlp.weight',
    ])
    expect(document.notCarried.map(({ name }: { name: string }) => name)).toEqual(['vae.conv.weight'])
    expect([...readSafetensorsFile(out).keys()].filter((name) => /down|lora_A/.test(name)).sort()).toEqual([
      'lora_te1_text_model_encoder_layers_1_mlp_fc1.lora_down.weight',
      'transformer.single_transformer_blocks.1.attn.to_k.lora_A.weight',
      'transformer.single_transformer_blocks.1.attn.to_q.lora_A.weight',
      'transformer.single_transformer_blocks.1.attn.to_v.lora_A.weight',
      'transformer.single_transformer_blocks.1.proj_mlp.lora_A.weight',
    ])
    // the transformer alone, as a folder of its own
    const alone = at('alone.safetensors')
    await extracted([join(base, 'transformer'), join(tuned, 'transformer'), '-o', alone, '--rank', '2'])
    expect([...readSafetensorsFile(alone).keys()].every((name) => name.startsWith('transformer.'))).toBe(true)
  })

  test('a matrix that becomes three modules of its rank is no padding', async () => {
    const flux = withValues(SMALL.flux())
    const name = 'double_blocks.0.img_attn.qkv.weight'
    const one = flux.get(name)!
    const [base, tuned] = [at('fused.safetensors'), at('fused-tuned.safetensors')]
    await writeTensors(base, Object.fromEntries(flux))
    const data = changed(one, factorsFor(one, 3))
    await writeTensors(tuned, Object.fromEntries(new Map([...flux, [name, { ...one, data }]])))
    const document = await extracted([base, tuned, '-o', at('three.safetensors'), '--rank', '2'])
    expect(readSafetensorsFile(at('three.safetensors')).size).toBe(6)
    expect(document.totals.adapterParameters).toBe(2 * (3 * 12 + 3 * 12))
    expect(document.warnings).toEqual([])
  })

  test('an existing file is replaced with --force alone', async () => {
    const out = at('there.safetensors')
    writeFileSync(out, 'mine')
    expect(await refused([WAN, TUNED_WAN, '-o', out])).toContain('--force')
    await extracted([WAN, TUNED_WAN, '-o', out, '--rank', '1', '--force'])
    expect(statSync(out).size).toBeGreaterThan(100)
    expect(readdirSync(folder).filter((name) => name.endsWith('.partial'))).toEqual([])
  })
})

test('kohya’s extraction of Flux: its names, alpha and metadata, and the best error that there is', async () => {
  interface Golden {
    readonly what: string
    readonly names: readonly string[]
    readonly alpha: { readonly value: number }
    readonly relativeError: number
    readonly bestPossible: number
    readonly metadata: Readonly<Record<string, string>>
  }
  const golden = goldens('goldens/names').find(({ what }: Golden) =>
    what.startsWith('kohya flux_extract'),
  ) as Golden
  const [base, tuned, out] = ['a', 'b', 'c'].map((name) => at(`kohya-${name}.safetensors`))
  // the blocks by which Flux is known, unchanged
  const marks = Object.fromEntries(
    ['double_blocks.0.img_mod.lin.weight', 'single_blocks.0.linear1.weight'].map((name) => [
      name,
      valued([6, 4], 1),
    ]),
  )
  const name = 'double_blocks.0.img_attn.proj.weight'
  const W = valued([24, 16], 1)
  const delta = Float64Array.from(W.data, (_, at) => {
    const [i, j] = [Math.floor(at / 16), at % 16]
    return i === j && i < 8 ? 2 ** -i : 0
  })
  await writeTensors(base, { ...marks, [name]: W })
  await writeTensors(tuned, { ...marks, [name]: { ...W, data: W.data.map((x, i) => x + delta[i]) } })
  const document = await extracted([base, tuned, '-o', out, '--rank', '4', '--format', 'kohya'])
  const tensors = readSafetensorsFile(out)
  expect([...tensors.keys()].sort()).toEqual([...golden.names].sort())
  expect(tensors.get(golden.names.find((one) => one.endsWith('.alpha'))!)!.data[0]).toBe(golden.alpha.value)
  expect(document.totals.relativeError).toBeCloseTo(golden.bestPossible, 7)
  expect(document.totals.relativeError).toBeLessThan(golden.relativeError)
})

describe('a language model', () => {
  test.each(['mlx', 'gguf'] as const)('as %s: the errors that PEFT’s adapter has', async (format) => {
    const out = at(format === 'mlx' ? 'mlx' : 'adapter.gguf')
    const document = await extracted([BASE, TUNED, '-o', out, '--rank', '2', '--format', format])
    const peft = await extracted([BASE, TUNED, '-o', at(`peft-${format}`), '--rank', '2'])
    expect(document.output.format).toBe(format)
    expect(document.output.files).toEqual(
      format === 'mlx' ? ['README.md', 'adapter_config.json', 'adapters.safetensors'] : ['adapter.gguf'],
    )
    const errors = new Map(
      peft.layers.map(({ name, relativeError }: Record<string, unknown>) => [name, relativeError]),
    )
    for (const { name, relativeError } of document.layers)
      expect(relativeError).toBeCloseTo(errors.get(name) as number, 9)
    expect(document.layers.length).toBeGreaterThan(15)
    // what verify finds on disk
    const run = await runInProcess(['verify', out, BASE, TUNED, '--json'])
    const verified = documentOf(run.stdout, 'verify-1')
    expect(verified.totals.relativeError).toBeCloseTo(document.totals.relativeError, 9)
  })

  test('llama.cpp’s from the base as llama.cpp has it: the same bytes', async () => {
    const [base, out] = [at('base.gguf'), at('from-gguf.gguf')]
    writeFileSync(base, modelGguf(BASE))
    await extracted([base, TUNED, '-o', out, '--rank', '2', '--format', 'gguf'])
    await extracted([BASE, TUNED, '-o', at('from-folder.gguf'), '--rank', '2', '--format', 'gguf'])
    expect(readFileSync(out).equals(readFileSync(at('from-folder.gguf')))).toBe(true)
  })

  test('--carry-rest has no place there', async () => {
    const out = at('rest.gguf')
    const document = await extracted([
      BASE,
      TUNED,
      '-o',
      out,
      '--rank',
      '2',
      '--format',
      'gguf',
      '--carry-rest',
    ])
    expect(document.saved).toEqual([])
    expect(document.notCarried[0].reason).toContain('llama.cpp has no place for a whole tensor')
  })
})

describe('a pair that nobody loads is one line, before any work', () => {
  test('names of diffusion models for a language model', async () => {
    for (const format of ['kohya', 'comfyui', 'diffusers']) {
      const line = await refused([BASE, TUNED, '-o', at('no.safetensors'), '--format', format])
      expect(line).toMatch(
        /^lora-svd: .*is no diffusion model that is known.*--format peft, mlx and gguf.*\n$/,
      )
    }
  })

  test('GGUF and MLX for a diffusion model', async () => {
    for (const [format, out] of [
      ['gguf', 'no.gguf'],
      ['mlx', 'no'],
    ]) {
      const line = await refused([WAN, TUNED_WAN, '-o', at(out), '--format', format])
      expect(line).toMatch(/^lora-svd: .*is a diffusion model \(Wan\).*--format comfyui.*\n$/)
    }
  })

  test('an architecture that llama.cpp has no name for here', async () => {
    mkdirSync(at('odd'))
    writeFileSync(at('odd/config.json'), JSON.stringify({ architectures: ['OddForCausalLM'] }))
    const name = 'model.layers.0.self_attn.q_proj.weight'
    await writeTensors(at('odd/model.safetensors'), { [name]: valued([4, 4], 1) })
    const line = await refused([at('odd'), TUNED, '-o', at('odd.gguf'), '--format', 'gguf'])
    expect(line).toContain('OddForCausalLM')
  })

  test('ranks of their own for MLX', async () => {
    const args = [BASE, TUNED, '-o', at('no'), '--format', 'mlx', '--layout', 'pattern']
    expect(await refused(args)).toContain('MLX has one rank in all layers')
  })

  test('a file’s name for a folder, and a folder’s for a file', async () => {
    expect(await refused([BASE, TUNED, '-o', at('x.safetensors')])).toContain('is a folder; name one')
    expect(await refused([WAN, TUNED_WAN, '-o', at('x')])).toContain('.safetensors')
    expect(await refused([BASE, TUNED, '-o', at('x'), '--format', 'gguf'])).toContain('.gguf')
  })

  test('two denoisers in one file for ComfyUI', async () => {
    const two = (tensors: ValuedTensors) =>
      new Map(
        [...asPipeline(tensors)].flatMap(([name, one]) => [
          [name, one] as const,
          [name.replace(/^transformer\./, 'transformer_2.'), one] as const,
        ]),
      )
    const pure = (tensors: ValuedTensors) =>
      new Map([...tensors].filter(([name]) => name.startsWith('model.diffusion_model.')))
    const [base, tuned] = [at('two.safetensors'), at('two-tuned.safetensors')]
    await writeTensors(base, Object.fromEntries(two(pure(wan))))
    await writeTensors(tuned, Object.fromEntries(two(pure(tunedWan))))
    expect(await refused([base, tuned, '-o', at('two-out.safetensors')])).toMatch(
      /has 2 denoisers \(transformer, transformer_2\).*--format diffusers/,
    )
    const document = await extracted([
      base,
      tuned,
      '-o',
      at('two-out.safetensors'),
      '--rank',
      '2',
      '--format',
      'diffusers',
    ])
    expect(document.layers.map(({ name }: { name: string }) => name)).toEqual([
      'transformer.blocks.0.attn1.to_q.weight',
      'transformer_2.blocks.0.attn1.to_q.weight',
    ])
  })
})
