import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  combined,
  densesOf,
  namesIn,
  openAdapter,
  refused,
  type Tensors,
  tensorOf,
  weightedSum,
  writeBase,
  writePeft,
  writeTensors,
} from '../combine/support.ts'
import { distance } from '../lora/goldens.ts'
import type { TestTensor } from '../lora/support.ts'
import { numbers } from '../lora/write-support.ts'
import { obeyingPermissions } from '../obeying-permissions.ts'
import { temporaryFolder } from '../temporary.ts'
import { runCli, runInProcess } from './run.ts'

const folder = temporaryFolder()
const at = (...names: string[]) => join(folder, ...names)
let count = 0
const fresh = (end = '') => at(`out-${count++}${end}`)
/** What float32 leaves of an exact sum. */
const ROUNDING = 1e-6

const random = (shape: readonly number[], seed: number, dtype?: TestTensor['dtype']): TestTensor => ({
  shape,
  ...(dtype !== undefined && { dtype }),
  data: numbers(
    shape.reduce((product, n) => product * n, 1),
    seed,
  ),
})
const pair = (stem: string, rank: number, seed: number, [out, columns] = [6, 5]): Tensors => ({
  [`${stem}.lora_A.weight`]: random([rank, columns], seed),
  [`${stem}.lora_B.weight`]: random([out, rank], seed + 1),
})
const P = 'base_model.model.'
const FC = `${P}blocks.0.fc`
const OUT = `${P}blocks.0.out`
const peft = (seed: number, config: object = {}, more: Tensors = {}) =>
  writePeft(fresh(), { ...pair(FC, 2, seed), ...more }, config)
const kohyaPair = (stem: string, rank: number, seed: number): Tensors => ({
  [`${stem}.lora_down.weight`]: random([rank, 5], seed),
  [`${stem}.lora_up.weight`]: random([6, rank], seed + 1),
  [`${stem}.alpha`]: { shape: [], data: Float64Array.of(1) },
})
const kohya = (seed: number, more: Tensors = {}, stem = 'lora_unet_blocks_0_fc') =>
  writeTensors(fresh('.safetensors'), { ...kohyaPair(stem, 2, seed), ...more })
const comfy = (seed: number, more: Tensors = {}) =>
  writeTensors(fresh('.safetensors'), { ...pair('diffusion_model.blocks.0.fc', 2, seed), ...more })

const merged = (out: string, ...args: string[]) => combined('merge', [...args, '-o', out])
const configOf = (path: string) => JSON.parse(readFileSync(join(path, 'adapter_config.json'), 'utf8'))
const entries = () => readdirSync(folder).sort()

async function refusal(args: readonly string[]): Promise<string> {
  const before = entries()
  const said = await refused(['merge', ...args], { cwd: folder })
  expect(entries()).toEqual(before)
  return said.replaceAll(`${folder}/`, '')
}

