import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import { applied, distance, fileOf, folderWith, rounded, type Stored, type Weights } from './apply-support.ts'
import { BASE, extracted, numbers, TUNED, TUNED_BF16, weightsOf } from './extract-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder('apply')
const at = (name: string) => join(folder, name)

const random = (shape: readonly number[], seed: number, dtype: Stored = 'F32', scale = 0.1): Weights => ({
  ...{ dtype, shape },
  data: Float64Array.from(
    numbers(
      shape.reduce((a, b) => a * b, 1),
      seed,
    ),
    (x) => rounded(scale * x, dtype),
  ),
})

const PEFT = 'base_model.model.'

/** A PEFT folder with factors of rank 2 for these modules [out, in], and other tensors. */
function adapterOf(
  name: string,
  modules: Readonly<Record<string, readonly [number, number]>>,
  {
    tensors = {},
    config = {},
    files = {},
  }: {
    tensors?: Readonly<Record<string, Weights>>
    config?: object
    files?: Readonly<Record<string, Buffer | object | string>>
  } = {},
): string {
  const factors = Object.entries(modules).flatMap(([module, [out, inputs]], i): [string, Weights][] => [
    [`${PEFT}${module}.lora_A.weight`, random([2, inputs], 2 * i + 1)],
    [`${PEFT}${module}.lora_B.weight`, random([out, 2], 2 * i + 2)],
  ])
  return folderWith(at(name), {
    'adapter_config.json': {
      peft_type: 'LORA',
      r: 2,
      lora_alpha: 2,
      target_modules: Object.keys(modules),
      ...config,
    },
    'adapter_model.safetensors': fileOf({ ...Object.fromEntries(factors), ...tensors }),
    ...files,
  })
}

/** The change of a module of `adapterOf`, by the place in the flat tensor. */
function deltaOf([out, inputs]: readonly [number, number], i: number): (at: number) => number {
  const [A, B] = [random([2, inputs], 2 * i + 1).data, random([out, 2], 2 * i + 2).data]
  return (at) => {
    const [row, column] = [Math.floor(at / inputs), at % inputs]
    return B[row * 2] * A[column] + B[row * 2 + 1] * A[inputs + column]
  }
}

const read = (path: string, name = 'model.safetensors') => readSafetensorsFile(join(path, name))
const jsonOf = (path: string, name: string) => JSON.parse(readFileSync(join(path, name), 'utf8'))

