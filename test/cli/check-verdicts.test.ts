import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { modelGguf } from '../../bench/gguf.mjs'
import type { GgufScalar } from '../../src/formats/gguf-types.ts'
import { ggufChunks, layoutGguf } from '../../src/formats/gguf-writer.ts'
import { layoutOfAll, SMALL } from '../lora/families/whole.ts'
import { fileOf, folderWith } from './apply-support.ts'
import {
  adapterFile,
  checkedDocument,
  KOHYA,
  LLAMA_LAYERS,
  LORA_A,
  llamaAdapter,
  pairs,
  peftConfig,
  peftFolder,
  peftPairs,
  some,
  type Tensors,
} from './check-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'

const Q = 'base_model.model.model.layers.0.self_attn.q_proj'
const UP = 'base_model.model.model.layers.0.mlp.up_proj'
const UNET = 'lora_unet_mid_block_attentions_0_transformer_blocks_0_'
const SD1 = {
  [`${UNET}attn1_to_q`]: [32, 32],
  [`${UNET}attn2_to_k`]: [32, 768],
  [`${UNET}ff_net_2`]: [32, 64],
}
const LLAMA_LOADERS = ['PEFT', 'vLLM', 'SGLang', 'llama.cpp', 'TensorRT-LLM']

interface Checked {
  readonly loaders: readonly {
    readonly loader: string
    readonly verdict: string
    readonly loaded: number
    readonly reasons: readonly { readonly rule: string; readonly reason: string }[]
  }[]
  readonly defects: readonly { readonly rule: string; readonly message: string; readonly advice: string }[]
}

const verdictsOf = ({ loaders }: Checked) =>
  Object.fromEntries(loaders.map(({ loader, verdict }) => [loader, verdict]))
const rulesOf = ({ defects }: Checked) => defects.map(({ rule }) => rule)

const llamaBase = (tensors: Tensors): string =>
  folderWith(join(temporaryFolder('check'), 'base'), {
    'model.safetensors': fileOf(tensors),
    'config.json': { model_type: 'llama', architectures: ['LlamaForCausalLM'] },
  })
const otherModel = () => llamaBase({ 'h.0.attn.c_attn.weight': some(48, 16), 'lm_head.weight': some(10, 16) })

