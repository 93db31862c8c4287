import { readFileSync, writeFileSync } from 'node:fs'
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

/** Every kind of module against a dense oracle in float64 that is rounded once, bit for bit. */

const folder = temporaryFolder('apply-kinds')
const at = (name: string) => join(folder, name)

/** Entry (i, j) of B·A, each product added in the order of the ranks. */
function product(B: Weights, A: Weights, factor: number): (i: number, j: number) => number {
  const rank = A.shape[0]
  const columns = A.data.length / rank
  return (i, j) => {
    let sum = 0
    for (let k = 0; k < rank; k++) sum += B.data[i * rank + k] * factor * A.data[k * columns + j]
    return sum
  }
}

interface Kind {
  readonly what: string
  readonly name?: string
  readonly shape: readonly number[]
  readonly config?: object
  readonly adapter: (dtype: Stored) => {
    readonly tensors: Readonly<Record<string, Weights>>
    readonly config?: Readonly<Record<string, unknown>>
    /** Of the entry at this place of the flat tensor. */
    readonly delta: (at: number) => number
  }
}

const peft = (r: number, lora_alpha: number, rest: object = {}) => ({
  peft_type: 'LORA',
  r,
  lora_alpha,
  ...rest,
})

const KINDS: readonly Kind[] = [
  {
    what: 'a linear layer',
    shape: [40, 24],
    adapter: (dtype) => {
      const [B, A] = [random([40, 3], 1, dtype), random([3, 24], 2, dtype)]
      const of = product(B, A, 2)
      return {
        config: peft(3, 6, { target_modules: ['x'] }),
        tensors: { [`${PEFT}x.lora_A.weight`]: A, [`${PEFT}x.lora_B.weight`]: B },
        delta: (at) => of(Math.floor(at / 24), at % 24),
      }
    },
  },
  {
    what: 'rslora, with patterns',
    shape: [16, 16],
    adapter: (dtype) => {
      const [B, A] = [random([16, 4], 3, dtype), random([4, 16], 4, dtype)]
      const of = product(B, A, 10 / Math.sqrt(4))
      return {
        config: peft(2, 1, {
          use_rslora: true,
          rank_pattern: { x: 4 },
          alpha_pattern: { x: 10 },
          target_modules: ['x'],
        }),
        tensors: { [`${PEFT}x.lora_A.weight`]: A, [`${PEFT}x.lora_B.weight`]: B },
        delta: (at) => of(Math.floor(at / 16), at % 16),
      }
    },
  },
  {
    what: 'Conv1D, stored [in, out]',
    name: 'h.0.mlp.c_fc.weight',
    shape: [12, 48],
    config: { model_type: 'gpt2', architectures: ['GPT2LMHeadModel'] },
    adapter: (dtype) => {
      const [B, A] = [random([48, 2], 5, dtype), random([2, 12], 6, dtype)]
      const of = product(B, A, 1)
      return {
        config: peft(2, 2, { fan_in_fan_out: true, target_modules: ['c_fc'] }),
        tensors: {
          [`${PEFT}transformer.h.0.mlp.c_fc.lora_A.weight`]: A,
          [`${PEFT}transformer.h.0.mlp.c_fc.lora_B.weight`]: B,
        },
        delta: (at) => of(at % 48, Math.floor(at / 48)),
      }
    },
  },
  {
    what: 'an embedding',
    name: 'model.embed_tokens.weight',
    shape: [30, 8],
    config: { tie_word_embeddings: false },
    adapter: (dtype) => {
      const [A, B] = [random([2, 30], 7, dtype), random([8, 2], 8, dtype)]
      const of = product(B, A, 0.5)
      return {
        config: peft(2, 1, { target_modules: ['embed_tokens'] }),
        tensors: {
          [`${PEFT}model.embed_tokens.lora_embedding_A`]: A,
          [`${PEFT}model.embed_tokens.lora_embedding_B`]: B,
        },
        delta: (at) => of(at % 8, Math.floor(at / 8)),
      }
    },
  },
  {
    what: 'a convolution',
    shape: [6, 4, 3, 3],
    adapter: (dtype) => {
      const [B, A] = [random([6, 2, 1, 1], 9, dtype), random([2, 4, 3, 3], 10, dtype)]
      const of = product(B, A, 1)
      return {
        config: peft(2, 2, { target_modules: ['x'] }),
        tensors: { [`${PEFT}x.lora_A.weight`]: A, [`${PEFT}x.lora_B.weight`]: B },
        delta: (at) => of(Math.floor(at / 36), at % 36),
      }
    },
  },
  {
    what: 'a convolution with a core',
    shape: [5, 4, 3, 3],
    adapter: (dtype) => {
      const [up, down] = [random([5, 2, 1, 1], 11, dtype), random([2, 4, 1, 1], 12, dtype)]
      const mid = random([2, 2, 3, 3], 13, dtype)
      return {
        tensors: {
          'lora_unet_x.lora_down.weight': down,
          'lora_unet_x.lora_up.weight': up,
          'lora_unet_x.lora_mid.weight': mid,
          'lora_unet_x.alpha': { dtype: 'F32', shape: [], data: [1] },
        },
        delta: (at) => {
          const [o, c, k] = [Math.floor(at / 36), Math.floor((at % 36) / 9), at % 9]
          let sum = 0
          for (let q = 0; q < 2; q++) {
            let folded = 0
            for (let p = 0; p < 2; p++) folded += mid.data[(q * 2 + p) * 9 + k] * down.data[p * 4 + c]
            sum += up.data[o * 2 + q] * 0.5 * folded
          }
          return sum
        },
      }
    },
  },
  {
    what: 'LoHa',
    shape: [16, 12],
    adapter: (dtype) => {
      const [a1, b1] = [random([16, 2], 16, dtype), random([2, 12], 17, dtype)]
      const [a2, b2] = [random([16, 2], 18, dtype), random([2, 12], 19, dtype)]
      return {
        tensors: {
          'lora_unet_x.hada_w1_a': a1,
          'lora_unet_x.hada_w1_b': b1,
          'lora_unet_x.hada_w2_a': a2,
          'lora_unet_x.hada_w2_b': b2,
          'lora_unet_x.alpha': { dtype: 'F32', shape: [], data: [1] },
        },
        delta: (at) => {
          const [i, j] = [Math.floor(at / 12), at % 12]
          let sum = 0
          for (let p = 0; p < 2; p++) {
            for (let q = 0; q < 2; q++) {
              const left = a1.data[i * 2 + p] * a2.data[i * 2 + q]
              sum += left * 0.5 * (b1.data[p * 12 + j] * b2.data[q * 12 + j])
            }
          }
          return sum
        },
      }
    },
  },
  {
    what: 'LoKr, one side factored',
    shape: [16, 12],
    adapter: (dtype) => {
      const [w1, a, b] = [random([2, 3], 20, dtype), random([8, 2], 21, dtype), random([2, 4], 22, dtype)]
      return {
        tensors: {
          'lora_unet_x.lokr_w1': w1,
          'lora_unet_x.lokr_w2_a': a,
          'lora_unet_x.lokr_w2_b': b,
          'lora_unet_x.alpha': { dtype: 'F32', shape: [], data: [4] },
        },
        delta: (at) => {
          const [i, j] = [Math.floor(at / 12), at % 12]
          const w = w1.data[Math.floor(i / 8) * 3 + Math.floor(j / 4)]
          let sum = 0
          for (let q = 0; q < 2; q++) sum += a.data[(i % 8) * 2 + q] * 2 * (w * b.data[q * 4 + (j % 4)])
          return sum
        },
      }
    },
  },
  {
    what: 'LoKr of PEFT, both sides whole',
    shape: [6, 4],
    adapter: (dtype) => {
      const [w1, w2] = [random([2, 2], 23, dtype), random([3, 2], 24, dtype)]
      return {
        config: { peft_type: 'LOKR', r: 4, alpha: 2, target_modules: ['x'] },
        tensors: { [`${PEFT}x.lokr_w1`]: w1, [`${PEFT}x.lokr_w2`]: w2 },
        delta: (at) => {
          const [i, j] = [Math.floor(at / 4), at % 4]
          return w1.data[Math.floor(i / 3) * 2 + Math.floor(j / 2)] * w2.data[(i % 3) * 2 + (j % 2)] * 0.5
        },
      }
    },
  },
  {
    what: 'stacked experts',
    name: 'model.layers.0.mlp.experts.gate_up_proj',
    shape: [3, 10, 8],
    adapter: (dtype) => {
      const [experts, rank, out, inputs] = [3, 2, 10, 8]
      const [A, B] = [random([experts * rank, inputs], 14, dtype), random([out, rank * experts], 15, dtype)]
      return {
        config: peft(rank, 2 * rank, { target_parameters: ['mlp.experts.gate_up_proj'] }),
        tensors: {
          [`${PEFT}model.layers.0.mlp.experts.lora_A.weight`]: A,
          [`${PEFT}model.layers.0.mlp.experts.lora_B.weight`]: B,
        },
        delta: (at) => {
          const [e, i, j] = [Math.floor(at / 80), Math.floor((at % 80) / 8), at % 8]
          let sum = 0
          // PEFT stores the columns of an expert's B so many apart
          for (let k = 0; k < rank; k++) {
            sum += B.data[i * rank * experts + k * experts + e] * 2 * A.data[(e * rank + k) * inputs + j]
          }
          return sum
        },
      }
    },
  },
]

