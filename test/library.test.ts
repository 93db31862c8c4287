import { execFileSync } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

/** The programs of docs/library.md in their order, each with what it prints. */
const EXAMPLES = [
  ...readFileSync('docs/library.md', 'utf8').matchAll(
    /^###? (.*)\n[^#]*?```ts\n([\s\S]*?)```\n```\n([\s\S]*?)```/gm,
  ),
].map(([, title, program, output], i) => ({ title, program, output, name: `example-${i}` }))

/** A user's program with all that the functions take: progress, abort, errors by their codes, types of the results. */
const PROGRAM = `
import { type ExtractOptions, type ExtractResult, extract, inspect, LoraSvdError, type MergeOptions, type MergeResult, merge, type ProgressEvent, type ResizeResult, resize, type VerifyResult, verify } from 'lora-svd'

const events: ProgressEvent[] = []
const onProgress = (event: ProgressEvent): void => void events.push(event)
const models = { base: 'base', tuned: 'tuned', onProgress } satisfies Partial<ExtractOptions>

const made: ExtractResult = await extract({ ...models, out: 'mine', energy: 0.8, include: ['*layers.1*'] })
const checked: VerifyResult = await verify({ ...models, adapter: 'mine', include: ['*layers.1*'] })
const looked = await inspect({ path: 'tuned', base: 'base', include: ['*layers.1*'], onProgress })
const isSame = made.layers.every(({ name, relativeError }) =>
  checked.layers.some((layer) => layer.name === name && Math.abs(layer.relativeError - relativeError) < 1e-12),
)

const small: ResizeResult = await resize({ adapter: 'mine', out: 'mine-small', rank: 2, onProgress })
const parts = { adapters: ['mine', 'mine-small'], weights: [1, -1] } satisfies Partial<MergeOptions>
const rest: MergeResult = await merge({ ...parts, out: 'mine-rest', onProgress })
// what the best factors leave is orthogonal to them
const isPythagoras = rest.layers.every(({ frobenius }, i) => {
  const { frobenius: whole, relativeError } = small.layers[i]
  return Math.abs(frobenius / whole - relativeError) < 1e-6
})

/** How far an extraction came that is aborted when its second layer is done. */
async function aborted(): Promise<string> {
  const controller = new AbortController()
  const stopAt = ({ kind, done }: ProgressEvent) => kind === 'done' && done === 2 && controller.abort()
  try {
    await extract({ base: 'base', tuned: 'tuned', out: 'never', rank: 4, threads: 1, signal: controller.signal, onProgress: stopAt })
    return 'whole'
  } catch (error) {
    if (error instanceof LoraSvdError) return error.code
    throw error
  }
}

// @ts-expect-error: there is no such option
const wrong = await extract({ ...models, out: 'wrong', rnk: 3 }).catch((error: LoraSvdError) => error.message)

console.log(JSON.stringify({
  isSame,
  layers: made.layers.length,
  matrices: looked.matrices.length,
  phases: [...new Set(events.map(({ phase }) => phase))],
  ends: events.filter(({ kind }) => kind === 'end').map(({ done, items }) => done === items),
  isPythagoras,
  cosine: rest.overlap.cosines[0][1] < 0,
  aborted: await aborted(),
  wrong,
}))
`

const COMMONJS = `
import('lora-svd').then(async ({ verify }) => {
  const { holds, totals } = await verify({ adapter: 'adapter', base: 'base', tuned: 'tuned', maxError: 0.4 })
  console.log(holds, totals.relativeError.toFixed(4))
})
`

const folder = mkdtempSync(join(tmpdir(), 'lora-svd-library-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A user's project: the packed package installed as npm would, a strict tsconfig, and two models. */
beforeAll(() => {
  const modules = join(folder, 'node_modules')
  mkdirSync(join(modules, 'lora-svd'), { recursive: true })
  mkdirSync(join(modules, '@types'))
  execFileSync('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], { stdio: 'ignore' })
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'))!
  execFileSync('tar', [
    '-xzf',
    join(folder, tarball),
    '--strip-components=1',
    '-C',
    join(modules, 'lora-svd'),
  ])
  const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8'))
  for (const name of [...Object.keys(dependencies), '@types/node', 'undici-types']) {
    symlinkSync(resolve('node_modules', name), join(modules, name))
  }
  for (const model of ['base', 'tuned'])
    cpSync(`test/fixtures/digits-llama/${model}`, join(folder, model), { recursive: true })
  const compilerOptions = {
    strict: true,
    target: 'es2023',
    module: 'nodenext',
    types: ['node'],
    noUnusedLocals: true,
  }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }))
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module' }))
  writeFileSync(join(folder, 'program.ts'), PROGRAM)
  writeFileSync(join(folder, 'program.cjs'), COMMONJS)
  for (const { name, program } of EXAMPLES) writeFileSync(join(folder, `${name}.ts`), program)
})

const run = (file: string) => execFileSync(process.execPath, [file], { cwd: folder, encoding: 'utf8' })

describe.sequential('a project that has the package installed', () => {
  test('compiles under strict', () => {
    const tsc = resolve('node_modules/.bin/tsc')
    // what the compiler says is on its standard output
    const said = (() => {
      try {
        return execFileSync(tsc, ['--project', folder], { encoding: 'utf8' })
      } catch (error) {
        return (error as { stdout: string }).stdout
      }
    })()
    expect(said).toBe('')
  })

  test('extracts, verifies, inspects, resizes, merges, is told of the progress, and aborts', () => {
    expect(JSON.parse(run('program.js'))).toEqual({
      isSame: true,
      layers: 7,
      matrices: 7,
      phases: ['extracting', 'measuring', 'inspecting', 'summing'],
      ends: [true, true, true, true, true, true],
      isPythagoras: true,
      cosine: true,
      aborted: 'interrupted',
      wrong: 'extract has no option \'rnk\'; did you mean "rank"?',
    })
    expect(readdirSync(folder)).not.toContain('never')
    expect(readdirSync(folder)).not.toContain('wrong')
  })

  test('docs/library.md has an example of each function', () => {
    const functions = [
      'extract',
      'verify',
      'resize',
      'merge',
      'apply',
      'convert',
      'check',
      'compare',
      'inspect',
      'factor',
      'demo',
    ]
    const more = ['In shards', 'In parts', 'Ranks for the next training run']
    const titles = EXAMPLES.map(({ title }) => title.split(':')[0]).filter((title) => !more.includes(title))
    expect(titles).toEqual([...functions, 'Matrices'])
    expect(EXAMPLES).toHaveLength(titles.length + more.length)
  })

  test.each(EXAMPLES)('$title', ({ name, output }) => {
    expect(run(`${name}.js`)).toBe(output)
  })

  test('from CommonJS', () => {
    expect(run('program.cjs')).toBe('true 0.2544\n')
  })
})
