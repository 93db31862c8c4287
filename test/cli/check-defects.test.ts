import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
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
  scalar,
  some,
  type Tensors,
  withEntry,
  zeros,
} from './check-support.ts'
import { temporaryFolder } from './run.ts'

const Q = 'base_model.model.model.layers.0.self_attn.q_proj'
const K = 'base_model.model.model.layers.0.self_attn.k_proj'
const UP = 'base_model.model.model.layers.0.mlp.up_proj'

/** A defect that is put into a good file: its rule, and the arguments that show it. */
interface Seeded {
  readonly what: string
  readonly rule: string
  readonly make: () => string
  /** Left out: an error, and the exit code 1. */
  readonly code?: 0
  readonly args?: (path: string) => readonly string[]
  /** Whose fact it is; left out: the file's. */
  readonly loader?: string
}

const peft = (config: object, change?: (tensors: Tensors) => void) => () => llamaAdapter(config, change)
const ofLoader = (loader: string): Pick<Seeded, 'loader' | 'args'> => ({
  loader,
  args: () => ['--for', loader],
})
const atPeft = { args: () => ['--for', 'peft'] } as const

/** Names of a small model of SD 1, as kohya has them. */
const SD1 = {
  lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q: [32, 32],
  lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k: [32, 768],
  lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_ff_net_0_proj: [64, 32],
}
const FLUX = (prefix: string, dot: string) => ({
  [`${prefix}double_blocks${dot}0${dot}img_attn${dot}qkv`]: [48, 16],
  [`${prefix}single_blocks${dot}0${dot}linear1`]: [112, 16],
})
const WAN = { 'diffusion_model.blocks.0.self_attn.q': [16, 16], 'diffusion_model.blocks.0.ffn.0': [32, 16] }
const HUNYUAN = {
  'diffusion_model.double_blocks.0.img_attn_qkv': [48, 16],
  'diffusion_model.double_blocks.0.img_mod.linear': [96, 16],
}
const QWEN = {
  lora_unet_transformer_blocks_0_attn_to_q: [16, 16],
  lora_unet_transformer_blocks_0_img_mod_1: [96, 16],
}
/** All modules of a block of Wan but one. */
const WAN_BLOCK = Object.fromEntries(
  ['self_attn', 'cross_attn'].flatMap((part) =>
    ['q', 'k', 'v', 'o'].map((one) => [`lora_unet_blocks_0_${part}_${one}`, [16, 16]]),
  ),
)
const move = (tensors: Tensors, from: string, to: string) => {
  tensors[to] = tensors[from]
  delete tensors[from]
}
const moveAll = (tensors: Tensors, rename: (name: string) => string) => {
  for (const name of Object.keys(tensors)) if (rename(name) !== name) move(tensors, name, rename(name))
}
/** A base with the small Llama's layers, of other widths where asked. */
const llamaBase = (change: (tensors: Tensors) => void = () => {}): string => {
  const tensors: Tensors = { 'lm_head.weight': some(10, 16), 'model.embed_tokens.weight': some(10, 16) }
  for (const [path, shape] of Object.entries(LLAMA_LAYERS)) tensors[`${path}.weight`] = some(...shape)
  change(tensors)
  return folderWith(join(temporaryFolder('check'), 'base'), {
    'model.safetensors': fileOf(tensors),
    'config.json': { model_type: 'llama', architectures: ['LlamaForCausalLM'] },
  })
}
const onBase = (change?: (tensors: Tensors) => void) => ({
  args: () => ['--for', 'peft', '--base', llamaBase(change)],
})

const amidNames = peft({}, (t) => moveAll(t, (name) => `xyz.${name}`))

/** The experts of a layer of a small Mixtral, [out, in]. */
const mixtralExperts = (count: number): Readonly<Record<string, readonly [number, number]>> =>
  Object.fromEntries(
    Array.from({ length: count }, (_, i) => `model.layers.0.block_sparse_moe.experts.${i}`).flatMap(
      (path): [string, readonly [number, number]][] => [
        [`${path}.w1`, [24, 16]],
        [`${path}.w3`, [24, 16]],
        [`${path}.w2`, [16, 24]],
      ],
    ),
  )