const DTYPES = ['F32', 'F16', 'BF16'] as const

const cases = KINDS.flatMap((kind) => DTYPES.map((dtype): [string, Stored, Kind] => [kind.what, dtype, kind]))

describe('the merged weight is the float64 sum rounded once', () => {
  test.each(cases)('%s, %s', async (what, dtype, { name = 'x.weight', shape, config = {}, adapter }) => {
    const id = `${what}-${dtype}`
    const W = random(shape, 99, dtype, 1)
    const { tensors, config: adapterConfig, delta } = adapter(dtype)
    const base = folderWith(at(`base ${id}`), {
      'config.json': config,
      'model.safetensors': fileOf({ [name]: W, 'other.weight': random([3, 3], 98, dtype) }),
    })
    const file = at(`${id}.safetensors`)
    if (adapterConfig === undefined) writeFileSync(file, fileOf(tensors))
    const from =
      adapterConfig === undefined
        ? file
        : folderWith(at(`adapter ${id}`), {
            'adapter_config.json': adapterConfig,
            'adapter_model.safetensors': fileOf(tensors),
          })
    const { layers } = await applied([base, from, '-o', at(`out ${id}`)])
    expect(layers.map((layer: { name: string }) => layer.name)).toEqual([name])
    const merged = readSafetensorsFile(join(at(`out ${id}`), 'model.safetensors'))
    const wanted = Array.from(W.data, (w, i) => rounded(w + delta(i), dtype))
    expect([...merged.get(name)!.data]).toEqual(wanted)
    expect([...merged.get('other.weight')!.data]).toEqual(Array.from(random([3, 3], 98, dtype).data))
    expectMeasured(layers[0], W, wanted, delta)
  })
})

