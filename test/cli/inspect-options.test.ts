import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { bf16, f32, fileOf, folderOf, noise, type Tensors, withSpectrum } from './checkpoints.ts'
import { testErrors } from './errors.ts'
import { runInProcess, runShell } from './run.ts'
import { documentOf } from './schema.ts'

/** Figures in a different order each: by name, stored bytes, norms, ranks and changes. */
const base: Tensors = {
  'h.2.b.weight': f32([16, 16], withSpectrum(16, 16, [4, 3, 2])),
  'h.10.a.weight': f32([16, 64], withSpectrum(16, 64, [5, 5, 5, 5, 5])),
  'h.1.c.weight': bf16([16, 16], withSpectrum(16, 16, [8, 1])),
  'head.weight': f32([4, 4], withSpectrum(4, 4, [6, 6, 6, 6])),
  'h.1.norm.weight': f32([16], noise(16, 1)),
}
const plus = (name: string, S: readonly number[]) => {
  const { shape } = base[name]
  return withSpectrum(shape[0], shape[1], S)
}
const tuned: Tensors = {
  ...base,
  'h.2.b.weight': f32([16, 16], plus('h.2.b.weight', [4, 3, 3])),
  'h.10.a.weight': f32([16, 64], plus('h.10.a.weight', [5, 5, 5, 5, 7])),
  'h.1.c.weight': bf16([16, 16], plus('h.1.c.weight', [8, 1.5])),
  'head.weight': f32([4, 4], plus('head.weight', [6, 6, 6, 10])),
}
const small = {
  'base/model.safetensors': fileOf(base),
  'tuned/model.safetensors': fileOf(tuned),
}
const cwd = folderOf(small)

async function document(args: readonly string[], from = cwd) {
  const { code, stdout, stderr } = await runInProcess(['inspect', ...args, '--json'], { cwd: from })
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return documentOf(stdout, 'inspect-1')
}
const namesOf = ({ matrices }: { matrices: { name: string }[] }) =>
  matrices.map(({ name }) => name.replace(/\.weight$/, ''))

describe.concurrent('which matrices, and in which order', () => {
  test.for([
    [
      ['--sort', 'model'],
      ['h.2.b', 'h.10.a', 'h.1.c', 'head'],
    ],
    [
      ['--sort', 'name'],
      ['h.1.c', 'h.2.b', 'h.10.a', 'head'],
    ],
    [
      ['--sort', 'size'],
      ['h.10.a', 'h.2.b', 'h.1.c', 'head'],
    ],
    [
      ['--sort', 'frobenius'],
      ['head', 'h.10.a', 'h.1.c', 'h.2.b'],
    ],
    [
      ['--sort', 'spectral'],
      ['h.1.c', 'head', 'h.10.a', 'h.2.b'],
    ],
    [
      ['--sort', 'rank'],
      ['h.10.a', 'head', 'h.2.b', 'h.1.c'],
    ],
    [
      ['--sort', 'stable-rank'],
      ['h.10.a', 'head', 'h.2.b', 'h.1.c'],
    ],
    [
      ['--sort', 'effective-rank', '--full'],
      ['h.10.a', 'head', 'h.2.b', 'h.1.c'],
    ],
    [
      ['--sort', 'energy-rank'],
      ['h.10.a', 'head', 'h.2.b', 'h.1.c'],
    ],
    [
      ['--sort', 'rank', '--reverse'],
      ['h.1.c', 'h.2.b', 'head', 'h.10.a'],
    ],
    [['--reverse'], ['head', 'h.1.c', 'h.10.a', 'h.2.b']],
    [
      ['--sort', 'frobenius', '--top', '2'],
      ['head', 'h.10.a'],
    ],
    [
      ['--include', 'h.*'],
      ['h.2.b', 'h.10.a', 'h.1.c'],
    ],
    [['--include', '*.a.*', '--include', '*.b.*', '--exclude', 'h.2*'], ['h.10.a']],
  ] as const)('%j', async ([args, expected]) => {
    const found = await document(['base', ...args])
    expect(namesOf(found)).toEqual(expected)
    if (!args.some((arg) => arg === '--include')) expect(found.totals.matrices).toBe(4)
  })

  test('--sort change, with --base', async () => {
    const found = await document(['tuned', '--base', 'base', '--sort', 'change'])
    expect(namesOf(found)).toEqual(['head', 'h.2.b', 'h.10.a', 'h.1.c'])
    const changes = [4 / 12, 1 / Math.sqrt(29), 2 / Math.sqrt(125), 0.5 / Math.sqrt(65)]
    for (const [i, change] of changes.entries())
      expect(found.matrices[i].base.relativeChange).toBeCloseTo(change, 6)
  })

  test('--top leaves matrices out of the table, not out of the totals', async () => {
    const { stdout } = await runInProcess(['inspect', 'base', '--top', '2'], { cwd })
    expect(stdout).toContain('4 matrices · ')
    expect(stdout).toContain('2 matrices shown: ')
    expect(stdout).not.toContain('\nhead')
  })
})

