import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isTarget, rankAndScale } from '../lora/peft-rules.ts'
import { f32, factorsOf, fileOf, folderOf, type Tensors, withSpectrum } from './checkpoints.ts'
import { type InProcessOptions, runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

const digits = (name: string) => fileURLToPath(new URL(`../fixtures/digits-llama/${name}`, import.meta.url))
const DELTA = ['inspect', digits('tuned'), '--base', digits('base')]

/** What is emitted, and what PEFT makes of it in a model of these modules. */
async function emitted(args: readonly string[], options: InProcessOptions = {}) {
  const { code, stdout, stderr } = await runInProcess(args, options)
  expect(code, stderr).toBe(0)
  const config = JSON.parse(stdout)
  const document = documentOf((await runInProcess([...args, '--json'], options)).stdout, 'inspect-1')
  expect(document.next.config).toEqual(config)
  expect(document.next.text).toBe(stdout)
  return { config, next: document.next, matrices: document.matrices, stderr }
}

interface Next {
  readonly parameters: number
  readonly kept: { readonly atLeast: number }
  readonly modules: readonly { readonly name: string; readonly path: string; readonly rank: number }[]
}

/** PEFT's own rules find just these modules, each at its rank and with scale 1. */
function expectExact(config: object, { modules }: Next, paths: readonly string[]): void {
  const byPath = new Map(modules.map(({ path, rank }) => [path, rank]))
  for (const path of paths) {
    expect(isTarget(config, path), path).toBe(byPath.has(path))
    if (byPath.has(path)) expect(rankAndScale(config, path)).toEqual({ rank: byPath.get(path), scale: 1 })
  }
}

/** The modules of a checkpoint, those that hold others too. */
function modulePaths(names: Iterable<string>): string[] {
  const paths = new Set<string>()
  for (const name of names) {
    const parts = name.split('.')
    for (let count = 1; count < parts.length; count++) paths.add(parts.slice(0, count).join('.'))
  }
  return [...paths]
}

function headerNames(path: string): string[] {
  const file = readFileSync(path)
  const header = JSON.parse(file.subarray(8, 8 + Number(file.readBigUInt64LE(0))).toString('utf8'))
  return Object.keys(header).filter((name) => name !== '__metadata__')
}

describe.concurrent('ranks for the next run', () => {
  test.for(['3k', '12k', '30000', '0.1M'])(
    '%s: PEFT takes just these modules, within the parameters',
    async (budget) => {
      const { config, next, matrices } = await emitted([...DELTA, '--emit', 'peft', '--parameters', budget])
      expectExact(config, next, modulePaths(headerNames(`${digits('base')}/model.safetensors`)))
      const cost = new Map<string, number>(
        matrices.map(({ name, shape }: { name: string; shape: number[] }) => [name, shape[0] + shape[1]]),
      )
      const sum = next.modules.reduce(
        (total: number, { name, rank }: { name: string; rank: number }) => total + rank * cost.get(name)!,
        0,
      )
      expect(sum).toBe(next.parameters)
      expect(sum).toBeLessThanOrEqual(next.budget)
      // nothing more fits: each module is at all the rank that its change has, or one more would be too much
      for (const { name, rank } of next.modules) {
        const found = matrices.find((matrix: { name: string }) => matrix.name === name)
        const most = Math.min(found.rank, found.noise.rankAbove ?? Number.POSITIVE_INFINITY)
        if (rank < most) expect(sum + cost.get(name)!).toBeGreaterThan(next.budget)
      }
    },
  )

  test('standard output has the config alone; what it comes to is on standard error', async () => {
    const { config, stderr } = await emitted([...DELTA, '--emit', 'peft', '--parameters', '12k'])
    expect(Object.keys(config)).toEqual([
      'r',
      'lora_alpha',
      'target_modules',
      'rank_pattern',
      'alpha_pattern',
    ])
    expect(config.lora_alpha).toBe(config.r)
    expect(config.target_modules).toContain('q_proj')
    expect(stderr).toMatch(/^Ranks 1 to \d+ in 22 modules: 1[12],\d+ parameters of 12,000\./)
    expect(stderr.replace(/\s+/g, ' ')).toMatch(/carry \d+(\.\d)? % of the change's squared norm/)
    expect(stderr).toContain('Not named, an embedding: model.embed_tokens.weight.')
    const quiet = await runInProcess([...DELTA, '--emit', 'peft', '--parameters', '12k', '-q'])
    expect(quiet).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(quiet.stdout)).toEqual(config)
  })

  test('axolotl: the same under its keys', async () => {
    const args = [...DELTA, '--parameters', '12k', '--emit']
    const { config } = await emitted([...args, 'peft'])
    const { stdout } = await runInProcess([...args, 'axolotl'])
    expect(readYaml(stdout)).toEqual({
      adapter: 'lora',
      lora_r: config.r,
      lora_alpha: config.lora_alpha,
      lora_target_modules: config.target_modules,
      lora_rank_pattern: config.rank_pattern,
      lora_alpha_pattern: config.alpha_pattern,
    })
    expect(stdout).toMatch(/^# Ranks 1 to \d+ in 22 modules/)
    expect(stdout).toContain('# The patterns need axolotl 0.18 or later.\n')
  })

  test('one rank for all needs no patterns', async () => {
    const cwd = folderOf(twoOf([4, 3], [4, 3]))
    const args = [
      'inspect',
      'tuned.safetensors',
      '--base',
      'base.safetensors',
      '--parameters',
      '64',
      '--emit',
    ]
    const { config } = await emitted([...args, 'peft'], { cwd })
    expect(config).toEqual({
      r: 2,
      lora_alpha: 2,
      target_modules: ['a', 'b'],
      rank_pattern: {},
      alpha_pattern: {},
    })
    const { stdout } = await runInProcess([...args, 'axolotl'], { cwd })
    expect(Object.keys(readYaml(stdout))).toEqual(['adapter', 'lora_r', 'lora_alpha', 'lora_target_modules'])
  })
})

/** YAML of scalars, lists and maps of scalars, as far as JSON's strings and numbers are YAML's. */
function readYaml(text: string): Record<string, unknown> {
  const found: Record<string, unknown> = {}
  let open: string | undefined
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    const [, item] = /^ {2}- (.*)$/.exec(line) ?? []
    const [, key, value] = /^ {2}("(?:[^"\\]|\\.)*"): (.*)$/.exec(line) ?? []
    if (item !== undefined) found[open!] = [...((found[open!] as unknown[]) ?? []), JSON.parse(item)]
    else if (key !== undefined)
      found[open!] = { ...((found[open!] as object) ?? {}), [JSON.parse(key)]: JSON.parse(value) }
    else {
      const [, name, scalar] = /^(\w+):(?: (.*))?$/.exec(line) ?? []
      expect(name, line).toBeDefined()
      if (scalar === undefined) open = name
      else found[name] = /^[a-z]+$/.test(scalar) ? scalar : JSON.parse(scalar)
    }
  }
  return found
}

