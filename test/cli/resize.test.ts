import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
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
  writeBase,
  writePeft,
  writeTensors,
} from '../combine/support.ts'
import { distance, flat, goldens, type Nested, shapeOf } from '../lora/goldens.ts'
import type { TestTensor } from '../lora/support.ts'
import { numbers } from '../lora/write-support.ts'
import { temporaryFolder } from '../temporary.ts'
import { runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder()
const at = (...names: string[]) => join(folder, ...names)
let count = 0
const fresh = (end = '') => at(`out-${count++}${end}`)

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
const FC = 'base_model.model.blocks.0.fc'
const plain = () => writePeft(fresh(), pair(FC, 3, 1), { r: 3, lora_alpha: 6 })
const kohyaPair = (stem: string, rank: number, seed: number): Tensors => ({
  [`${stem}.lora_down.weight`]: random([rank, 5], seed),
  [`${stem}.lora_up.weight`]: random([6, rank], seed + 1),
})

const resized = (adapter: string, out: string, ...args: string[]) =>
  combined('resize', [adapter, '-o', out, ...args])
const entries = () => readdirSync(folder).sort()

/** What must be refused, in one line, with nothing left behind. */
async function refusal(args: readonly string[]): Promise<string> {
  const before = entries()
  const said = await refused(['resize', ...args], { cwd: folder })
  expect(entries()).toEqual(before)
  return said.replaceAll(`${folder}/`, '')
}

describe('refusals', () => {
  test('no rule, two rules, and words of kohya’s', async () => {
    const adapter = await plain()
    expect(await refusal([adapter, '-o', at('no')])).toMatch(/^no rank rule: give one of --rank 16/)
    expect(await refusal([adapter, '-o', at('no'), '--rank=2', '--energy=.9'])).toMatch(
      /each choose the rank/,
    )
    expect(await refusal([adapter, '-o', at('no'), '--rank=0'])).toMatch(/--rank/)
    expect(await refusal([adapter, '-o', at('no'), '--rank=1', '--min-rank=4', '--max-rank=2'])).toMatch(
      /--min-rank 4 is above --max-rank 2/,
    )
    expect(await refusal([adapter, '--rank=1'])).toMatch(/-o, --out/)
    expect(await refusal([adapter, '-o', '', '--rank=1'])).toMatch(/--out is empty/)
    expect(await refusal([adapter, '-o', '-', '--rank=1'])).toMatch(/standard input and output/)
    for (const [words, here] of [
      [['--new_rank=4'], '--rank N'],
      [['--new_rank', '4'], '--rank N'],
      [['--dynamic_method', 'sv_fro', '--dynamic_param', '0.9'], '--energy p²'],
      [['--save_precision=fp16'], '--dtype f32'],
      [['--save_to', 'x'], '-o, --out PATH'],
    ] as const) {
      expect(await refusal([adapter, '-o', at('no'), ...words])).toContain(`here it is ${here}`)
    }
    expect(await refusal([adapter, '-o', at('no'), '--nothing'])).toMatch(/unknown option/)
  })

  test('what is no adapter', async () => {
    const base = await writeBase(fresh(), { 'blocks.0.fc.weight': random([6, 5], 1) })
    expect(await refusal([base, '-o', at('no'), '--rank=1'])).toMatch(
      /is no adapter: none of its tensors is a LoRA factor/,
    )
    expect(await refusal([at('missing'), '-o', at('no'), '--rank=1'])).toMatch(
      /^missing: .*(?:not exist|no such)/i,
    )
    const empty = fresh()
    mkdirSync(empty)
    await refusal([empty, '-o', at('no'), '--rank=1'])
    const noise = fresh('.safetensors')
    writeFileSync(noise, 'noise')
    await refusal([noise, '-o', at('no.safetensors'), '--rank=1'])
  })

  test('a truncated file', async () => {
    const path = await writeTensors(fresh('.safetensors'), kohyaPair('lora_unet_x', 2, 1))
    const bytes = readFileSync(path)
    writeFileSync(path, bytes.subarray(0, bytes.length - 4))
    expect(await refusal([path, '-o', at('no.safetensors'), '--rank=1'])).toMatch(/out-\d+\.safetensors/)
  })

  test.each([
    ['A', Number.NaN],
    ['B', Number.POSITIVE_INFINITY],
  ] as const)('a number in %s that is %s', async (side, value) => {
    const tensors = { ...pair(FC, 2, 1) }
    const name = `${FC}.lora_${side}.weight`
    tensors[name].data![3] = value
    const adapter = await writePeft(fresh(), tensors)
    const before = entries()
    const { code, stdout, stderr } = await runInProcess([
      'resize',
      adapter,
      '-o',
      at('no'),
      '--rank=1',
      '--json',
    ])
    expect(code).toBe(2)
    expect(stderr.trim().split('\n')).toHaveLength(1)
    expect(documentOf(stdout, 'error-1').error).toMatchObject({
      code: 'not-finite',
      file: adapter,
      tensor: name,
    })
    expect(entries()).toEqual(before)
  })

  test('an output that is there, or can’t be', async () => {
    const adapter = await plain()
    const there = fresh()
    mkdirSync(there)
    writeFileSync(join(there, 'thesis.tex'), 'mine')
    expect(await refusal([adapter, '-o', there, '--rank=1'])).toMatch(/exists already; add --force/)
    expect(await refusal([adapter, '-o', there, '--rank=1', '--force'])).toMatch(
      /is no adapter's folder \(it holds thesis\.tex\), and --force replaces only those/,
    )
    expect(readFileSync(join(there, 'thesis.tex'), 'utf8')).toBe('mine')
    expect(await refusal([adapter, '-o', at('nowhere', 'out'), '--rank=1'])).toMatch(
      /does not exist; create it first/,
    )
    expect(await refusal([adapter, '-o', adapter, '--rank=1', '--force'])).toMatch(/lies in .*, an input/)
    expect(await refusal([adapter, '-o', join(adapter, 'inner'), '--rank=1'])).toMatch(/lies in .*, an input/)
    const file = fresh()
    writeFileSync(file, 'a file')
    expect(await refusal([adapter, '-o', file, '--rank=1', '--force'])).toMatch(/is a file; name a folder/)
  })

  test('a file’s output that is there, or is its input', async () => {
    const path = await writeTensors(fresh('.safetensors'), kohyaPair('lora_unet_x', 2, 1))
    const bytes = readFileSync(path)
    expect(await refusal([path, '-o', path, '--rank=1', '--force'])).toMatch(/--out/)
    expect(await refusal([path, '-o', folder, '--rank=1', '--force'])).toMatch(/folder/)
    const there = fresh('.safetensors')
    writeFileSync(there, 'mine')
    expect(await refusal([path, '-o', there, '--rank=1'])).toMatch(/exists already; add --force/)
    expect(readFileSync(there, 'utf8')).toBe('mine')
    expect(await refusal([path, '-o', at('nowhere', 'out.safetensors'), '--rank=1'])).toMatch(
      /no such|does not exist/,
    )
    expect(readFileSync(path).equals(bytes)).toBe(true)
    await resized(path, there, '--rank=1', '--force')
    expect((await openAdapter(there)).modules).toHaveLength(1)
  })

  test('--force puts the new adapter in an old one’s place', async () => {
    const adapter = await plain()
    const out = await writePeft(fresh(), pair(FC, 2, 9))
    const before = entries()
    await resized(adapter, out, '--rank=1', '--force')
    expect(entries()).toEqual(before)
    expect((await openAdapter(out)).modules[0].rank).toBe(1)
  })

  test('the base and what training began with are inputs too', async () => {
    const init = await writePeft(fresh(), pair(FC, 2, 3))
    const adapter = await writePeft(fresh(), pair(FC, 2, 1), { init_lora_weights: 'pissa' })
    expect(await refusal([adapter, '--init', init, '-o', init, '--rank=1', '--force'])).toMatch(/an input/)
    expect(readdirSync(init).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors'])
    const base = await writeBase(fresh(), { 'blocks.0.fc.weight': random([6, 5], 1) })
    expect(await refusal([await plain(), '--base', base, '-o', join(base, 'in'), '--rank=1'])).toMatch(
      /an input/,
    )
    const single = await writeTensors(fresh('.safetensors'), { 'x.weight': random([6, 5], 1) })
    const kohya = await writeTensors(fresh('.safetensors'), kohyaPair('lora_unet_x', 2, 1))
    expect(await refusal([kohya, '--base', single, '-o', single, '--rank=1', '--force'])).toMatch(/--out/)
  })

  test('an output of the other kind', async () => {
    expect(await refusal([await plain(), '-o', at('no.safetensors'), '--rank=1'])).toMatch(
      /is the name of a file, and an adapter of PEFT is a folder/,
    )
    const path = await writeTensors(fresh('.safetensors'), kohyaPair('lora_unet_x', 2, 1))
    expect(await refusal([path, '-o', `${at('no')}/`, '--rank=1'])).toMatch(/is a folder's name|folder/)
  })

  test('numbers beyond float64, and weights that make them so', async () => {
    const huge = (power: number): Tensors => ({
      [`${FC}.lora_A.weight`]: {
        ...random([2, 5], 1, 'F64'),
        data: numbers(10, 1).map((x) => x * 10 ** power),
      },
      [`${FC}.lora_B.weight`]: {
        ...random([6, 2], 2, 'F64'),
        data: numbers(12, 2).map((x) => x * 10 ** power),
      },
    })
    for (const power of [100, 160, 200, 300]) {
      const adapter = await writePeft(fresh(), huge(power))
      expect(await refusal([adapter, '-o', at('no'), '--rank=1'])).toMatch(/pass 1\.8e308|too large/)
    }
    const before = entries()
    const adapter = await plain()
    const said = await refused(['merge', adapter, '-o', at('no'), '--weights=1e308'])
    expect(said).toMatch(/pass 1\.8e308|too large/)
    expect(entries().filter((name) => !before.includes(name))).toHaveLength(1)
    // and down below: numbers that are none any more
    const tiny = await writePeft(fresh(), huge(-200))
    const { layers } = await resized(tiny, fresh(), '--rank=1')
    expect(layers[0]).toMatchObject({ rank: 0, frobenius: 0 })
  })

  test('a budget that is too small', async () => {
    expect(await refusal([await plain(), '-o', at('no'), '--budget=10'])).toMatch(
      /--budget 10 B: at the least ranks the adapter takes .* already; give that much/,
    )
  })

  test('a base that lacks the module, or has it of another shape', async () => {
    const adapter = await plain()
    const other = await writeBase(fresh(), { 'encoder.weight': random([6, 5], 1) })
    expect(await refusal([adapter, '--base', other, '-o', at('no'), '--rank=1'])).toMatch(
      /the module "blocks\.0\.fc" can't be applied to/,
    )
    const small = await writeBase(fresh(), { 'blocks.0.fc.weight': random([3, 3], 1) })
    expect(await refusal([adapter, '--base', small, '-o', at('no'), '--rank=1'])).toMatch(
      /belongs to another base/,
    )
  })

  test('changed bases without their beginning', async () => {
    const pissa = await writePeft(fresh(), pair(FC, 2, 1), { init_lora_weights: 'pissa_niter_4' })
    expect(await refusal([pissa, '-o', at('no'), '--rank=1'])).toMatch(
      /began from another base.*give what it began with by --init/,
    )
    const init = await writePeft(fresh(), pair(FC, 2, 3))
    expect(await refusal([await plain(), '--init', init, '-o', at('no'), '--rank=1'])).toMatch(
      /--init is for an adapter whose training changed its base, and none of these is one/,
    )
    const other = await writePeft(fresh(), pair('base_model.model.blocks.1.fc', 2, 3))
    expect(await refusal([pissa, '--init', other, '-o', at('no'), '--rank=1'])).toMatch(
      /has no module "blocks\.0\.fc"/,
    )
  })

  test('an alpha of 0, which has to be said', async () => {
    const tensors = {
      ...kohyaPair('lora_unet_x', 2, 1),
      'lora_unet_x.alpha': { shape: [], data: Float64Array.of(0) },
    }
    const path = await writeTensors(fresh('.safetensors'), tensors)
    expect(await refusal([path, '-o', at('no.safetensors'), '--rank=1'])).toMatch(
      /"lora_unet_x\.alpha" is 0, .*: say which with --alpha-zero rank or --alpha-zero off/,
    )
    const asRank = fresh('.safetensors')
    await resized(path, asRank, '--rank=2', '--alpha-zero=rank')
    expect((await openAdapter(asRank)).modules[0]).toMatchObject({ scale: 1, alpha: 2 })
    const out = fresh('.safetensors')
    await resized(path, out, '--rank=2', '--alpha=4')
    const given = await openAdapter(path, 4)
    expect(given.modules[0].scale).toBe(2)
  })

  test('f16, which has no such numbers', async () => {
    const tensors = { ...pair(FC, 2, 1) }
    tensors[`${FC}.lora_B.weight`].data!.forEach((x, i, data) => {
      data[i] = x * 1e12
    })
    const adapter = await writePeft(fresh(), tensors)
    expect(await refusal([adapter, '-o', at('no'), '--rank=1', '--dtype=f16'])).toMatch(
      /too large for f16; use --dtype bf16 or f32/,
    )
  })

  test('what no float type holds is said without an option that there is not', async () => {
    const tensors: Tensors = {
      [`${FC}.lora_A.weight`]: { ...random([2, 5], 1, 'F64'), data: numbers(10, 1).map((x) => x * 1e-60) },
      [`${FC}.lora_B.weight`]: { ...random([6, 2], 2, 'F64'), data: numbers(12, 2).map((x) => x * 1e-60) },
    }
    const said = await refusal([await writePeft(fresh(), tensors), '-o', at('no'), '--rank=1'])
    expect(said).toMatch(/all are zero in f32/)
    expect(said).not.toMatch(/--exclude/)
  })
})

describe('what is kept', () => {
  test('.default. names, whole tensors and trained biases', async () => {
    const tensors = {
      [`${FC}.lora_A.default.weight`]: random([3, 5], 1),
      [`${FC}.lora_B.default.weight`]: random([6, 3], 2),
      'base_model.model.score.modules_to_save.default.weight': random([2, 5], 3),
      'base_model.model.score.modules_to_save.default.bias': random([2], 4, 'F16'),
    }
    const adapter = await writePeft(fresh(), tensors, { r: 3, lora_alpha: 3, modules_to_save: ['score'] })
    const out = fresh()
    const { kept, totals } = await resized(adapter, out, '--rank=2')
    expect(kept).toHaveLength(2)
    expect(totals.modules).toBe(1)
    expect(await namesIn(out)).toEqual([
      `${FC}.lora_A.weight`,
      `${FC}.lora_B.weight`,
      'base_model.model.score.bias',
      'base_model.model.score.weight',
    ])
    expect(await tensorOf(out, 'base_model.model.score.weight')).toEqual(
      await tensorOf(adapter, 'base_model.model.score.modules_to_save.default.weight'),
    )
    const read = await openAdapter(out)
    expect(read.ignored).toEqual([])
    expect(read.replaced.map(({ name }) => name).sort()).toEqual(['score.bias', 'score.weight'])
    expect(JSON.parse(readFileSync(join(out, 'adapter_config.json'), 'utf8'))).toMatchObject({
      modules_to_save: ['score'],
      r: 2,
      lora_alpha: 2,
    })
  })

  test('whole tensors keep PEFT’s names where the base’s are others', async () => {
    const tensors = {
      'base_model.model.model.blocks.0.fc.lora_A.weight': random([3, 5], 1),
      'base_model.model.model.blocks.0.fc.lora_B.weight': random([6, 3], 2),
      'base_model.model.model.score.weight': random([2, 5], 3),
    }
    const adapter = await writePeft(fresh(), tensors, { r: 3, modules_to_save: ['score'] })
    const base = await writeBase(fresh(), {
      'blocks.0.fc.weight': random([6, 5], 5),
      'score.weight': random([2, 5], 6),
    })
    const out = fresh()
    await resized(adapter, out, '--rank=2', '--base', base)
    expect(await namesIn(out)).toEqual(await namesIn(adapter))
  })

  test('lora_bias: its scale is folded as the factors’ is', async () => {
    const bias = { ...random([6], 7), data: Float64Array.of(1, 2, 3, 4, 5, 6) }
    const adapter = await writePeft(
      fresh(),
      { ...pair(FC, 3, 1), [`${FC}.lora_B.bias`]: bias },
      {
        r: 3,
        lora_alpha: 6,
        lora_bias: true,
      },
    )
    const out = fresh()
    await resized(adapter, out, '--rank=2')
    expect([...(await tensorOf(out, `${FC}.lora_B.bias`))]).toEqual([2, 4, 6, 8, 10, 12])
    const [module] = (await openAdapter(out)).modules
    expect([module.scale, module.bias?.name]).toEqual([1, `${FC}.lora_B.bias`])
  })

  test('trainable tokens', async () => {
    const rows = 'base_model.model.embed.token_adapter.trainable_tokens_delta'
    const adapter = await writePeft(
      fresh(),
      { ...pair(FC, 3, 1), [rows]: random([2, 4], 5) },
      {
        r: 3,
        trainable_token_indices: { embed: [7, 3] },
      },
    )
    const out = fresh()
    expect((await resized(adapter, out, '--rank=2')).kept).toEqual([rows])
    expect((await openAdapter(out)).replaced).toMatchObject([
      { name: 'embed.weight', rows: [7, 3], how: 'replace' },
    ])
  })

  test.each(['peft', 'kohya'] as const)(
    'DoRA’s magnitudes, byte for byte, and said so (%s)',
    async (format) => {
      const isPeft = format === 'peft'
      const magnitude = random([6], 9, 'F16')
      const adapter = isPeft
        ? await writePeft(
            fresh(),
            { ...pair(FC, 3, 1), [`${FC}.lora_magnitude_vector`]: magnitude },
            { r: 3, use_dora: true },
          )
        : await writeTensors(fresh('.safetensors'), {
            ...kohyaPair('lora_unet_x', 3, 1),
            'lora_unet_x.dora_scale': { ...magnitude, shape: [6, 1] },
          })
      const name = isPeft ? `${FC}.lora_magnitude_vector` : 'lora_unet_x.dora_scale'
      const out = fresh(isPeft ? '' : '.safetensors')
      const document = await resized(adapter, out, '--rank=2')
      expect(document).toMatchObject({ isDora: true, kept: [name] })
      expect(await tensorOf(out, name)).toEqual(await tensorOf(adapter, name))
      expect((await openAdapter(out)).modules[0].magnitude).toMatchObject({ dtype: 'F16', name })
      const { stdout, code } = await runInProcess(['resize', adapter, '-o', out, '--rank=1', '--force'], {
        columns: 200,
      })
      expect(code).toBe(0)
      expect(stdout).toMatch(/DoRA: the errors are those of B·A; the magnitudes are as they were/)
    },
  )

  test('an activated LoRA goes on to be one', async () => {
    const adapter = await writePeft(fresh(), pair(FC, 3, 1), { r: 3, alora_invocation_tokens: [5, 6] })
    const out = fresh()
    await resized(adapter, out, '--rank=2')
    expect((await openAdapter(out)).config?.alora).toBe(true)
  })

  test('tensors that nobody reads are named, and make the exit code 1', async () => {
    const path = await writeTensors(fresh('.safetensors'), {
      ...kohyaPair('lora_unet_x', 3, 1),
      'lora_unet_x.lora_strange': random([2], 1),
    })
    const out = fresh('.safetensors')
    const { lost, holds } = await combined('resize', [path, '-o', out, '--rank=2'], { code: 1 })
    expect(holds).toBe(false)
    expect(lost).toMatchObject([{ path, name: 'lora_unet_x.lora_strange' }])
    expect(await namesIn(out)).not.toContain('lora_unet_x.lora_strange')
    const { stdout } = await runInProcess(['resize', path, '-o', out, '--rank=2', '-f'])
    expect(stdout).toMatch(/Not in the result: 1 tensor that nobody reads/)
  })

  test('an adapter of whole tensors alone', async () => {
    const adapter = await writePeft(
      fresh(),
      { 'base_model.model.score.weight': random([2, 5], 3) },
      {
        modules_to_save: ['score'],
      },
    )
    const out = fresh()
    const { layers, totals, holds } = await resized(adapter, out, '--rank=2')
    expect([layers.length, totals.relativeError, holds]).toEqual([0, 0, true])
    expect((await openAdapter(out)).replaced).toHaveLength(1)
  })

  test('kohya’s metadata, with rank and alpha as they are, and without hashes of other tensors', async () => {
    const metadata = {
      ss_network_dim: '3',
      ss_network_alpha: '1.5',
      ss_output_name: 'style',
      sshs_model_hash: 'abc',
      sshs_legacy_hash: 'def',
    }
    const path = await writeTensors(fresh('.safetensors'), kohyaPair('lora_unet_x', 3, 1), metadata)
    const header = (file: string) => {
      const bytes = readFileSync(file)
      return JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())).toString()).__metadata__
    }
    const [out, dynamic] = [fresh('.safetensors'), fresh('.safetensors')]
    await resized(path, out, '--rank=2')
    expect(header(out)).toEqual({ ss_network_alpha: '2', ss_network_dim: '2', ss_output_name: 'style' })
    await resized(path, dynamic, '--rank=2', '--layout=pattern')
    expect(header(dynamic)).toMatchObject({ ss_network_alpha: 'Dynamic', ss_network_dim: 'Dynamic' })
  })

  test('no alpha is written beside what diffusers’ own metadata scales: it takes only one of them', async () => {
    const stem = 'transformer.blocks.0.attn.to_q'
    const config = { 'transformer.r': 3, 'transformer.lora_alpha': 6, 'transformer.target_modules': ['to_q'] }
    const path = await writeTensors(fresh('.safetensors'), pair(stem, 3, 1), {
      lora_adapter_metadata: JSON.stringify(config),
    })
    expect((await openAdapter(path)).modules[0].scale).toBe(2)
    for (const layout of ['portable', 'pattern']) {
      const out = fresh('.safetensors')
      await resized(path, out, '--rank=3', '--layout', layout)
      expect(await namesIn(out)).toEqual(await namesIn(path))
      expect(
        distance([...(await densesOf(out)).values()][0], [...(await densesOf(path)).values()][0]),
      ).toBeLessThan(1e-6)
    }
  })
})

