import { readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { errorOf, readNpz, readSafetensors } from './read-factors.ts'
import { runCli, runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url))
const json = (name: string) => JSON.parse(readFileSync(fixture(name), 'utf8'))

const folder = temporaryFolder()
let outputs = 0
/** A name of a file that isn't there yet. */
const newFile = (extension: string) => join(folder, `${outputs++}.${extension}`)

/** The document of `factor --json` and the factors as they lie on disk. */
async function factor(matrix: string, args: readonly string[], { code = 0, extension = 'safetensors' } = {}) {
  const out = newFile(extension)
  const result = await runInProcess(['factor', matrix, '-o', out, '--json', ...args])
  expect(result.stderr).toBe('')
  expect(result.code).toBe(code)
  const document = documentOf(result.stdout, 'factor-1')
  const file = readFileSync(out)
  expect(document.output).toEqual({ path: out, format: extension, bytes: file.length })
  const { lora_A: A, lora_B: B } = extension === 'npz' ? readNpz(file) : readSafetensors(file)
  const [d, k] = document.shape
  expect([B.shape, A.shape]).toEqual([
    [d, document.rank],
    [document.rank, k],
  ])
  return { document, file, A, B }
}

const sumOfSquares = (S: readonly number[]) => S.reduceRight((sum, s) => sum + s * s, 0)
/** ‖W − W_r‖_F / ‖W‖_F of the best W_r, from NumPy's singular values. */
const optimum = (S: readonly number[], r: number) => Math.sqrt(sumOfSquares(S.slice(r)) / sumOfSquares(S))

const LLAMA = fixture('digits-llama/tuned/model.safetensors')
const { tensors }: { tensors: Record<string, { shape: number[]; tuned_singular_values: number[] }> } = json(
  'digits-llama/reference.json',
)

describe.concurrent('a weight of a fine-tuned model', () => {
  const weights = readSafetensors(readFileSync(LLAMA))
  const rules = [
    { rule: '--error', value: 0.5 },
    { rule: '--error', value: 0.2 },
    { rule: '--energy', value: 0.5 },
    { rule: '--energy', value: 0.99 },
  ]
  const runs = Object.keys(tensors).flatMap((name) => rules.map((rule) => ({ name, ...rule })))

  test.for(runs)('$name $rule $value: the rank that NumPy says', async ({ name, rule, value }) => {
    const { shape, tuned_singular_values: S } = tensors[name]
    const isReached = (r: number) =>
      rule === '--error' ? optimum(S, r) <= value : 1 - optimum(S, r) ** 2 >= value
    const rank = S.findIndex((_, i) => isReached(i + 1)) + 1

    const { document, A, B } = await factor(LLAMA, ['--tensor', name, rule, String(value)])
    expect(document).toMatchObject({
      source: { path: LLAMA, name, dtype: 'f32' },
      rule: { kind: rule.slice(2), [rule.slice(2)]: value },
      shape,
      numericalRank: S.length,
      rank,
      dtype: 'f32',
      holds: true,
    })
    expect(document.relativeError).toBeLessThanOrEqual(1.0005 * optimum(S, rank))
    expect(document.relativeError).toBeGreaterThanOrEqual(optimum(S, rank) / 1.0005)
    expect(document.optimalError.atLeast).toBeLessThanOrEqual(optimum(S, rank) * (1 + 1e-9))
    expect(document.optimalError.atMost).toBeGreaterThanOrEqual(optimum(S, rank) * (1 - 1e-9))
    // what the document says of the disk is what is on the disk
    expect([A.dtype, B.dtype]).toEqual(['F32', 'F32'])
    expect(errorOf(weights[name].values, B, A)).toBeCloseTo(document.relativeError, 9)
  })
})

interface Golden {
  readonly file: string
  readonly dtype: string
  readonly shape: number[]
  readonly matrixRank: number
  readonly singularValues: number[]
  readonly entries: number[]
}

describe.concurrent('a matrix that NumPy wrote', () => {
  test.for(json('factor/expected.json') as Golden[])('$file', async (golden) => {
    const { file, dtype, shape, matrixRank, singularValues: S, entries } = golden
    const args = file.endsWith('.npz') ? ['--tensor', 'W'] : []
    const { document, A, B } = await factor(fixture(`factor/${file}`), [
      '--rank',
      '2',
      '--dtype',
      'f64',
      ...args,
    ])
    const name = file.endsWith('.npz') ? 'W' : basename(file)
    expect(document).toMatchObject({ shape, numericalRank: matrixRank, rank: 2, dtype: 'f64', holds: true })
    expect(document.source).toMatchObject({ name, dtype })
    expect(document.relativeError).toBeCloseTo(optimum(S, 2), 12)
    expect(errorOf(entries, B, A)).toBeCloseTo(optimum(S, 2), 12)
  })

  test('the only matrix of an .npz needs no --tensor', async () => {
    const { document } = await factor(fixture('factor/named.npz'), ['--rank', '1'])
    expect(document.source).toMatchObject({ name: 'W', dtype: 'f32' })
  })
})

const TALL = fixture('factor/tall-f32.npy')
const tall = (json('factor/expected.json') as Golden[])[0]