/** Large enough for worker threads, and for a leading part that isn't all. */
const LARGE = [420, 400] as const
const large = folderOf({
  'large.safetensors': fileOf(
    Object.fromEntries([1, 2, 3, 4].map((i) => [`w${i}`, f32(LARGE, noise(LARGE[0] * LARGE[1], i))])),
  ),
})

/** The document as it came but for what took time. */
async function timeless(...args: string[]) {
  const { code, stdout, stderr } = await runInProcess(
    ['inspect', 'large.safetensors', '--engine', 'wasm', '--json', ...args],
    { cwd: large },
  )
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  documentOf(stdout, 'inspect-1')
  return stdout.replace(/"seconds":[\d.e-]+/, '')
}

describe.concurrent('how much is computed, and by how many', () => {
  test('any number of threads and any memory gives the same bytes', async () => {
    const one = await timeless('--threads', '1', '--leading', '20')
    for (const args of [
      ['--threads', '2'],
      ['--threads', '3'],
      ['--threads', '4', '--memory', '1MiB'],
    ])
      expect(await timeless('--leading', '20', ...args)).toBe(one)
  })

  test('--full by any number of threads, too', async () => {
    expect(await timeless('--threads', '4', '--full')).toBe(await timeless('--threads', '1', '--full'))
  })

  test('--leading and --full: the leading values are the same, within what each certifies', async () => {
    const [part, full] = await Promise.all(
      [['--leading', '10'], ['--full']].map((args) => document(['large.safetensors', ...args], large)),
    )
    for (const [i, { complete, singularValues, excess, next, ...rest }] of part.matrices.entries()) {
      const all: number[] = full.matrices[i].singularValues
      expect(complete).toBe(false)
      expect(full.matrices[i].complete).toBe(true)
      expect(all).toHaveLength(400)
      expect(singularValues.length).toBeGreaterThanOrEqual(10)
      expect(singularValues.length).toBeLessThan(400)
      for (const [r, value] of singularValues.entries()) {
        expect(value).toBeLessThanOrEqual(all[r] * (1 + 1e-5))
        expect(value).toBeGreaterThan(0.8 * all[r])
      }
      expect(next.atMost).toBeGreaterThanOrEqual(all[singularValues.length] * (1 - 1e-5))
      expect(rest).toMatchObject({
        rank: null,
        effectiveRank: null,
        nullReason: expect.stringContaining('--full'),
      })
      const { atLeast, atMost } = rest.energyRankRanges['0.9']
      const truth = full.matrices[i].energyRanks['0.9']
      expect(atLeast).toBeLessThanOrEqual(truth)
      expect(atMost).toBeGreaterThanOrEqual(truth)
      expect(rest.verdict.kind).toMatch(/^(not-low-rank|open)$/)
    }
  })

  test('--seed is of the random start alone', async () => {
    const [zero, seven] = await Promise.all(
      ['0', '7'].map((seed) =>
        document(['large.safetensors', '--leading', '10', '--seed', seed, '--top', '1'], large),
      ),
    )
    expect(seven.matrices[0].singularValues).not.toEqual(zero.matrices[0].singularValues)
    expect(seven.matrices[0].frobenius).toBe(zero.matrices[0].frobenius)
  })
})

