import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  adapterAt,
  applied,
  deltaOf,
  fileOf,
  folderWith,
  PEFT,
  random,
  read,
  rounded,
  type Weights,
} from './apply-support.ts'
import { safetensorsFile } from './files.ts'
import { runInProcess, temporaryFolder } from './run.ts'

const folder = temporaryFolder('apply-refusals')
const at = (name: string) => join(folder, name)
const adapterOf = (name: string, ...rest: Rest<Parameters<typeof adapterAt>>) => adapterAt(at(name), ...rest)
type Rest<T extends unknown[]> = T extends [unknown, ...infer R] ? R : never

describe('what is refused, with nothing written', () => {
  const weights = { 'x.weight': random([6, 4], 90, 'F32', 1), 'n.weight': random([4], 91) }
  const base = folderWith(at('plain'), { 'model.safetensors': fileOf(weights) })
  const adapter = adapterOf('plain-adapter', { x: [6, 4] })
  const with1 = (name: string, tensors: Readonly<Record<string, Weights>>) =>
    folderWith(at(name), { 'model.safetensors': fileOf({ ...weights, ...tensors }) })
  const replacing = adapterOf(
    'replacing',
    { x: [6, 4] },
    { tensors: { [`${PEFT}x.weight`]: random([6, 4], 92) } },
  )
  const one = random([1], 93)
  const dora = adapterOf(
    'dora',
    { x: [6, 4] },
    { tensors: { [`${PEFT}x.lora_magnitude_vector`]: random([6], 96) }, config: { use_dora: true } },
  )
  const project = folderWith(at('project'), {
    'model.safetensors': fileOf(weights),
    'train.py': 'a year of work',
  })

  const REFUSALS: readonly (readonly [what: string, args: readonly string[], says: string | RegExp])[] = [
    [
      'a module without a tensor',
      [base, adapterOf('lost', { z: [6, 4] })],
      /the module "z" can't be applied to .*no tensor of the base has this name/,
    ],
    ['another base', [base, adapterOf('other-base', { x: [7, 4] })], /the adapter belongs to another base/],
    [
      'factors and a replacement of one tensor',
      [base, replacing],
      /takes the place of "x.weight", which it changes too/,
    ],
    [
      'a share of a replacement',
      [
        base,
        adapterOf('saved', {}, { tensors: { [`${PEFT}n.weight`]: random([4], 94) } }),
        '--weights',
        '0.5',
      ],
      /has no share of 0.5; give this adapter the weight 1/,
    ],
    [
      'a bias where there is none',
      [
        base,
        adapterOf(
          'no-bias',
          { x: [6, 4] },
          { tensors: { [`${PEFT}x.lora_B.bias`]: random([6], 95) }, config: { lora_bias: true } },
        ),
      ],
      /has a bias of its own, and .* has none/,
    ],
    [
      'DoRA beside another change of the same weight',
      [base, dora, adapter],
      /is DoRA, and another change of "x.weight" is asked for: it matters which comes first/,
    ],
    [
      'a magnitude of another length',
      [
        base,
        adapterOf(
          'long-magnitude',
          { x: [6, 4] },
          { tensors: { [`${PEFT}x.lora_magnitude_vector`]: random([5], 97) }, config: { use_dora: true } },
        ),
      ],
      /is no magnitude of the module "x" \[6, 4\]/,
    ],
    [
      'shards of a single file',
      [join(base, 'model.safetensors'), adapter, '--max-shard-size', '1KB'],
      'of a single file comes a single file',
    ],
    [
      'a folder that is no model, with --force',
      [base, adapter, '-o', project, '--force'],
      /is no model's folder \(it holds train.py\), and --force replaces only those/,
    ],
    [
      'PiSSA',
      [base, adapterOf('pissa', { x: [6, 4] }, { config: { init_lora_weights: 'pissa' } })],
      /init_lora_weights is "pissa", so that its training began from another base/,
    ],
    [
      'layer replication',
      [base, adapterOf('replicated', { x: [6, 4] }, { config: { layer_replication: [[0, 1]] } })],
      /layer_replication is set/,
    ],
    [
      'an activated LoRA',
      [base, adapterOf('alora', { x: [6, 4] }, { config: { alora_invocation_tokens: [1] } })],
      /is an activated LoRA/,
    ],
    [
      'a base that is an adapter',
      [adapter, adapter],
      /is an adapter; name the weights that it goes into first/,
    ],
    ['an adapter that is none', [base, base], /is no adapter: none of its tensors is a LoRA factor/],
    [
      'bitsandbytes',
      [with1('bnb', { 'x.weight.absmax': one, 'x.weight.quant_state.bitsandbytes__nf4': one }), adapter],
      /is quantised with bitsandbytes \(4 bits\)/,
    ],
    [
      'bitsandbytes, 8 bits',
      [with1('bnb8', { 'x.SCB': one }), adapter],
      /is quantised with bitsandbytes \(8 bits\)/,
    ],
    [
      'GPTQ',
      [with1('gptq', { 'x.qweight': one, 'x.qzeros': one }), adapter],
      /is quantised with GPTQ or AWQ/,
    ],
    [
      'compressed-tensors',
      [with1('packed', { 'x.weight_packed': one }), adapter],
      /is quantised with compressed-tensors/,
    ],
    [
      'fp8 in blocks',
      [with1('fp8-blocks', { 'x.weight_scale_inv': one }), adapter],
      /is quantised with fp8 with scales of blocks/,
    ],
    [
      'fp8 with scales',
      [with1('fp8-scales', { 'x.weight_scale': one }), adapter],
      /is quantised with fp8 with scales/,
    ],
    [
      'too few weights',
      [base, adapter, '--weights', '1,2'],
      '--weights has 2 numbers for 1 adapter: give one each, as in --weights 0.7,0.3',
    ],
    ['no numbers', [base, adapter, '--weights', 'a'], /expected numbers with commas between them/],
    ['an old name', [base, adapter, '--ratios', '0.7'], /here it is --weights w1,w2/],
    ['an output inside the base', [base, adapter, '-o', join(base, 'merged')], /lies in .*, an input/],
    ['the base as output', [base, adapter, '-o', base, '--force'], /is read; write to another --out/],
    ['standard input', ['-', adapter], /standard input and output can't be read twice/],
  ]

  test.each(REFUSALS)('%s', async (_, args, says) => {
    const out = args.includes('-o') ? [] : ['-o', at('refused')]
    const { code, stdout, stderr } = await runInProcess(['apply', ...args, ...out])
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(/^lora-svd: [^\n]+\n$/)
    if (typeof says === 'string') expect(stderr).toContain(says)
    else expect(stderr).toMatch(says)
    expect([existsSync(at('refused')), existsSync(at('refused.partial'))]).toEqual([false, false])
  })

  test.each([
    [
      'the base',
      { base: { 'x.weight': { ...random([6, 4], 90, 'F32', 1), data: [...Array(23).fill(1), Number.NaN] } } },
    ],
    [
      'an adapter',
      { B: { dtype: 'F32', shape: [6, 2], data: [Number.POSITIVE_INFINITY, ...Array(11).fill(0)] } },
    ],
  ] as const)('NaN and infinity in %s are named', async (what, given) => {
    const from = folderWith(at(`finite-${what}`), {
      'model.safetensors': fileOf({ ...weights, ...('base' in given ? given.base : {}) } as Record<
        string,
        Weights
      >),
    })
    const to = adapterOf(
      `finite-adapter-${what}`,
      { x: [6, 4] },
      {
        tensors: 'B' in given ? { [`${PEFT}x.lora_B.weight`]: given.B } : {},
      },
    )
    const { code, stderr } = await runInProcess(['apply', from, to, '-o', at('refused')])
    expect(code).toBe(2)
    expect(stderr).toMatch(/tensor ".*" has the entry (NaN|Infinity) at/)
    expect([existsSync(at('refused')), existsSync(at('refused.partial'))]).toEqual([false, false])
  })

  test('an entry past what float16 can hold', async () => {
    const large = folderWith(at('large'), {
      'model.safetensors': fileOf({
        ...weights,
        'x.weight': { dtype: 'F32', shape: [6, 4], data: Array(24).fill(70000) },
      }),
    })
    const { code, stderr } = await runInProcess([
      'apply',
      large,
      adapter,
      '-o',
      at('refused'),
      '--dtype',
      'f16',
    ])
    expect(code).toBe(2)
    expect(stderr).toContain(
      'entries of the tensor "x.weight", with all that is added to them, are past what f16 can hold; write --dtype bf16',
    )
    expect([existsSync(at('refused')), existsSync(at('refused.partial'))]).toEqual([false, false])
  })

  test('eight-bit floats are written only wider', async () => {
    const header = { 'x.weight': { dtype: 'F8_E4M3', shape: [6, 4], data_offsets: [0, 24] } }
    const fp8 = folderWith(at('fp8'), {
      'model.safetensors': safetensorsFile(header, Buffer.alloc(24, 0x38)),
    })
    const refused = await runInProcess(['apply', fp8, adapter, '-o', at('refused')])
    expect([refused.code, refused.stderr]).toEqual([
      2,
      expect.stringContaining('with --dtype bf16, f16 or f32'),
    ])
    await applied([fp8, adapter, '-o', at('fp8-wide'), '--dtype', 'bf16'])
    const delta = deltaOf([6, 4], 0)
    expect([...read(at('fp8-wide')).get('x.weight')!.data]).toEqual(
      Array.from({ length: 24 }, (_, i) => rounded(1 + delta(i), 'BF16')),
    )
  })
})
