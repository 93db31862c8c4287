import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { type ErrorRow, testErrors } from './errors.ts'
import { type NewModel, norm, numbers, ROUNDING, weight, writeModel } from './extract-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder()
const at = (...names: string[]) => join(folder, ...names)
const peft = fileURLToPath(new URL('../fixtures/peft', import.meta.url))

async function verified(adapter: string, base: string, tuned: string, args: readonly string[] = []) {
  const { code, stdout, stderr } = await runInProcess(['verify', adapter, base, tuned, '--json', ...args], {
    cwd: folder,
  })
  expect(stderr).toBe('')
  return { code, document: documentOf(stdout, 'verify-1') }
}

/** Writes an adapter of these factors, with what else its config says. Gives its folder. */
function adapterOf(name: string, tensors: NewModel, config: object = {}): string {
  writeModel(at(name), tensors)
  writeFileSync(
    at(name, 'adapter_config.json'),
    JSON.stringify({ peft_type: 'LORA', r: 2, lora_alpha: 4, target_modules: ['fc', 'out'], ...config }),
  )
  renameSync(at(name, 'model.safetensors'), at(name, 'adapter_model.safetensors'))
  return at(name)
}

const W = weight([6, 5], 1)
const [B, A] = [numbers(12, 2), numbers(10, 3)]
/** W and so many times B·A. */
const moved = (scale: number) => ({
  shape: W.shape,
  data: Float64Array.from(W.data, (value, index) => {
    const [i, j] = [Math.floor(index / 5), index % 5]
    return value + scale * (B[2 * i] * A[j] + B[2 * i + 1] * A[5 + j])
  }),
})
const factors = (stem: string, [a, b] = ['lora_A.weight', 'lora_B.weight']): NewModel => ({
  [`${stem}.${a}`]: { shape: [2, 5], data: A },
  [`${stem}.${b}`]: { shape: [6, 2], data: B },
})
const FC = 'base_model.model.blocks.0.fc'
writeModel(at('base'), { 'blocks.0.fc.weight': W, 'blocks.0.out.weight': weight([4, 4], 5) })
writeModel(at('tuned'), { 'blocks.0.fc.weight': moved(2), 'blocks.0.out.weight': weight([4, 4], 5) })
adapterOf('plain', factors(FC))