describe.concurrent('--plot', () => {
  test.for([
    ['the whole name', 'h.10.a.weight', 'h.10.a.weight'],
    ['as the table prints it', '2.b', 'h.2.b.weight'],
    ['a part', 'head', 'head.weight'],
  ])('%s', async ([, asked, name]) => {
    const { code, stdout, stderr } = await runInProcess(['inspect', 'base', '--plot', asked], { cwd })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const { stdout: table } = await runInProcess(['inspect', 'base'], { cwd })
    const plot = stdout.split(`\n\n${name}  `)
    expect(plot).toHaveLength(2)
    expect(plot[1]).toMatch(/[⠁-⣿]/)
    expect(table).not.toMatch(/[⠁-⣿]/)
    for (const line of plot[1].split('\n')) expect([...line].length).toBeLessThanOrEqual(80)
  })

  test('with --json nothing but the document is printed; its name is checked still', async () => {
    const plotted = await document(['base', '--plot', '2.b'])
    const plain = await document(['base'])
    expect({ ...plotted, seconds: 0 }).toEqual({ ...plain, seconds: 0 })
  })

  test('of a matrix that --top leaves out', async () => {
    const { stdout } = await runInProcess(['inspect', 'base', '--top', '1', '--plot', 'head'], { cwd })
    expect(stdout).toContain('\n\nhead.weight  4 × 4')
  })

  test('of one without a spectrum: why there is none', async () => {
    const { code, stdout } = await runInProcess(['inspect', 'base', '--base', 'base', '--plot', 'head'], {
      cwd,
    })
    expect(code).toBe(0)
    expect(stdout).toMatch(/\n\nNo plot: head\.weight is equal in both\.\n$/)
  })
})

const OUTPUTS = ['--html', 'r.html', '--svg', 'r.svg', '--csv', 'r.csv']

describe.concurrent('files', () => {
  test('are written, and named in the report', async () => {
    const folder = folderOf(small)
    const args = ['inspect', 'tuned', '--base', 'base', ...OUTPUTS]
    const { code, stdout, stderr } = await runInProcess(args, { cwd: folder })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/\n\nWrote r\.html, r\.svg, r\.csv\.\n$/)
    expect(readdirSync(folder).sort()).toEqual(['base', 'r.csv', 'r.html', 'r.svg', 'tuned'])
    const read = (name: string) => readFileSync(join(folder, name), 'utf8')
    expect(read('r.csv').split('\r\n')).toHaveLength(1 + 4 + 1)
    expect(read('r.csv')).toContain('\r\nh.10.a.weight,16,64,16 64,f32,4096,')
    expect(read('r.html')).toMatch(/^<!doctype html>/i)
    expect(read('r.svg')).toMatch(/^<\?xml [^>]+>\n<svg /)
  })

  test('with --json and --quiet the same, without a word', async () => {
    const folder = folderOf(small)
    const quiet = await runInProcess(['inspect', 'base', '--quiet', '--csv', 'a.csv'], { cwd: folder })
    expect(quiet).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
    await document(['base', '--csv', 'b.csv'], folder)
    expect(readFileSync(join(folder, 'a.csv'))).toEqual(readFileSync(join(folder, 'b.csv')))
  })

  test('that exist are kept without --force, and nothing else is written', async () => {
    const folder = folderOf({ ...small, 'r.svg': 'old' })
    const refused = await runInProcess(['inspect', 'base', ...OUTPUTS], { cwd: folder })
    expect(refused).toMatchObject({ code: 2, stdout: '' })
    expect(refused.stderr).toBe('lora-svd: r.svg: exists already; add --force to replace it\n')
    expect(readdirSync(folder).sort()).toEqual(['base', 'r.svg', 'tuned'])
    expect(readFileSync(join(folder, 'r.svg'), 'utf8')).toBe('old')
    const { code } = await runInProcess(['inspect', 'base', '-q', '-f', ...OUTPUTS], { cwd: folder })
    expect(code).toBe(0)
    expect(readFileSync(join(folder, 'r.svg'), 'utf8')).toMatch(/^<\?xml [^>]+>\n<svg /)
  })

  test('that are read are never replaced', async () => {
    const folder = folderOf({ ...small, 'W.csv': '1,2\n3,4\n' })
    symlinkSync('base/model.safetensors', join(folder, 'link.svg'))
    for (const [args, says] of [
      [['W.csv', '--csv', './W.csv'], '--csv ./W.csv'],
      [['tuned', '--base', 'base', '--svg', 'link.svg'], '--svg link.svg'],
    ] as const) {
      const { code, stderr } = await runInProcess(['inspect', ...args, '--force'], { cwd: folder })
      expect(stderr).toBe(`lora-svd: ${says}: is what is read; name another file\n`)
      expect(code).toBe(2)
    }
    expect(readFileSync(join(folder, 'W.csv'), 'utf8')).toBe('1,2\n3,4\n')
    expect(readFileSync(join(folder, 'base/model.safetensors'))).toEqual(small['base/model.safetensors'])
  })

  test.for(['html', 'svg'])('that the disk has no room for: exit code 3, no %s is left', async (kind) => {
    const folder = folderOf(small)
    mkdirSync(join(folder, 'out'))
    const script = `ulimit -f 1; lora-svd inspect base --${kind} out/r.${kind} --json`
    const { code, stdout, stderr } = await runShell(script, { cwd: folder })
    expect(code).toBe(3)
    expect(stderr).toMatch(
      new RegExp(`^lora-svd: out/r\\.${kind}: can't write r\\.${kind}: .*\\(EFBIG\\)\n$`),
    )
    expect(documentOf(stdout, 'error-1').error).toMatchObject({ code: 'system', file: `out/r.${kind}` })
    expect(readdirSync(join(folder, 'out'))).toEqual([])
  })
})