/** The account of a layer is that of the bytes on the disk. */
function expectMeasured(
  layer: { gain: number; roundingError: number; deltaFrobenius: number; changed: number },
  W: Weights,
  stored: readonly number[],
  delta: (at: number) => number,
): void {
  let [kept, squares, residual, changed] = [0, 0, 0, 0]
  for (const [i, x] of stored.entries()) {
    const d = delta(i)
    kept += (x - W.data[i]) * d
    squares += d * d
    residual += (x - W.data[i] - d) ** 2
    if (x !== W.data[i]) changed++
  }
  expect(layer.gain).toBeCloseTo(kept / squares, 12)
  expect(layer.roundingError).toBeCloseTo(Math.sqrt(residual / squares), 12)
  expect(layer.deltaFrobenius).toBeCloseTo(Math.sqrt(squares), 12)
  expect(layer.changed).toBe(changed / stored.length)
}

describe('several adapters', () => {
  const dtype = 'BF16'
  const W = random([20, 16], 1, dtype, 1)
  const base = folderWith(at('several'), { 'model.safetensors': fileOf({ 'x.weight': W }) })
  const one = (seed: number, rank: number) => {
    const [B, A] = [random([20, rank], seed, 'F32'), random([rank, 16], seed + 1, 'F32')]
    return {
      B,
      A,
      path: folderWith(at(`adapter-${seed}`), {
        'adapter_config.json': peft(rank, rank, { target_modules: ['x'] }),
        'adapter_model.safetensors': fileOf({ [`${PEFT}x.lora_A.weight`]: A, [`${PEFT}x.lora_B.weight`]: B }),
      }),
    }
  }

  test('their changes are added with their weights, and the sum is rounded once', async () => {
    const [first, second] = [one(10, 2), one(20, 5)]
    const { source } = await applied([
      base,
      first.path,
      second.path,
      '-o',
      at('both'),
      '--weights',
      '0.7,-0.3',
    ])
    expect(source.adapters.map((adapter: { weight: number }) => adapter.weight)).toEqual([0.7, -0.3])
    const merged = readSafetensorsFile(join(at('both'), 'model.safetensors')).get('x.weight')!.data
    const wanted = Array.from(W.data, (w, at) => {
      const [i, j] = [Math.floor(at / 16), at % 16]
      let sum = 0
      for (let k = 0; k < 2; k++) sum += first.B.data[i * 2 + k] * 0.7 * first.A.data[k * 16 + j]
      for (let k = 0; k < 5; k++) sum += second.B.data[i * 5 + k] * -0.3 * second.A.data[k * 16 + j]
      return rounded(w + sum, dtype)
    })
    expect([...merged]).toEqual(wanted)
  })

  test('what is added and subtracted leaves the base', async () => {
    const { path } = one(30, 3)
    await applied([base, path, path, '-o', at('none'), '--weights', '1,-1'])
    const files = [base, at('none')].map(
      (one) => readSafetensorsFile(join(one, 'model.safetensors')).get('x.weight')!.data,
    )
    expect([...files[1]]).toEqual([...files[0]])
  })

  test('with the weight 0 all of the base is copied', async () => {
    const { path } = one(40, 3)
    const { layers } = await applied([base, path, '-o', at('nothing'), '--weights', '0'])
    expect(layers).toEqual([])
    const files = [base, at('nothing')].map((one) => readFileSync(join(one, 'model.safetensors')))
    expect(files[1].subarray(-W.data.length * 2).equals(files[0].subarray(-W.data.length * 2))).toBe(true)
  })
})