const ORDER = 8

/** Two modules [8, 8] whose changes have these singular values, and one that is equal. */
function twoOf(first: readonly number[], second: readonly number[]) {
  const zeros = new Float32Array(ORDER * ORDER)
  const change = (S: readonly number[]) => f32([ORDER, ORDER], withSpectrum(ORDER, ORDER, S))
  const same = f32([ORDER, ORDER], withSpectrum(ORDER, ORDER, [1]))
  return {
    'base.safetensors': fileOf({
      'a.weight': f32([ORDER, ORDER], zeros),
      'b.weight': f32([ORDER, ORDER], zeros),
      'c.weight': same,
    }),
    'tuned.safetensors': fileOf({ 'a.weight': change(first), 'b.weight': change(second), 'c.weight': same }),
  }
}

test('the best of all ranks that fit, by trying all', async () => {
  const values = fc
    .array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 4 })
    .map((S) => [...new Set(S)].sort((a, b) => b - a))
  await fc.assert(
    fc.asyncProperty(values, values, fc.integer({ min: 32, max: 160 }), async (first, second, budget) => {
      const cwd = folderOf(twoOf(first, second))
      const { stdout } = await runInProcess(
        [
          ...['inspect', 'tuned.safetensors', '--base', 'base.safetensors', '--json'],
          ...['--emit', 'peft', '--parameters', String(budget)],
        ],
        { cwd },
      )
      const { next } = documentOf(stdout, 'inspect-1')
      const squares = [first, second].map((S) => S.map((s) => s * s))
      const total = squares.flat().reduce((a, b) => a + b, 0)
      const gain = (ranks: number[]) =>
        ranks.reduce((sum, rank, i) => sum + squares[i].slice(0, rank).reduce((a, b) => a + b, 0), 0)
      let best = 0
      for (let r = 1; r <= first.length; r++)
        for (let s = 1; s <= second.length; s++)
          if ((r + s) * 2 * ORDER <= budget) best = Math.max(best, gain([r, s]))
      expect(next.kept.atLeast).toBeCloseTo(best / total, 4)
      expect(next.parameters).toBeLessThanOrEqual(budget)
    }),
    { numRuns: 15 },
  )
})