describe('a sharded model in bfloat16', () => {
  const Q = 'model.layers.0.self_attn.q_proj'
  const base = at('digits')
  cpSync(TUNED_BF16, base, { recursive: true })
  folderWith(base, {
    'tokenizer.json': { model: 'words' },
    'generation_config.json': { temperature: 1 },
    'README.md': 'of the base',
    'pytorch_model.bin': 'another form of the weights',
    'optimizer.pt': 'moments',
    '.gitattributes': 'of git',
    LICENSE: 'may be used',
    'vae/diffusion_pytorch_model.safetensors': 'a part of a pipeline',
    'vae/config.json': {},
  })
  const norm = random([96], 50, 'BF16', 1)
  const adapter = adapterOf(
    'digits-adapter',
    { [Q]: [96, 96] },
    { tensors: { [`${PEFT}model.norm.weight`]: norm }, config: { modules_to_save: ['norm'] } },
  )

  test('keeps its shards, its index and what lies beside them', async () => {
    const out = at('digits-merged')
    const { layers, output, holds } = await applied([base, adapter, '-o', out])
    expect(holds).toBe(true)
    expect(layers.map(({ name, how }: { name: string; how: string }) => [name, how])).toEqual([
      ['model.layers.0.self_attn.q_proj.weight', 'factors'],
      ['model.norm.weight', 'replaced'],
    ])
    expect(readdirSync(out).sort()).toEqual([
      'LICENSE',
      'README.md',
      'config.json',
      'generation_config.json',
      'model-00001-of-00002.safetensors',
      'model-00002-of-00002.safetensors',
      'model.safetensors.index.json',
      'tokenizer.json',
      'vae',
    ])
    expect(output.leftOut.sort()).toEqual(['README.md', 'optimizer.pt', 'pytorch_model.bin'])
    expect(readFileSync(join(out, 'README.md'), 'utf8')).toMatch(/^---\nbase_model_relation: merge\n/)
    for (const name of ['config.json', 'tokenizer.json', 'LICENSE', 'vae/config.json'])
      expect(readFileSync(join(out, name)).equals(readFileSync(join(base, name))), name).toBe(true)
    const index = jsonOf(out, 'model.safetensors.index.json')
    expect(index.metadata.total_size).toBe(675_648)
    expect(index.weight_map).toEqual(jsonOf(base, 'model.safetensors.index.json').weight_map)
    expect(existsSync(`${out}.partial`)).toBe(false)
  })

  test('rounds each entry once, and leaves the others as they are', () => {
    const before = weightsOf(base)
    const after = weightsOf(at('digits-merged'))
    expect([...after.keys()].sort()).toEqual([...before.keys()].sort())
    const delta = deltaOf([96, 96], 0)
    for (const [name, { data }] of after) {
      const W = before.get(name)!.data
      const wanted =
        name === `${Q}.weight`
          ? Array.from(W, (w, i) => rounded(w + delta(i), 'BF16'))
          : Array.from(name === 'model.norm.weight' ? norm.data : W)
      expect([...data], name).toEqual(wanted)
    }
  })

  test.each([
    ['100KB', 7],
    ['1GB', 1],
  ])('in shards of %s: %i', async (size, count) => {
    const out = at(`digits-${size}`)
    await applied([base, adapter, '-o', out, '--max-shard-size', size])
    const shards = readdirSync(out).filter((name) => name.endsWith('.safetensors'))
    const number = (n: number) => String(n).padStart(5, '0')
    expect(shards).toEqual(
      count === 1
        ? ['model.safetensors']
        : Array.from(
            { length: shards.length },
            (_, i) => `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`,
          ),
    )
    expect(shards.length).toBeGreaterThanOrEqual(count)
    expect(existsSync(join(out, 'model.safetensors.index.json'))).toBe(count > 1)
    const [found, wanted] = [weightsOf(out), weightsOf(at('digits-merged'))]
    expect([...found.keys()].sort()).toEqual([...wanted.keys()].sort())
    for (const [name, { data }] of found) expect([...data], name).toEqual([...wanted.get(name)!.data])
  })

  test('in float32: all floats widened, and config.json says so', async () => {
    const out = at('digits-f32')
    const { totals } = await applied([base, adapter, '-o', out, '--dtype', 'f32'])
    expect(totals).toMatchObject({ changed: 2, copied: 0 })
    const delta = deltaOf([96, 96], 0)
    const W = weightsOf(base).get(`${Q}.weight`)!.data
    const found = weightsOf(out).get(`${Q}.weight`)!
    expect([...found.data]).toEqual(Array.from(W, (w, i) => Math.fround(w + delta(i))))
    expect(jsonOf(out, 'model.safetensors.index.json').metadata.total_size).toBe(2 * 675_648)
    const config = jsonOf(out, 'config.json')
    expect(config.torch_dtype ?? config.dtype).toBe('float32')
  })

  test('--dry-run says what would be done, and writes nothing', async () => {
    const out = at('digits-dry')
    const document = await applied([base, adapter, '-o', out, '--dry-run'])
    expect(document).toMatchObject({ dryRun: true, resumable: false, totals: { changed: 2 } })
    expect(document.layers[0]).not.toHaveProperty('gain')
    expect([existsSync(out), existsSync(`${out}.partial`)]).toEqual([false, false])
    const { stdout, stderr, code } = await runInProcess(['apply', base, adapter, '-o', out, '--dry-run'])
    expect([stderr, code]).toEqual(['', 0])
    expect(stdout).toContain('2 tensors would change · nothing is written')
  })

  test('an existing one is replaced only with --force, and only where it is a model', async () => {
    const out = at('digits-force')
    await applied([base, adapter, '-o', out])
    const again = await runInProcess(['apply', base, adapter, '-o', out, '-q'])
    expect([again.code, again.stderr]).toEqual([
      2,
      `lora-svd: ${out}: exists already; add --force to replace it\n`,
    ])
    writeFileSync(join(out, 'LICENSE'), 'changed by hand')
    await applied([base, adapter, '-o', out, '--force'])
    expect(readFileSync(join(out, 'LICENSE'), 'utf8')).toBe('may be used')
    writeFileSync(join(out, 'thesis.docx'), 'years of work')
    const other = await runInProcess(['apply', base, adapter, '-o', out, '-q', '--force'])
    expect(other.code).toBe(2)
    expect(other.stderr).toContain("is no model's folder (it holds thesis.docx)")
    expect(readdirSync(folder).filter((name) => name.endsWith('.partial'))).toEqual([])
  })
})