describe('rows of an embedding that are trained alone', () => {
  const dtype = 'BF16'
  const W = random([10, 4], 50, dtype, 1)
  const rows = random([2, 4], 51, 'F32', 1)
  const name = 'model.embed_tokens.weight'
  const adapter = folderWith(at('token-rows'), {
    'adapter_config.json': peft(2, 2, {
      target_modules: ['x'],
      trainable_token_indices: { embed_tokens: [7, 3] },
    }),
    'adapter_model.safetensors': fileOf({
      [`${PEFT}model.embed_tokens.token_adapter.trainable_tokens_delta`]: rows,
      [`${PEFT}x.lora_A.weight`]: random([2, 3], 52, 'F32'),
      [`${PEFT}x.lora_B.weight`]: random([3, 2], 53, 'F32'),
    }),
  })
  const wanted = Array.from(W.data)
  for (const [i, row] of [7, 3].entries()) {
    for (let j = 0; j < 4; j++) wanted[row * 4 + j] = rounded(rows.data[i * 4 + j], dtype)
  }
  const baseWith = (folder: string, config: object) =>
    folderWith(at(folder), {
      'config.json': config,
      'model.safetensors': fileOf({ [name]: W, 'x.weight': random([3, 3], 54, dtype) }),
    })

  test('take the place of those rows, and leave the others', async () => {
    await applied([baseWith('rows', { tie_word_embeddings: false }), adapter, '-o', at('rows-out')])
    const merged = readSafetensorsFile(join(at('rows-out'), 'model.safetensors'))
    expect([...merged.get(name)!.data]).toEqual(wanted)
  })

  test('are those of a tied head too', async () => {
    const base = baseWith('rows-tied', {
      tie_word_embeddings: true,
      model_type: 'llama',
      architectures: ['LlamaForCausalLM'],
    })
    await applied([base, adapter, '-o', at('rows-tied-out')])
    const merged = readSafetensorsFile(join(at('rows-tied-out'), 'model.safetensors'))
    expect([...merged.keys()].sort()).toEqual([name, 'x.weight'])
    expect([...merged.get(name)!.data]).toEqual(wanted)
  })

  test('past the end of the table are refused', async () => {
    const base = folderWith(at('rows-short'), {
      'model.safetensors': fileOf({
        [name]: random([5, 4], 55, dtype),
        'x.weight': random([3, 3], 54, dtype),
      }),
    })
    const result = await runInProcess(['apply', base, adapter, '-o', at('never')])
    expect(result.code).toBe(2)
    expect(result.stderr).toMatch(/is rows up to 7 of "model.embed_tokens.weight" \[5, 4\]/)
  })
})

