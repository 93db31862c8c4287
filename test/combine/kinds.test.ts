import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { distance } from '../lora/goldens.ts'
import { elements, type TestTensor } from '../lora/support.ts'
import { numbers } from '../lora/write-support.ts'
import { temporaryFolder } from '../temporary.ts'
import {
  combined,
  densesOf,
  namesIn,
  openAdapter,
  type Tensors,
  weightedSum,
  writeBase,
  writePeft,
  writeTensors,
} from './support.ts'

const folder = temporaryFolder()
let count = 0
const fresh = (end = '') => join(folder, `${count++}${end}`)
const ROUNDING = 1e-6
const random = (shape: readonly number[], seed: number): TestTensor => ({
  shape,
  data: numbers(elements(shape), seed),
})
const alpha = (value: number) => ({ shape: [], data: Float64Array.of(value) })
const configOf = (path: string) => JSON.parse(readFileSync(join(path, 'adapter_config.json'), 'utf8'))

/** Resizes to a rank that is enough, and merges with itself: the sum is twice the adapter. Gives both results. */
async function through(adapter: string, ...args: string[]) {
  const base = args[args.indexOf('--base') + 1]
  const model = args.includes('--base') ? base : undefined
  const end = adapter.endsWith('.safetensors') && !args.includes('--alpha=4') ? '.safetensors' : ''
  const [resized, twice, pattern] = [fresh(end), fresh(end), fresh(end)]
  await combined('resize', [adapter, '-o', resized, '--rank=40', ...args])
  await combined('resize', [adapter, '-o', pattern, '--energy=0.999999999', '--layout=pattern', ...args])
  await combined('merge', [adapter, adapter, '-o', twice, ...args])
  return { resized, twice, pattern, model }
}

async function expectSame(
  adapter: string,
  { resized, twice, pattern, model }: Awaited<ReturnType<typeof through>>,
  factor = 1,
) {
  const before = await densesOf(adapter, model)
  for (const [path, times] of [
    [resized, 1],
    [pattern, 1],
    [twice, 2],
  ] as const) {
    const after = await densesOf(path, model)
    expect([...after.keys()]).toEqual([...before.keys()])
    for (const [name, dense] of after) {
      expect(distance(dense, weightedSum([times * factor], [before.get(name)!])), name).toBeLessThan(1e-4)
      if (path !== pattern) {
        expect(distance(dense, weightedSum([times * factor], [before.get(name)!])), name).toBeLessThan(
          ROUNDING,
        )
      }
    }
  }
}

