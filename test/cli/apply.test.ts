import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import {
  adapterAt,
  applied,
  deltaOf,
  distance,
  fileOf,
  folderWith,
  jsonOf,
  PEFT,
  random,
  read,
  rounded,
  type Weights,
} from './apply-support.ts'
import { BASE, extracted, TUNED, TUNED_BF16, weightsOf } from './extract-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder('apply')
const at = (name: string) => join(folder, name)
const adapterOf = (name: string, ...rest: Rest<Parameters<typeof adapterAt>>) => adapterAt(at(name), ...rest)
type Rest<T extends unknown[]> = T extends [unknown, ...infer R] ? R : never

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
    expect(readFileSync(join(out, 'README.md'), 'utf8')).toMatch(
      /^---\n# base_model: .*\nbase_model_relation: merge\n/,
    )
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

  test('a head that the base lacks is written beside the rest, and it says so', async () => {
    const head = random([3, 4], 78)
    const adapter = adapterOf('classifier', { x: [6, 4] }, { tensors: { [`${PEFT}score.weight`]: head } })
    const { layers, warnings } = await applied([base, adapter, '-o', at('classifier-merged')])
    expect(layers.map(({ name, how }: { name: string; how: string }) => [name, how])).toContainEqual([
      'score.weight',
      'new',
    ])
    expect(warnings.at(-1)).toContain('brings "score.weight", a head that')
    expect([...read(at('classifier-merged')).get('score.weight')!.data]).toEqual(Array.from(head.data))
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
      const args = ['apply', base, adapter, '-o', at(`sized-merged-${size}`), '--json']
      const { stdout, stderr } = await runInProcess(args)
      const { layers, totals, advice } = documentOf(stdout, 'apply-1')
      for (const { gain, roundingError, expected } of [...layers, totals]) {
        expect(Math.abs(expected.gain - gain)).toBeLessThan(Math.max(0.02 * gain, 0.002))
        expect(Math.abs(expected.roundingError - roundingError)).toBeLessThan(0.02 * roundingError)
      }
      expect(advice.length > 0).toBe(totals.gain < 0.9)
      expect(/\(told by a sample, before the write\)\n$/.test(stderr)).toBe(totals.gain < 0.9)
      if (size === 2 ** -12) {
        expect(advice[0].text).toMatch(
          /^bf16 keeps .* % of what is added in layers 0–1: write --dtype f32, or keep the adapter$/,
        )
      }
    },
  )
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

test('the card names the model by its name on the hub, where that is known', async () => {
  const snapshot = at('hub/models--org--digits/snapshots/1')
  cpSync(BASE, snapshot, { recursive: true })
  const adapter = adapterOf('hub-adapter', { 'model.layers.0.self_attn.q_proj': [96, 96] })
  const env = { HF_HUB_CACHE: at('hub') }
  await applied(['org/digits', adapter, '-o', at('hub-merged')], { env })
  await applied([snapshot, adapter, '-o', at('folder-merged')])
  cpSync(BASE, at('elsewhere/digits'), { recursive: true })
  await applied([at('elsewhere/digits'), adapter, '-o', at('own-merged')])
  const cards = ['hub-merged', 'folder-merged', 'own-merged'].map((name) =>
    readFileSync(join(at(name), 'README.md'), 'utf8'),
  )
  for (const card of cards.slice(0, 2))
    expect(card).toContain('base_model: "org/digits"\nbase_model_relation: merge\n')
  expect(cards[2]).not.toMatch(/^base_model: /m)
  expect(cards.map((card) => card.includes(folder))).toEqual([false, false, false])
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