describe('an adapter whose training changed its base', () => {
  interface Golden {
    readonly what: string
    readonly r: number
    readonly alpha: number
    readonly base: number[][]
    readonly A: number[][]
    readonly B: number[][]
    readonly A0: number[][]
    readonly B0: number[][]
    readonly tuned: number[][]
  }
  const goldens: readonly Golden[] = JSON.parse(
    readFileSync(new URL('../fixtures/goldens/peft.json', import.meta.url), 'utf8'),
  ).cases.filter(({ what }: { what: string }) => what.startsWith('init_lora_weights ='))
  const stored = (rows: number[][]): Weights => ({
    dtype: 'F32',
    shape: [rows.length, rows[0].length],
    data: Float64Array.from(rows.flat(), Math.fround),
  })
  const inits = goldens.map((one) => [/= (\w+)/.exec(one.what)![1], one] as const)

  test('PEFT has two of them', () => expect(inits.map(([init]) => init)).toEqual(['pissa', 'olora']))

  test.each(inits)(
    '%s: with what it began with the tuned weight, without it a refusal',
    async (init, one) => {
      const folder = (name: string, B: number[][], A: number[][], init_lora_weights: unknown) =>
        folderWith(at(`${init} ${name}`), {
          'adapter_config.json': peft(one.r, one.alpha, { target_modules: ['x'], init_lora_weights }),
          'adapter_model.safetensors': fileOf({
            [`${PEFT}x.lora_A.weight`]: stored(A),
            [`${PEFT}x.lora_B.weight`]: stored(B),
          }),
        })
      const base = folderWith(at(`${init} base`), {
        'model.safetensors': fileOf({ 'x.weight': stored(one.base) }),
      })
      const trained = folder('trained', one.B, one.A, init)
      const began = folder('began', one.B0, one.A0, true)
      const out = at(`${init} out`)
      await applied([base, trained, '-o', out, '--init', began])
      const { data } = readSafetensorsFile(join(out, 'model.safetensors')).get('x.weight')!
      const tuned = one.tuned.flat()
      const apart = Math.hypot(...Array.from(data, (x, i) => x - tuned[i])) / Math.hypot(...tuned)
      expect(apart).toBeLessThan(1e-6)
      const refused = await runInProcess(['apply', base, trained, '-o', at('never')])
      expect(refused.code).toBe(2)
      expect(refused.stderr).toMatch(
        new RegExp(`init_lora_weights is "${init}".*give what it began with by --init`),
      )
      const twice = await runInProcess(['apply', base, began, '-o', at('never'), '--init', began])
      expect(twice.stderr).toMatch(/--init is for an adapter whose training changed its base/)
    },
  )
})