const mixtralAdapter = (count: number, without = 'none') => {
  const layers = Object.fromEntries(
    Object.entries(mixtralExperts(count)).filter(([path]) => !path.endsWith(without)),
  )
  return peftFolder(peftPairs(layers), peftConfig(layers))
}
const mixtralBase = () =>
  folderWith(join(temporaryFolder('check'), 'base'), {
    'model.safetensors': fileOf({
      ...{ 'lm_head.weight': some(10, 16), 'model.embed_tokens.weight': some(10, 16) },
      ...Object.fromEntries(
        Object.entries(mixtralExperts(4)).map(([path, shape]) => [`${path}.weight`, some(...shape)]),
      ),
    }),
    'config.json': { model_type: 'mixtral', architectures: ['MixtralForCausalLM'], num_local_experts: 4 },
  })

const SEEDED: readonly Seeded[] = [
  // the file
  { what: 'no tensors', rule: 'empty', make: () => peftFolder({}, peftConfig(LLAMA_LAYERS)) },
  {
    what: 'a whole model under an adapter’s config',
    rule: 'no-factors',
    make: () => peftFolder({ 'base_model.model.x.lora_C.weight': some(4, 4) }, peftConfig(LLAMA_LAYERS)),
  },
  { what: 'half a pair', rule: 'half-pair', make: peft({}, (t) => void delete t[`${Q}.lora_B.weight`]) },
  {
    what: 'one module twice',
    rule: 'duplicate-module',
    make: peft({}, (t) => {
      t[`${Q}.lora_A.default.weight`] = some(4, 16)
    }),
  },
  {
    what: 'factors the other way round',
    rule: 'swapped-factors',
    make: peft({}, (t) => {
      t[`${UP}.lora_A.weight`] = some(16, 4)
      t[`${UP}.lora_B.weight`] = some(4, 24)
    }),
  },
  {
    what: 'factors of a square weight the other way round',
    rule: 'swapped-factors',
    make: () =>
      adapterFile({
        ...pairs(SD1, KOHYA),
        'lora_unet_mid_block_attentions_0_proj_in.lora_down.weight': some(32, 4),
        'lora_unet_mid_block_attentions_0_proj_in.lora_up.weight': some(4, 32),
        'lora_unet_mid_block_attentions_0_proj_in.alpha': scalar(4),
      }),
  },
  {
    what: 'factors of different ranks',
    rule: 'factor-shapes',
    make: peft({}, (t) => {
      t[`${Q}.lora_B.weight`] = some(16, 3)
    }),
  },
  {
    what: 'a grouped convolution',
    rule: 'grouped-convolution',
    make: peft({ task_type: null }, (t) => {
      t[`${Q}.lora_A.weight`] = some(4, 16, 3)
      t[`${Q}.lora_B.weight`] = some(16, 2, 1)
    }),
  },
  {
    what: 'another method',
    rule: 'other-kind',
    make: peft({}, (t) => {
      t['base_model.model.x.vera_lambda_b'] = some(4)
    }),
  },
  {
    what: 'two adapters in one file',
    rule: 'several-adapters',
    make: peft({}, (t) => {
      move(t, `${Q}.lora_A.weight`, `${Q}.lora_A.one.weight`)
      move(t, `${Q}.lora_B.weight`, `${Q}.lora_B.one.weight`)
      move(t, `${K}.lora_A.weight`, `${K}.lora_A.two.weight`)
      move(t, `${K}.lora_B.weight`, `${K}.lora_B.two.weight`)
    }),
  },
  {
    what: 'an alpha of three numbers',
    rule: 'alpha-shape',
    make: () => adapterFile({ ...pairs(SD1, KOHYA), [`${Object.keys(SD1)[0]}.alpha`]: some(3) }),
  },
  {
    what: 'an alpha of 0',
    rule: 'alpha-zero',
    make: () => adapterFile({ ...pairs(SD1, KOHYA), [`${Object.keys(SD1)[0]}.alpha`]: scalar(0) }),
  },
  {
    what: 'an alpha that is NaN',
    rule: 'alpha-not-finite',
    make: () => adapterFile({ ...pairs(SD1, KOHYA), [`${Object.keys(SD1)[0]}.alpha`]: scalar(Number.NaN) }),
  },
  {
    what: 'alphas in some modules',
    rule: 'alpha-in-some',
    make: () =>
      adapterFile(
        pairs(FLUX('lora_unet_', '_'), { ...KOHYA, alpha: (n) => (n.includes('double') ? 4 : undefined) }),
      ),
    code: 0,
  },
  {
    what: 'PEFT’s names and no config',
    rule: 'config-missing',
    make: () => peftFolder(peftPairs(LLAMA_LAYERS), null),
  },
  { what: 'no scale', rule: 'unknown-scale', make: () => adapterFile(peftPairs(LLAMA_LAYERS)) },
  {
    what: 'factors and .diff of one weight',
    rule: 'factors-and-diff',
    make: () =>
      adapterFile({ ...pairs(WAN, KOHYA), 'diffusion_model.blocks.0.self_attn.q.diff': some(16, 16) }),
  },
  {
    what: 'a dora_scale of one dimension',
    rule: 'dora-scale-one-dimension',
    make: () =>
      adapterFile({ ...pairs(WAN, KOHYA), 'diffusion_model.blocks.0.self_attn.q.dora_scale': some(16) }),
  },
  {
    what: 'magnitudes of another size',
    rule: 'dora-scale-shape',
    make: peft({ use_dora: true }, (t) => {
      for (const name of Object.keys(t).filter((n) => n.endsWith('lora_A.weight')))
        t[name.replace('lora_A.weight', 'lora_magnitude_vector')] = some(7)
    }),
  },
  {
    what: 'a tensor that nobody reads',
    rule: 'unread-tensor',
    make: () => adapterFile({ ...pairs(FLUX('diffusion_model.', '.'), KOHYA), emb_params: some(2, 4) }),
    code: 0,
  },
  {
    what: 'copies of the base',
    rule: 'copy-of-base',
    make: peft({}, (t) => {
      t['base_model.model.model.embed_tokens.base_layer.weight'] = some(10, 16)
    }),
    code: 0,
  },
  {
    what: 'several dtypes',
    rule: 'mixed-dtypes',
    make: peft({}, (t) => {
      t[`${Q}.lora_A.weight`] = { ...some(4, 16), dtype: 'BF16' }
    }),
    code: 0,
  },
  {
    what: 'a rank above --max-rank',
    rule: 'rank-above-limit',
    make: peft({}),
    args: () => ['--max-rank', '3'],
  },
  {
    what: 'a rank above the weight’s side',
    rule: 'rank-above-size',
    make: () => peftFolder(peftPairs(LLAMA_LAYERS, 9), peftConfig(LLAMA_LAYERS, { r: 9, lora_alpha: 9 })),
    code: 0,
  },
  // adapter_config.json
  { what: 'an unknown peft_type', rule: 'config-peft-type', make: peft({ peft_type: 'NEWA' }) },
  { what: 'no peft_type', rule: 'config-peft-type', make: peft({ peft_type: null }) },
  { what: 'r as a text', rule: 'config-field', make: peft({ r: '4' }) },
  {
    what: 'a pattern that is no number',
    rule: 'config-field',
    make: peft({ rank_pattern: { q_proj: 'x' } }),
  },
  { what: 'r is not the tensors’', rule: 'config-rank', make: peft({ r: 8 }) },
  {
    what: 'rank_pattern is not the tensors’',
    rule: 'config-rank',
    make: peft({ rank_pattern: { q_proj: 2 } }),
  },
  { what: 'no base', rule: 'config-base-missing', make: peft({ base_model_name_or_path: null }), code: 0 },
  {
    what: 'a base of one machine',
    rule: 'config-base-local',
    make: peft({ base_model_name_or_path: '/home/me/model' }),
    code: 0,
  },
  { what: 'lora_alpha 0', rule: 'config-alpha-zero', make: peft({ lora_alpha: 0 }), ...atPeft },
  {
    what: 'targets without factors',
    rule: 'config-targets',
    make: peft({
      target_modules: [
        'q_proj',
        'k_proj',
        'v_proj',
        'o_proj',
        'gate_proj',
        'up_proj',
        'down_proj',
        'lm_head',
      ],
    }),
    code: 0,
  },
  { what: 'targets of none', rule: 'config-no-target', make: peft({ target_modules: ['c_attn'] }) },
  {
    what: 'a rank_pattern of none',
    rule: 'config-rank-pattern',
    make: peft({ rank_pattern: { '^layers.0': 4, 'nothing.here': 8 } }),
    code: 0,
  },
  {
    what: 'an alpha_pattern of none',
    rule: 'config-alpha-pattern',
    make: peft({ alpha_pattern: { proj: 8 } }),
    code: 0,
  },
  {
    what: 'DoRA without magnitudes',
    rule: 'config-dora-without-magnitudes',
    make: peft({ use_dora: true }),
    ...atPeft,
  },
  {
    what: 'magnitudes without DoRA',
    rule: 'config-magnitudes-without-dora',
    make: peft({}, (t) => {
      t[`${Q}.lora_magnitude_vector`] = some(16)
    }),
  },
  {
    what: 'lora_B.bias without lora_bias',
    rule: 'config-bias-without-flag',
    make: peft({}, (t) => {
      t[`${Q}.lora_B.bias`] = some(16)
    }),
  },
  {
    what: 'lora_bias without any',
    rule: 'config-lora-bias',
    make: peft({ lora_bias: true }),
    ...atPeft,
    code: 0,
  },
  { what: 'a bias without any', rule: 'config-bias', make: peft({ bias: 'all' }), ...atPeft, code: 0 },
  {
    what: 'modules_to_save that are not there',
    rule: 'config-modules-to-save',
    make: peft({ modules_to_save: ['lm_head'] }),
  },
  {
    what: 'PiSSA',
    rule: 'config-mutated-base',
    make: peft({ init_lora_weights: 'pissa' }),
    ...atPeft,
    code: 0,
  },
  {
    what: 'repeated layers',
    rule: 'config-layer-replication',
    make: peft({ layer_replication: [[0, 2]] }),
    ...atPeft,
    code: 0,
  },
  {
    what: 'fan_in_fan_out of a Llama',
    rule: 'config-fan-in-fan-out',
    make: peft({ fan_in_fan_out: true }),
    ...atPeft,
    code: 0,
  },
  // the numbers
  {
    what: 'NaN',
    rule: 'not-finite',
    make: peft({}, (t) => {
      t[`${Q}.lora_A.weight`] = withEntry(some(4, 16), Number.NaN)
    }),
  },
  {
    what: 'an infinite entry of BF16',
    rule: 'not-finite',
    make: peft({}, (t) => {
      t[`${Q}.lora_B.weight`] = { ...withEntry(some(16, 4), Number.POSITIVE_INFINITY), dtype: 'BF16' }
    }),
  },
  {
    what: 'every B of zeros',
    rule: 'untrained',
    make: peft({}, (t) => {
      for (const [name, { shape }] of Object.entries(t)) if (/lora_B/.test(name)) t[name] = zeros(...shape)
    }),
  },
  {
    what: 'a B of zeros',
    rule: 'zero-b',
    make: peft({}, (t) => {
      t[`${Q}.lora_B.weight`] = zeros(16, 4)
    }),
    code: 0,
  },
  {
    what: 'an A of zeros',
    rule: 'zero-a',
    make: peft({}, (t) => {
      t[`${Q}.lora_A.weight`] = zeros(4, 16)
    }),
    code: 0,
  },
  {
    what: 'an entry past F16',
    rule: 'f16-overflow',
    make: peft({}, (t) => {
      t[`${Q}.lora_B.weight`] = withEntry(some(16, 4), 7e4)
    }),
    code: 0,
  },
  {
    what: 'a scaled B past F16',
    rule: 'f16-overflow-scaled',
    make: peft({ lora_alpha: 32 }, (t) => {
      t[`${Q}.lora_B.weight`] = withEntry(some(16, 4), 3e4)
    }),
    code: 0,
  },
  // the base
  {
    what: 'a base without the module',
    rule: 'base-unmatched',
    make: peft({}),
    ...onBase((t) => void delete t['model.layers.1.mlp.up_proj.weight']),
  },
  {
    what: 'a base of other widths',
    rule: 'base-shapes',
    make: peft({}),
    ...onBase((t) => {
      t['model.layers.1.mlp.up_proj.weight'] = some(40, 16)
    }),
  },
  {
    what: 'a whole head of another vocabulary',
    rule: 'base-whole',
    make: peft({ modules_to_save: ['lm_head'] }, (t) => {
      t['base_model.model.lm_head.weight'] = some(12, 16)
    }),
    ...onBase(),
  },
  {
    what: 'paths with a part too many',
    rule: 'base-not-loaded',
    make: peft({}, (t) => moveAll(t, (name) => name.replace('base_model.model.', 'base_model.model.model.'))),
    ...onBase(),
  },
  // loaders of language models
  {
    what: 'names without base_model.model.',
    rule: 'peft-names',
    make: peft({}, (t) => moveAll(t, (name) => name.replace('base_model.model.', ''))),
    ...ofLoader('PEFT'),
  },
  {
    what: 'the adapter’s name in the keys',
    rule: 'vllm-names',
    make: peft({}, (t) => moveAll(t, (name) => name.replace(/(lora_[AB])\.weight/, '$1.default.weight'))),
    ...ofLoader('vLLM'),
  },
  {
    what: 'a module that is no target',
    rule: 'peft-not-targeted',
    make: peft({ target_modules: ['q_proj', 'k_proj'] }),
    ...ofLoader('PEFT'),
  },
  {
    what: 'layers that layers_to_transform leaves out',
    rule: 'peft-other-layers',
    make: peft({ layers_to_transform: [0], layers_pattern: 'layers' }),
    ...ofLoader('PEFT'),
  },
  {
    what: 'layers_pattern alone',
    rule: 'peft-layers-config',
    make: peft({ layers_pattern: 'layers' }),
    ...ofLoader('PEFT'),
  },
  {
    what: 'modules that exclude_modules names',
    rule: 'peft-excluded',
    make: peft({ exclude_modules: '.*q_proj' }),
    ...ofLoader('PEFT'),
  },
  {
    what: 'no targets, and a base whose type has defaults',
    rule: 'peft-default-targets',
    make: peft({ target_modules: null }),
    loader: 'PEFT',
    args: () => ['--for', 'peft', '--base', llamaBase()],
  },
  {
    what: 'no targets, and no base',
    rule: 'peft-default-targets-unsure',
    make: peft({ target_modules: null }),
    ...ofLoader('PEFT'),
    code: 0,
  },
  {
    what: 'a head beside all-linear',
    rule: 'peft-all-linear-head',
    make: peft({ target_modules: 'all-linear' }, (t) => Object.assign(t, peftPairs({ lm_head: [10, 16] }))),
    ...ofLoader('PEFT'),
  },
  {
    what: 'LoRA’s factors under LoHa',
    rule: 'peft-other-factors',
    make: peft({ peft_type: 'LOHA', alpha: 4 }),
    ...ofLoader('PEFT'),
  },
  {
    what: 'a router',
    rule: 'peft-class',
    make: () => {
      const layers = { 'model.layers.0.mlp.gate': [8, 16], ...LLAMA_LAYERS } as const
      return peftFolder(peftPairs(layers), peftConfig(layers))
    },
    ...ofLoader('PEFT'),
    code: 0,
  },
  {
    what: 'rslora in llama.cpp',
    rule: 'llama-cpp-scale',
    make: peft({ use_rslora: true }),
    ...ofLoader('llama.cpp'),
  },
  { what: 'rslora in SGLang', rule: 'sglang-scale', make: peft({ use_rslora: true }), ...ofLoader('SGLang') },
  {
    what: 'patterns in TensorRT-LLM',
    rule: 'tensorrt-llm-scale',
    make: peft({ alpha_pattern: { q_proj: 8 } }),
    ...ofLoader('TensorRT-LLM'),
  },
  {
    what: 'DoRA in vLLM',
    rule: 'vllm-dora',
    make: peft({ use_dora: true }),
    ...ofLoader('vLLM'),
  },
  {
    what: 'a whole head in llama.cpp',
    rule: 'llama-cpp-other-tensors',
    make: peft({ modules_to_save: ['lm_head'] }, (t) => {
      t['base_model.model.lm_head.weight'] = some(12, 16)
    }),
    ...ofLoader('llama.cpp'),
  },
  {
    what: 'ranks that differ in a group',
    rule: 'sglang-unequal-ranks',
    make: () =>
      peftFolder(
        peftPairs(LLAMA_LAYERS, (path) => (path.endsWith('q_proj') ? 2 : 4)),
        peftConfig(LLAMA_LAYERS, { rank_pattern: { q_proj: 2 }, alpha_pattern: { q_proj: 2 } }),
      ),
    ...ofLoader('SGLang'),
  },
  {
    what: 'a pattern of targets',
    rule: 'sglang-pattern-of-targets',
    make: peft({ target_modules: '.*_proj' }),
    ...ofLoader('SGLang'),
  },
  {
    what: 'no rank for SGLang',
    rule: 'sglang-needs-fields',
    make: peft({ r: undefined, lora_alpha: 8 }, (t) => {
      for (const name of Object.keys(t))
        t[name] = /lora_A/.test(name) ? some(8, t[name].shape[1]) : some(t[name].shape[0], 8)
    }),
    ...ofLoader('SGLang'),
  },
  {
    what: 'null for targets in SGLang',
    rule: 'sglang-needs-fields',
    make: peft({ target_modules: null }),
    ...ofLoader('SGLang'),
  },
  {
    what: 'null for alpha in llama.cpp',
    rule: 'llama-cpp-needs-alpha',
    make: peft({ lora_alpha: null }),
    ...ofLoader('llama.cpp'),
  },
  ...['module.', '_orig_mod.', 'model.'].map(
    (wrapper): Seeded => ({
      what: `paths under ${wrapper} in llama.cpp`,
      rule: 'llama-cpp-wrapped-names',
      make: peft({}, (t) => moveAll(t, (name) => name.replace('.model.model.', `.model.${wrapper}model.`))),
      loader: 'llama.cpp',
      args: () => ['--for', 'llama.cpp', '--base', llamaBase()],
    }),
  ),
  {
    what: 'base_model.model. amid names in llama.cpp',
    rule: 'llama-cpp-wrapped-names',
    make: amidNames,
    ...ofLoader('llama.cpp'),
  },
  { what: 'base_model.model. amid names in vLLM', rule: 'vllm-names', make: amidNames, ...ofLoader('vLLM') },
  {
    what: 'base_model.model. twice in PEFT',
    rule: 'peft-names',
    make: peft({}, (t) => moveAll(t, (name) => `base_model.model.${name}`)),
    ...ofLoader('PEFT'),
  },
  ...[{ experts: 3 }, { experts: 4, without: 'w2' }].map(
    ({ experts, without }): Seeded => ({
      what:
        without === undefined ? 'some of the experts in llama.cpp' : 'experts without one of their modules',
      rule: 'llama-cpp-some-experts',
      make: () => mixtralAdapter(experts, without),
      loader: 'llama.cpp',
      args: () => ['--for', 'llama.cpp', '--base', mixtralBase()],
    }),
  ),
  {
    what: 'factors of the head in TensorRT-LLM',
    rule: 'tensorrt-llm-head',
    make: peft({}, (t) => Object.assign(t, peftPairs({ lm_head: [10, 16] }))),
    ...ofLoader('TensorRT-LLM'),
  },
  {
    what: 'a whole head that modules_to_save does not name in TensorRT-LLM',
    rule: 'tensorrt-llm-head',
    make: peft({}, (t) => {
      t['base_model.model.lm_head.weight'] = some(10, 16)
    }),
    ...ofLoader('TensorRT-LLM'),
  },
  {
    what: 'a whole head in TensorRT-LLM',
    rule: 'tensorrt-llm-whole-of-first',
    make: peft({ modules_to_save: ['lm_head'] }, (t) => {
      t['base_model.model.lm_head.weight'] = some(10, 16)
    }),
    ...ofLoader('TensorRT-LLM'),
    code: 0,
  },
  {
    what: 'a bias in TensorRT-LLM',
    rule: 'tensorrt-llm-other-tensors',
    make: peft({ bias: 'all' }, (t) => {
      t['base_model.model.model.layers.0.self_attn.q_proj.bias'] = some(16)
    }),
    ...ofLoader('TensorRT-LLM'),
  },
  {
    what: 'null for alpha in TensorRT-LLM',
    rule: 'tensorrt-llm-needs-fields',
    make: peft({ lora_alpha: null }),
    ...ofLoader('TensorRT-LLM'),
  },
  {
    what: 'a whole head in SGLang',
    rule: 'sglang-whole-outside-layers',
    make: peft({ modules_to_save: ['lm_head'] }, (t) => {
      t['base_model.model.lm_head.weight'] = some(10, 16)
    }),
    ...ofLoader('SGLang'),
  },
  {
    what: 'a whole norm in SGLang',
    rule: 'sglang-whole-in-layers',
    make: peft({ modules_to_save: ['input_layernorm'] }, (t) => {
      t['base_model.model.model.layers.0.input_layernorm.weight'] = some(16)
    }),
    ...ofLoader('SGLang'),
  },
  {
    what: 'a bias in SGLang',
    rule: 'sglang-beside-factors',
    make: peft({ bias: 'all' }, (t) => {
      t['base_model.model.model.layers.0.self_attn.q_proj.bias'] = some(16)
    }),
    ...ofLoader('SGLang'),
  },
  {
    what: 'DoRA in SGLang',
    rule: 'sglang-beside-factors',
    make: peft({ use_dora: true }, (t) => {
      t[`${Q}.lora_magnitude_vector`] = some(16)
    }),
    ...ofLoader('SGLang'),
  },
  { what: 'PEFT’s folder in MLX', rule: 'mlx-other-format', make: peft({}), ...ofLoader('MLX') },
  // loaders of diffusion models
  {
    what: 'several alphas of SD 1 in diffusers',
    rule: 'diffusers-unet-mixed-scales',
    make: () => adapterFile(pairs(SD1, { ...KOHYA, alpha: (name) => (name.includes('attn1') ? 2 : 4) })),
    ...ofLoader('diffusers'),
  },
  {
    what: 'lora_A of Flux in diffusers',
    rule: 'diffusers-flux-comfyui-dropped',
    make: () => adapterFile(pairs(FLUX('diffusion_model.', '.'), LORA_A)),
    ...ofLoader('diffusers'),
  },
  {
    what: 'Flux’s modules outside the blocks in kohya',
    rule: 'kohya-flux-kohya-dropped',
    make: () =>
      adapterFile(pairs({ ...FLUX('lora_unet_', '_'), lora_unet_final_layer_linear: [16, 16] }, KOHYA)),
    ...ofLoader('kohya'),
  },
  {
    what: 'Wan’s patch_embedding in diffusers',
    rule: 'diffusers-wan-comfyui-refused',
    make: () => adapterFile(pairs({ ...WAN, 'diffusion_model.patch_embedding': [16, 4, 1, 2, 2] }, KOHYA)),
    ...ofLoader('diffusers'),
  },
  {
    what: 'an alpha of Wan outside the blocks in diffusers',
    rule: 'diffusers-alpha-refused',
    make: () => adapterFile(pairs({ ...WAN, 'diffusion_model.head.head': [16, 16] }, KOHYA)),
    ...ofLoader('diffusers'),
  },
  {
    what: 'half a block of Wan in diffusers',
    rule: 'diffusers-wan-kohya-incomplete',
    make: () => adapterFile(pairs(WAN_BLOCK, KOHYA)),
    ...ofLoader('diffusers'),
  },
  {
    what: 'HunyuanVideo’s token refiner in diffusers',
    rule: 'diffusers-hunyuan-video-comfyui-wrong',
    make: () =>
      adapterFile(
        pairs(
          { ...HUNYUAN, 'diffusion_model.txt_in.individual_token_refiner.blocks.0.self_attn_qkv': [48, 16] },
          LORA_A,
        ),
      ),
    ...ofLoader('diffusers'),
  },
  {
    what: 'lora_down of Qwen-Image without alpha in diffusers',
    rule: 'diffusers-qwen-image-needs-alpha',
    make: () => adapterFile(pairs(QWEN, { down: KOHYA.down, up: KOHYA.up })),
    ...ofLoader('diffusers'),
  },
  {
    what: 'diffusers’ attention of SD 1 in ComfyUI',
    rule: 'comfyui-sd1-diffusers-dropped',
    make: () =>
      adapterFile(
        pairs(
          {
            'unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q': [32, 32],
            'unet.down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2': [32, 64],
          },
          LORA_A,
        ),
      ),
    ...ofLoader('ComfyUI'),
  },
  {
    what: 'a DoRA over the outputs in ComfyUI',
    rule: 'comfyui-dora-output-axis',
    make: () =>
      adapterFile({ ...pairs(WAN, KOHYA), 'diffusion_model.blocks.0.ffn.0.dora_scale': some(32, 1) }),
    ...ofLoader('ComfyUI'),
  },
  {
    what: 'a .diff in kohya',
    rule: 'kohya-whole-tensors',
    make: () => adapterFile({ ...pairs(SD1, KOHYA), 'lora_unet_conv_in.diff': some(16, 4, 3, 3) }),
    ...ofLoader('kohya'),
  },
]