describe('ranks', () => {
  const many = async () =>
    writePeft(
      fresh(),
      { ...pair(FC, 5, 1, [8, 9]), ...pair('base_model.model.blocks.0.out', 3, 5, [7, 9]) },
      { r: 5, lora_alpha: 5, rank_pattern: { out: 3 }, target_modules: ['fc', 'out'] },
    )

  test('--layout pattern: each its own, read back by our reader; portable pads', async () => {
    const adapter = await many()
    const [pattern, portable] = [fresh(), fresh()]
    const found = await resized(adapter, pattern, '--energy=0.8', '--layout=pattern')
    const ranks = found.layers.map(({ rank }: { rank: number }) => rank)
    expect(new Set(ranks).size).toBe(2)
    expect((await openAdapter(pattern)).modules.map(({ rank, scale }) => [rank, scale])).toEqual(
      ranks.map((rank: number) => [rank, 1]),
    )
    const padded = await resized(adapter, portable, '--energy=0.8')
    expect(padded.layers.map(({ rank }: { rank: number }) => rank)).toEqual(ranks)
    expect((await openAdapter(portable)).modules.map(({ rank }) => rank)).toEqual([
      Math.max(...ranks),
      Math.max(...ranks),
    ])
    const [a, b] = [await densesOf(pattern), await densesOf(portable)]
    for (const [name, dense] of a) expect(b.get(name)).toEqual(dense)
  })

  test.each(['portable', 'pattern'] as const)(
    'a budget is kept to the byte that is foretold (%s)',
    async (layout) => {
      const adapter = await many()
      const spent = async (budget: number) => {
        const { totals, holds, layers } = await resized(
          adapter,
          fresh(),
          `--budget=${budget}`,
          `--layout=${layout}`,
        )
        expect(totals.bytes).toBeLessThanOrEqual(budget)
        expect(holds).toBe(true)
        return { bytes: totals.bytes, ranks: layers.map(({ rank }: { rank: number }) => rank) }
      }
      // of as many digits, so that the card is as long
      const all = await spent(5000)
      expect(all.ranks).toEqual([5, 3])
      expect(await spent(all.bytes)).toEqual(all)
      const less = await spent(all.bytes - 1)
      expect(less.bytes).toBeLessThan(all.bytes)
      expect(less.ranks).not.toEqual(all.ranks)
    },
  )

  test('--uniform, with a rule and with a budget', async () => {
    const adapter = await many()
    const ranksOf = (document: { layers: { rank: number }[] }) => document.layers.map(({ rank }) => rank)
    expect(ranksOf(await resized(adapter, fresh(), '--error=0.4', '--uniform', '--layout=pattern'))[1]).toBe(
      ranksOf(await resized(adapter, fresh(), '--error=0.4', '--uniform', '--layout=pattern'))[0],
    )
    const { totals } = await resized(adapter, fresh(), '--rank=2')
    const found = ranksOf(
      await resized(adapter, fresh(), '--budget', String(totals.bytes + 40), '--uniform', '--layout=pattern'),
    )
    expect(found).toEqual([2, 2])
  })

  test('an error that the dtype can’t hold makes the exit code 1, and is named', async () => {
    const adapter = await many()
    const { broken, holds } = await combined(
      'resize',
      [adapter, '-o', fresh(), '--error=1e-6', '--dtype=bf16'],
      { code: 1 },
    )
    expect([broken.length, holds]).toEqual([2, false])
    const { stdout } = await runInProcess(['resize', adapter, '-o', fresh(), '--error=1e-6', '--dtype=bf16'])
    expect(stdout).toMatch(/Not kept: the error that was asked, in 2 layers/)
  })
})