describe('apply and extract undo each other', () => {
  test('base + adapter is the fine-tune, but for rounding', async () => {
    const adapter = at('of-digits')
    await extracted(BASE, TUNED, adapter, ['--rank', '96', '--carry-rest'])
    const out = at('of-digits-merged')
    await applied([BASE, adapter, '-o', out])
    const [found, wanted, before] = [weightsOf(out), weightsOf(TUNED), weightsOf(BASE)]
    for (const [name, { data }] of wanted) {
      const off = Float64Array.from(data, (x, i) => x - found.get(name)!.data[i])
      const change = Float64Array.from(data, (x, i) => x - before.get(name)!.data[i])
      const norm = (values: Float64Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0))
      expect(norm(off), name).toBeLessThanOrEqual(1e-5 * norm(change))
    }
  })

  test('verify finds nothing but rounding between an adapter and what it was merged into', async () => {
    const adapter = at('of-digits-8')
    await extracted(BASE, TUNED, adapter, ['--rank', '8'])
    const out = at('of-digits-8-merged')
    const { layers } = await applied([BASE, adapter, '-o', out])
    const { stdout, code } = await runInProcess([
      'verify',
      adapter,
      BASE,
      out,
      '--json',
      '--max-error',
      '1e-5',
    ])
    expect(code).toBe(0)
    const verified = documentOf(stdout, 'verify-1')
    expect(verified.layers).toHaveLength(layers.length)
    for (const [i, { relativeError }] of verified.layers.entries()) {
      expect(relativeError).toBeLessThan(2 * layers[i].roundingError + 1e-7)
    }
  })
})

