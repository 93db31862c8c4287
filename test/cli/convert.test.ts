import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { densesOf, openAdapter, refused, type Tensors, writePeft, writeTensors } from '../combine/support.ts'
import { type ComfyCase, distance, flat, goldens, tensorsOf } from '../lora/goldens.ts'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import type { TestTensor } from '../lora/support.ts'
import { numbers } from '../lora/write-support.ts'
import { temporaryFolder } from '../temporary.ts'
import { runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder('convert')
const at = (...names: string[]) => join(folder, ...names)
let count = 0
const fresh = (end = '') => at(`out-${count++}${end}`)
const BASE = 'test/fixtures/digits-llama/base'

const random = (shape: readonly number[], seed: number, dtype?: TestTensor['dtype']): TestTensor => ({
  shape,
  ...(dtype !== undefined && { dtype }),
  data: Float64Array.from(
    numbers(
      shape.reduce((product, n) => product * n, 1),
      seed,
    ),
    Math.fround,
  ),
})
const LAYER = 'base_model.model.model.layers.1'
const pair = (stem: string, r: number, [out, columns]: readonly number[], seed: number): Tensors => ({
  [`${stem}.lora_A.weight`]: random([r, columns], seed),
  [`${stem}.lora_B.weight`]: random([out, r], seed + 1),
})
/** Of modules whose rows llama.cpp keeps in another order, and of one whose rows it doesn't. */
const MODULES: Tensors = {
  ...pair(`${LAYER}.self_attn.q_proj`, 2, [96, 96], 1),
  ...pair(`${LAYER}.self_attn.k_proj`, 3, [96, 96], 3),
  ...pair(`${LAYER}.mlp.down_proj`, 2, [96, 256], 5),
}
const TARGETS = { target_modules: ['q_proj', 'k_proj', 'down_proj'] }
const PATTERN = { r: 2, lora_alpha: 2, rank_pattern: { k_proj: 3 }, alpha_pattern: { k_proj: 3 }, ...TARGETS }
const adapter = (config: object = PATTERN, tensors = MODULES) => writePeft(fresh(), tensors, config)

/** Runs `convert … --json` and gives its document. */
async function converted(args: readonly string[], code = 0) {
  const { stdout, stderr, code: found } = await runInProcess(['convert', ...args, '--json'])
  expect(stderr).toBe('')
  expect(found).toBe(code)
  return documentOf(stdout, 'convert-1')
}
const refusal = async (args: readonly string[]) =>
  (await refused(['convert', ...args])).replaceAll(`${folder}/`, '')

describe('there and back', () => {
  const [GGUF, MLX, PEFT] = [
    ['gguf', '.gguf'],
    ['mlx', ''],
    ['peft', ''],
  ] as const
  test.each([
    ['gguf', [GGUF, PEFT], ['--base', BASE]],
    ['mlx', [MLX, PEFT], []],
    ['gguf and mlx', [GGUF, MLX, PEFT], ['--base', BASE]],
    ['mlx and gguf', [MLX, GGUF, PEFT], ['--base', BASE]],
  ] as const)('by %s: the same change, number for number', async (_, way, more) => {
    const source = await adapter()
    let [from, path] = ['peft', source]
    for (const [format, end] of way) {
      const out = fresh(end)
      expect(await converted([path, '-o', out, '--format', format, ...more])).toMatchObject({
        ...{ exact: true, from, format, dropped: [], largestError: 0, holds: true },
        totals: { rank: 3 },
      })
      ;[from, path] = [format, out]
    }
    const [before, after] = [await densesOf(source), await densesOf(path)]
    for (const [name, dense] of before) expect(after.get(name), name).toEqual(dense)
    // zeros for the rest of a group that servers stack
    for (const [name, dense] of after)
      expect(before.has(name) || dense.every((x) => x === 0), name).toBe(true)
    const config = JSON.parse(readFileSync(join(path, 'adapter_config.json'), 'utf8'))
    expect(config).toMatchObject({ r: 3, lora_alpha: 3, use_rslora: false, rank_pattern: {} })
  })

  test('ranks of their own, where asked for', async () => {
    const out = fresh()
    await converted([await adapter(), '-o', out, '--format=peft', '--layout=pattern', '--base', BASE])
    const { modules } = await openAdapter(out)
    expect(modules.map(({ rank, scale }) => [rank, scale]).sort()).toEqual([
      [2, 1],
      [2, 1],
      [3, 1],
    ])
  })
})

describe('scale', () => {
  test('a power of two changes no digit; another is rounded once, and measured', async () => {
    const half = await adapter({
      r: 2,
      lora_alpha: 1,
      rank_pattern: { k_proj: 3 },
      alpha_pattern: { k_proj: 1.5 },
      ...TARGETS,
    })
    expect(await converted([half, '-o', fresh(), '--format=mlx'])).toMatchObject({ exact: true })
    const third = await adapter({ ...PATTERN, lora_alpha: 2 / 3, alpha_pattern: { k_proj: 1 } })
    const { exact, largestError, layers } = await converted([third, '-o', fresh(), '--format=mlx'])
    expect(exact).toBe(false)
    expect(largestError).toBeGreaterThan(0)
    expect(largestError).toBeLessThan(2 ** -24 * 2)
    expect(layers.every(({ exact }: { exact: boolean }) => !exact)).toBe(true)
  })

  test('rslora and bf16: the error is that of rounding, by the dense products', async () => {
    const source = await adapter({ ...PATTERN, use_rslora: true })
    const out = fresh()
    const { layers } = await converted([source, '-o', out, '--format=peft', '--dtype=bf16'])
    const [before, after] = [await densesOf(source), await densesOf(out)]
    for (const { name, relativeError } of layers as { name: string; relativeError: number }[]) {
      const [meant, stored] = [before.get(name)!, after.get(name)!]
      const norm = (x: Float64Array) => Math.sqrt(x.reduce((sum, value) => sum + value ** 2, 0))
      const error = norm(stored.map((x, i) => x - meant[i])) / norm(meant)
      expect(relativeError / error).toBeCloseTo(1, 6)
      expect(error).toBeLessThan(2 ** -8)
    }
  })
})

describe('what ComfyUI makes of LoHa, LoKr and Tucker cores is what the plain factors do', () => {
  const cases = (goldens('goldens/comfy') as readonly ComfyCase[]).filter(
    // ComfyUI itself failed at the Tucker core of LoKr under the torch that made the goldens
    ({ what }) => /^(?:LoCon|LoHa|LoKr)/.test(what) && !/DoRA|LoKr 3x3, Tucker/.test(what),
  )
  const plain = /\.(?:lora_(?:up|down)\.weight|alpha)$/
  test('there are some of each', () => expect(cases.length).toBeGreaterThan(5))
  test.each(cases.map((one) => [one.what, one] as const))('%s', async (_, golden) => {
    const [source, out] = [fresh('.safetensors'), fresh('.safetensors')]
    await writeTensors(source, tensorsOf(golden.adapter))
    const { layers, exact } = await converted([
      source,
      '-o',
      out,
      '--format',
      (await openAdapter(source)).format,
    ])
    expect([exact, layers.length]).toEqual([true, 1])
    const [delta] = (await densesOf(out)).values()
    const [{ values }] = Object.values(golden.base)
    const [after] = Object.values(golden.result)
    const sum = Float64Array.from(flat(values), (x, i) => x + golden.strength * delta[i])
    expect(distance(sum, flat(after))).toBeLessThan(1e-6)
    expect([...readSafetensorsFile(out).keys()].filter((name) => !plain.test(name))).toEqual([])
  })
})

describe('what can’t be', () => {
  test('names that hang on a base that isn’t given', async () => {
    const source = await adapter()
    expect(await refusal([source, '-o', fresh('.gguf'), '--format=gguf'])).toMatch(
      /what llama.cpp calls its modules can't be told from names of PEFT alone; give the base .* --base/,
    )
    expect(await refusal([source, '-o', fresh('.safetensors'), '--format=comfyui', '--base', BASE])).toMatch(
      /is no diffusion model that is known, and ComfyUI loads adapters of those alone; peft, mlx and gguf are/,
    )
  })

  test('ranks of their own for MLX', async () => {
    const [source, mlx] = [await adapter(), fresh()]
    await converted([source, '-o', mlx, '--format=mlx'])
    for (const args of [
      ['convert', source, '--format=mlx'],
      ['resize', mlx, '--rank=1'],
      ['merge', source, source, '--format=mlx'],
    ])
      expect(await refused([...args, '-o', fresh(), '--layout=pattern'])).toBe(
        '--layout pattern: an adapter of MLX has one rank in all layers; leave --layout out',
      )
  })

  test('names of outputs that are another format’s', async () => {
    const source = await adapter()
    expect(await refusal([source, '-o', fresh('.safetensors'), '--format=gguf', '--base', BASE])).toMatch(
      /ends in \.gguf/,
    )
    expect(await refusal([source, '-o', fresh('.gguf'), '--format=mlx'])).toMatch(
      /an adapter of MLX is a folder/,
    )
  })

  test('what a format has no place for is an error, or left out and told', async () => {
    const source = await adapter(PATTERN, {
      ...MODULES,
      'base_model.model.model.norm.weight': random([96], 9),
    })
    const out = fresh('.gguf')
    const args = [source, '-o', out, '--format=gguf', '--base', BASE]
    expect(await refusal(args)).toMatch(/model\.norm\.weight.* has no|has none.*--drop leaves that out/)
    expect(readdirSync(folder)).not.toContain(out)
    const { dropped, holds, exact } = await converted([...args, '--drop'], 1)
    expect(dropped.map(({ name }: { name: string }) => name)).toEqual(['base_model.model.model.norm.weight'])
    expect({ holds, exact }).toEqual({ holds: false, exact: true })
  })

  test('a head that the base ties to its embedding', async () => {
    const base = at('tied')
    mkdirSync(base)
    await writeTensors(join(base, 'model.safetensors'), {
      'model.embed_tokens.weight': random([12, 8], 1),
      'model.layers.0.mlp.up_proj.weight': random([6, 8], 2),
    })
    const config = { architectures: ['LlamaForCausalLM'], tie_word_embeddings: true }
    writeFileSync(join(base, 'config.json'), JSON.stringify(config))
    const layer = pair('base_model.model.model.layers.0.mlp.up_proj', 2, [6, 8], 3)
    const [A, B] = [random([2, 12], 5), random([8, 2], 6)]
    const embedding = 'base_model.model.model.embed_tokens.lora_embedding'
    const source = (more: Tensors) => adapter({ r: 2, lora_alpha: 2 }, { ...layer, ...more })
    const args = ['-o', fresh('.gguf'), '--format=gguf', '--base', base]
    const [head, words] = [
      await source(pair('base_model.model.lm_head', 2, [12, 8], 7)),
      await source({ [`${embedding}_A`]: A, [`${embedding}_B`]: B }),
    ]
    expect(await refusal([head, ...args])).toContain(
      '"lm_head" can\'t be applied to tied: its head is tied to its embedding "model.embed_tokens.weight", and has no weight of its own',
    )
    expect(await refusal([words, ...args])).toContain(
      '"model.embed_tokens" is the embedding of a model whose head is tied to it',
    )
    const { dropped } = await converted([words, ...args, '--drop'], 1)
    expect(dropped.map(({ name }: { name: string }) => name)).toEqual(['model.embed_tokens'])
  })

  test('DoRA where the magnitudes have no place', async () => {
    const source = await adapter(
      { ...PATTERN, use_dora: true },
      {
        ...MODULES,
        [`${LAYER}.self_attn.q_proj.lora_magnitude_vector`]: random([96], 11),
        [`${LAYER}.self_attn.k_proj.lora_magnitude_vector`]: random([96], 12),
        [`${LAYER}.mlp.down_proj.lora_magnitude_vector`]: random([96], 13),
      },
    )
    expect(await refusal([source, '-o', fresh('.gguf'), '--format=gguf', '--base', BASE])).toMatch(
      /is DoRA, and llama.cpp has no place/,
    )
  })

  test('an existing output', async () => {
    const out = fresh()
    await converted([await adapter(), '-o', out, '--format=mlx'])
    expect(await refusal([await adapter(), '-o', out, '--format=mlx'])).toMatch(/exists/)
    await converted([await adapter(), '-o', out, '--format=mlx', '--force'])
  })

  test('no adapter, and a config that means nothing', async () => {
    writeFileSync(at('text.safetensors'), 'nothing')
    expect(await refusal([at('text.safetensors'), '-o', fresh(), '--format=mlx'])).toMatch(
      /text\.safetensors/,
    )
    expect(await refusal([BASE, '-o', fresh(), '--format=mlx'])).toMatch(/is no adapter/)
  })
})

test('a dry run says names, ranks and bytes, and writes nothing', async () => {
  const [source, out] = [await adapter(), fresh('.gguf')]
  const args = ['convert', source, '-o', out, '--format=gguf', '--base', BASE]
  const before = readdirSync(folder)
  const { stdout } = await runInProcess([...args, '--dry-run', '--json'])
  expect(readdirSync(folder)).toEqual(before)
  const { modules, output } = documentOf(stdout, 'convert-plan-1')
  expect(modules.map(({ name, rank }: { name: string; rank: number }) => [name, rank])).toEqual([
    ['blk.1.ffn_down.weight', 2],
    ['blk.1.attn_k.weight', 3],
    ['blk.1.attn_q.weight', 2],
  ])
  const { output: written } = await converted(args.slice(1))
  expect(written.bytes).toBe(output.bytes)
  const { stdout: text } = await runInProcess([...args, '--dry-run', '--force'])
  expect(text).toMatch(/1\.attn_q +2[\s\S]*names: blk\.<name>\.weight/)
})

test('resize and merge write the format that is asked for, and by default the one they read', async () => {
  const [source, gguf, small, sum] = [await adapter(), fresh('.gguf'), fresh('.gguf'), fresh()]
  const run = async (...args: string[]) => {
    const { stdout, stderr, code } = await runInProcess([...args, '--json'])
    expect({ stderr, code }).toEqual({ stderr: '', code: 0 })
    return JSON.parse(stdout)
  }
  await converted([source, '-o', gguf, '--format=gguf', '--base', BASE])
  const resized = await run('resize', gguf, '-o', small, '--rank=1', '--base', BASE)
  expect(resized.output).toMatchObject({ path: small, format: 'gguf', files: [small] })
  const merged = await run('merge', source, source, '-o', sum, '--weights=1,-0.5', '--format=mlx')
  expect(merged.output.format).toBe('mlx')
  const [before, after] = [await densesOf(source), await densesOf(sum)]
  for (const [name, dense] of before) {
    expect(
      distance(
        after.get(name.replace(/^base_model\.model\./, ''))! ?? after.get(name)!,
        dense.map((x) => x / 2),
      ),
    ).toBeLessThan(1e-6)
  }
  // the same factors as a resize of what it was converted from
  const plain = fresh()
  await run('resize', source, '-o', plain, '--rank=1')
  const back = fresh()
  await converted([small, '-o', back, '--format=peft', '--base', BASE])
  const twice = await densesOf(back)
  for (const [name, dense] of await densesOf(plain)) expect(twice.get(name), name).toEqual(dense)
  expect(readdirSync(folder).filter((name) => name.startsWith('.'))).toEqual([])
})
