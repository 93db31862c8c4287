import { describe, expect, test } from 'vitest'
import { configAlpha, configRank, loraScale, parsePeftConfig } from '../../src/lora/read/peft-config.ts'
import { errorOf } from '../formats/fixtures.ts'

const parse = (json: Record<string, unknown>) => parsePeftConfig(json, 'dir/adapter_config.json')

test('what a config leaves out has PEFT’s defaults', () => {
  expect(parse({ peft_type: 'LORA' })).toEqual({
    method: 'LORA',
    r: 8,
    loraAlpha: 8,
    useRslora: false,
    rankPattern: [],
    alphaPattern: [],
    fanInFanOut: false,
    bias: 'none',
    loraBias: false,
    useDora: false,
    modulesToSave: [],
    layersPattern: [],
    targetParameters: [],
    tokenRows: [],
    initLoraWeights: true,
    layerReplication: false,
    alora: false,
    missing: ['r', 'lora_alpha', 'target_modules'],
    nulls: [],
  })
})

test('a config as PEFT writes it', () => {
  const config = parse({
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: 'org/base',
    r: 16,
    lora_alpha: 32.5,
    target_modules: ['q_proj', 'v_proj'],
    modules_to_save: null,
    rank_pattern: { v_proj: 4, q_proj: 8 },
    alpha_pattern: {},
    layer_replication: null,
    lora_dropout: 0.05,
    megatron_core: 'megatron.core',
    an_option_of_tomorrow: { x: 1 },
    trainable_token_indices: null,
    use_qalora: false,
  })
  expect(config).toMatchObject({
    r: 16,
    loraAlpha: 32.5,
    taskType: 'CAUSAL_LM',
    baseModel: 'org/base',
    targetModules: ['q_proj', 'v_proj'],
    modulesToSave: [],
    rankPattern: [
      { pattern: 'v_proj', value: 4 },
      { pattern: 'q_proj', value: 8 },
    ],
    missing: [],
  })
  expect(configRank(config, 'layers.0.v_proj')).toBe(4)
  expect(configRank(config, 'layers.0.xv_proj')).toBe(16)
  expect(configAlpha(config, 'layers.0.v_proj')).toBe(32.5)
})

test('the first pattern that matches holds', () => {
  const config = parse({ peft_type: 'LORA', rank_pattern: { '.*_proj': 3, q_proj: 5 } })
  expect(configRank(config, 'layers.0.q_proj')).toBe(3)
})

test('scales', () => {
  expect([loraScale(16, 8, false), loraScale(16, 4, true), loraScale(1.5, 2.5, false)]).toEqual([2, 8, 0.6])
})

test.each([
  ['pissa', true],
  ['pissa_niter_16', true],
  ['olora', true],
  ['OLoRA', true],
  ['corda', true],
  ['lora_ga', true],
  ['loftq', true],
  ['gaussian', false],
  ['orthogonal', false],
  ['eva', false],
  ['mica', false],
  [true, false],
  [false, false],
])('init_lora_weights %s changes the base: %s', (init, isMutating) => {
  expect(parse({ peft_type: 'LORA', init_lora_weights: init }).mutatesBase !== undefined).toBe(isMutating)
})

test('KaSA truncates the base', () => {
  expect(parse({ peft_type: 'LORA', kasa_config: {} }).mutatesBase).toBe('kasa_config is set')
})

describe('refused', () => {
  test.each<[Record<string, unknown>, RegExp]>([
    [{ peft_type: undefined }, /peft_type is missing/],
    [{ peft_type: 'ADALORA' }, /is a "ADALORA" adapter/],
    [{ peft_type: 3 }, /peft_type is 3, expected a string/],
    [{ r: '8' }, /r is "8", expected a number/],
    [{ r: 0 }, /r is 0, expected a number above 0/],
    [{ r: -1 }, /r is -1, expected a number above 0/],
    [{ lora_alpha: Number.POSITIVE_INFINITY }, /lora_alpha is null, expected a number/],
    [{ lora_alpha: true }, /lora_alpha is true, expected a number/],
    [{ use_rslora: 'yes' }, /use_rslora is "yes", expected true or false/],
    [{ use_dora: 1 }, /use_dora is 1, expected true or false/],
    [{ lora_bias: [] }, /lora_bias is \[\], expected true or false/],
    [{ fan_in_fan_out: 0 }, /fan_in_fan_out is 0, expected true or false/],
    [{ bias: 'some' }, /bias is "some", expected "none", "all" or "lora_only"/],
    [{ rank_pattern: [4] }, /rank_pattern is \[4\], expected an object of numbers/],
    [{ rank_pattern: { q: '4' } }, /rank_pattern gives "q" the value "4", expected a number above 0/],
    [{ rank_pattern: { q: 0 } }, /rank_pattern gives "q" the value 0/],
    [{ alpha_pattern: { q: null } }, /alpha_pattern gives "q" the value null, expected a number/],
    [{ alpha_pattern: { '(q': 1 } }, /alpha_pattern has the pattern "\(q", which can't be read/],
    [
      { rank_pattern: { '(?i)q': 1 } },
      /rank_pattern has the pattern "\(\?i\)q", which can't be read: \(\?i\) is not/,
    ],
    [{ modules_to_save: 'lm_head' }, /modules_to_save is "lm_head", expected a list of strings/],
    [{ target_modules: { a: 1 } }, /target_modules is \{"a":1\}, expected a string or a list/],
    [{ target_parameters: [1] }, /target_parameters is \[1\], expected a list of strings/],
    [{ r: '\u202e'.repeat(3) }, /r is "\\u\{202e\}\\u\{202e\}\\u\{202e\}", expected a number/],
    [{ init_lora_weights: 1 }, /init_lora_weights is 1, expected true, false or a string/],
    [{ task_type: 1 }, /task_type is 1, expected a string/],
    [{ trainable_token_indices: [1, 'x'] }, /trainable_token_indices is .*, expected a list of rows/],
    [{ use_qalora: true }, /use_qalora is set: QALoRA/],
    [{ use_bdlora: {} }, /use_bdlora is set/],
  ])('%j', async (extra, message) => {
    const error = await errorOf(() => parse({ peft_type: 'LORA', ...extra }))
    expect(error).toMatchObject({ code: 'bad-input', file: 'dir/adapter_config.json' })
    expect(error.message).toMatch(/^dir\/adapter_config\.json: /)
    expect(error.message).toMatch(message)
  })
})