describe('a head that is tied to the embedding', () => {
  const [words, width] = [20, 8]
  const embedding = random([words, width], 60, 'BF16', 1)
  const config = {
    architectures: ['LlamaForCausalLM'],
    tie_word_embeddings: true,
    vocab_size: words,
    rope_theta: 10000.0,
  }
  const base = folderWith(at('tied'), {
    'config.json': `${JSON.stringify(config, null, 2).replace('10000', '10000.0')}\n`,
    'model.safetensors': fileOf({
      'model.embed_tokens.weight': embedding,
      'model.layers.0.mlp.up_proj.weight': random([width, width], 61, 'BF16', 1),
    }),
  })
  const E = { A: random([2, words], 62), B: random([width, 2], 63) }
  const ofEmbedding = {
    [`${PEFT}model.embed_tokens.lora_embedding_A`]: E.A,
    [`${PEFT}model.embed_tokens.lora_embedding_B`]: E.B,
  }
  const changed = (
    data: ArrayLike<number>,
    rowsOf: (i: number, k: number) => number,
    columnOf: (j: number, k: number) => number,
  ) =>
    Array.from(data, (w, at) => {
      const [i, j] = [Math.floor(at / width), at % width]
      return rounded(w + columnOf(j, 0) * rowsOf(i, 0) + columnOf(j, 1) * rowsOf(i, 1), 'BF16')
    })
  const newEmbedding = changed(
    embedding.data,
    (i, k) => E.A.data[k * words + i],
    (j, k) => E.B.data[j * 2 + k],
  )
  const old = Array.from(embedding.data)

  test('an adapter of the embedding unties them: the head keeps the old one', async () => {
    const adapter = adapterOf(
      'tied-embedding',
      {},
      { tensors: ofEmbedding, config: { target_modules: ['embed_tokens'] } },
    )
    const { untied } = await applied([base, adapter, '-o', at('untied')])
    expect(untied).toEqual({ head: 'lm_head.weight', embedding: 'model.embed_tokens.weight' })
    const found = read(at('untied'))
    expect([...found.get('model.embed_tokens.weight')!.data]).toEqual(newEmbedding)
    expect([...found.get('lm_head.weight')!.data]).toEqual(old)
    const text = readFileSync(join(at('untied'), 'config.json'), 'utf8')
    expect(JSON.parse(text)).toEqual({ ...config, tie_word_embeddings: false })
    expect(text).toContain('"rope_theta": 10000.0')
    const { stdout } = await runInProcess(['apply', base, adapter, '-o', at('untied-text')])
    expect(stdout.replace(/\s+/g, ' ')).toContain('is a tensor of its own now')
  })

  test('an adapter of the head too: the head is the old embedding with its change', async () => {
    const adapter = adapterOf('tied-head', { lm_head: [words, width] })
    const { layers, untied } = await applied([base, adapter, '-o', at('untied-head')])
    expect([layers[0].name, untied.head]).toEqual(['lm_head.weight', 'lm_head.weight'])
    const found = read(at('untied-head'))
    const delta = deltaOf([words, width], 0)
    expect([...found.get('model.embed_tokens.weight')!.data]).toEqual(old)
    expect([...found.get('lm_head.weight')!.data]).toEqual(old.map((w, i) => rounded(w + delta(i), 'BF16')))
  })

  test('both replaced by one tensor stay one', async () => {
    const both = random([words, width], 64, 'BF16', 1)
    const adapter = adapterOf(
      'tied-both',
      {},
      {
        tensors: { [`${PEFT}model.embed_tokens.weight`]: both, [`${PEFT}lm_head.weight`]: both },
      },
    )
    const document = await applied([base, adapter, '-o', at('still-tied')])
    expect(document).not.toHaveProperty('untied')
    expect([...read(at('still-tied')).keys()].sort()).toEqual([
      'model.embed_tokens.weight',
      'model.layers.0.mlp.up_proj.weight',
    ])
    expect(jsonOf(at('still-tied'), 'config.json').tie_word_embeddings).toBe(true)
  })

  test('a longer vocabulary: config.json follows, and the tokenizer is the adapter’s', async () => {
    const longer = random([words + 3, width], 65, 'BF16', 1)
    const adapter = adapterOf(
      'longer',
      {},
      {
        tensors: { [`${PEFT}model.embed_tokens.weight`]: longer },
        files: { 'tokenizer.json': { words: words + 3 } },
      },
    )
    writeFileSync(join(base, 'tokenizer.json'), JSON.stringify({ words }))
    const { vocabulary } = await applied([base, adapter, '-o', at('longer-merged')])
    expect(vocabulary).toBe(words + 3)
    expect(jsonOf(at('longer-merged'), 'config.json')).toEqual({ ...config, vocab_size: words + 3 })
    expect(jsonOf(at('longer-merged'), 'tokenizer.json')).toEqual({ words: words + 3 })
    expect([...read(at('longer-merged')).get('model.embed_tokens.weight')!.data]).toEqual(
      Array.from(longer.data),
    )
  })

  test('trained tokens: their rows alone, for the head too', async () => {
    const rows = [3, 17]
    const trained = random([2, width], 66, 'BF16', 1)
    const adapter = adapterOf(
      'tokens',
      {},
      {
        tensors: { [`${PEFT}model.embed_tokens.token_adapter.trainable_tokens_delta`]: trained },
        config: { trainable_token_indices: rows, target_modules: ['up_proj'] },
      },
    )
    const document = await applied([base, adapter, '-o', at('tokens-merged')])
    expect(document).not.toHaveProperty('untied')
    const wanted = Array.from(embedding.data)
    for (const [k, row] of rows.entries())
      wanted.splice(row * width, width, ...Array.from(trained.data).slice(k * width, (k + 1) * width))
    expect([...read(at('tokens-merged')).get('model.embed_tokens.weight')!.data]).toEqual(wanted)
  })

  test('a stored head that config.json ties: only the setting changes', async () => {
    const stored = folderWith(at('stored-head'), {
      'config.json': { ...config, text_config: { tie_word_embeddings: true, vocab_size: words } },
      'model.safetensors': fileOf({ 'model.embed_tokens.weight': embedding, 'lm_head.weight': embedding }),
    })
    const adapter = adapterOf(
      'stored-embedding',
      {},
      { tensors: ofEmbedding, config: { target_modules: ['embed_tokens'] } },
    )
    await applied([stored, adapter, '-o', at('stored-merged')])
    expect([...read(at('stored-merged')).get('lm_head.weight')!.data]).toEqual(old)
    const { tie_word_embeddings, text_config } = jsonOf(at('stored-merged'), 'config.json')
    expect([tie_word_embeddings, text_config.tie_word_embeddings]).toEqual([false, false])
  })
})