describe.concurrent('what is written', () => {
  /** Unit roundoff: the most that one rounding changes, relative to the number. */
  const ROUNDOFF = { F64: 2 ** -53, F32: 2 ** -24, F16: 2 ** -11, BF16: 2 ** -8 }
  const formats = [
    ['safetensors', 'f64'],
    ['safetensors', 'f32'],
    ['safetensors', 'f16'],
    ['safetensors', 'bf16'],
    ['npz', 'f64'],
    ['npz', 'f32'],
    ['npz', 'f16'],
  ] as const

  test.for(formats)('%s of %s, at full rank: the error is that of rounding', async ([extension, dtype]) => {
    const { document, A, B } = await factor(TALL, ['--rank', '7', '--dtype', dtype], { extension })
    const stored = dtype.toUpperCase() as keyof typeof ROUNDOFF
    expect([A.dtype, B.dtype, document.dtype]).toEqual([stored, stored, dtype])
    expect(errorOf(tall.entries, B, A)).toBeCloseTo(document.relativeError, 12)
    // two factors are rounded, each by that at most
    expect(document.relativeError).toBeLessThan(2 * ROUNDOFF[stored] + 1e-14)
    if (dtype !== 'f64') expect(document.relativeError).toBeGreaterThan(ROUNDOFF[stored] / 20)
  })

  test.for([
    ['tall-f32.npy', 'F32'],
    ['fortran-f16.npy', 'F16'],
    ['low-rank.csv', 'F64'],
    ['integers.npy', 'F64'],
  ])('of %s is %s where nothing else is asked for', async ([file, dtype]) => {
    const { A, B } = await factor(fixture(`factor/${file}`), ['--rank', '2'])
    expect([A.dtype, B.dtype]).toEqual([dtype, dtype])
  })

  test('is the same, byte for byte, twice, by path or by standard input', async () => {
    const args = ['--tensor', 'model.layers.0.mlp.up_proj.weight', '--rank', '9', '--engine', 'wasm']
    const [first, second] = await Promise.all([factor(LLAMA, args), factor(LLAMA, args)])
    const out = newFile('safetensors')
    const input = readFileSync(LLAMA)
    const piped = await runCli(['factor', '-', '-o', out, '--json', ...args], { input })
    expect(documentOf(piped.stdout, 'factor-1').source.path).toBe('-')
    expect(second.file.equals(first.file)).toBe(true)
    expect(readFileSync(out).equals(first.file)).toBe(true)
  })

  test('replaces an existing file with --force', async () => {
    const out = newFile('npz')
    writeFileSync(out, 'old')
    const { code } = await runInProcess(['factor', TALL, '-o', out, '--rank', '3', '--force', '--quiet'])
    expect(code).toBe(0)
    expect(readNpz(readFileSync(out)).lora_B.shape).toEqual([12, 3])
  })

  test('of zeros is zeros', async () => {
    const zeros = join(folder, 'zeros.csv')
    writeFileSync(zeros, '0 0 0\n0 0 0\n')
    const { document, A, B } = await factor(zeros, ['--error', '0.1'])
    expect(document).toMatchObject({ numericalRank: 0, rank: 1, relativeError: 0, holds: true })
    expect(errorOf([1, 1, 1, 1, 1, 1], B, A)).toBe(1)
  })
})

describe.concurrent('the limits of the rank', () => {
  // singular values 1, 1/2, 1/4 …: an error of 0.2 takes 3 of the 7
  test.for([
    [[], 3, true],
    [['--multiple-of', '4'], 4, true],
    [['--multiple-of', '5'], 5, true],
    [['--multiple-of', '9'], 7, true],
    [['--min-rank', '5'], 5, true],
    [['--min-rank', '2'], 3, true],
    [['--max-rank', '2'], 2, false],
    [['--max-rank', '6'], 3, true],
    [['--max-rank', '99'], 3, true],
    [['--multiple-of', '4', '--max-rank', '3'], 3, true],
    [['--multiple-of', '2', '--max-rank', '3'], 2, false],
    [['--min-rank', '5', '--multiple-of', '3'], 6, true],
  ] as const)('--error 0.2 %j: %i', async ([limits, rank, holds]) => {
    const { document } = await factor(TALL, ['--error', '0.2', ...limits], { code: holds ? 0 : 1 })
    expect(document).toMatchObject({ rank, holds })
  })

  test.for([
    [['--max-rank', '2'], 'that takes rank 3, and --max-rank 2 allows 2.'],
    [['--multiple-of', '2', '--max-rank', '3'], 'that takes rank 3, and --multiple-of 2 allows 2.'],
  ] as const)('the report names the one that is in the way: %j', async ([limits, says]) => {
    const args = ['factor', TALL, '-o', newFile('npz'), '--error', '0.2', ...limits]
    const { code, stdout } = await runInProcess(args)
    expect(code).toBe(1)
    expect(stdout.replace(/\s+/g, ' ')).toContain(says)
  })

  test('an --error below the rounding of the dtype is not reached: exit code 1, and the report says why', async () => {
    const args = ['factor', TALL, '-o', newFile('safetensors'), '--error', '1e-3', '--dtype', 'bf16']
    const { code, stdout, stderr } = await runInProcess(args)
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
    expect(stdout).toMatch(
      /Not reached: an error of 0\.001 was asked for, what is on disk has an error of\s+\S+;\s+the rounding of bf16 is\s+larger: use a wider --dtype\.\n$/,
    )
  })
})

describe.concurrent('the report', () => {
  test('shows the spectrum with the cut, what is kept, lost and written', async () => {
    const out = newFile('npz')
    const { code, stdout, stderr } = await runInProcess(['factor', TALL, '-o', out, '--rank', '2'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    for (const part of [
      /│ 1 │ +1 │ +75 % │/,
      /matrix +│ tall-f32\.npy {2}12 × 7 {2}f32 /,
      /numerical rank +│ 7 /,
      /rank kept +│ 2 /,
      /relative error on disk +│ 0\.24/,
      /elements of W +│ 84 /,
      /elements of B \+ A +│ 38 \(45\.2 %\)/,
    ]) {
      expect(stdout).toMatch(part)
    }
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80)
  })

  test('is nothing with --quiet', async () => {
    const args = ['factor', TALL, '-o', newFile('npz'), '--rank', '2', '-q']
    expect(await runInProcess(args)).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
  })
})
