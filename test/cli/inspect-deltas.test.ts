import { describe, expect, test } from 'vitest'
import { bf16, f32, fileOf, folderOf, noise, plusLowRank, rounded, type Tensors } from './checkpoints.ts'
import { float64s, npyDict, npyFile } from './files.ts'
import { type Result, runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

const SHAPE = [64, 48] as const
const COUNT = SHAPE[0] * SHAPE[1]
/** As large as weights of this width are. */
const SIZE = 0.05
const names = ['model.layers.0.self_attn.q_proj.weight', 'model.layers.1.self_attn.q_proj.weight']
const [first, second] = names
const random = (seed: number, count = COUNT) => noise(count, seed).map((x) => SIZE * x)

const W = new Map(names.map((name, i) => [name, random(i + 1)]))
const all = (store: typeof f32, of: (W: Float64Array, i: number) => ArrayLike<number>): Tensors =>
  Object.fromEntries([...W].map(([name, values], i) => [name, store(SHAPE, of(values, i))]))
const inBf16 = (change: (W: ArrayLike<number>, i: number) => ArrayLike<number>) =>
  all(bf16, (values, i) => change(rounded(values), i))

const base = all(f32, (values) => values)
const embedding = (rows: number) => f32([rows, 48], noise(rows * 48, 30))
const withNaN = Float64Array.from(W.get(first)!)
withNaN[3 * 48 + 5] = Number.NaN
withNaN[4 * 48] = Number.POSITIVE_INFINITY
const withInfinity = Float64Array.from(W.get(second)!)
withInfinity[COUNT - 1] = Number.NEGATIVE_INFINITY

const models: Record<string, Tensors> = {
  base,
  identical: base,
  unrelated: all(f32, (_, i) => random(10 + i)),
  rank4: all(f32, (values, i) => plusLowRank(values, SHAPE, 4, 0.01, 20 + i)),
  noisy: all(f32, (values, i) => values.map((w, at) => w + 0.1 * random(12 + i)[at])),
  base16: inBf16((values) => values),
  rank8: inBf16((values, i) => plusLowRank(values, SHAPE, 8, 0.01, 20 + i)),
  'sub-ulp': inBf16((values, i) => plusLowRank(values, SHAPE, 2, 2e-5, 20 + i)),
  'not-finite': { ...base, [first]: f32(SHAPE, withNaN) },
  'base-not-finite': { ...base, [second]: f32(SHAPE, withInfinity) },
  'all-not-finite': { w: f32([2, 2], [Number.NaN, 1, 2, 3]) },
  embedded: { ...base, 'model.embed_tokens.weight': embedding(20) },
  grown: { ...base, 'model.embed_tokens.weight': embedding(24) },
  untied: {
    ...base,
    'model.embed_tokens.weight': embedding(20),
    'lm_head.weight': f32([20, 48], plusLowRank(noise(20 * 48, 30), [20, 48], 1, 0.01, 40)),
  },
  shapes: {
    [second]: f32(SHAPE, plusLowRank(W.get(second)!, SHAPE, 2, 0.01, 50)),
    [first]: f32([64, 50], noise(64 * 50, 31)),
    'model.norm.weight': f32([48], noise(48, 33)),
    'extra.weight': f32([5, 5], noise(25, 32)),
  },
  normed: {
    ...base,
    'model.norm.weight': f32([48], noise(48, 34)),
    'gone.weight': f32([3, 4], noise(12, 35)),
  },
  other: { 'transformer.h.0.attn.c_attn.weight': f32([48, 48], noise(48 * 48, 36)) },
  prefixed: Object.fromEntries(
    Object.entries(all(f32, (values, i) => plusLowRank(values, SHAPE, 4, 0.01, 20 + i))).map(
      ([name, tensor]) => [`language_model.${name}`, tensor],
    ),
  ),
}
const cwd = folderOf(
  Object.fromEntries(
    Object.entries(models).map(([name, tensors]) => [`${name}/model.safetensors`, fileOf(tensors)]),
  ),
)

const run = (tuned: string, from: string, ...args: string[]) =>
  runInProcess(['inspect', tuned, '--base', from, ...args], { cwd })

async function delta(tuned: string, from: string, code = 0) {
  const result = await run(tuned, from, '--json')
  expect({ code: result.code, stderr: result.stderr }).toEqual({ code, stderr: '' })
  const document = documentOf(result.stdout, 'inspect-1')
  expect(document.subject).toBe('delta')
  return document
}

const kinds = (document: { matrices: { verdict: { kind: string } }[] }) =>
  document.matrices.map(({ verdict }) => verdict.kind)
const texts = (document: { matrices: { verdict: { text: string } }[] }) =>
  document.matrices.map(({ verdict }) => verdict.text)
const flowing = ({ stdout }: Result) => stdout.replace(/\s+/g, ' ')

describe.concurrent('the verdict', () => {
  test('identical', async () => {
    const document = await delta('identical', 'base')
    expect(document).toMatchObject({
      matrices: [],
      unchanged: names,
      totals: { matrices: 0, elements: 0, frobenius: 0 },
      verdict: 'All matrices that were compared are equal in both.',
    })
  })

  test('not related: the difference of independent numbers is √2 of each', async () => {
    const document = await delta('unrelated', 'base')
    expect(kinds(document)).toEqual(['unrelated', 'unrelated'])
    expect(texts(document)[0]).toBe('these two are not related (relative change 1.4)')
    expect(document.totals.relativeChange).toBeCloseTo(Math.SQRT2, 1)
  })

  test('low-rank: rank 4 in float32', async () => {
    const document = await delta('rank4', 'base')
    expect(kinds(document)).toEqual(['low-rank', 'low-rank'])
    expect(texts(document)[0]).toBe('low-rank: exactly rank 4 of 48')
    for (const { rank, noise } of document.matrices) expect([rank, noise.rankAbove]).toEqual([4, 4])
    expect(document.recommended.rank).toBe(4)
  })

  test('low-rank: rank 8 stands above the rounding of bfloat16', async () => {
    const document = await delta('rank8', 'base16')
    expect(kinds(document)).toEqual(['low-rank', 'low-rank'])
    for (const { rank, noise, dtype } of document.matrices) {
      expect(dtype).toBe('bf16')
      // rounding fills the rank; of what it adds nothing is above the floor
      expect(rank).toBeGreaterThan(40)
      expect(noise).toMatchObject({ rankAbove: 8, isSubUlp: false })
    }
    expect(document.recommended.rank).toBe(8)
  })

  test('where most entries did not move, nothing is said to be below the rounding', async () => {
    // rank 2, a hundredth of the rounding of bfloat16: what of it is seen is not noise, and may be less than its rank
    const document = await delta('sub-ulp', 'base16')
    expect(kinds(document)).not.toContain('below-rounding')
    for (const [i, { noise }] of document.matrices.entries()) {
      expect(noise.isSubUlp).toBe(true)
      expect(noise.changedShare).toBeGreaterThan(0)
      expect(noise.changedShare).toBeLessThan(0.5)
      expect(noise.rankAbove).toBeLessThanOrEqual(2)
      if (noise.rankAbove === 0) {
        expect(texts(document)[i]).toContain('so that the rounding of bf16 may hide a lower rank')
      }
    }
  })

  test('below the rounding of bfloat16, where all entries moved', async () => {
    const document = await delta('base16', 'base')
    expect(kinds(document)).toEqual(['below-rounding', 'below-rounding'])
    expect(texts(document)[0]).toBe('below the rounding of f32 and bf16: nothing above the noise floor')
    for (const { noise } of document.matrices) {
      expect(noise).toMatchObject({ rankAbove: 0, isSubUlp: false })
    }
    expect(document.recommended.rank).toBeNull()
  })

  test('not low-rank: a small change that is noise', async () => {
    const document = await delta('noisy', 'base')
    expect(kinds(document)).toEqual(['not-low-rank', 'not-low-rank'])
    expect(texts(document)[0]).toMatch(/^not low-rank: 90 % needs 2\d of 48$/)
    expect(document.recommended.rank).toBeNull()
    expect(document.recommended.reason).toMatch(/^No rank is recommended: /)
  })
})

describe.concurrent('what is not finite', () => {
  test('is named by row and column in both, exit code 1, and the rest is reported', async () => {
    const document = await delta('not-finite', 'base-not-finite', 1)
    expect(document.nonFinite).toEqual([
      { name: first, file: 'not-finite', count: 2, first: { row: 4, column: 6, value: 'NaN' } },
      { name: second, file: 'base-not-finite', count: 1, first: { row: 64, column: 48, value: '-Infinity' } },
    ])
    const rest = await delta('rank4', 'base-not-finite', 1)
    expect(rest.matrices.map(({ name }: { name: string }) => name)).toEqual([first])
    expect(kinds(rest)).toEqual(['low-rank'])
    expect(rest.totals.matrices).toBe(1)
  })

  test('in words', async () => {
    const result = await run('rank4', 'base-not-finite')
    expect({ code: result.code, stderr: result.stderr }).toEqual({ code: 1, stderr: '' })
    expect(flowing(result)).toContain(
      `base-not-finite: ${second}: 1 entry NaN or infinite, the first (-Infinity) at row 64, column 48`,
    )
    expect(flowing(result)).toContain('low-rank: exactly rank 4 of 48')
  })

  test('everything', async () => {
    const result = await runInProcess(['inspect', 'all-not-finite'], { cwd })
    expect(result.code).toBe(1)
    expect(flowing(result)).toContain('No matrix with finite entries.')
    const quiet = await runInProcess(['inspect', 'all-not-finite', '-q'], { cwd })
    expect(quiet).toEqual({ code: 1, signal: null, stdout: '', stderr: '' })
  })
})

describe.concurrent('checkpoints that differ', () => {
  test('in shapes and names: each is named, the rest goes on', async () => {
    const { matrices, skipped, totals, verdict } = await delta('shapes', 'normed', 1)
    expect(totals).toMatchObject({ matched: 2, unmatched: 3 })
    expect(verdict).toMatch(
      /^This is not the whole change: only 2 of 5 tensors \(40 %\) have their counterpart in the other model\. /,
    )
    expect(matrices.map(({ name }: { name: string }) => name)).toEqual([second])
    expect(matrices[0].rank).toBe(2)
    expect(skipped).toEqual([
      { name: first, reason: '[64, 48] in normed, [64, 50] in shapes' },
      { name: 'model.norm.weight', reason: 'a vector, F32 [48]' },
      { name: 'extra.weight', reason: 'only in shapes, F32 [5, 5]' },
      { name: 'gone.weight', reason: 'only in normed, F32 [3, 4]' },
    ])
  })

  test('in nothing but what can’t be compared: that isn’t called equal', async () => {
    const { verdict, skipped, unchanged } = await delta('grown', 'embedded')
    expect(skipped).toEqual([
      { name: 'model.embed_tokens.weight', reason: '[20, 48] in embedded, [24, 48] in grown' },
    ])
    expect(unchanged).toEqual(names)
    expect(verdict).toBe('All matrices that were compared are equal in both.')
  })

  test('in architecture', async () => {
    const { code, stdout, stderr } = await run('other', 'base')
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toBe(
      `lora-svd: other: has no tensor of the same name as base ("transformer.h.0.attn.c_attn.weight" here, "${first}" there): are they the same architecture, in the same format?\n`,
    )
  })

  test('in the names of two matrices alone, which are those of their files', async () => {
    const files = folderOf({
      'before.csv': '1,0,0\n0,1,0\n',
      'after.npy': npyFile(npyDict('<f8', '(2, 3)'), float64s(1, 0, 3, 0, 1, 0)),
      'other.csv': '1,0\n0,1\n',
    })
    const args = ['inspect', 'after.npy', '--base', 'before.csv', '--json']
    const { stdout } = await runInProcess(args, { cwd: files })
    const { matrices } = documentOf(stdout, 'inspect-1')
    expect(matrices).toMatchObject([{ name: 'after.npy', rank: 1, singularValues: [3, expect.closeTo(0)] }])
    const input = '1 0 4\n0 1 0\n'
    const piped = await runInProcess(['inspect', '-', '--base', 'before.csv', '--json'], {
      cwd: files,
      input,
    })
    expect(documentOf(piped.stdout, 'inspect-1').matrices[0].spectral).toBeCloseTo(4, 12)
    const { code, stderr } = await runInProcess(['inspect', 'after.npy', '--base', 'other.csv'], {
      cwd: files,
    })
    expect(code).toBe(2)
    expect(stderr).toBe(
      'lora-svd: after.npy: holds no matrix to look at: after.npy: [2, 2] in other.csv, [2, 3] in after.npy\n',
    )
  })

  test('in the prefix of all names', async () => {
    const { matrices, warnings } = await delta('prefixed', 'base')
    expect(matrices.map(({ name }: { name: string }) => name)).toEqual(
      names.map((name) => `language_model.${name}`),
    )
    expect(matrices.map(({ rank }: { rank: number }) => rank)).toEqual([4, 4])
    expect(warnings).toEqual([
      'the names in prefixed begin with "language_model.", which those in base lack: they are paired without it',
    ])
  })

  test('in a head that is tied to the embedding', async () => {
    const { matrices, warnings, unchanged } = await delta('untied', 'embedded')
    expect(matrices.map(({ name }: { name: string }) => name)).toEqual(['lm_head.weight'])
    expect(matrices[0].rank).toBe(1)
    expect(unchanged).toEqual([...names, 'model.embed_tokens.weight'])
    expect(warnings).toEqual([
      'embedded: has no "lm_head.weight", as its head is tied to its embedding: "model.embed_tokens.weight" is taken for it',
    ])
  })
})