describe.concurrent('anyone’s adapters', () => {
  test.for([
    ['conv1d', 2],
    ['convolutions', 3],
    ['embedding', 3],
    ['experts', 8],
    ['experts-transposed', 3],
    ['patterns', 6],
    ['plain', 4],
    ['regex', 4],
    ['rslora', 2],
    ['saved', 2],
  ] as const)('PEFT’s own %s reproduces what PEFT merged', async ([name, least]) => {
    const [base, merged] = ['base', 'merged'].map((file) => join(peft, name, `${file}.safetensors`))
    const { code, document } = await verified(join(peft, name), base, merged, ['--max-error=1e-6'])
    expect(code).toBe(0)
    expect(document.holds).toBe(true)
    expect(document.layers.length).toBeGreaterThanOrEqual(least)
    expect(document.notCarried).toEqual([])
    expect(document.totals.wholeRelativeError).toBeLessThan(ROUNDING)
    if (name === 'saved') expect(document.replaced.length).toBeGreaterThan(0)
  })

  test.for([
    ['old names with .default.', factors(FC, ['lora_A.default.weight', 'lora_B.default.weight']), {}],
    ['names without a prefix', factors('blocks.0.fc'), {}],
    ['a rank-stabilised scale', factors(FC), { use_rslora: true, lora_alpha: 2 * Math.SQRT2 }],
    [
      'ranks and scales by pattern',
      factors(FC),
      { r: 8, lora_alpha: 1, rank_pattern: { fc: 2 }, alpha_pattern: { '^blocks.0.fc': 4 } },
    ],
    [
      'float64 factors',
      Object.fromEntries(
        Object.entries(factors(FC)).map(([name, one]) => [name, { ...one, dtype: 'F64' }]),
      ) as NewModel,
      {},
    ],
  ] as const)('%s', async ([name, tensors, config]) => {
    const { document } = await verified(adapterOf(`peft ${name}`, tensors, config), 'base', 'tuned')
    expect(document.layers).toHaveLength(1)
    expect(document.layers[0]).toMatchObject({ name: 'blocks.0.fc.weight', shape: [6, 5], rank: 2 })
    expect(document.layers[0].scale).toBeCloseTo(2, 12)
    expect(document.layers[0].relativeError).toBeLessThan(ROUNDING)
    expect(document.unchanged).toEqual(['blocks.0.out.weight'])
  })

  test('a file of kohya’s, with its alpha and without', async () => {
    const stem = 'lora_unet_blocks_0_fc'
    const kohya = factors(stem, ['lora_down.weight', 'lora_up.weight'])
    writeModel(at('kohya'), { ...kohya, [`${stem}.alpha`]: { shape: [], data: [4] } })
    writeModel(at('kohya-bare'), kohya)
    const said = await verified('kohya/model.safetensors', 'base', 'tuned')
    expect(said.document.layers[0].relativeError).toBeLessThan(ROUNDING)
    const bare = await verified('kohya-bare/model.safetensors', 'base', 'tuned')
    // B·A once where twice is right: half of the change is left
    expect(bare.document.layers[0].relativeError).toBeCloseTo(0.5, 5)
    const told = await verified('kohya-bare/model.safetensors', 'base', 'tuned', ['--alpha=4'])
    expect(told.document.layers[0].relativeError).toBeLessThan(ROUNDING)
  })

  test('a wrong scale shows, and --max-error makes it the exit code', async () => {
    const wrong = adapterOf('wrong', factors(FC), { lora_alpha: 3 })
    // 1.5 times where 2 is right
    const { code, document } = await verified(wrong, 'base', 'tuned', ['--max-error=0.2'])
    expect(code).toBe(1)
    expect(document.holds).toBe(false)
    expect(document.worst.name).toBe('blocks.0.fc.weight')
    expect(document.worst.relativeError).toBeCloseTo(0.25, 5)
    expect((await verified(wrong, 'base', 'tuned', ['--max-error=0.26'])).code).toBe(0)
    expect(
      await runInProcess(['verify', wrong, 'base', 'tuned', '--max-error=0.2', '-q'], { cwd: folder }),
    ).toMatchObject({
      code: 1,
      stdout: '',
      stderr: '',
    })
  })

  test('factors where nothing changed: an error without bound, with the reason', async () => {
    const { code, document } = await verified('plain', 'base', 'base', ['--max-error=1'])
    expect(code).toBe(1)
    expect(document.layers[0]).toMatchObject({
      relativeError: null,
      reason: 'base and tuned are equal here, and the adapter changes it',
    })
  })

  test('what the adapter does not carry is listed with its change', async () => {
    const out = weight([4, 4], 9)
    writeModel(at('more'), { 'blocks.0.fc.weight': moved(2), 'blocks.0.out.weight': out })
    const { document } = await verified('plain', 'base', 'more')
    const before = weight([4, 4], 5).data
    const change =
      norm(Float64Array.from(out.data, (value, i) => value - before[i])) / norm(Array.from(before))
    expect(document.notCarried).toEqual([
      {
        name: 'blocks.0.out.weight',
        reason: 'the adapter has no factors for it',
        relativeChange: expect.closeTo(change, 5),
        deltaFrobenius: expect.any(Number),
      },
    ])
    expect(document.totals.relativeError).toBeLessThan(ROUNDING)
    expect(document.totals.wholeRelativeError).toBeGreaterThan(0.05)
    const included = await verified('plain', 'base', 'more', ['--include=*.fc.*'])
    expect(included.document.notCarried).toEqual([])
  })

  test('as a table', async () => {
    const { code, stdout } = await runInProcess(['verify', 'plain', 'base', 'tuned'], { cwd: folder })
    expect(code).toBe(0)
    expect(stdout).toMatch(/^lora-svd verify: plain against tuned − base\n1 layer · /)
    expect(stdout).toMatch(/carried +│ 1 layer +│/)
  })
})