describe('the verdict heeds the defects of the file', () => {
  test('factors of a square weight the other way round: PEFT refuses them', async () => {
    const adapter = llamaAdapter({}, (t) => {
      t[`${Q}.lora_A.weight`] = some(16, 4)
      t[`${Q}.lora_B.weight`] = some(4, 16)
    })
    const { document, code } = await checkedDocument([adapter, '--for', 'peft'])
    expect(rulesOf(document)).toEqual(['swapped-factors'])
    expect([verdictsOf(document), code]).toEqual([{ PEFT: 'refuses' }, 1])
    expect(document.defects[0].message).toMatch(/\[16, 4\] and \[4, 16\] lie the other way round/)
  })

  test('half a pair: a part, and llama.cpp refuses it', async () => {
    const adapter = llamaAdapter({}, (t) => void delete t[`${Q}.lora_B.weight`])
    const { document } = await checkedDocument([adapter])
    expect(verdictsOf(document)).toEqual({
      ...Object.fromEntries(LLAMA_LOADERS.map((loader) => [loader, 'loads part'])),
      'llama.cpp': 'refuses',
    })
    const [{ reasons }] = document.loaders
    expect(reasons).toMatchObject([{ rule: 'half-pair', tensors: [`${Q}.lora_A.weight`] }])
  })

  test('a pair that does not fit: refused', async () => {
    const adapter = llamaAdapter({}, (t) => {
      t[`${UP}.lora_B.weight`] = some(24, 3)
    })
    const { document } = await checkedDocument([adapter])
    expect(new Set(Object.values(verdictsOf(document)))).toEqual(new Set(['refuses']))
  })

  test('kohya’s factors the other way round: ComfyUI passes over them, the others stop', async () => {
    const tensors = pairs(SD1, KOHYA)
    const [down, up] = [`${UNET}attn1_to_q.lora_down.weight`, `${UNET}attn1_to_q.lora_up.weight`]
    Object.assign(tensors, { [down]: tensors[up], [up]: tensors[down] })
    const { document } = await checkedDocument([adapterFile(tensors)])
    expect(verdictsOf(document)).toEqual({ diffusers: 'refuses', ComfyUI: 'loads part', kohya: 'refuses' })
  })

  test('a base that has none of the names: nothing is loaded', async () => {
    const { document } = await checkedDocument([llamaAdapter(), '--base', otherModel()])
    expect(rulesOf(document)).toEqual(['base-unmatched'])
    expect(verdictsOf(document)).toEqual({
      ...Object.fromEntries(LLAMA_LOADERS.map((loader) => [loader, 'loads nothing'])),
      'llama.cpp': 'refuses',
    })
    const ofKohya = await checkedDocument([adapterFile(pairs(SD1, KOHYA)), '--base', otherModel()])
    expect(new Set(Object.values(verdictsOf(ofKohya.document)))).toEqual(new Set(['loads nothing']))
  })

  test('a base of other widths: all modules are named, however many', async () => {
    const layers = Object.fromEntries(
      Array.from({ length: 30 }, (_, i) => [`model.layers.${i}.mlp.up_proj`, [24, 16] as const]),
    )
    const base = (out: number) =>
      llamaBase(Object.fromEntries(Object.keys(layers).map((path) => [`${path}.weight`, some(out, 16)])))
    const adapter = peftFolder(peftPairs(layers), peftConfig(layers))
    const { document } = await checkedDocument([adapter, '--base', base(40)])
    expect(rulesOf(document)).toEqual(['base-shapes'])
    expect(document.defects[0].names).toEqual(Object.keys(layers))
    expect(new Set(Object.values(verdictsOf(document)))).toEqual(new Set(['refuses']))
    const good = await checkedDocument([adapter, '--base', base(24), '--for', 'peft'])
    expect([rulesOf(good.document), verdictsOf(good.document)]).toEqual([[], { PEFT: 'loads' }])
  })

  test('names that PEFT finds no module by: nothing is loaded, and not by halves', async () => {
    const base = llamaBase(
      Object.fromEntries(
        Object.entries(LLAMA_LAYERS).map(([path, shape]) => [`${path}.weight`, some(...shape)]),
      ),
    )
    const tensors = peftPairs(LLAMA_LAYERS, 4, 'base_model.model.model.')
    const adapter = peftFolder(tensors, peftConfig(LLAMA_LAYERS))
    const { document } = await checkedDocument([adapter, '--base', base, '--for', 'peft,vllm'])
    expect(rulesOf(document)).toEqual(['base-not-loaded'])
    expect(verdictsOf(document)).toEqual({ PEFT: 'loads nothing', vLLM: 'loads nothing' })
    expect(document.loaders[0].reasons[0].rule).toBe('base-not-loaded')
  })

  test('a rank that is not the tensors’: why is told', async () => {
    const { document } = await checkedDocument([llamaAdapter({ r: 8, lora_alpha: 8 })])
    const verdicts = verdictsOf(document)
    expect([verdicts.PEFT, verdicts.vLLM]).toEqual(['refuses', 'wrong scale'])
    for (const { reasons } of document.loaders) expect(reasons[0].rule).toBe('config-rank')
    const [{ message, advice }] = document.defects
    expect(message).not.toContain(advice)
  })

  test('a config that can not be read is not said to be missing', async () => {
    const { document } = await checkedDocument([llamaAdapter({ peft_type: 'NEWA' }), '--for', 'peft'])
    expect(rulesOf(document)).toEqual(['config-peft-type'])
    expect(document.loaders[0]).toMatchObject({
      verdict: 'refuses',
      reasons: [{ reason: 'it can’t use this adapter_config.json' }],
    })
  })

  test('a loader that refuses the format is not said to stop at a defect too', async () => {
    const adapter = llamaAdapter({}, (t) => void delete t[`${Q}.lora_B.weight`])
    const { document } = await checkedDocument([adapter, '--for', 'mlx'])
    expect(document.loaders[0].reasons.map(({ rule }: { rule: string }) => rule)).toEqual([
      'mlx-other-format',
    ])
  })

  test('the table, the last line and annotations say the same; a defect is told once', async () => {
    const adapter = llamaAdapter({}, (t) => void delete t[`${Q}.lora_B.weight`])
    const { stdout } = await runInProcess(['check', adapter, '--for', 'peft,vllm'])
    expect(stdout).toMatch(/PEFT {4}loads part/)
    expect(stdout).toContain('2 of 2 loaders do not load it as it is meant. The file has 1 error.')
    const { stderr } = await runInProcess(['check', adapter, '--for', 'peft,vllm', '-q'], {
      env: { GITHUB_ACTIONS: 'true' },
    })
    const lines = stderr.trim().split('\n')
    expect(lines).toHaveLength(1)
    expect(lines[0]).toMatch(/^::error .*half-pair.*Verdict of PEFT, vLLM: loads part\./)
  })
})