describe('adapters that are seldom', () => {
  test('a stack of experts under a file’s own names, with alpha', async () => {
    const stem = 'diffusion_model.mlp.experts'
    for (const more of [{}, { [`${stem}.alpha`]: alpha(3) }]) {
      const adapter = await writeTensors(fresh('.safetensors'), {
        [`${stem}.lora_A.weight`]: random([6, 4], 1),
        [`${stem}.lora_B.weight`]: random([5, 6], 2),
        ...more,
      })
      const base = await writeBase(fresh(), { 'mlp.experts.down_proj': random([3, 5, 4], 3) })
      await expectSame(adapter, await through(adapter, '--base', base))
    }
  })

  test('factors of PEFT without a config, whose alpha has to be given', async () => {
    const path = fresh()
    mkdirSync(path)
    const file = await writeTensors(join(path, 'adapter_model.safetensors'), {
      'base_model.model.fc.lora_A.weight': random([2, 5], 1),
      'base_model.model.fc.lora_B.weight': random([6, 2], 2),
    })
    const made = await through(file, '--alpha=4')
    expect((await openAdapter(made.resized)).modules[0].scale).toBe(1)
    await expectSame(file, made, 2)
    expect(configOf(made.resized)).toMatchObject({ peft_type: 'LORA', target_modules: ['fc'] })
  })

  test('two text encoders and a denoiser that call a module alike', async () => {
    const tensors: Record<string, TestTensor> = {}
    for (const [i, prefix] of ['lora_te1_', 'lora_te2_', 'lora_unet_'].entries()) {
      tensors[`${prefix}fc.lora_down.weight`] = random([i + 1, 5], i)
      tensors[`${prefix}fc.lora_up.weight`] = random([6, i + 1], i + 10)
      tensors[`${prefix}fc.alpha`] = alpha(2)
    }
    const adapter = await writeTensors(fresh('.safetensors'), tensors)
    await expectSame(adapter, await through(adapter))
    const base = await writeBase(fresh(), {
      'conditioner.embedders.0.transformer.fc.weight': random([6, 5], 1),
      'conditioner.embedders.1.model.fc.weight': random([6, 5], 2),
      'model.diffusion_model.fc.weight': random([6, 5], 3),
    })
    const made = await through(adapter, '--base', base)
    await expectSame(adapter, made)
    expect(await namesIn(made.twice)).toEqual(await namesIn(adapter))
  })

  test.each([
    ['_lora.down.weight', '_lora.up.weight'],
    ['.lora.down.weight', '.lora.up.weight'],
    ['.lora_linear_layer.down.weight', '.lora_linear_layer.up.weight'],
    ['.lora_down.weight', '.lora_up.weight'],
    ['.lora_A', '.lora_B'],
    ['.lora_A.weight', '.lora_B.weight'],
    ['.lora_A.default.weight', '.lora_B.default.weight'],
  ])('%s and %s are spelled as they were', async (down, up) => {
    const stem = 'unet.down_blocks.0.attn1.processor.to_q'
    const adapter = await writeTensors(fresh('.safetensors'), {
      [stem + down]: random([2, 5], 1),
      [stem + up]: random([6, 2], 2),
    })
    const made = await through(adapter)
    expect(await namesIn(made.resized)).toEqual(
      (await namesIn(adapter)).map((name) => name.replace('.default', '')),
    )
    await expectSame(adapter, made)
  })

  test('modules that only a later adapter has are spelled as the first one’s', async () => {
    const one = await writeTensors(fresh('.safetensors'), {
      'diffusion_model.a.lora_A.weight': random([2, 5], 1),
      'diffusion_model.a.lora_B.weight': random([6, 2], 2),
    })
    const other = await writeTensors(fresh('.safetensors'), {
      'diffusion_model.b.lora_down.weight': random([2, 5], 3),
      'diffusion_model.b.lora_up.weight': random([6, 2], 4),
      'diffusion_model.b.alpha': alpha(1),
    })
    const [out, back] = [fresh('.safetensors'), fresh('.safetensors')]
    await combined('merge', [one, other, '-o', out])
    expect(await namesIn(out)).toEqual(
      ['a', 'b'].flatMap((name) => ['A', 'B'].map((side) => `diffusion_model.${name}.lora_${side}.weight`)),
    )
    await combined('merge', [other, one, '-o', back])
    expect(await namesIn(back)).toEqual(
      ['a', 'b'].flatMap((name) =>
        ['alpha', 'lora_down.weight', 'lora_up.weight'].map((end) => `diffusion_model.${name}.${end}`),
      ),
    )
    for (const path of [out, back]) {
      const found = await densesOf(path)
      expect(distance(found.get('a')!, (await densesOf(one)).get('a')!)).toBeLessThan(ROUNDING)
      expect(distance(found.get('b')!, (await densesOf(other)).get('b')!)).toBeLessThan(ROUNDING)
    }
  })

  test('alphas by .lora_alpha, and as an integer', async () => {
    const adapter = await writeTensors(fresh('.safetensors'), {
      'lora_unet_fc.lora_down.weight': random([4, 5], 1),
      'lora_unet_fc.lora_up.weight': random([6, 4], 2),
      'lora_unet_fc.lora_alpha': {
        shape: [1],
        dtype: 'I64',
        data: new Uint8Array(BigInt64Array.of(2n).buffer),
      },
    })
    expect((await openAdapter(adapter)).modules[0].scale).toBe(0.5)
    await expectSame(adapter, await through(adapter))
  })

  test('a LoHa with DoRA: the magnitudes go on to stand beside plain factors', async () => {
    const adapter = await writeTensors(
      fresh('.safetensors'),
      {
        'lora_unet_fc.hada_w1_a': random([6, 2], 1),
        'lora_unet_fc.hada_w1_b': random([2, 5], 2),
        'lora_unet_fc.hada_w2_a': random([6, 2], 3),
        'lora_unet_fc.hada_w2_b': random([2, 5], 4),
        'lora_unet_fc.alpha': alpha(1),
        'lora_unet_fc.dora_scale': random([6, 1], 5),
      },
      { ss_network_module: 'lycoris.kohya', ss_network_args: '{"algo": "loha", "dora_wd": "True"}' },
    )
    const out = fresh('.safetensors')
    await combined('resize', [adapter, '-o', out, '--rank=3'])
    expect(await namesIn(out)).toEqual([
      'lora_unet_fc.alpha',
      'lora_unet_fc.dora_scale',
      'lora_unet_fc.lora_down.weight',
      'lora_unet_fc.lora_up.weight',
    ])
    // sd-scripts' own networks have no DoRA
    const bytes = readFileSync(out)
    const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())).toString())
    expect(header.__metadata__.ss_network_module).toBe('lycoris.kohya')
  })

  test('several components with configs in the metadata', async () => {
    const config = {
      'transformer.r': 2,
      'transformer.lora_alpha': 8,
      'transformer.use_rslora': true,
      'transformer.rank_pattern': { out: 3 },
      'transformer.alpha_pattern': {},
      'transformer.target_modules': ['fc', 'out'],
      'text_encoder.r': 1,
      'text_encoder.lora_alpha': 3,
      'text_encoder.target_modules': ['fc'],
    }
    const tensors: Record<string, TestTensor> = {}
    for (const [stem, r] of [
      ['transformer.fc', 2],
      ['transformer.out', 3],
      ['text_encoder.fc', 1],
    ] as const) {
      tensors[`${stem}.lora_A.weight`] = random([r, 5], r)
      tensors[`${stem}.lora_B.weight`] = random([6, r], r + 5)
    }
    const adapter = await writeTensors(fresh('.safetensors'), tensors, {
      lora_adapter_metadata: JSON.stringify(config),
    })
    const made = await through(adapter)
    await expectSame(adapter, made)
    expect(await namesIn(made.twice)).toEqual(await namesIn(adapter))
  })

  test('an embedding and a head of PEFT, where the base has another prefix', async () => {
    const adapter = await writePeft(
      fresh(),
      {
        'base_model.model.model.embed.lora_embedding_A': random([3, 8], 1),
        'base_model.model.model.embed.lora_embedding_B': random([4, 3], 2),
        'base_model.model.head.lora_A.weight': random([3, 4], 3),
        'base_model.model.head.lora_B.weight': random([8, 3], 4),
      },
      { r: 3, lora_alpha: 1, target_modules: ['embed', 'head'] },
    )
    const base = await writeBase(fresh(), {
      'embed.weight': random([8, 4], 5),
      'head.weight': random([8, 4], 6),
    })
    const made = await through(adapter, '--base', base)
    await expectSame(adapter, made)
    expect(await namesIn(made.pattern)).toEqual(await namesIn(adapter))
  })

  test('square Conv1D, of which only the base’s config tells how it lies', async () => {
    const adapter = await writePeft(
      fresh(),
      {
        'base_model.model.transformer.h.0.attn.c_proj.lora_A.weight': random([2, 6], 1),
        'base_model.model.transformer.h.0.attn.c_proj.lora_B.weight': random([6, 2], 2),
      },
      { target_modules: ['c_proj'], fan_in_fan_out: false },
    )
    const base = await writeBase(
      fresh(),
      { 'h.0.attn.c_proj.weight': random([6, 6], 3) },
      {
        model_type: 'gpt2',
        architectures: ['GPT2LMHeadModel'],
      },
    )
    const made = await through(adapter, '--base', base)
    await expectSame(adapter, made)
    await expectSame(adapter, { ...made, model: undefined })
    const { warnings } = await combined('resize', [adapter, '-o', fresh(), '--rank=1', '--base', base])
    expect(warnings).toEqual([expect.stringMatching(/^fan_in_fan_out is false, but the base stores/)])
  })

  test('a parameter that is no module’s weight keeps its target', async () => {
    const adapter = await writePeft(
      fresh(),
      {
        'base_model.model.mlp.experts.lora_A.weight': random([6, 4], 1),
        'base_model.model.mlp.experts.lora_B.weight': random([5, 6], 2),
        'base_model.model.router.lora_A.weight': random([2, 4], 3),
        'base_model.model.router.lora_B.weight': random([7, 2], 4),
      },
      { target_modules: null, target_parameters: ['experts.odd_proj', 'router.weight'] },
    )
    const made = await through(adapter)
    await expectSame(adapter, made)
    for (const path of [made.resized, made.twice]) {
      expect(configOf(path).target_parameters).toEqual(['experts.odd_proj', 'router.weight'])
      expect(await namesIn(path)).toEqual(await namesIn(adapter))
    }
  })

  test('two parameters of one module in an order that nobody knows', async () => {
    const tensors: Tensors = {
      'base_model.model.mlp.experts.lora_A.weight': random([6, 4], 1),
      'base_model.model.mlp.experts.lora_B.weight': random([5, 6], 2),
      'base_model.model.mlp.experts.base_layer.lora_A.weight': random([6, 5], 3),
      'base_model.model.mlp.experts.base_layer.lora_B.weight': random([4, 6], 4),
    }
    const adapter = await writePeft(fresh(), tensors, {
      target_modules: null,
      target_parameters: ['experts.one', 'experts.two'],
    })
    const made = await through(adapter)
    await expectSame(adapter, made)
    expect(await namesIn(made.pattern)).toEqual(await namesIn(adapter))
  })

  test('a PEFT folder whose config has a name with a dollar, a regular expression, nulls', async () => {
    const adapter = await writePeft(
      fresh(),
      {
        'base_model.model.a$b.(c).lora_A.weight': random([2, 4], 1),
        'base_model.model.a$b.(c).lora_B.weight': random([5, 2], 2),
        'base_model.model.d.lora_A.weight': random([3, 4], 1),
        'base_model.model.d.lora_B.weight': random([5, 3], 2),
      },
      { rank_pattern: { d: 3 }, target_modules: '.*', bias: null, task_type: null, revision: null },
    )
    const made = await through(adapter)
    await expectSame(adapter, made)
    expect(configOf(made.twice)).toMatchObject({ target_modules: '.*', bias: 'none', lora_alpha: 3 })
    expect(configOf(made.pattern).rank_pattern).toEqual({ '^a\\$b\\.\\(c\\)': 2 })
  })

  test('other files in an input’s folder are no part of it', async () => {
    const adapter = await writePeft(fresh(), {
      'base_model.model.fc.lora_A.weight': random([2, 4], 1),
      'base_model.model.fc.lora_B.weight': random([5, 2], 2),
    })
    writeFileSync(join(adapter, 'optimizer.pt'), 'x')
    const made = await through(adapter)
    await expectSame(adapter, made)
  })
})
