import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { obeyingPermissions } from '../obeying-permissions.ts'
import { type ErrorRow, testErrors } from './errors.ts'
import {
  extracted,
  type NewModel,
  type NewTensor,
  norm,
  tunedBy,
  weight,
  writeModel,
} from './extract-support.ts'
import { runCli, runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder()
const at = (...names: string[]) => join(folder, ...names)

/** A small pair: two layers, a norm, an embedding; each change is of rank 3. */
const before: Record<string, NewTensor> = {
  'model.embed_tokens.weight': weight([40, 24], 1),
  'model.layers.0.self_attn.q_proj.weight': weight([24, 24], 2),
  'model.layers.1.self_attn.q_proj.weight': weight([24, 24], 3),
  'model.norm.weight': weight([24], 4),
}
const after: Record<string, NewTensor> = {
  ...before,
  'model.layers.0.self_attn.q_proj.weight': tunedBy(before['model.layers.0.self_attn.q_proj.weight'], 3, 5),
  'model.layers.1.self_attn.q_proj.weight': tunedBy(before['model.layers.1.self_attn.q_proj.weight'], 3, 6),
}
const model = (name: string, tensors: NewModel, shards?: string[][]) =>
  writeModel(at(name), tensors, { config: { model_type: 'llama' }, ...(shards && { shards }) })
const without = (tensors: NewModel, name: string): NewModel =>
  Object.fromEntries(Object.entries(tensors).filter(([key]) => key !== name))
const Q0 = 'model.layers.0.self_attn.q_proj.weight'
const Q1 = 'model.layers.1.self_attn.q_proj.weight'

model('base', before)
model('tuned', after)
model('other-shape', { ...after, [Q1]: weight([24, 32], 7) })
model('other-model', {
  'encoder.block.0.attention.weight': weight([24, 24], 7),
  'encoder.norm.bias': weight([24], 8),
})
model('not-a-number', {
  ...after,
  [Q1]: { shape: [24, 24], data: Float32Array.from(after[Q1].data).fill(Number.NaN, 30, 32) },
})
model('infinite-base', {
  ...before,
  [Q0]: { shape: [24, 24], data: Float32Array.from(before[Q0].data).fill(Number.POSITIVE_INFINITY, 0, 1) },
})
model('whole-not-a-number', {
  ...after,
  'model.norm.weight': { shape: [24], data: new Float32Array(24).fill(Number.NaN) },
})
model('only-norm', { ...before, 'model.norm.weight': weight([24], 9) })
model('cut', after, [[Q0], Object.keys(after).filter((name) => name !== Q0)])
truncateSync(at('cut/model-2-of-2.safetensors'), 5000)
mkdirSync(at('escaping'))
writeFileSync(
  at('escaping/model.safetensors.index.json'),
  JSON.stringify({ weight_map: { a: '../base/model.safetensors' } }),
)
model('huge', {
  ...before,
  [Q0]: { shape: [24, 24], data: Float32Array.from(before[Q0].data, (x) => x * 1e12) },
})

/** One layer's q, k and v, which loaders load together. */
const attention = ['q', 'k', 'v'].map((part) => `model.layers.0.self_attn.${part}_proj.weight`)
const untuned = Object.fromEntries(attention.map((name, i) => [name, weight([24, 24], 900 + i)]))
const wholeGroup = Object.fromEntries(
  attention.map((name, i) => [name, tunedBy(untuned[name], 5, 910 + i)] as const),
)
model('untuned-group', untuned)
model('tuned-group', wholeGroup)
const [Q, K, V] = attention
model('torn-group', {
  ...wholeGroup,
  [V]: { shape: [24, 24], data: new Float32Array(24 * 24).fill(Number.NaN) },
})

mkdirSync(at('a-folder'))
writeFileSync(at('a-folder/thesis.tex'), 'important')
writeFileSync(at('a-file'), 'important')
mkdirSync(at('half-adapter'))
writeFileSync(at('half-adapter/adapter_config.json'), '{}')
writeFileSync(at('half-adapter/thesis.tex'), 'important')
symlinkSync('/nowhere', at('dangling'))
mkdirSync(at('taken.partial'))
writeFileSync(at('taken.partial/thesis.tex'), 'important')
await extracted(at('base'), at('tuned'), at('adapter'), ['--rank=3'])
const contents = () => readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()
const untouched = contents()

/** An extraction of these two into `new`, all else being right. */
let outputs = 0
const pair = (base: string, tuned: string, ...more: string[]) => [
  ...['extract', base, tuned],
  ...(more.includes('-o') ? [] : ['-o', `new-${outputs++}`]),
  ...(more.some((arg) => /^--(rank|energy|error|budget|noise-floor)/.test(arg)) ? [] : ['--rank=3']),
  ...more,
]
const refused = (args: string[], says: string, more: Partial<ErrorRow> = {}): ErrorRow => ({
  args,
  says,
  kind: 'bad-input',
  ...more,
})

testErrors('inputs that are refused', folder, [
  refused(
    pair('base', 'base'),
    'base: every tensor is equal to that of base: there is nothing to extract; are they the right two?',
    { file: 'base' },
  ),
  refused(
    pair('base', 'only-norm'),
    'only-norm: nothing that changed can be factored: "model.norm.weight": not a matrix: a norm, a bias or a number; --carry-rest stores it whole, --embeddings factors embeddings',
    { file: 'only-norm' },
  ),
  refused(
    pair('base', 'other-shape'),
    `other-shape: tensor "${Q1}" is of another shape: [24, 24] in base, [24, 32] in other-shape; are the two of one architecture? --exclude leaves a tensor out`,
    { file: 'other-shape', tensor: Q1 },
  ),
  refused(
    pair('base', 'not-a-number'),
    `not-a-number: tensor "${Q1}" has the entry NaN at row 2, column 7, the first of 2; mend the checkpoint, or leave the tensor out with --exclude`,
    { kind: 'not-finite', file: 'not-a-number', tensor: Q1 },
  ),
  refused(
    pair('infinite-base', 'tuned'),
    `infinite-base: tensor "${Q0}" has the entry Infinity at row 1, column 1; mend the checkpoint, or leave the tensor out with --exclude`,
    { kind: 'not-finite', file: 'infinite-base', tensor: Q0 },
  ),
  refused(
    pair('base', 'adapter'),
    'adapter: is an adapter; name the weights that it was put into, or those it came from',
    { file: 'adapter' },
  ),
  refused(
    pair('adapter', 'tuned'),
    'adapter: is an adapter; name the weights that it was put into, or those it came from',
    { file: 'adapter' },
  ),
  refused(pair('base', 'gone'), 'gone: no such file; check the path', { file: 'gone' }),
  refused(
    pair('base', 'tuned', '--save-full=lm_haed'),
    'tuned: --save-full "lm_haed": there is no such module',
    { file: 'tuned' },
  ),
  refused(
    pair('base', 'huge', '--dtype=f16'),
    `tensor "${Q0}": its factor A has an entry of -3.58e+5, too large for f16; use --dtype bf16 or f32`,
    { tensor: Q0 },
  ),
  refused(
    pair('base', 'other-model'),
    'other-model: has no tensor of the same name as base ("encoder.block.0.attention.weight" here, "model.embed_tokens.weight" there): are they the same architecture, in the same format?',
    { file: 'other-model' },
  ),
  refused(
    pair('base', 'cut'),
    'cut/model-2-of-2.safetensors: the file has 4731 bytes of data, the header speaks of 6240: it is cut off; fetch it again',
    { file: 'cut/model-2-of-2.safetensors' },
  ),
  refused(
    pair('base', 'escaping'),
    'escaping/model.safetensors.index.json: is no right index: the shard "../base/model.safetensors" of tensor "a" is no plain file name at character 47; correct it or fetch it again',
    { file: 'escaping/model.safetensors.index.json' },
  ),
  refused(
    pair('base', 'whole-not-a-number'),
    'whole-not-a-number: tensor "model.norm.weight" has the entry NaN at place 1 of 24; mend the checkpoint, or leave the tensor out with --exclude',
    { kind: 'not-finite', file: 'whole-not-a-number', tensor: 'model.norm.weight' },
  ),
  refused(
    pair('whole-not-a-number', 'tuned'),
    'whole-not-a-number: tensor "model.norm.weight" has the entry NaN at place 1 of 24; mend the checkpoint, or leave the tensor out with --exclude',
    { kind: 'not-finite', file: 'whole-not-a-number', tensor: 'model.norm.weight' },
  ),
  refused(
    pair('base', 'whole-not-a-number', '--carry-rest'),
    'whole-not-a-number: tensor "model.norm.weight" has the entry NaN at place 1 of 24; mend the checkpoint, or leave the tensor out with --exclude',
    { kind: 'not-finite', file: 'whole-not-a-number', tensor: 'model.norm.weight' },
  ),
])

testErrors('outputs that are refused', folder, [
  refused(pair('base', 'tuned', '-o', 'adapter'), 'adapter: exists already; add --force to replace it', {
    kind: 'output-exists',
    file: 'adapter',
  }),
  refused(pair('base', 'tuned', '-o', 'adapter//'), 'adapter: exists already; add --force to replace it', {
    kind: 'output-exists',
    file: 'adapter',
  }),
  refused(
    pair('base', 'tuned', '-o', 'a-folder', '--force'),
    "a-folder: is no adapter's folder (it holds thesis.tex), and --force replaces only those; write to another --out",
    { file: 'a-folder' },
  ),
  refused(
    pair('base', 'tuned', '-o', 'half-adapter', '--force'),
    "half-adapter: is no adapter's folder (it holds thesis.tex), and --force replaces only those; write to another --out",
    { file: 'half-adapter' },
  ),
  refused(pair('base', 'tuned', '-o', 'a-file', '-f'), 'a-file: is a file; name a folder for the adapter', {
    file: 'a-file',
  }),
  refused(
    pair('base', 'tuned', '-o', 'dangling', '-f'),
    "dangling: can't replace the link: no such file or folder (ENOENT)",
    { file: 'dangling' },
  ),
  refused(
    pair('base', 'tuned', '-o', 'base/adapter'),
    'base/adapter: lies in base, an input; write the adapter somewhere else',
    { file: 'base/adapter' },
  ),
  refused(
    pair('base', 'tuned', '-o', 'tuned', '-f'),
    'tuned: lies in tuned, an input; write the adapter somewhere else',
    {
      file: 'tuned',
    },
  ),
  refused(
    pair('base', 'tuned', '-o', 'no/adapter'),
    `no/adapter: the folder ${at('no')} does not exist; create it first (mkdir -p)`,
    { file: 'no/adapter' },
  ),
  refused(
    pair('base', 'tuned', '-o', 'taken'),
    'taken.partial: unfinished runs keep their results in a folder of this name, and it holds "thesis.tex", which is none; move it, or write to another --out',
    { file: 'taken.partial' },
  ),
  refused(
    pair('base', 'tuned', '-o', 'taken', '--restart'),
    'taken.partial: unfinished runs keep their results in a folder of this name, and it holds "thesis.tex", which is none; move it, or write to another --out',
    { file: 'taken.partial' },
  ),
  { args: pair('base', 'tuned', '-o', ''), says: '--out is empty: name a folder or a file' },
  {
    args: pair('base', '-'),
    says: "<tuned>: standard input and output can't be read back; name a folder or a file",
  },
  {
    args: ['extract', 'base', 'tuned', '-o', 'new'],
    says: 'no rank rule: give one of --rank 16, --energy 0.99, --error 0.05, --budget 40MiB, --noise-floor',
  },
  {
    args: pair('base', 'tuned', '--rank=3', '--noise-floor'),
    says: '--rank, --noise-floor each choose the rank: give only one of them',
  },
])

test('after all of these nothing was written, and nothing replaced', () => {
  expect(contents()).toEqual(untouched)
  expect(readFileSync(at('a-folder/thesis.tex'), 'utf8')).toBe('important')
})

const document = (base: string, tuned: string, out: string, ...args: string[]) =>
  extracted(at(base), at(tuned), at(out), ['--rank=3', ...args])

describe.concurrent('inputs that are understood', () => {
  test('an existing adapter, with --force: replaced as a whole; a slash at its end is nothing', async () => {
    await document('base', 'tuned', 'again')
    writeFileSync(at('again/tokenizer.json'), 'put there by PEFT')
    const { code } = await runInProcess(
      ['extract', 'base', 'tuned', '-o', 'again/', '--rank=2', '--force', '-q', '--exclude=*.0.*'],
      { cwd: folder },
    )
    expect(code).toBe(0)
    expect(readdirSync(at('again'))).toEqual([
      'README.md',
      'adapter_config.json',
      'adapter_model.safetensors',
    ])
    expect(JSON.parse(readFileSync(at('again/adapter_config.json'), 'utf8')).r).toBe(2)
    expect(readdirSync(folder).filter((name) => name.startsWith('again'))).toEqual(['again'])
  })

  test('an output in the working folder itself', async () => {
    cpSync(at('adapter'), at('here'), { recursive: true })
    const args = ['extract', '../base', '../tuned', '-o', '.', '--rank=2', '-q']
    expect((await runInProcess(args, { cwd: at('here') })).stderr).toMatch(
      /here: exists already; add --force/,
    )
    expect((await runInProcess([...args, '--force'], { cwd: at('here') })).code).toBe(0)
    expect(readdirSync(at('here'))).toHaveLength(3)
    expect(existsSync(at('here.partial'))).toBe(false)
  })

  test('no permission in the parent folder: 3, before anything is read', async () => {
    mkdirSync(at('read-only'), { mode: 0o555 })
    const { code, stderr } = await runCli(
      ['extract', at('base'), at('tuned'), '-o', at('read-only/new'), '--rank=2'],
      { through: obeyingPermissions },
    )
    expect(stderr).toMatch(/^lora-svd: .*new: can't write in the folder .*: permission denied \(EACCES\)\n$/)
    expect(code).toBe(3)
  })

  test('a tensor that only one has, or of which one has more words: it counts, and the exit code is 1', async () => {
    const grown = weight([44, 24], 1)
    model('grown', {
      ...without(after, Q1),
      'model.embed_tokens.weight': grown,
      'extra.weight': weight([8, 8], 12),
    })
    const args = ['--rank=3']
    const { notCarried, layers, totals, verdict, holds } = await extracted(
      at('base'),
      at('grown'),
      at('from-grown'),
      args,
      { code: 1 },
    )
    expect(layers.map(({ name }: { name: string }) => name)).toEqual([Q0])
    expect(notCarried.map(({ name, reason }: Record<string, string>) => [name, reason])).toEqual([
      ['extra.weight', 'only in the tuned model'],
      ['model.embed_tokens.weight', 'the vocabulary has grown'],
      [Q1, 'only in the base'],
    ])
    const size = ({ data }: NewTensor) => norm(data as Float32Array)
    const newRows = norm((grown.data as Float32Array).subarray(40 * 24))
    const added = [weight([8, 8], 12), before[Q1]].map(size)
    expect(notCarried.map(({ deltaFrobenius }: Record<string, number>) => deltaFrobenius)).toEqual(
      [added[0], newRows, added[1]].map((x) => expect.closeTo(x, 5)),
    )
    const [{ frobenius, relativeError }] = layers
    const lost = Math.hypot(added[0], newRows, added[1])
    const whole = Math.hypot(frobenius * relativeError, lost) / Math.hypot(frobenius, lost)
    expect(totals).toMatchObject({ matched: 3, unmatched: 2, wholeRelativeError: expect.closeTo(whole, 6) })
    expect(verdict).toMatch(/; only 3 of 5 tensors \(60 %\) have their counterpart in the other model$/)
    expect(holds).toBe(false)
    // whole they can be carried, but for what the tuned model hasn't
    const carry = [...args, '--carry-rest']
    const carried = await extracted(at('base'), at('grown'), at('from-grown-whole'), carry, { code: 1 })
    expect(carried.saved.map(({ name }: { name: string }) => name)).toEqual([
      'model.embed_tokens.weight',
      'extra.weight',
    ])
    expect(carried.totals).toMatchObject({ matched: 4, unmatched: 1 })
    const left = await extracted(at('base'), at('grown'), at('from-grown-left'), [
      ...carry,
      `--exclude=${Q1}`,
    ])
    expect(left.notCarried).toMatchObject([{ name: Q1, reason: 'left out by --include/--exclude' }])
    expect(left.totals).toMatchObject({ matched: 4, unmatched: 0 })
  })

  test('identical bytes are not read into layers: only what changed is', async () => {
    const { layers, unchanged } = await document('base', 'tuned', 'unchanged')
    expect(layers).toHaveLength(2)
    expect(unchanged).toEqual(['model.embed_tokens.weight', 'model.norm.weight'])
  })

  test('changes of rank 3 asked at rank 8: they end at 3, with nothing left', async () => {
    const { layers, verdict } = await document('base', 'tuned', 'low', '--rank=8')
    for (const { rank, storedRank, relativeError } of layers) {
      expect([rank, storedRank]).toEqual([3, 3])
      expect(relativeError).toBeLessThan(1e-5)
    }
    expect(verdict).toMatch(/^low-rank: rank 3 keeps/)
  })

  test('two models that are not related: extracted, with the verdict that they are not', async () => {
    model(
      'unrelated',
      Object.fromEntries(Object.entries(before).map(([name, { shape }], i) => [name, weight(shape, 50 + i)])),
    )
    const { verdict } = await document('base', 'unrelated', 'from-unrelated')
    expect(verdict).toMatch(
      /^not low-rank: these two are not related \(relative change 1\.\d+\): the adapter can't/,
    )
  })

  test('a tensor of NaN can be left out', async () => {
    const { layers } = await document('base', 'not-a-number', 'left-out', `--exclude=${Q1}`)
    expect(layers.map(({ name }: { name: string }) => name)).toEqual([Q0])
  })

  test('the zeros that complete a group count in no error of the layers, and what is left out has its change', async () => {
    const { layers, totals, notCarried } = await document(
      'untuned-group',
      'tuned-group',
      'one-of-group',
      '--include=*q_proj*',
    )
    expect(layers.map(({ name }: { name: string }) => name)).toEqual([Q])
    expect(totals.relativeError).toBeCloseTo(layers[0].relativeError, 12)
    expect(totals.relativeError).toBeLessThan(0.9)
    for (const name of [K, V]) {
      const [before, after] = [untuned[name].data, wholeGroup[name].data]
      const change =
        norm(Array.from(after, (x, i) => Math.fround(x) - Math.fround(before[i]))) /
        norm(Array.from(before, Math.fround))
      const { reason, relativeChange } = notCarried.find((one: { name: string }) => one.name === name)
      expect(reason).toBe('left out by --include/--exclude')
      expect(relativeChange).toBeCloseTo(change, 6)
    }
  })

  test('one of a group with NaN can be left out', async () => {
    const { layers } = await document('untuned-group', 'torn-group', 'torn', `--exclude=${V}`)
    expect(layers.map(({ name }: { name: string }) => name).sort()).toEqual([K, Q])
  })

  test('after a refusal the mended command is no other run', async () => {
    const args = ['extract', 'base', 'not-a-number', '-o', 'mended', '--rank=3', '-q']
    expect((await runInProcess(args, { cwd: folder })).code).toBe(2)
    expect((await runInProcess([...args, `--exclude=${Q1}`], { cwd: folder })).code).toBe(0)
  })
})

describe.concurrent('--dry-run', () => {
  test.for([
    ['--rank=2'],
    ['--rank=3', '--layout=pattern', '--dtype=bf16'],
    ['--rank=1', '--embeddings', '--carry-rest', '--min-rank=2'],
  ])('%s: writes nothing, and says the exact bytes', async (args) => {
    const out = at(`dry${args.join('')}`)
    const command = ['extract', at('base'), at('tuned'), '-o', out, ...args]
    const dry = documentOf((await runInProcess([...command, '--dry-run', '--json'])).stdout, 'extract-plan-1')
    expect(readdirSync(folder).filter((name) => name.startsWith('dry'))).not.toContain(out)
    expect(existsSync(out) || existsSync(`${out}.partial`)).toBe(false)
    const real = documentOf((await runInProcess([...command, '--json'])).stdout, 'extract-1')
    expect(dry.output.bytes).toBe(real.output.bytes)
    expect(dry.layers.map(({ name, rank }: Record<string, unknown>) => [name, rank])).toEqual(
      real.layers.map(({ name, rank }: Record<string, unknown>) => [name, rank]),
    )
    expect(real.output.bytes).toBe(
      readdirSync(out).reduce((sum, name) => sum + readFileSync(join(out, name)).length, 0),
    )
  })

  test('as a table', async () => {
    const { stdout, code } = await runInProcess(
      ['extract', 'base', 'tuned', '-o', 'dry', '--rank=3', '--dry-run'],
      {
        cwd: folder,
      },
    )
    expect(code).toBe(0)
    expect(stdout).toMatch(
      /^lora-svd extract --dry-run: tuned − base\nfrom headers and equal bytes; nothing was computed/,
    )
    expect(stdout).toMatch(/size +│ .* \([\d,]+ bytes\) in all/)
  })
})