test('a rank above both sides of a square weight is no pair the other way round, where the config or the others say it', async () => {
  const layers = {
    'model.layers.0.self_attn.q_proj': [4, 4],
    'model.layers.0.mlp.up_proj': [24, 16],
  } as const
  const peft = await checkedDocument([
    peftFolder(peftPairs(layers, 8), peftConfig(layers, { r: 8, lora_alpha: 8 })),
    ...['--for', 'peft'],
  ])
  expect(rulesOf(peft.document)).toEqual(['rank-above-size'])
  const kohya = adapterFile(pairs({ ...SD1, [`${UNET}attn1_to_k`]: [4, 4] }, { ...KOHYA, alpha: () => 8 }, 8))
  expect(rulesOf((await checkedDocument([kohya])).document)).toEqual(['rank-above-size'])
})

test('two modules for one weight of the base are told as that', async () => {
  const base = llamaBase(
    Object.fromEntries(
      Object.entries(LLAMA_LAYERS).map(([path, shape]) => [`${path}.weight`, some(...shape)]),
    ),
  )
  const adapter = llamaAdapter({}, (t) => {
    for (const side of ['lora_A', 'lora_B'])
      t[`base_model.model.layers.0.mlp.up_proj.${side}.weight`] = t[`${UP}.${side}.weight`]
  })
  const { document } = await checkedDocument([adapter, '--base', base, '--for', 'peft'])
  expect(rulesOf(document)).toContain('base-shared')
  expect(rulesOf(document)).not.toContain('base-unmatched')
  expect(verdictsOf(document).PEFT).toBe('wrong numbers')
})