writeModel(at('small'), { 'blocks.0.fc.weight': weight([3, 3], 1) })
writeModel(at('stranger'), { 'encoder.weight': weight([3, 3], 1) })
writeModel(at('nan-base'), { 'blocks.0.fc.weight': { ...W, data: new Float32Array(30).fill(Number.NaN) } })
adapterOf(
  'dora',
  { ...factors(FC), [`${FC}.lora_magnitude_vector`]: { shape: [6], data: numbers(6, 1) } },
  { use_dora: true },
)
adapterOf('pissa', factors(FC), { init_lora_weights: 'pissa_niter_4' })
adapterOf('nan', {
  ...factors(FC),
  [`${FC}.lora_A.weight`]: { shape: [2, 5], data: Float32Array.from(A).fill(Number.NaN, 7, 8) },
})
adapterOf('torn', { [`${FC}.lora_A.weight`]: { shape: [2, 5], data: A } })
adapterOf('other-method', factors(FC), { peft_type: 'OFT' })
mkdirSync(at('empty'))

const refused = (args: string[], says: string, more: Partial<ErrorRow> = {}): ErrorRow => ({
  args: ['verify', ...args],
  says,
  kind: 'bad-input',
  file: args[0],
  ...more,
})

testErrors('adapters that are refused', folder, [
  refused(
    ['dora', 'base', 'tuned'],
    'dora: the module "blocks.0.fc" is DoRA, whose change is more than scale·B·A; merge it into the base and inspect that',
  ),
  refused(
    ['pissa', 'base', 'tuned'],
    'pissa: init_lora_weights is "pissa_niter_4", so that its training began from another base; convert it with PEFT\'s save_pretrained(path_initial_model_for_weight_conversion=…) first',
  ),
  refused(
    ['plain', 'small', 'small'],
    `plain: tensors "${FC}.lora_A.weight" [2, 5] and "${FC}.lora_B.weight" [6, 2] don't fit the base's "blocks.0.fc.weight" [3, 3]: the adapter belongs to another base`,
    { tensor: `${FC}.lora_A.weight` },
  ),
  refused(
    ['plain', 'stranger', 'stranger'],
    'plain: the module "blocks.0.fc" can\'t be applied to stranger: no tensor of the base has this name',
    { tensor: `${FC}.lora_A.weight` },
  ),
  refused(['base', 'base', 'tuned'], 'base: is no adapter: none of its tensors is a LoRA factor'),
  refused(
    ['nan', 'base', 'tuned'],
    `nan: tensor "${FC}.lora_A.weight" has the entry NaN at row 2, column 3; mend the checkpoint, or leave the tensor out with --exclude`,
    { kind: 'not-finite', tensor: `${FC}.lora_A.weight` },
  ),
  refused(
    ['plain', 'base', 'nan-base'],
    'nan-base: tensor "blocks.0.fc.weight" has the entry NaN at row 1, column 1, the first of 30; mend the checkpoint, or leave the tensor out with --exclude',
    {
      kind: 'not-finite',
      file: 'nan-base',
      tensor: 'blocks.0.fc.weight',
    },
  ),
  refused(
    ['torn', 'base', 'tuned'],
    `torn: module "blocks.0.fc" has the factor A (down) in "${FC}.lora_A.weight", but no B (up): the file is incomplete`,
    { tensor: `${FC}.lora_A.weight` },
  ),
  refused(
    ['other-method', 'base', 'tuned'],
    `${at('other-method/adapter_config.json')}: is a "OFT" adapter; only LORA, LOHA and LOKR are read`,
    { file: at('other-method/adapter_config.json') },
  ),
  refused(['gone', 'base', 'tuned'], 'gone: no such file; check the path'),
  { args: ['verify', '', 'base', 'tuned'], says: '<adapter> is empty: name a folder or a file' },
  { args: ['verify', '-', '-', 'tuned'], says: 'standard input is one file: name the others' },
])