const q = 'model.layers.0.self_attn.q_proj'
const v = 'model.layers.0.self_attn.v_proj'
const pair = (module: string, S: readonly number[], names = ['lora_A.weight', 'lora_B.weight']): Tensors => {
  const { A, B } = factorsOf(16, 16, S)
  return {
    [`${module}.${names[0]}`]: f32([S.length, 16], A),
    [`${module}.${names[1]}`]: f32([16, S.length], B),
  }
}
const peftConfig = (fields: object = {}) =>
  JSON.stringify({ peft_type: 'LORA', r: 4, lora_alpha: 4, target_modules: ['q_proj', 'v_proj'], ...fields })
const adapterFiles = {
  ...pair(`base_model.model.${q}`, [8, 4, 2, 1]),
  ...pair(`base_model.model.${v}`, [3, 1, 0.5, 0.25]),
}
const folder = folderOf({
  'adapter/adapter_model.safetensors': fileOf(adapterFiles),
  'adapter/adapter_config.json': peftConfig(),
  'some/adapter_model.safetensors': fileOf(adapterFiles),
  'some/adapter_config.json': peftConfig({ layers_to_transform: [0] }),
  'kohya.safetensors': fileOf(
    pair('lora_unet_down_blocks_0_attn1_to_q', [2, 1, 0.5, 0.25], ['lora_down.weight', 'lora_up.weight']),
  ),
  'weights.safetensors': fileOf({ [`${q}.weight`]: f32([16, 16], withSpectrum(16, 16, [1])) }),
})

describe.concurrent('of an adapter', () => {
  const at = { cwd: folder }
  test('its own words for its modules, where they mean these alone', async () => {
    const { config, next } = await emitted(
      ['inspect', 'adapter', '--emit', 'peft', '--parameters', '160'],
      at,
    )
    expect(config.target_modules).toEqual(['q_proj', 'v_proj'])
    expectExact(config, next, [q, v])
    // 8² + 4² + 2² + 1² and 3²: five directions of 32
    expect(next.kept.atLeast).toBeCloseTo(94 / 95.3125, 6)
  })

  test('else whole paths: few parameters, a restricted config, a part of the modules', async () => {
    for (const args of [
      ['adapter', '--parameters', '40'],
      ['adapter', '--parameters', '128', '--include', '*q_proj*'],
      ['some', '--parameters', '160'],
    ]) {
      const { config, next } = await emitted(['inspect', ...args, '--emit', 'peft'], at)
      expect(config.target_modules).toEqual(next.modules.map(({ path }: { path: string }) => path))
      expect(next.modules[0].path).toBe(q)
      expectExact(config, next, [q, v, 'model.layers.1.self_attn.q_proj'])
    }
  })

  test.for<[string[], string]>([
    [
      ['weights.safetensors', '--emit', 'peft', '--parameters', '9'],
      '--emit: weights.safetensors is weights alone; give the ones before as --base, or name an adapter',
    ],
    [
      ['kohya.safetensors', '--emit', 'peft', '--parameters', '9'],
      "--emit: kohya.safetensors has the names of kohya, not the model's; give the base as --base",
    ],
    [
      ['adapter', '--emit', 'peft', '--parameters', '9'],
      '--parameters 9: rank 1 in one module takes 32 already; give that much',
    ],
    [
      ['adapter', '--emit', 'axolotl'],
      '--emit axolotl spreads ranks over a number of parameters: give --parameters, such as 40M',
    ],
    [
      ['adapter', '--parameters', '40M'],
      '--parameters is for the ranks that --emit prints: give --emit peft or --emit axolotl',
    ],
    [
      ['adapter', '--emit', 'peft', '--parameters', '40M', '--plot', 'q_proj'],
      '--emit prints ranks in place of a report, and --plot is a part of one: give one of them',
    ],
  ])('%s is refused', async ([args, says]) => {
    const { code, stdout, stderr } = await runInProcess(['inspect', ...args], at)
    expect({ code, stdout, stderr }).toEqual({ code: 2, stdout: '', stderr: `lora-svd: ${says}\n` })
  })

  test('what is no number of parameters', async () => {
    for (const given of ['40MiB', '0', '-3', 'many']) {
      const { code, stderr } = await runInProcess(
        ['inspect', 'adapter', '--emit', 'peft', `--parameters=${given}`],
        at,
      )
      expect(code).toBe(2)
      expect(stderr).toContain('expected a number of parameters, such as 40M, 1.5B or 400k')
    }
  })
})