describe('what is said of the whole', () => {
  test('--fast: that the numbers were not read', async () => {
    const { stdout } = await runInProcess(['check', llamaAdapter(), '--fast', '--for', 'peft'])
    expect(stdout.replaceAll(/\s+/g, ' ')).toContain(
      'loaded as it is meant by PEFT, as far as the headers tell: the numbers were not read.',
    )
    const read = await runInProcess(['check', llamaAdapter(), '--for', 'peft'])
    expect(read.stdout).toContain('All of it is loaded as it is meant by PEFT.\n')
  })

  test('a loader that loads it under a condition: that there are conditions', async () => {
    const adapter = peftFolder(
      peftPairs(LLAMA_LAYERS, 20),
      peftConfig(LLAMA_LAYERS, { r: 20, lora_alpha: 20 }),
    )
    const { stdout } = await runInProcess(['check', adapter, '--for', 'vllm'])
    expect(stdout).toContain('start it with --max-lora-rank 32')
    expect(stdout).toContain('All of it is loaded as it is meant by vLLM, on the conditions above.')
  })

  test('whole differences alone are counted', async () => {
    const path = adapterFile(
      Object.fromEntries([0, 1, 2].map((i) => [`diffusion_model.blocks.${i}.ffn.0.diff`, some(32, 16)])),
    )
    const { document } = await checkedDocument([path, '--for', 'comfyui'])
    expect([document.modules, document.whole]).toEqual([0, 3])
    const { stdout } = await runInProcess(['check', path, '--for', 'comfyui'])
    expect(stdout).toContain('comfyui · 3 whole tensors · ')
    expect(stdout).not.toContain('0 modules')
  })

  test('the family is the base’s, where names and widths tell another', async () => {
    const layout = layoutOfAll(SMALL.sdxl())
    const base = join(temporaryFolder('check'), 'base.safetensors')
    writeFileSync(
      base,
      fileOf(Object.fromEntries([...layout.tensors].map(([name, { shape }]) => [name, some(...shape)]))),
    )
    const adapter = adapterFile(
      pairs({ 'unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q': [8, 8] }, LORA_A, 2),
    )
    const alone = await checkedDocument([adapter, '--for', 'diffusers'])
    const beside = await checkedDocument([adapter, '--for', 'diffusers', '--base', base])
    expect([alone.document.family, beside.document.family]).toEqual([
      'Stable Diffusion 1',
      'Stable Diffusion XL',
    ])
  })

  test('a GGUF base of an adapter with transformers’ names is refused in a line', async () => {
    const gguf = join(temporaryFolder('check'), 'base.gguf')
    writeFileSync(gguf, modelGguf(fileURLToPath(new URL('../fixtures/digits-llama/base', import.meta.url))))
    const { code, stdout, stderr } = await runInProcess(['check', llamaAdapter(), '--base', gguf])
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(
      /base\.gguf: is a GGUF file, .* name the safetensors checkpoint that it was made from\n$/,
    )
  })
})

describe('a GGUF adapter and the architecture of its base', () => {
  const adapter = async (architecture: string) => {
    const tensors = [
      {
        name: 'blk.0.ffn_up.weight.lora_a',
        dtype: 'f32',
        shape: [4, 16],
        data: Float64Array.from(some(4, 16).data),
      },
      {
        name: 'blk.0.ffn_up.weight.lora_b',
        dtype: 'f32',
        shape: [24, 4],
        data: Float64Array.from(some(24, 4).data),
      },
    ] as const
    const metadata = new Map<string, GgufScalar>([
      ['general.architecture', { type: 'string', value: architecture }],
      ['general.type', { type: 'string', value: 'adapter' }],
      ['adapter.type', { type: 'string', value: 'lora' }],
      ['adapter.lora.alpha', { type: 'f32', value: 4 }],
    ])
    const chunks: Uint8Array[] = []
    for await (const chunk of ggufChunks(layoutGguf(tensors, metadata))) chunks.push(chunk)
    const path = join(temporaryFolder('check'), 'adapter.gguf')
    writeFileSync(path, Buffer.concat(chunks))
    return path
  }
  const base = () =>
    llamaBase({
      'lm_head.weight': some(10, 16),
      'model.embed_tokens.weight': some(10, 16),
      'model.layers.0.mlp.up_proj.weight': some(24, 16),
    })

  test.each([
    ['llama', 'loads', 0],
    ['qwen2', 'refuses', 1],
  ] as const)('%s for a Llama: %s', async (architecture, verdict, exit) => {
    const { document, code } = await checkedDocument([await adapter(architecture), '--base', base()])
    expect([verdictsOf(document), code]).toEqual([{ 'llama.cpp': verdict }, exit])
    const rules = document.loaders[0].reasons.map(({ rule }: { rule: string }) => rule)
    expect(rules).toEqual(exit === 0 ? [] : ['llama-cpp-architecture'])
  })

  test('a GGUF base says its own', async () => {
    const gguf = join(temporaryFolder('check'), 'base.gguf')
    writeFileSync(gguf, modelGguf(fileURLToPath(new URL('../fixtures/digits-llama/base', import.meta.url))))
    const { document } = await checkedDocument([await adapter('qwen2'), '--base', gguf])
    const [{ rule, reason }] = document.loaders[0].reasons
    expect([rule, reason]).toEqual([
      'llama-cpp-architecture',
      'general.architecture is "qwen2", and the base is "llama"',
    ])
  })
})