const errors = folderOf({ ...small, 'exists.html': '', 'folder/x': '' })
writeFileSync(join(errors, 'W.csv'), '1,2\n3,4\n')
const LISTED = '"h.2.b.weight", "h.10.a.weight", "h.1.c.weight", "head.weight"'

testErrors('what inspect can’t be asked', errors, [
  {
    args: ['inspect', 'base', '--full', '--leading', '5'],
    says: '--full and --leading ask for all and for some of the singular values: give one of them',
  },
  {
    args: ['inspect', 'base', '--sort', 'change'],
    says: '--sort change orders by the change from --base: give one',
  },
  {
    args: ['inspect', '-', '--base', '-'],
    says: '<path> and --base are both standard input: save one of them to a file',
  },
  {
    args: ['inspect', ''],
    says: '<path> is empty: name a file, a folder, org/name, or - for standard input',
  },
  { args: ['inspect', 'base', '--base', ''], says: '--base is empty: name a file, a folder or org/name' },
  { args: ['inspect', 'base', '--plot', ''], says: '--plot is empty: name a matrix, or a part of its name' },
  {
    args: ['inspect', 'base', '--plot', 'weight'],
    says: `--plot "weight": may be ${LISTED}: write more of the name`,
  },
  {
    args: ['inspect', 'base', '--plot', '2.x'],
    says: '--plot "2.x": base has no such matrix; did you mean "2.b"?',
  },
  { args: ['inspect', 'base', '--plot', 'norm'], says: '--plot "norm": base has no such matrix' },
  {
    args: ['inspect', 'base', '--csv', '-'],
    says: '--csv - would be standard output, where the report goes: name a file',
  },
  {
    args: ['inspect', 'base', '--csv', 'x', '--svg', './x'],
    says: '--svg and --csv name the same file ./x: give each its own',
  },
  {
    args: ['inspect', 'base', '--html', 'none/x.html'],
    kind: 'bad-input',
    file: 'none/x.html',
    says: 'none/x.html: the folder none does not exist; create it first (mkdir -p)',
  },
  {
    args: ['inspect', 'base', '--html', 'folder', '--force'],
    kind: 'bad-input',
    file: 'folder',
    says: 'folder: is a folder; name a file inside it',
  },
  {
    args: ['inspect', 'base', '--html', 'exists.html'],
    kind: 'output-exists',
    file: 'exists.html',
    says: 'exists.html: exists already; add --force to replace it',
  },
  {
    args: ['inspect', 'base', '--include', 'nothing*'],
    kind: 'bad-input',
    file: 'base',
    says: 'base: no tensor\'s name matches --include "nothing*"',
  },
  {
    args: ['inspect', 'base', '--exclude', '*'],
    kind: 'bad-input',
    file: 'base',
    says: 'base: holds no matrix that --include and --exclude let through to look at',
  },
  {
    args: ['inspect', 'base', '--include', '*norm*'],
    kind: 'bad-input',
    file: 'base',
    says: 'base: holds no matrix that --include and --exclude let through to look at: h.1.norm.weight: a vector',
  },
  {
    args: ['inspect', 'base', '--top', '0'],
    says: "option '--top <n>' argument '0' is invalid: expected an integer of at least 1; see lora-svd inspect --help",
  },
  {
    args: ['inspect', 'base', '--alpha', '0'],
    says: "option '--alpha <a>' argument '0' is invalid: expected a number above 0; see lora-svd inspect --help",
  },
  {
    args: ['inspect', 'base', 'tuned'],
    says: "too many arguments for 'inspect': expected 1 argument but got 2; see lora-svd inspect --help",
  },
])