describe('what adapters bring besides factors', () => {
  const base = folderWith(at('besides'), {
    'model.safetensors': fileOf({
      'x.weight': random([6, 4], 70, 'F32', 1),
      'x.bias': random([6], 71, 'F32', 1),
      'y.weight': random([6, 4], 72, 'F32', 1),
      'n.weight': random([4], 73, 'F32', 1),
    }),
  })

  test('lora_B.bias is added to the base’s, scaled', async () => {
    const bias = random([6], 74)
    const adapter = adapterOf(
      'biased',
      { x: [6, 4] },
      {
        tensors: { [`${PEFT}x.lora_B.bias`]: bias },
        config: { lora_bias: true, lora_alpha: 6 },
      },
    )
    const { layers } = await applied([base, adapter, '-o', at('biased-merged'), '--weights', '0.5'])
    expect(layers.map(({ name, how }: { name: string; how: string }) => [name, how])).toContainEqual([
      'x.bias',
      'added',
    ])
    const before = read(base).get('x.bias')!.data
    expect([...read(at('biased-merged')).get('x.bias')!.data]).toEqual(
      Array.from(before, (w, i) => Math.fround(w + 1.5 * bias.data[i])),
    )
  })

  test('a single file becomes a single file', async () => {
    const file = join(base, 'model.safetensors')
    const adapter = adapterOf('of-file', { x: [6, 4] })
    const { output } = await applied([file, adapter, '-o', at('one.safetensors')])
    expect(output.files.map(({ name }: { name: string }) => name)).toEqual(['one.safetensors'])
    const delta = deltaOf([6, 4], 0)
    expect([...readSafetensorsFile(at('one.safetensors')).get('x.weight')!.data]).toEqual(
      Array.from(read(base).get('x.weight')!.data, (w, i) => Math.fround(w + delta(i))),
    )
    const own = await runInProcess(['apply', file, adapter, '-o', file, '--force', '-q'])
    expect([own.code, own.stderr]).toEqual([
      2,
      `lora-svd: --out ${file}: is what is read; name another file\n`,
    ])
  })

  test('a part that nothing reads makes the merge incomplete: exit code 1', async () => {
    const adapter = adapterOf(
      'ignored',
      { x: [6, 4] },
      { tensors: { [`${PEFT}x.lora_E`.replace('lora_E', 'lora_F')]: random([2, 1], 75) } },
    )
    const { ignored, holds } = await applied([base, adapter, '-o', at('ignored-merged')], { code: 1 })
    expect(holds).toBe(false)
    expect(ignored).toEqual([
      { adapter, name: `${PEFT}x.lora_F`, reason: 'a part of LoRA in a spelling that is not known' },
    ])
  })

  test('a copy of the base does no harm', async () => {
    const adapter = adapterOf(
      'copied',
      { x: [6, 4] },
      {
        tensors: { [`${PEFT}x.base_layer.weight`]: random([6, 4], 70, 'F32', 1) },
      },
    )
    expect((await applied([base, adapter, '-o', at('copied-merged')])).holds).toBe(true)
  })

  test('two that replace one tensor differently: --prefer says which', async () => {
    const [first, second] = [76, 77].map((seed) =>
      adapterOf(`replaces-${seed}`, {}, { tensors: { [`${PEFT}n.weight`]: random([4], seed) } }),
    )
    const refused = await runInProcess(['apply', base, first, second, '-o', at('which'), '-q'])
    expect(refused.code).toBe(2)
    expect(refused.stderr).toContain('say which one counts with --prefer first or --prefer last')
    for (const [prefer, seed] of [
      ['first', 76],
      ['last', 77],
    ] as const) {
      const out = at(`prefer-${prefer}`)
      await applied([base, first, second, '-o', out, '--prefer', prefer])
      expect([...read(out).get('n.weight')!.data]).toEqual(Array.from(random([4], seed).data))
    }
    await applied([base, first, first, '-o', at('same-twice')])
  })
})