describe('diffusers takes each part of a pipeline by itself (loaders/peft.py, load_lora_adapter)', () => {
  const TE = {
    lora_te1_text_model_encoder_layers_0_self_attn_q_proj: [16, 16],
    lora_te1_text_model_encoder_layers_0_self_attn_k_proj: [16, 16],
  }
  const withTE = (alpha: (name: string) => number | undefined) =>
    checkedDocument([adapterFile(pairs({ ...SD1, ...TE }, { ...KOHYA, alpha })), '--for', 'diffusers'])

  test('an alpha of a text encoder says nothing of the U-Net', async () => {
    const changed = await withTE((name) =>
      name.endsWith('te1_text_model_encoder_layers_0_self_attn_q_proj') ? 2 : 4,
    )
    expect(verdictsOf(changed.document)).toEqual({ diffusers: 'loads' })
    const left = await withTE((name) => (name.endsWith('self_attn_q_proj') ? undefined : 4))
    expect(verdictsOf(left.document)).toEqual({ diffusers: 'loads' })
  })

  test('an alpha of the U-Net that differs does', async () => {
    const { document } = await withTE((name) => (name.endsWith('attn1_to_q') ? 2 : 4))
    expect(verdictsOf(document)).toEqual({ diffusers: 'wrong scale' })
  })

  test('a module without alpha has that of the others of its part', async () => {
    const { document } = await withTE((name) => (name.endsWith('attn1_to_q') ? undefined : 2))
    const [{ verdict, reasons }] = document.loaders
    expect(verdict).toBe('wrong scale')
    expect(reasons).toMatchObject([
      { rule: 'diffusers-scale', modules: ['mid_block_attentions_0_transformer_blocks_0_attn1_to_q'] },
    ])
    expect(reasons[0].scale).toEqual({ found: 0.5, expected: 1 })
  })
})

describe('diffusers’ names in ComfyUI (comfy/lora.py, model_lora_keys_clip)', () => {
  const UNET_MODULE = 'unet.down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q'
  const checked = async (modules: Readonly<Record<string, readonly number[]>>) =>
    (await checkedDocument([adapterFile(pairs(modules, LORA_A)), '--for', 'comfyui'])).document

  test('of SDXL both text encoders are loaded, and attention is not', async () => {
    const document = await checked({
      [UNET_MODULE]: [32, 32],
      'text_encoder.text_model.encoder.layers.0.self_attn.k_proj': [16, 16],
      'text_encoder_2.text_model.encoder.layers.0.mlp.fc1': [64, 16],
    })
    expect(document.family).toBe('Stable Diffusion XL')
    expect(document.loaders).toMatchObject([
      { verdict: 'loads part', loaded: 2, reasons: [{ rule: 'comfyui-sdxl-diffusers-dropped' }] },
    ])
  })

  test('it knows no other modules of text encoders', async () => {
    const document = await checked({
      'text_encoder.text_model.encoder.layers.0.self_attn.k_proj': [16, 16],
      'text_encoder.text_model.final_layer_norm': [16, 16],
    })
    const [{ verdict, loaded, reasons }] = document.loaders
    expect([verdict, loaded]).toEqual(['loads part', 1])
    expect(reasons[0]).toMatchObject({
      rule: 'comfyui-encoder-names',
      modules: ['text_model.final_layer_norm'],
      source: 'Comfy-Org/ComfyUI: comfy/lora.py, model_lora_keys_clip',
    })
  })
})