describe('PiSSA and OLoRA with what they began with', () => {
  interface ChangedBase {
    readonly what: string
    readonly base: Nested
    readonly r: number
    readonly alpha: number
    readonly A: Nested
    readonly B: Nested
    readonly A0: Nested
    readonly B0: Nested
    readonly tuned: Nested
  }
  const cases = (goldens('goldens/peft') as Partial<ChangedBase>[]).filter(
    (one): one is ChangedBase => one.A0 !== undefined,
  )
  const tensor = (value: Nested) => ({ shape: shapeOf(value), data: Float64Array.from(flat(value)) })
  test.each(cases.map((one) => [one.what.split(':')[0], one] as const))('%s', async (_, one) => {
    const init_lora_weights = /= (\w+)/.exec(one.what)![1]
    const save = (A: Nested, B: Nested, more: object) =>
      writePeft(
        fresh(),
        { 'x.lora_A.weight': tensor(A), 'x.lora_B.weight': tensor(B) },
        {
          r: one.r,
          lora_alpha: one.alpha,
          target_modules: ['x'],
          ...more,
        },
      )
    const adapter = await save(one.A, one.B, { init_lora_weights })
    // PEFT saves the beginning with the same config, or says true
    for (const config of [{ init_lora_weights }, { init_lora_weights: true }]) {
      const init = await save(one.A0, one.B0, config)
      const out = fresh()
      const { layers, warnings } = await resized(adapter, out, '--rank', String(2 * one.r), '--init', init)
      expect(layers[0].rankBefore).toBe(2 * one.r)
      expect(warnings).toEqual([])
      const tuned = flat(one.tuned).map((x, i) => x - flat(one.base)[i])
      expect(distance((await densesOf(out)).get('x')!, tuned)).toBeLessThan(1e-6)
      expect(JSON.parse(readFileSync(join(out, 'adapter_config.json'), 'utf8')).init_lora_weights).toBe(true)
      const merged = fresh()
      await combined('merge', [adapter, '--init', init, '--weights=2', '-o', merged])
      expect(
        distance(
          (await densesOf(merged)).get('x')!,
          tuned.map((x) => 2 * x),
        ),
      ).toBeLessThan(1e-6)
    }
  })
  test('there are two', () => expect(cases.length).toBe(2))
})
