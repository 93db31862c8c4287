import { existsSync, linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { f64, fileOf, type Tensors } from './checkpoints.ts'
import { float64s, npyDict, npyFile } from './files.ts'
import { runInProcess, runShell, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder()
const at = (...names: string[]) => join(folder, ...names)
const run = (...args: string[]) => runInProcess(args, { cwd: folder })

const writeSafetensors = (path: string, tensors: Tensors) => writeFileSync(path, fileOf(tensors))

/** Numbers of no pattern. */
const numbers = (count: number, seed: number) =>
  Array.from({ length: count }, (_, i) => Math.sin(seed + 7 * i) + Math.cos(seed * i))
const W = numbers(30, 1)
const npy = (name: string, shape: string, values: readonly number[]) =>
  writeFileSync(at(name), npyFile(npyDict('<f8', shape), float64s(...values)))

describe.concurrent('numbers at the ends of float64', () => {
  test.for([1e300, 1e-300, 1e-310])('factor of %d·W: the errors of W', async (size) => {
    const [plain, name] = [`W-${size}.npy`, `scaled-${size}.npy`]
    npy(plain, '(6, 5)', W)
    npy(
      name,
      '(6, 5)',
      W.map((x) => x * size),
    )
    const of = async (file: string) => {
      const { code, stdout } = await run('factor', file, '-o', `${file}.npz`, '--error', '0.4', '--json')
      expect(code).toBe(0)
      return documentOf(stdout, 'factor-1')
    }
    const [expected, found] = [await of(plain), await of(name)]
    expect(found.rank).toBe(expected.rank)
    // the smallest have 14 digits fewer
    expect(found.relativeError).toBeCloseTo(expected.relativeError, size < 1e-305 ? 9 : 13)
    expect(found.optimalError.atMost).toBeCloseTo(expected.optimalError.atMost, size < 1e-305 ? 9 : 13)
  })

  test('factor of a matrix whose singular values no float64 holds', async () => {
    npy('big.npy', '(3, 3)', new Array(9).fill(1.7e308))
    for (const rule of [
      ['--rank', '1'],
      ['--energy', '0.99'],
    ]) {
      const { code, stdout, stderr } = await run('factor', 'big.npy', '-o', 'big-out.npz', ...rule)
      expect({ code, stdout, stderr }).toEqual({
        code: 2,
        stdout: '',
        stderr:
          'lora-svd: big.npy: its entries are finite, but its singular values or norms pass 1.8e308, the largest float64; divide it by a power of ten first\n',
      })
    }
    expect(existsSync(at('big-out.npz'))).toBe(false)
  })

  test('factors of which a dtype would keep nothing are refused', async () => {
    npy(
      'small.npy',
      '(6, 5)',
      W.map((x) => x * 1e-300),
    )
    const { code, stderr } = await run(
      'factor',
      'small.npy',
      '-o',
      'small.npz',
      '--rank',
      '2',
      '--dtype',
      'f32',
    )
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(
        /^lora-svd: lora_B has no entry beyond .*e-300, and all are zero in f32; use --dtype f64\n$/,
      ),
    ])
    expect(existsSync(at('small.npz'))).toBe(false)
  })

  test('inspect of it, and of a change past the largest number', async () => {
    const tensor = (x: number) => ({ W: f64([2, 2], [x, 0, 0, x]) })
    writeSafetensors(at('up.safetensors'), { W: f64([3, 3], new Array(9).fill(1.7e308)) })
    writeSafetensors(at('high.safetensors'), tensor(1.2e308))
    writeSafetensors(at('low.safetensors'), tensor(-1.2e308))
    for (const args of [['up.safetensors'], ['high.safetensors', '--base', 'low.safetensors']]) {
      const { code, stderr } = await run('inspect', ...args)
      expect([code, stderr]).toEqual([2, expect.stringContaining('tensor "W": its entries are finite, but')])
    }
  })

  /** Two layers, each moved by scale·B·A from its base and a little more, all of it times `size`. */
  function models(name: string, size: number, alpha: number) {
    const [B, A] = [numbers(12, 2), numbers(10, 3)]
    const layers = [0, 1].map((i) => {
      const base = numbers(30, 4 + i)
      const tuned = base.map((x, at) => {
        const [row, column] = [Math.floor(at / 5), at % 5]
        return x + (B[2 * row] * A[column] + B[2 * row + 1] * A[5 + column]) * (1 + i) + Math.sin(at) / 9
      })
      return { name: `layers.${i}.fc.weight`, base, tuned }
    })
    const weights = (side: 'base' | 'tuned') =>
      Object.fromEntries(
        layers.map((layer) => [
          layer.name,
          f64(
            [6, 5],
            layer[side].map((x) => x * size),
          ),
        ]),
      )
    mkdirSync(at(`${name}-adapter`))
    writeSafetensors(at(`${name}-base.safetensors`), weights('base'))
    writeSafetensors(at(`${name}-tuned.safetensors`), weights('tuned'))
    const factors = [0, 1].flatMap((i) => [
      [`base_model.model.layers.${i}.fc.lora_A.weight`, f64([2, 5], A)] as const,
      [
        `base_model.model.layers.${i}.fc.lora_B.weight`,
        f64(
          [6, 2],
          B.map((x) => x * size),
        ),
      ] as const,
    ])
    writeSafetensors(at(`${name}-adapter`, 'adapter_model.safetensors'), Object.fromEntries(factors))
    writeFileSync(
      at(`${name}-adapter`, 'adapter_config.json'),
      JSON.stringify({ peft_type: 'LORA', r: 2, lora_alpha: alpha, target_modules: ['fc'] }),
    )
    return [`${name}-adapter`, `${name}-base.safetensors`, `${name}-tuned.safetensors`]
  }

  test.for([1e300, 1e-300])('verify of models times %d: the errors of the models', async (size) => {
    const of = async (name: string, factor: number) => {
      const { code, stdout } = await run('verify', ...models(`${name}-${size}`, factor, 2), '--json')
      expect(code).toBe(0)
      return documentOf(stdout, 'verify-1').totals
    }
    const [expected, found] = [await of('plain', 1), await of('scaled', size)]
    expect(expected.relativeError).toBeGreaterThan(0.1)
    expect(found.relativeError).toBeCloseTo(expected.relativeError, 12)
    expect(found.wholeRelativeError).toBeCloseTo(expected.wholeRelativeError, 12)
  })

  test('an alpha of 1e308 is refused where its product with the factors is taken', async () => {
    const [adapter, base, tuned] = models('alpha', 1, 1e308)
    for (const args of [
      ['inspect', adapter],
      ['verify', adapter, base, tuned],
    ]) {
      const { code, stdout, stderr } = await run(...args)
      expect({ code, stdout, stderr }).toEqual({
        code: 2,
        stdout: '',
        stderr: expect.stringContaining('pass 1.8e308'),
      })
    }
  })
})