describe('names of llama.cpp’s in a PEFT folder', () => {
  test('no model of transformers has them', async () => {
    const layers = { 'blk.0.attn_k': [16, 16], 'blk.0.ffn_up': [24, 16] } as const
    const { document, code } = await checkedDocument([peftFolder(peftPairs(layers), peftConfig(layers))])
    expect(code).toBe(1)
    expect(rulesOf(document)).toEqual(['names-of-gguf'])
    for (const verdict of Object.values(verdictsOf(document))) expect(verdict).not.toBe('loads')
  })
})

describe('stacked experts as PEFT before 0.19.1 has them', () => {
  const stacked = (config: object) =>
    checkedDocument([
      peftFolder(
        {
          'base_model.model.model.layers.0.mlp.experts.lora_A.weight': some(12, 16),
          'base_model.model.model.layers.0.mlp.experts.lora_B.weight': some(24, 12),
        },
        peftConfig({}, { target_modules: [], target_parameters: ['mlp.experts.down_proj'], ...config }),
      ),
      ...['--for', 'peft'],
    ])

  test('a later PEFT is warned of, with its source', async () => {
    const { document, code } = await stacked({ peft_version: '0.18.1' })
    const [{ verdict, reasons }] = document.loaders
    expect([verdict, code]).toEqual(['loads', 0])
    expect(reasons).toMatchObject([
      { rule: 'peft-stacked-experts-order', effect: 'warns', source: expect.stringContaining('layer.py') },
    ])
    expect(reasons[0].reason).toMatch(/0\.18\.1.*0\.19\.1 and later/)
  })

  test.each(['0.19.1', '0.20.0', undefined])('not of %s', async (version) => {
    const { document } = await stacked(version === undefined ? {} : { peft_version: version })
    expect(document.loaders[0].reasons).toEqual([])
  })
})

