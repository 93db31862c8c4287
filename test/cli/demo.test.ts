import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { runCli, runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const fixture = (name: string) => readFileSync(new URL(`../fixtures/${name}`, import.meta.url), 'utf8')

/** The document of `demo --json` with these arguments, which must end with `code`. */
async function demo(args: readonly string[], code = 0) {
  const result = await runInProcess(['demo', '--json', ...args])
  expect(result.stderr).toBe('')
  expect(result.code).toBe(code)
  expect(result.stdout).toMatch(/^\{.*\}\n$/)
  return documentOf(result.stdout, 'demo-1')
}

const flat = (rows: number[][]) => rows.flat()

/** The largest |actual − expected|, relative to what is larger than 1. */
function largestDifference(actual: readonly number[], expected: readonly number[]): number {
  expect(actual).toHaveLength(expected.length)
  return Math.max(...actual.map((x, i) => Math.abs(x - expected[i]) / Math.max(1, Math.abs(expected[i]))))
}

const DEFAULTS = {
  d: 10,
  k: 10,
  rank: 2,
  seed: 0,
  rng: 'seedrandom',
  draw: 1,
  dtype: 'f64',
  rtol: 1e-5,
  atol: 1e-8,
  noise: 0,
  truncate: 2,
}

describe.concurrent('the document', () => {
  test('of no options is the notebook of 10 × 10 and rank 2', async () => {
    const document = await demo([])
    expect(document).toMatchObject({
      options: DEFAULTS,
      rank: 2,
      shapes: { W: [10, 10], B: [10, 2], A: [2, 10], S: [2, 2] },
      allclose: true,
      elements: { W: 100, B: 20, A: 20, factors: 40, ratio: 0.4 },
    })
    expect(document.singularValues).toHaveLength(10)
    expect(document.relativeError).toBeLessThan(1e-14)
    expect(document).not.toHaveProperty('W')
  })

  test.for([
    [['--d', '7'], { d: 7 }],
    [['--k', '5'], { k: 5 }],
    [['--rank', '4'], { rank: 4, truncate: 4 }],
    [['--seed', '-3'], { seed: -3 }],
    [['--seed', '9007199254740991'], { seed: 9007199254740991 }],
    [['--seed', '9007199254740993'], { seed: '9007199254740993' }],
    [['--seed', '123456789012345678901234567890'], { seed: '123456789012345678901234567890' }],
    [['--rng', 'torch'], { rng: 'torch' }],
    [['--draw', '3'], { draw: 3 }],
    [['--dtype', 'f32'], { dtype: 'f32' }],
    [['--truncate', '6'], { truncate: 6 }],
    [['--rtol', '1e-3', '--atol', '0'], { rtol: 1e-3, atol: 0 }],
    [['--engine', 'wasm', '--threads', '1'], {}],
  ] as const)('echoes $0', async ([args, changed]) => {
    const { options, shapes, singularValues, elements } = await demo(args)
    const expected = { ...DEFAULTS, ...changed }
    expect(options).toEqual(expected)
    const { d, k, truncate: r } = expected
    expect(shapes).toEqual({ W: [d, k], B: [d, r], A: [r, k], S: [r, r] })
    expect(singularValues).toHaveLength(Math.min(d, k))
    const factors = d * r + r * k
    expect(elements).toEqual({ W: d * k, B: d * r, A: r * k, factors, ratio: factors / (d * k) })
  })

  test('has B·A and the vectors that belong to W with --matrices', async () => {
    const args = ['--matrices', '--d', '6', '--k', '4', '--rank', '3']
    const { W, B, A, bias, x, yRef, y } = await demo(args)
    const product = B.map((row: number[]) =>
      A[0].map((_: number, j: number) => row.reduce((sum, b, p) => sum + b * A[p][j], 0)),
    )
    expect(largestDifference(flat(product), flat(W))).toBeLessThan(1e-14)
    const times = (M: number[][]) => M.map((row, i) => row.reduce((sum, m, j) => sum + m * x[j], bias[i]))
    expect(largestDifference(times(W), yRef)).toBeLessThan(1e-14)
    expect(largestDifference(times(product), y)).toBeLessThan(1e-14)
  })

  test('is the same, byte for byte, for the same seed, and another for another', async () => {
    const args = ['demo', '--json', '--matrices', '--d', '90', '--k', '70', '--rank', '9', '--engine', 'wasm']
    const runs = await Promise.all([runCli(args), runInProcess(args), runInProcess([...args, '--seed', '1'])])
    const [first, second, other] = runs.map(({ stdout }) => stdout)
    expect(second).toBe(first)
    expect(documentOf(other, 'demo-1').W).not.toEqual(documentOf(first, 'demo-1').W)
  })

  test.for(['seedrandom', 'torch'])('tells seeds past 2^53 apart: %s', async (rng) => {
    const seeds = ['9007199254740992', '9007199254740993']
    const [one, next] = await Promise.all(
      seeds.map((seed) => demo(['--matrices', '--rng', rng, '--seed', seed])),
    )
    expect(next.W).not.toEqual(one.W)
  })
})

describe.concurrent('too few directions, or noise', () => {
  test.for(['1', '2', '3'])('--truncate %s of 4: exit code 1, and the error is the optimum', async (r) => {
    const { allclose, worst, rank, relativeError, optimalError, singularValues } = await demo(
      ['--d', '20', '--k', '12', '--rank', '4', '--truncate', r],
      1,
    )
    expect({ allclose, rank }).toEqual({ allclose: false, rank: 4 })
    const squares = singularValues.map((s: number) => s * s)
    const sum = (values: number[]) => values.reduce((total, value) => total + value, 0)
    expect(optimalError).toBeCloseTo(Math.sqrt(sum(squares.slice(Number(r))) / sum(squares)), 14)
    expect(Math.abs(relativeError - optimalError)).toBeLessThan(1e-14)
    expect(worst.difference).toBeGreaterThan(worst.allowed)
    expect(Math.abs(worst.y - worst.yRef)).toBeCloseTo(worst.difference, 14)
  })

  test('--noise makes the rank full, with a cliff after the first directions', async () => {
    const { rank, singularValues: S } = await demo(['--noise', '1e-3', '--truncate', '10'])
    expect(rank).toBe(10)
    expect(S[2] / S[1]).toBeLessThan(1e-2)
    expect(S[9]).toBeGreaterThan(1e-6)
  })

  test('--noise left out of the factors: exit code 1, unless --atol allows it', async () => {
    const { maxAbsError } = await demo(['--noise', '0.1'], 1)
    await demo(['--noise', '0.1', '--atol', String(maxAbsError)])
  })
})

interface NotebookCase {
  readonly d: number
  readonly k: number
  readonly rank: number
  readonly seed: number
  readonly draw: number
  readonly matrixRank: number
  readonly W: number[][]
  readonly singularValues: number[]
  readonly bias: number[]
  readonly x: number[]
  readonly yRef: number[]
  readonly elements: { readonly W: number; readonly factors: number }
}

/** PyTorch rounds to float32 after every product and sum: a few units in the last place. */
const FLOAT32_ROUNDING = 2e-6

describe.concurrent('the notebook in PyTorch', () => {
  const { cases }: { cases: NotebookCase[] } = JSON.parse(fixture('notebook.json'))
  const runs = cases.flatMap((golden) => (['f32', 'f64'] as const).map((dtype) => ({ ...golden, dtype })))

  test.for(runs)('$d × $k, rank $rank, seed $seed, draw $draw, $dtype', async (golden) => {
    const { d, k, rank, seed, draw, dtype } = golden
    const sizes = ['--d', d, '--k', k, '--rank', rank, '--seed', seed, '--draw', draw].map(String)
    const args = ['demo', '--rng', 'torch', '--matrices', '--json', '--dtype', dtype, ...sizes]
    const { code, stdout } = await runInProcess(args)
    const document = documentOf(stdout, 'demo-1')
    expect(code).toBe(document.allclose ? 0 : 1)
    // float64 arithmetic leaves no doubt; PyTorch's own check in float32 says False for half of these cases
    if (dtype === 'f64') expect(document.allclose).toBe(true)
    expect(largestDifference(flat(document.W), flat(golden.W))).toBeLessThan(FLOAT32_ROUNDING)
    expect(document.bias).toEqual(golden.bias)
    expect(document.x).toEqual(golden.x)
    expect(largestDifference(document.yRef, golden.yRef)).toBeLessThan(FLOAT32_ROUNDING)
    expect(document.rank).toBe(golden.matrixRank)
    const kept = (S: number[]) => S.slice(0, rank)
    expect(largestDifference(kept(document.singularValues), kept(golden.singularValues))).toBeLessThan(
      FLOAT32_ROUNDING,
    )
    expect(document.elements).toMatchObject(golden.elements)
  })

  test('--rng torch --draw 2 --show prints the very W of the notebook', async () => {
    const { stdout, code } = await runInProcess(['demo', '--rng', 'torch', '--draw', '2', '--show'])
    expect(code).toBe(0)
    // the page breaks off inside the last row
    expect(stdout).toContain(`\nW\n${fixture('notebook-W.txt').trimEnd()}`)
  })
})

describe.concurrent('float32 near 0', () => {
  /** In float32 an entry of y near 0 fails allclose here, though the vectors agree to rounding. */
  const UNLUCKY = ['demo', '--rng', 'torch', '--dtype', 'f32', '--seed', '41']

  test('the report names an entry of a vector of any length', async () => {
    const args = [
      'demo',
      '--d',
      '200000',
      '--k',
      '1',
      '--rank',
      '1',
      '--dtype',
      'f32',
      '--rtol',
      '0',
      '--atol',
      '0',
    ]
    const { code, stdout, stderr } = await runInProcess(args)
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
    expect(stdout).toContain('The vectors agree to rounding')
  })

  test('the report names the entry and an --atol that lets it pass', async () => {
    const { code, stdout } = await runInProcess(UNLUCKY)
    expect(code).toBe(1)
    const text = stdout.replace(/\s+/g, ' ')
    const sentence =
      /The vectors agree to rounding \(normwise error \S+\), but yRef\[(\d+)\] = (\S+) is near 0, where the relative tolerance allows only (\S+) and the difference is (\S+)\. --atol (\S+) lets it pass\./
    const [, index, value, allowed, difference, atol] = sentence.exec(text) ?? []
    const document = documentOf((await runInProcess([...UNLUCKY, '--json'])).stdout, 'demo-1')
    expect(document.normwiseError).toBeLessThan(1e-6)
    expect(document.worst.index).toBe(Number(index))
    expect(document.worst.yRef).toBeCloseTo(Number(value), 4)
    expect(Number(difference)).toBeGreaterThan(Number(allowed))
    expect((await runInProcess([...UNLUCKY, '--quiet', '--atol', atol])).code).toBe(0)
  })
})

describe.concurrent('what is printed', () => {
  test('tells the story in the order of the notebook', async () => {
    const { code, stdout, stderr } = await runInProcess(['demo'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const inOrder = [
      /10 × 10 matrix of rank 2/,
      /random numbers: seedrandom, seed 0 · arithmetic: f64/,
      /1 {2}W = randn\(10, 2\) · randn\(2, 10\)/,
      /rank of W +│ 2 /,
      /2 {2}W = U · diag\(S\) · Vᵀ/,
      /3 {2}B = U\[:, :2\] · diag\(S\[:2\]\) {3}A = V\[:, :2\]ᵀ/,
      /shape of B +│ 10 × 2 /,
      /shape of A +│ 2 × 10 /,
      /4 {2}yRef = W·x \+ bias/,
      /allclose\(yRef, y\) +│ true /,
      /5 {2}what it takes/,
      /elements of W +│ 100 /,
      /elements of B \+ A +│ 20 \+ 20 = 40 /,
      /share of W +│ 40 %/,
    ]
    const places = inOrder.map((part) => stdout.search(part))
    expect(places.every((place) => place >= 0)).toBe(true)
    expect([...places].sort((a, b) => a - b)).toEqual(places)
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80)
  })

  test('is nothing with --quiet, whatever the exit code', async () => {
    expect(await runInProcess(['demo', '-q'])).toMatchObject({ code: 0, stdout: '', stderr: '' })
    expect(await runInProcess(['demo', '--quiet', '--truncate', '1'])).toMatchObject({
      code: 1,
      stdout: '',
      stderr: '',
    })
  })

  test.for([
    [[], {}, false],
    [['--color'], {}, true],
    [['--color'], { NO_COLOR: '1' }, true],
    [['--color', '--no-color'], {}, false],
    [[], { FORCE_COLOR: '1' }, true],
    [[], { FORCE_COLOR: '1', NO_COLOR: '1' }, false],
    [[], { FORCE_COLOR: '1', NO_COLOR: '' }, true],
    [['--no-color'], { FORCE_COLOR: '3' }, false],
    [['--json', '--color'], {}, false],
  ] as const)('is coloured with %j %j: %s', async ([args, env, isColoured]) => {
    const { stdout } = await runInProcess(['demo', ...args], { env })
    expect(stdout.includes('\u001b[')).toBe(isColoured)
  })

  test.for([
    [{}, false],
    [{ FORCE_COLOR: '1' }, true],
  ] as const)('of an error is coloured with %j: %s', async ([env, isColoured]) => {
    const { stderr } = await runInProcess(['demo', '--bogus'], { env })
    expect(stderr.includes('\u001b[31m')).toBe(isColoured)
  })
})

describe.concurrent('the page', () => {
  test('starts from the options, and is written beside the report', async () => {
    const path = join(temporaryFolder('page'), 'notebook.html')
    const args = ['demo', '--d', '12', '--rank', '3', '--truncate', '2', '--seed', '18446744073709551615']
    const { code, stdout } = await runInProcess([...args, '--html', path])
    expect(code).toBe(1)
    expect(stdout).toContain('allclose(yRef, y)')
    const [, start] = /id="start">([^<]*)</.exec(readFileSync(path, 'utf8')) ?? []
    expect(JSON.parse(start)).toEqual({
      ...{ d: 12, k: 10, rank: 3, truncate: 2, noise: 0, seed: '18446744073709551615' },
      ...{ rng: 'seedrandom', draw: 1, dtype: 'f64', rtol: 1e-5, atol: 1e-8 },
    })
  })

  test('does not fix the cut where it is the rank', async () => {
    const path = join(temporaryFolder('page'), 'notebook.html')
    await runInProcess(['demo', '--rank', '3', '--truncate', '3', '--html', path])
    expect(readFileSync(path, 'utf8')).not.toContain('"truncate"')
  })

  test('replaces a file only with --force', async () => {
    const path = join(temporaryFolder('page'), 'notebook.html')
    writeFileSync(path, 'mine')
    const { code, stdout, stderr } = await runInProcess(['demo', '--html', path])
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toBe(`lora-svd: ${path}: exists already; add --force to replace it\n`)
    expect(readFileSync(path, 'utf8')).toBe('mine')
    expect((await runInProcess(['demo', '--html', path, '--force'])).code).toBe(0)
    expect(readFileSync(path, 'utf8')).toMatch(/^<!doctype html>/)
  })

  test.for([
    [['--html', '-'], '--html - would be standard output, where the report goes: name a file'],
    [
      ['--html', 'large.html', '--d', '300'],
      '--d 300 --k 10 --html: a page has room for 256 rows and columns; use smaller --d, --k',
    ],
  ] as const)('%j is refused', async ([args, message]) => {
    const { code, stderr } = await runInProcess(['demo', ...args])
    expect(code).toBe(2)
    expect(stderr).toBe(`lora-svd: ${message}\n`)
    expect(existsSync('large.html')).toBe(false)
  })
})