describe.concurrent('factor over what it reads', () => {
  test.for(['itself', 'a link', 'a hard link', 'standard input', 'a file of the folder'])(
    '%s',
    async (what) => {
      const home = at(what.replaceAll(' ', '-'))
      mkdirSync(home)
      writeSafetensors(join(home, 'model.safetensors'), { W: f64([6, 5], W) })
      const before = readFileSync(join(home, 'model.safetensors'))
      symlinkSync('model.safetensors', join(home, 'link.safetensors'))
      linkSync(join(home, 'model.safetensors'), join(home, 'hard.safetensors'))
      const [input, output] = {
        itself: ['./model.safetensors', 'model.safetensors'],
        'a link': ['model.safetensors', 'link.safetensors'],
        'a hard link': ['hard.safetensors', 'model.safetensors'],
        'standard input': ['-', 'model.safetensors'],
        'a file of the folder': ['.', 'model.safetensors'],
      }[what]!
      const from = input === '-' ? '< model.safetensors' : ''
      const { code, stderr } = await runShell(
        `lora-svd factor ${input} -o ${output} --rank 2 --force ${from}`,
        {
          cwd: home,
        },
      )
      expect({ code, stderr }).toEqual({
        code: 2,
        stderr: `lora-svd: --out ${output}: is what is read; name another file\n`,
      })
      expect(readFileSync(join(home, 'model.safetensors'))).toEqual(before)
    },
  )
})