describe('MLX (mlx_lm/tuner/utils.py, linear_to_lora_layers and load_adapters)', () => {
  const factors = (prefix = ''): Tensors =>
    Object.fromEntries(
      [...Object.entries(LLAMA_LAYERS), ['lm_head', [10, 16]] as const].flatMap(([path, [out, into]]) => [
        [`${prefix}${path}.lora_a`, some(into, 4)],
        [`${prefix}${path}.lora_b`, some(4, out)],
      ]),
    )
  const KEYS = [
    ...new Set(Object.keys(LLAMA_LAYERS).map((path) => path.split('.').slice(3).join('.'))),
    'lm_head',
  ]
  const adapterOf = (tensors: Tensors, parameters: object = {}, config: object = {}) =>
    folderWith(join(temporaryFolder('check'), 'mlx'), {
      'adapters.safetensors': fileOf(tensors),
      'adapter_config.json': {
        ...{ fine_tune_type: 'lora', num_layers: -1, ...config },
        lora_parameters: { rank: 4, scale: 1, dropout: 0, keys: KEYS, ...parameters },
      },
    })
  const base = (more: Tensors = {}) =>
    llamaBase({
      ...Object.fromEntries(
        Object.entries(LLAMA_LAYERS).map(([path, shape]) => [`${path}.weight`, some(...shape)]),
      ),
      ...{ 'lm_head.weight': some(10, 16), ...more },
    })
  const found = async (...args: string[]) => {
    const { document } = await checkedDocument(args)
    const [{ loader, verdict, loaded, reasons }] = document.loaders
    expect([loader, document.loaders.length]).toEqual(['MLX', 1])
    return [verdict, loaded, reasons.map(({ rule }: { rule: string }) => rule)]
  }

  test('all blocks and all keys: all is loaded', async () => {
    expect(await found(adapterOf(factors()), '--base', base())).toEqual(['loads', 15, []])
  })

  test('the last blocks alone have LoRA layers', async () => {
    const last = adapterOf(factors(), {}, { num_layers: 1 })
    expect(await found(last)).toEqual(['loads part', 8, ['mlx-num-layers']])
    expect(await found(last, '--base', base())).toEqual(['loads part', 8, ['mlx-num-layers']])
  })

  test('modules that keys names alone have, and without keys none outside the blocks', async () => {
    const q = adapterOf(factors(), { keys: ['self_attn.q_proj'] })
    expect(await found(q)).toEqual(['loads part', 2, ['mlx-keys']])
    expect(await found(adapterOf(factors(), { keys: null }))).toEqual(['loads part', 14, ['mlx-keys']])
  })

  test.each(['foo.', 'model.', 'language_model.'])('%s before the names: nothing', async (prefix) => {
    expect(await found(adapterOf(factors(prefix)), '--base', base())).toEqual([
      'loads nothing',
      0,
      ['mlx-names'],
    ])
  })

  test('of a model with pictures MLX has names of its own', async () => {
    const [verdict, , rules] = await found(
      adapterOf(factors('language_model.'), { keys: [...KEYS, 'language_model.lm_head'] }),
      ...['--base', base({ 'visual.blocks.0.attn.proj.weight': some(16, 16) })],
    )
    expect([verdict, rules]).toEqual(['loads', []])
  })

  test('another rank in the config changes nothing: it takes the factors as they are', async () => {
    const path = adapterOf(factors(), { rank: 2 })
    const { document } = await checkedDocument([path])
    expect(document.loaders).toMatchObject([{ verdict: 'loads', loaded: 15 }])
    expect(document.defects).toMatchObject([{ rule: 'config-rank', file: join(path, 'adapter_config.json') }])
    expect(document.defects[0].advice).toContain('lora_parameters.rank')
  })

  test('factors the other way round', async () => {
    const tensors = Object.fromEntries(
      Object.entries(factors()).map(([name, tensor]) => [
        name.replace(/[ab]$/, (end) => (end === 'a' ? 'b' : 'a')),
        tensor,
      ]),
    )
    expect(await found(adapterOf(tensors))).toEqual(['refuses', 0, ['swapped-factors']])
  })

  test('a config without a scale lacks a field, and not PEFT’s type', async () => {
    const { document } = await checkedDocument([adapterOf(factors(), { scale: null })])
    expect(document.defects).toMatchObject([{ rule: 'config-field' }])
    expect(document.defects[0].message).toContain('ora_parameters.scale is missing')
  })

  test('half a pair', async () => {
    const tensors = factors()
    delete tensors['lm_head.lora_b']
    expect(await found(adapterOf(tensors))).toEqual(['loads part', 14, ['half-pair']])
  })
})

test('what a defect makes loaders do has no other loader’s source', async () => {
  const adapter = llamaAdapter({}, (tensors) => {
    delete tensors[`${Q}.lora_B.weight`]
  })
  const { document } = await checkedDocument([adapter])
  const sources = document.loaders.map(
    ({ loader, reasons }: { loader: string; reasons: { rule: string; source?: string }[] }) => [
      loader,
      reasons.find(({ rule }) => rule === 'half-pair')?.source,
    ],
  )
  expect(sources).toEqual([
    ['PEFT', 'huggingface/peft: src/peft/tuners/lora/layer.py'],
    ...LLAMA_LOADERS.slice(1).map((loader) => [loader, undefined]),
  ])
  const { stdout } = await runInProcess(['check', adapter, '--for', 'vllm'])
  expect(stdout).toContain('[half-pair]')
  expect(stdout).not.toContain('huggingface/peft')
})

test('a text is no adapter, whatever is in it', async () => {
  const path = join(temporaryFolder('check'), 'README.md')
  writeFileSync(path, '---\nbase_model: org/model\ntags: adapter, lora\n---\n\nA card.\n')
  const { code, stdout, stderr } = await runInProcess(['check', path])
  expect([code, stdout]).toEqual([2, ''])
  expect(stderr).toMatch(
    /README\.md: is a text, and no adapter; name the folder of an adapter, or its safetensors or GGUF file\n$/,
  )
})