describe('refusals', () => {
  test('weights', async () => {
    const [a, b] = [await peft(1), await peft(5)]
    const out = ['-o', at('no')]
    expect(await refusal([a, b, ...out, '--weights=1'])).toMatch(
      /--weights has 1 for 2 adapters: give one for each, as in --weights 0\.7,0\.3/,
    )
    expect(await refusal([a, ...out, '--weights=1,2'])).toMatch(/--weights has 2 for 1 adapters/)
    for (const wrong of ['1,0', '1,NaN', '1,', 'a,b', '1;2', '1,Infinity', '', '1,1e999']) {
      expect(await refusal([a, b, ...out, `--weights=${wrong}`]), wrong).toMatch(
        /expected numbers other than 0/,
      )
    }
    expect(await refusal([a, b, ...out, '--ratios', '1,2'])).toMatch(/--ratios.* here it is --weights w1,w2/)
    expect(await refusal([a, b, ...out, '--concat'])).toMatch(/here it is what is always done/)
    expect(await refusal([a, b])).toMatch(/--out/)
    expect(await refusal(out)).toMatch(/adapters/)
    expect(await refusal([a, '', ...out])).toMatch(/<adapter> is empty/)
  })

  test('a limit without a rule, which would limit nothing', async () => {
    const [a, b] = [await peft(1), await peft(5)]
    for (const limit of ['--max-rank=2', '--min-rank=2', '--multiple-of=4']) {
      expect(await refusal([a, b, '-o', at('no'), limit])).toMatch(/limits what a rank rule chooses/)
    }
    const limited = ['merge', a, b, '--max-rank=3', '--error=1e-3', '-o', fresh()]
    const { stdout, code } = await runInProcess(limited, { columns: 200 })
    expect(code).toBe(1)
    expect(stdout).toMatch(
      /Not kept: the error that was asked, in 1 layer.* a larger --max-rank, or no --multiple-of, holds it/,
    )
  })

  test('no adapter, an output that is there, an input as output', async () => {
    const [a, b] = [await peft(1), await peft(5)]
    const base = await writeBase(fresh(), { 'blocks.0.fc.weight': random([6, 5], 1) })
    expect(await refusal([a, base, '-o', at('no')])).toMatch(/is no adapter/)
    expect(await refusal([a, b, '-o', b])).toMatch(/an input/)
    expect(await refusal([a, b, '-o', b, '--force'])).toMatch(/an input/)
    const there = fresh()
    mkdirSync(there)
    expect(await refusal([a, b, '-o', there])).toMatch(/exists already; add --force/)
    await merged(there, a, b, '--force')
    expect(await refusal([a, b, '-o', at('nowhere', 'out')])).toMatch(/does not exist; create it first/)
    const [k, l] = [await kohya(1), await kohya(5)]
    expect(await refusal([k, l, '-o', l, '--force'])).toMatch(/--out/)
    // an input that lies in the folder that would be replaced
    const file = join(a, 'adapter_model.safetensors')
    expect(await refusal([b, file, '-o', a, '--force'])).toMatch(/an input/)
  })

  test('modules of other bases', async () => {
    const a = await peft(1)
    const other = await writePeft(fresh(), pair(FC, 2, 5, [7, 5]))
    expect(await refusal([a, other, '-o', at('no')])).toMatch(
      /the module "blocks\.0\.fc" is of a weight \[7, 5\], in .* of one \[6, 5\]: the two are of other bases/,
    )
    const transposed = await peft(5, { fan_in_fan_out: true })
    expect(await refusal([a, transposed, '-o', at('no')])).toMatch(/other bases/)
  })

  test('names of two formats without a base', async () => {
    expect(await refusal([await peft(1), await kohya(5), '-o', at('no')])).toMatch(
      /has names of kohya, .* of PEFT; give --base, which tells what both mean/,
    )
  })

  test('whole tensors replaced in two ways, or with a weight', async () => {
    const score = (seed: number) => ({ [`${P}score.weight`]: random([2, 5], seed) })
    const config = { modules_to_save: ['score'] }
    const [a, b, c] = [
      await peft(1, config, score(1)),
      await peft(5, config, score(2)),
      await peft(7, config, score(1)),
    ]
    expect(await refusal([a, b, '-o', at('no')])).toMatch(
      /both replace "base_model\.model\.score\.weight", in two ways; say which holds with --prefer first or --prefer last/,
    )
    expect(await refusal([a, c, '-o', at('no'), '--weights=0.5,0.5'])).toMatch(
      /takes the place of a whole tensor, which can't be weighed/,
    )
    for (const [prefer, of] of [
      ['first', a],
      ['last', b],
    ]) {
      const out = fresh()
      await merged(out, a, b, '--prefer', prefer)
      expect(await tensorOf(out, `${P}score.weight`)).toEqual(await tensorOf(of, `${P}score.weight`))
    }
    const out = fresh()
    expect((await merged(out, a, c)).kept).toEqual([`${P}score.weight`])
    expect(configOf(out).modules_to_save).toEqual(['score'])
  })

  test('a weight that one replaces and another changes', async () => {
    const a = await peft(1)
    const b = await writePeft(
      fresh(),
      { ...pair(OUT, 2, 5), [`${FC}.weight`]: random([6, 5], 9) },
      {
        target_modules: ['out'],
        modules_to_save: ['fc'],
      },
    )
    expect(await refusal([a, b, '-o', at('no')])).toMatch(
      /takes the place of the weight that .* changes by its factors/,
    )
    expect(await refusal([a, b, '-o', at('no'), '--prefer=last'])).toMatch(/no adapter does both/)
  })

  test('DoRA, activated LoRA, changed bases', async () => {
    const dora = await peft(1, { use_dora: true }, { [`${FC}.lora_magnitude_vector`]: random([6], 1) })
    const plain = await peft(5)
    expect(await refusal([plain, dora, '-o', at('no')])).toMatch(
      /the module "blocks\.0\.fc" is DoRA, whose change is more/,
    )
    expect(await refusal([dora, '-o', at('no'), '--weights=2'])).toMatch(/is DoRA/)
    const alora = await peft(1, { alora_invocation_tokens: [1] })
    expect(await refusal([alora, plain, '-o', at('no')])).toMatch(/aLoRA/)
    const pissa = await peft(1, { init_lora_weights: 'pissa' })
    const olora = await peft(1, { init_lora_weights: 'olora' })
    expect(await refusal([plain, pissa, '-o', at('no')])).toMatch(/began from another base/)
    expect(await refusal([pissa, olora, '--init', plain, '-o', at('no')])).toMatch(
      /2 of these changed their base/,
    )
    expect(await refusal([plain, '--init', plain, '-o', at('no')])).toMatch(/none of these is one/)
  })

  test('one adapter of DoRA alone is itself', async () => {
    const name = `${FC}.lora_magnitude_vector`
    const dora = await peft(1, { use_dora: true }, { [name]: random([6], 1) })
    const out = fresh()
    expect((await merged(out, dora)).kept).toEqual([name])
    expect(await tensorOf(out, name)).toEqual(await tensorOf(dora, name))
    expect(configOf(out).use_dora).toBe(true)
  })

  test('a budget that is too small, a number that is none, a truncated file', async () => {
    const [a, b] = [await peft(1), await peft(5)]
    expect(await refusal([a, b, '-o', at('no'), '--budget=1KiB', '--min-rank=5'])).toMatch(/give that much/)
    const nan = await writePeft(fresh(), {
      ...pair(FC, 2, 1),
      [`${FC}.lora_A.weight`]: { shape: [2, 5], data: new Float64Array(10).fill(Number.NaN) },
    })
    expect(await refusal([a, nan, '-o', at('no')])).toMatch(/lora_A\.weight" has the entry NaN/)
    const file = join(b, 'adapter_model.safetensors')
    writeFileSync(file, readFileSync(file).subarray(0, 100))
    await refusal([a, b, '-o', at('no')])
  })
})

test('a folder that may not be written in: exit code 3, and one line', async () => {
  const [a, b] = [await peft(1), await peft(5)]
  const locked = fresh()
  mkdirSync(locked)
  chmodSync(locked, 0o555)
  const args = ['merge', a, b, '-o', join(locked, 'sum')]
  const { code, stdout, stderr } = await runCli(args, { through: obeyingPermissions })
  expect([code, stdout]).toEqual([3, ''])
  expect(stderr).toMatch(/^lora-svd: [^\n]*permission denied \(EACCES\)\n$/)
  expect(readdirSync(locked)).toEqual([])
  chmodSync(locked, 0o755)
})

describe('what is kept', () => {
  test('biases add up, each times its weight and scale', async () => {
    const bias = (value: number): Tensors => ({
      [`${FC}.lora_B.bias`]: { shape: [6], data: new Float64Array(6).fill(value) },
    })
    const a = await peft(1, { lora_bias: true, lora_alpha: 4 }, bias(1))
    const b = await peft(5, { lora_bias: true }, bias(10))
    const out = fresh()
    await merged(out, a, b, await peft(7), '--weights=0.5,-1,1')
    expect([...(await tensorOf(out, `${FC}.lora_B.bias`))]).toEqual(new Array(6).fill(0.5 * 2 - 10))
    expect(configOf(out).lora_bias).toBe(true)
  })

  test('differences of whole tensors add up', async () => {
    const diff = (value: number): Tensors => ({
      'diffusion_model.norm.diff': { shape: [3], data: new Float64Array(3).fill(value) },
    })
    const out = fresh('.safetensors')
    await merged(out, await comfy(1, diff(1)), await comfy(5, diff(10)), '--weights=2,-0.5')
    expect([...(await tensorOf(out, 'diffusion_model.norm.diff'))]).toEqual([-3, -3, -3])
    const longer = { 'diffusion_model.norm.diff': { shape: [4] } }
    expect(
      await refusal([await comfy(1, diff(1)), await comfy(5, longer), '-o', at('no.safetensors')]),
    ).toMatch(/has the shape \[4\], in .* it has \[3\]/)
    const whole = { 'diffusion_model.norm.set_weight': { shape: [3] } }
    expect(
      await refusal([await comfy(1, diff(1)), await comfy(5, whole), '-o', at('no.safetensors')]),
    ).toMatch(/no adapter does both/)
  })

  test('trainable tokens: the config goes on to say which rows', async () => {
    const rows = (seed: number): Tensors => ({
      [`${P}embed.token_adapter.trainable_tokens_delta`]: random([2, 4], seed),
    })
    const a = await peft(1)
    const b = await peft(5, { trainable_token_indices: { embed: [7, 3] } }, rows(1))
    const other = await peft(5, { trainable_token_indices: [7, 4] }, rows(1))
    for (const inputs of [
      [a, b],
      [b, a],
      [b, b],
    ]) {
      const out = fresh()
      await merged(out, ...inputs)
      expect((await openAdapter(out)).replaced).toMatchObject([{ name: 'embed.weight', rows: [7, 3] }])
    }
    expect(await refusal([b, other, '-o', at('no')])).toMatch(/both replace .*, in two ways/)
    const out = fresh()
    await merged(out, b, other, '--prefer=last')
    expect((await openAdapter(out)).replaced).toMatchObject([{ rows: [7, 4] }])
  })

  test('lost tensors are named with their adapter', async () => {
    const b = await comfy(5, { 'diffusion_model.blocks.0.fc.lora_strange': { shape: [1] } })
    const out = fresh('.safetensors')
    const { lost } = await combined('merge', [await comfy(1), b, '-o', out], { code: 1 })
    expect(lost).toMatchObject([{ path: b, name: 'diffusion_model.blocks.0.fc.lora_strange' }])
  })
})

describe('PEFT’s config', () => {
  const out = (config: object, seed = 5) =>
    writePeft(fresh(), pair(OUT, 2, seed), { target_modules: ['out'], ...config })

  test('targets what all target, in their words', async () => {
    const path = fresh()
    await merged(path, await peft(1, { target_modules: ['fc'] }), await out({}))
    expect(configOf(path)).toMatchObject({
      target_modules: ['fc', 'out'],
      r: 2,
      lora_alpha: 2,
      use_rslora: false,
    })
  })

  test.each([
    ['layers_to_transform', { layers_to_transform: [0] }, { layers_to_transform: [3] }],
    ['layers_pattern', { layers_to_transform: [0], layers_pattern: 'blocks' }, {}],
    ['exclude_modules', { exclude_modules: ['out'] }, {}],
    ['an expression and a list', { target_modules: '.*fc' }, {}],
  ])('%s of one alone leaves out none of the others', async (_, one, other) => {
    const path = fresh()
    await merged(path, await peft(1, one), await out(other))
    const { target_modules, layers_to_transform = null, exclude_modules = null } = configOf(path)
    expect(target_modules).toEqual(['blocks.0.fc', 'blocks.0.out'])
    expect([layers_to_transform, exclude_modules]).toEqual([null, null])
  })

  test('experts of two adapters: both parameters, one wrapped in the other', async () => {
    const stem = `${P}mlp.experts`
    const experts = (seed: number, [o, k]: [number, number]): Tensors => ({
      [`${stem}.lora_A.weight`]: random([6, k], seed),
      [`${stem}.lora_B.weight`]: random([o, 6], seed + 1),
    })
    const config = (parameter: string) => ({
      target_modules: null,
      target_parameters: [`experts.${parameter}`],
    })
    const up = await writePeft(fresh(), experts(1, [8, 4]), config('gate_up_proj'))
    const down = await writePeft(fresh(), experts(5, [4, 7]), config('down_proj'))
    const path = fresh()
    const { totals } = await merged(path, down, up, '--weights=1,-2')
    expect(totals).toMatchObject({ modules: 2, layers: 6 })
    expect(await namesIn(path)).toEqual(
      [
        `${stem}.base_layer.lora_A.weight`,
        `${stem}.base_layer.lora_B.weight`,
        `${stem}.lora_A.weight`,
        `${stem}.lora_B.weight`,
      ].sort(),
    )
    expect(configOf(path)).toMatchObject({
      target_modules: [],
      target_parameters: ['experts.down_proj', 'experts.gate_up_proj'],
    })
    const [found, before, first] = [await densesOf(path), await densesOf(up), await densesOf(down)]
    for (const [name, dense] of before)
      expect(distance(found.get(name)!, weightedSum([-2], [dense]))).toBeLessThan(ROUNDING)
    for (const [name, dense] of first) expect(distance(found.get(name)!, dense)).toBeLessThan(ROUNDING)
  })
})

describe('adapters of unlike formats, with the base', () => {
  const shapes = { 'blocks.0.fc.weight': [6, 5], 'blocks.0.out.weight': [6, 5], 'blocks.0.up.weight': [6, 5] }
  const base = () =>
    writeBase(
      fresh(),
      Object.fromEntries(Object.entries(shapes).map(([name, shape], i) => [name, random(shape, i)])),
    )
  const prefixed = () =>
    writeBase(
      fresh(),
      Object.fromEntries(
        Object.entries(shapes).map(([name, shape], i) => [`model.diffusion_model.${name}`, random(shape, i)]),
      ),
    )

  const adapters = {
    peft: () =>
      writePeft(
        fresh(),
        { ...pair(FC, 2, 1), ...pair(OUT, 2, 3) },
        { target_modules: ['fc', 'out'], lora_alpha: 6 },
      ),
    kohya: () => kohya(11, { ...kohyaPair('lora_unet_blocks_0_up', 2, 13) }),
    comfyui: () => comfy(21, pair('diffusion_model.blocks.0.up', 3, 25)),
    diffusers: () =>
      writeTensors(fresh('.safetensors'), {
        ...pair('transformer.blocks.0.fc', 2, 31),
        ...pair('transformer.blocks.0.up', 2, 35),
      }),
    loha: () =>
      writeTensors(fresh('.safetensors'), {
        'lycoris_blocks_0_fc.hada_w1_a': random([6, 2], 41),
        'lycoris_blocks_0_fc.hada_w1_b': random([2, 5], 42),
        'lycoris_blocks_0_fc.hada_w2_a': random([6, 2], 43),
        'lycoris_blocks_0_fc.hada_w2_b': random([2, 5], 44),
        'lycoris_blocks_0_fc.alpha': { shape: [], data: Float64Array.of(1) },
      }),
  }
  const kinds = Object.keys(adapters) as (keyof typeof adapters)[]

  test.each(kinds.flatMap((a) => kinds.filter((b) => b !== a).map((b) => [a, b] as const)))(
    '%s and %s',
    async (first, second) => {
      for (const model of [await base(), await prefixed()]) {
        const [a, b] = [await adapters[first](), await adapters[second]()]
        const out = fresh(first === 'peft' ? '' : '.safetensors')
        await merged(out, a, b, '--base', model, '--weights=1,-0.5')
        const [found, one, other] = [
          await densesOf(out, model),
          await densesOf(a, model),
          await densesOf(b, model),
        ]
        expect([...found.keys()].sort()).toEqual([...new Set([...one.keys(), ...other.keys()])].sort())
        for (const [name, dense] of found) {
          const zero = new Float64Array(dense.length)
          const wanted = weightedSum([1, -0.5], [one.get(name) ?? zero, other.get(name) ?? zero])
          expect(distance(dense, wanted), name).toBeLessThan(ROUNDING)
        }
        // all in the first one's names, and the config finds them
        const read = await openAdapter(out)
        expect(read.format).toBe((await openAdapter(a)).format)
        expect(read.ignored).toEqual([])
        if (read.format !== (await openAdapter(b)).format) {
          expect(new Set(read.modules.map(({ prefix }) => prefix)).size).toBe(1)
        }
        if (first !== 'peft') continue
        const paths = read.modules.map(({ path }) => path)
        expect(configOf(out).target_modules).toEqual([...paths].sort())
      }
    },
  )

  test('an embedding of PEFT’s lies as any weight does in a file of another format', async () => {
    const model = await writeBase(fresh(), {
      'blocks.0.fc.weight': random([6, 5], 1),
      'blocks.0.embed.weight': random([8, 4], 2),
    })
    const table = await writePeft(
      fresh(),
      {
        [`${P}blocks.0.embed.lora_embedding_A`]: random([2, 8], 3),
        [`${P}blocks.0.embed.lora_embedding_B`]: random([4, 2], 4),
      },
      { target_modules: ['embed'] },
    )
    const out = fresh('.safetensors')
    await merged(out, await comfy(1), table, '--base', model)
    const stem = 'diffusion_model.blocks.0.embed'
    const [A, B] = [
      await tensorOf(out, `${stem}.lora_A.weight`),
      await tensorOf(out, `${stem}.lora_B.weight`),
    ]
    // W is [8, 4], and what such loaders add to it is B·A
    const product = Float64Array.from({ length: 32 }, (_, i) => {
      const [row, column] = [Math.floor(i / 4), i % 4]
      return B[2 * row] * A[column] + B[2 * row + 1] * A[4 + column]
    })
    expect(distance(product, (await densesOf(table)).get('blocks.0.embed')!)).toBeLessThan(ROUNDING)
  })

  test('a name that the first one’s names don’t tell is refused', async () => {
    const text = await writeBase(fresh(), {
      'model.diffusion_model.blocks.0.fc.weight': random([6, 5], 1),
      'conditioner.embedders.0.transformer.q.weight': random([6, 5], 2),
    })
    const a = await comfy(1)
    const b = await writeTensors(fresh('.safetensors'), { ...kohyaPair('lora_te1_q', 2, 1) })
    expect(await refusal([a, b, '--base', text, '-o', at('no.safetensors')])).toMatch(
      /what names of ComfyUI call its module "q" can't be told/,
    )
  })

  test('what is no factor has a place in its own format alone', async () => {
    const model = await base()
    const a = await peft(1)
    const b = await comfy(5, { 'diffusion_model.blocks.0.up.diff': random([6, 5], 7) })
    expect(await refusal([a, b, '--base', model, '-o', at('no')])).toMatch(
      /"diffusion_model\.blocks\.0\.up\.diff" is no factor, and names of PEFT, .* have no place for one of ComfyUI; name .* first/,
    )
    const out = fresh('.safetensors')
    expect((await merged(out, b, a, '--base', model)).kept).toEqual(['diffusion_model.blocks.0.up.diff'])
  })
})

describe('the report', () => {
  test('says what each adds and where they fight', async () => {
    const [a, b] = [await peft(1), await peft(5)]
    const { stdout, code } = await runInProcess(['merge', a, b, a, '-o', fresh(), '--weights=1,0.1,-0.9'], {
      columns: 120,
    })
    expect(code).toBe(0)
    expect(stdout).toMatch(/The adapters cancel each other in 1 layer: blocks\.0\.fc/)
    const { overlap, layers } = await merged(fresh(), a, b, a, '--weights=1,0.1,-0.9')
    expect(overlap.cosines[0][2]).toBeCloseTo(-1, 12)
    expect(overlap.shares.reduce((sum: number, x: number) => sum + x, 0)).toBeCloseTo(1, 12)
    expect(layers[0].overlap).toEqual(overlap)
    expect(layers[0].rankBefore).toBe(6)
    expect(layers[0].numericalRank).toBe(4)
  })

  test('of an adapter and its opposite', async () => {
    const a = await peft(1)
    const { stdout, stderr, code } = await runInProcess(['merge', a, a, '-o', fresh(), '--weights=1,-1'], {
      columns: 80,
    })
    expect([code, stderr]).toEqual([0, expect.not.stringMatching('NaN')])
    expect(stdout).not.toMatch(/NaN|Infinity/)
    const { layers, overlap, totals } = await merged(fresh(), a, a, '--weights=1,-1')
    expect(layers[0]).toMatchObject({ rank: 0, numericalRank: 0, frobenius: 0, relativeError: 0 })
    expect(totals).toMatchObject({ relativeError: 0, optimalError: { atLeast: 0, atMost: 0 } })
    expect(overlap.interference).toBeCloseTo(1, 6)
  })

  test('of zero adapters', async () => {
    const zero = await writePeft(fresh(), {
      [`${FC}.lora_A.weight`]: { shape: [2, 5], data: new Float64Array(10) },
      [`${FC}.lora_B.weight`]: { shape: [6, 2], data: new Float64Array(12) },
    })
    const { overlap } = await merged(fresh(), zero, await peft(1))
    expect(overlap.cosines[0]).toEqual([null, null])
    const { stdout } = await runInProcess(['merge', zero, zero, '-o', fresh()], { columns: 80 })
    expect(stdout).not.toMatch(/NaN|Infinity/)
  })

  test('the card has the command that makes it again', async () => {
    const [a, b, model] = [
      await peft(1),
      await kohya(5),
      await writeBase(fresh(), { 'blocks.0.fc.weight': random([6, 5], 1) }),
    ]
    const out = fresh()
    await merged(out, a, b, '--base', model, '--weights=1,-2', '--rank=3', '--alpha=4')
    const card = readFileSync(join(out, 'README.md'), 'utf8')
    expect(card).toMatch(/lora-svd merge \S+ \S+ -o ADAPTER --weights=1,-2 --rank 3 --base \S+ --alpha 4\n/)
    expect(card).not.toContain(folder)
  })
})

describe('what a new user stumbled over', () => {
  test('a module that target_modules does not name is named by the result, and told', async () => {
    const untold = await writePeft(
      fresh(),
      { ...pair(FC, 2, 71), ...pair(OUT, 2, 73) },
      { target_modules: ['fc'] },
    )
    const out = fresh()
    const { warnings } = await merged(out, untold)
    expect(configOf(out).target_modules).toEqual(['blocks.0.out', 'fc'])
    expect(warnings).toEqual([
      `${untold}: PEFT loads nothing of 1 module ("blocks.0.out"), which target_modules does not name; their factors count here, and the result names them`,
    ])
    const again = fresh()
    expect((await merged(again, out)).warnings).toEqual([])
    expect(configOf(again).target_modules).toEqual(['blocks.0.out', 'fc'])
  })

  test('a regular expression that misses a module gives way to the paths', async () => {
    const untold = await writePeft(
      fresh(),
      { ...pair(FC, 2, 75), ...pair(OUT, 2, 77) },
      { target_modules: '.*fc' },
    )
    const out = fresh()
    await merged(out, untold)
    expect(configOf(out).target_modules).toEqual(['blocks.0.fc', 'blocks.0.out'])
  })

  test('a result of one file has a name that its loaders know', async () => {
    const before = entries()
    const one = await kohya(81)
    const message = await refused(['merge', one, '-o', at('no-ending')])
    expect(message).toMatch(
      /no-ending: the result is one file of kohya; .* a name that ends in \.safetensors/,
    )
    expect(entries().filter((name) => !before.includes(name) && name.includes('no-ending'))).toEqual([])
  })

  test('a result that is larger than what it is made of says so, with what is smaller', async () => {
    const one = await writePeft(
      fresh(),
      { ...pair(FC, 4, 83), ...pair(OUT, 1, 85) },
      { rank_pattern: { out: 1 }, r: 4 },
    )
    const { stdout } = await runInProcess(['merge', one, '-o', fresh(), '--weights', '2'], { columns: 80 })
    expect(stdout.replace(/\s+/g, ' ')).toMatch(/Larger than before: .*: --layout pattern stores no zeros/)
  })

  test('what cancels all leaves nothing', async () => {
    const one = await peft(87)
    const { stdout } = await runInProcess(['merge', one, one, '-o', fresh(), '--weights', '1,-1'], {
      columns: 80,
    })
    expect(stdout).toMatch(/together .* nothing: what one does another undoes/)
  })
})