describe('each defect is found under its rule', () => {
  test.each(SEEDED.map((one) => [one.rule, one.what, one] as const))('%s: %s', async (rule, _, seeded) => {
    const path = seeded.make()
    const { document, code } = await checkedDocument([path, ...(seeded.args?.(path) ?? [])])
    const found =
      seeded.loader === undefined
        ? document.defects.map((defect: { rule: string }) => defect.rule)
        : document.loaders
            .find(({ loader }: { loader: string }) => loader === seeded.loader)
            .reasons.map((reason: { rule: string }) => reason.rule)
    expect(found).toContain(rule)
    expect(code).toBe(seeded.code ?? 1)
    expect(document.holds).toBe(code === 0)
    for (const { verdict, reasons } of document.loaders) {
      const isGood = reasons.every(({ effect }: { effect: string }) => effect === 'warns')
      expect(verdict === 'loads').toBe(isGood)
    }
  })

  test('all experts of a layer, with all of their modules, are taken by llama.cpp', async () => {
    const { document, code } = await checkedDocument([
      ...[mixtralAdapter(4), '--base', mixtralBase(), '--for', 'llama.cpp'],
    ])
    expect([document.loaders[0].verdict, code]).toEqual(['loads', 0])
  })

  test('sixty of them and more, of different kinds', () => {
    expect(new Set(SEEDED.map(({ rule }) => rule)).size).toBeGreaterThanOrEqual(60)
  })

  test('where they are, and what to do', async () => {
    const path = llamaAdapter({ r: 4 }, (tensors) => {
      tensors[`${Q}.lora_A.weight`] = withEntry(some(4, 16), Number.NaN)
    })
    const { document } = await checkedDocument([path])
    const [defect] = document.defects
    expect(defect).toMatchObject({ rule: 'not-finite', severity: 'error', names: [`${Q}.lora_A.weight`] })
    expect(defect.file).toBe(join(path, 'adapter_model.safetensors'))
    expect(defect.advice).not.toBe('')
  })

  test('--fast looks at headers alone', async () => {
    const path = llamaAdapter({}, (tensors) => {
      tensors[`${Q}.lora_A.weight`] = withEntry(some(4, 16), Number.NaN)
    })
    const { document, code } = await checkedDocument([path, '--fast'])
    expect([document.defects, document.readNumbers, code]).toEqual([[], false, 0])
  })

  test('a broken file is no finding: exit code 2', async () => {
    const path = join(temporaryFolder('check'), 'broken.safetensors')
    writeFileSync(path, fileOf({ 'x.lora_A.weight': some(4, 4) }).subarray(0, 60))
    const { runInProcess } = await import('./run.ts')
    const { code, stdout } = await runInProcess(['check', path])
    expect([code, stdout]).toEqual([2, ''])
  })
})