describe('what rounding leaves', () => {
  test.each(Array.from({ length: 5 }, (_, i): [number] => [2 ** (-3 * i)]))(
    'of a change of %f of the weights’ size: told before and measured after agree',
    async (size) => {
      const [rows, columns] = [512, 192]
      const base = folderWith(at(`sized-${size}`), {
        'model.safetensors': fileOf({
          'layers.0.x.weight': random([rows, columns], 80, 'BF16', 1),
          'layers.1.x.weight': random([rows, columns], 81, 'BF16', 1),
        }),
      })
      const scale = size / Math.sqrt(4 / 27)
      const tensors = Object.fromEntries(
        [0, 1].flatMap((i): [string, Weights][] => [
          [`${PEFT}layers.${i}.x.lora_A.weight`, random([4, columns], 82 + i, 'F32', 1)],
          [`${PEFT}layers.${i}.x.lora_B.weight`, random([rows, 4], 84 + i, 'F32', scale)],
        ]),
      )
      const adapter = folderWith(at(`sized-adapter-${size}`), {
        'adapter_config.json': { peft_type: 'LORA', r: 4, lora_alpha: 4, target_modules: ['x'] },
        'adapter_model.safetensors': fileOf(tensors),
      })
      const { layers, totals, advice } = await applied([base, adapter, '-o', at(`sized-merged-${size}`)])
      for (const { gain, roundingError, expected } of [...layers, totals]) {
        expect(Math.abs(expected.gain - gain)).toBeLessThan(Math.max(0.02 * gain, 0.002))
        expect(Math.abs(expected.roundingError - roundingError)).toBeLessThan(0.02 * roundingError)
      }
      expect(advice.length > 0).toBe(totals.gain < 0.9)
      if (size === 2 ** -12) {
        expect(advice[0].text).toMatch(
          /^bf16 keeps .* % of what is added in layers 0–1: write --dtype f32, or keep the adapter$/,
        )
      }
    },
  )
})

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
    ['an old name', [base, adapter, '--ratios', '0.7'], /here that is --weights 0.7,0.3/],
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
      'entries of the tensor "x.weight" are past what f16 can hold; write --dtype bf16',
    )
    expect([existsSync(at('refused')), existsSync(at('refused.partial'))]).toEqual([false, false])
  })

  test('eight-bit floats are written only wider', async () => {
    const header = { 'x.weight': { dtype: 'F8_E4M3', shape: [6, 4], data_offsets: [0, 24] } }
    const { safetensorsFile } = await import('./files.ts')
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

test('the same bytes for 1 thread and for 4', async () => {
  // large enough for workers
  const size = 1536
  const base = folderWith(at('threads'), {
    'model.safetensors': fileOf({
      'x.weight': random([size, size], 1, 'BF16', 1),
      'y.weight': random([size, size], 2, 'BF16', 1),
    }),
  })
  const tensors = Object.fromEntries(
    ['x', 'y'].flatMap((name, i): [string, Weights][] => [
      [`${PEFT}${name}.lora_A.weight`, random([16, size], 3 + i)],
      [`${PEFT}${name}.lora_B.weight`, random([size, 16], 5 + i)],
    ]),
  )
  const adapter = folderWith(at('threads-adapter'), {
    'adapter_config.json': { peft_type: 'LORA', r: 16, lora_alpha: 16, target_modules: ['x', 'y'] },
    'adapter_model.safetensors': fileOf(tensors),
  })
  const documents = []
  for (const threads of ['1', '4']) {
    documents.push(await applied([base, adapter, '-o', at(`threads-${threads}`), '--threads', threads]))
  }
  const [one, four] = ['1', '4'].map((threads) =>
    readFileSync(join(at(`threads-${threads}`), 'model.safetensors')),
  )
  expect(one.equals(four)).toBe(true)
  expect(documents[0].layers).toEqual(documents[1].layers)
})

test('a base of links, as in the hub’s cache, becomes files', async () => {
  const snapshot = at('linked')
  mkdirSync(snapshot)
  for (const name of readdirSync(BASE)) symlinkSync(join(BASE, name), join(snapshot, name))
  const adapter = adapterOf('linked-adapter', { 'model.layers.0.self_attn.q_proj': [96, 96] })
  await applied([snapshot, adapter, '-o', at('linked-merged')])
  const found = weightsOf(at('linked-merged')).get('model.layers.1.self_attn.q_proj.weight')!.data
  expect(distance(found, weightsOf(BASE).get('model.layers.1.self_attn.q_proj.weight')!.data)).toBe(0)
})
