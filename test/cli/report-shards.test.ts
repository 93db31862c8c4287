import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { bf16, f32, fileOf, folderOf, noise, plusLowRank, rounded, type Tensors } from './checkpoints.ts'
import { BASE, extracted, TUNED } from './extract-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const SHAPE = [300, 270] as const
const LAYERS = 3
const layerName = (i: number) => `model.layers.${i}.mlp.down_proj.weight`
const W = Array.from({ length: LAYERS }, (_, i) => rounded(noise(SHAPE[0] * SHAPE[1], i + 1)))
const norm = (seed: number) => f32([24], noise(24, seed))
const before: Tensors = {
  ...Object.fromEntries(W.map((values, i) => [layerName(i), bf16(SHAPE, values)])),
  'equal.weight': f32([4, 6], noise(24, 50)),
  'model.norm.weight': norm(60),
}
const after: Tensors = {
  ...Object.fromEntries(
    W.map((values, i) => [layerName(i), bf16(SHAPE, plusLowRank(values, SHAPE, 3, 0.05, 20 + i))]),
  ),
  'equal.weight': f32([4, 6], noise(24, 50)),
  'model.norm.weight': norm(61),
}
const withNaN = (values: Float64Array) => values.map((x, i) => (i === 5 ? Number.NaN : x))
const folder = folderOf({
  'base/model.safetensors': fileOf(before),
  'tuned/model.safetensors': fileOf(after),
  'broken/model.safetensors': fileOf({
    ...after,
    [layerName(1)]: f32(SHAPE, withNaN(noise(SHAPE[0] * SHAPE[1], 9))),
    'model.norm.weight': f32([24], withNaN(noise(24, 61))),
    'extra.weight': f32([3, 3], noise(9, 70)),
  }),
})
const at = (...names: string[]) => join(folder, ...names)
await extracted(BASE, TUNED, at('adapter'), ['--rank=4', '--engine=wasm'])

/** Without times, and the line breaks that their widths move. */
const timeless = (text: string) =>
  text
    .replace(/"seconds":[\d.e-]+/g, '"seconds":0')
    .replace(/\s*·\s*/g, ' · ')
    .replace(/[\d.,e-]+ s( on [a-z]+)?$/gm, 'time$1')
    .replace(/ in [\d.,e-]+ s\.(?=<)/, '')

/** Runs all shards of a command. Gives the folder of their parts. */
async function shards(args: readonly string[], of: number, name: string): Promise<string> {
  const [command] = args
  const parts = at(name)
  for (let index = 1; index <= of; index++) {
    const run = [...args, '--engine=wasm', '--shard', `${index}/${of}`, '-o', parts, '--json']
    const { code, stdout, stderr } = await runInProcess(run, { cwd: folder })
    expect([code, stderr]).toEqual([0, ''])
    const part = documentOf(stdout, `${command}-shard-1` as 'inspect-shard-1')
    expect(part.shard).toEqual({ index, of })
    // what is kept is what was printed
    expect(JSON.parse(readFileSync(join(parts, `shard-${index}-of-${of}.json`), 'utf8'))).toEqual(part)
  }
  return parts
}

/** One process and a join of shards print and write the same, and end alike. */
async function expectSame(
  args: readonly string[],
  { of, name, view = [], files = [] }: { of: number; name: string; view?: string[]; files?: string[] },
): Promise<string> {
  const parts = await shards(args, of, name)
  const written = (side: string) => files.flatMap((kind) => [`--${kind}`, at(`${name}-${side}.${kind}`)])
  const read = (side: string) =>
    files.map((kind) => timeless(readFileSync(at(`${name}-${side}.${kind}`), 'utf8')))
  for (const how of [['--json'], []]) {
    const options = { cwd: folder }
    const whole = await runInProcess(
      [...args, '--engine=wasm', ...view, ...how, ...written('whole'), ...force(how, files)],
      options,
    )
    const joined = await runInProcess(
      [args[0], '--join', parts, ...view, ...how, ...written('joined'), ...force(how, files)],
      options,
    )
    const textOf = (result: typeof whole, side: string) =>
      timeless(result.stdout).replaceAll(at(`${name}-${side}`), name)
    expect(textOf(joined, 'joined')).toBe(textOf(whole, 'whole'))
    expect([joined.code, joined.stderr]).toEqual([whole.code, whole.stderr])
    // a page is long: which file, and not how
    const [wholes, joins] = [read('whole'), read('joined')]
    expect(files.filter((_, i) => wholes[i] !== joins[i])).toEqual([])
    if (how.length > 0) documentOf(joined.stdout, `${args[0]}-1` as 'inspect-1')
  }
  return parts
}
/** Files of the first of two runs are there already. */
const force = (how: readonly string[], files: readonly string[]) =>
  how.length === 0 && files.length > 0 ? ['--force'] : []

const VERIFY = ['verify', at('adapter'), BASE, TUNED]
const MOMENTS = join(BASE, '..', 'moments.safetensors')

describe.concurrent('a join of parts says, writes and ends as one process does', () => {
  test('weights', () => expectSame(['inspect', 'tuned'], { of: 2, name: 'weights' }))

  test('a change, with all that a report can be asked for', async () => {
    const view = ['--sort=change', '--top=2', '--plot=layers.1']
    const files = ['html', 'svg', 'csv']
    const parts = await expectSame(['inspect', 'tuned', '--base', 'base', '--leading=2'], {
      ...{ of: 3, name: 'change', view, files },
    })
    const part = JSON.parse(readFileSync(join(parts, 'shard-1-of-3.json'), 'utf8'))
    // bounds and not only values: the report needs them too
    const { complete, excesses } = part.matrices[0].finding.spectrum
    expect([complete, excesses.float64.length]).toEqual([false, 3])
  }, 30_000)

  test('a change with NaN in a matrix and in a vector, and a tensor that has no counterpart', async () => {
    const parts = await expectSame(['inspect', 'broken', '--base', 'base'], { of: 2, name: 'broken' })
    const { code, stdout } = await runInProcess(['inspect', '--join', parts, '--json'], { cwd: folder })
    expect(code).toBe(1)
    const { nonFinite, totals, unchanged } = JSON.parse(stdout)
    expect(nonFinite.map(({ name }: { name: string }) => name)).toEqual([layerName(1), 'model.norm.weight'])
    expect(totals.unmatched).toBe(1)
    expect(unchanged).toEqual(['equal.weight'])
  })

  test('ranks for the next run', () =>
    expectSame(['inspect', TUNED, '--base', BASE], {
      ...{ of: 2, name: 'emit', view: ['--emit=peft', '--parameters=20k'] },
    }))

  test('an adapter beside its base', () =>
    expectSame(['inspect', at('adapter'), '--base', BASE], { of: 4, name: 'adapter-parts' }))

  test('an adapter alone, in more parts than it has modules', () =>
    expectSame(['inspect', at('adapter'), '--include=*layers.0.self*'], { of: 5, name: 'alone' }))

  test('a change, and what inputs feel of it', async () => {
    const view = ['--plot=0.mlp.down_proj']
    await expectSame(['inspect', TUNED, '--base', BASE, '--moments', MOMENTS, '--include=*layers.0*'], {
      ...{ of: 2, name: 'felt', view, files: ['html'] },
    })
  }, 30_000)

  test('verify in the norm of inputs', async () => {
    const run = [...VERIFY, '--include=*layers*', '--moments', MOMENTS]
    const parts = await expectSame(run, { of: 2, name: 'felt-errors' })
    for (const [most, code] of [
      ['0.99', 0],
      ['0.01', 1],
    ] as const) {
      const judged = await runInProcess(['verify', '--join', parts, `--max-output-error=${most}`, '--json'])
      const whole = await runInProcess([...run, '--engine=wasm', `--max-output-error=${most}`, '--json'])
      expect([judged.code, timeless(judged.stdout)]).toEqual([code, timeless(whole.stdout)])
    }
  }, 30_000)

  test('verify', async () => {
    const parts = await expectSame(VERIFY, { of: 3, name: 'verified' })
    const documents = readdirSync(parts).map((name) => JSON.parse(readFileSync(join(parts, name), 'utf8')))
    const tensors = documents.map(({ totals }) => totals.tensors)
    expect(tensors.reduce((sum, n) => sum + n)).toBe(documents[0].totals.ofTensors)
    expect(Math.min(...tensors)).toBeGreaterThan(0)
    // what all together come to is judged by the join
    for (const [most, code] of [
      ['0.9', 0],
      ['0.01', 1],
    ] as const) {
      const judged = await runInProcess(['verify', '--join', parts, `--max-error=${most}`, '--json'])
      const whole = await runInProcess([...VERIFY, '--engine=wasm', `--max-error=${most}`, '--json'])
      expect([judged.code, timeless(judged.stdout)]).toEqual([code, timeless(whole.stdout)])
    }
  })
})

test('a part is none of the whole: on a terminal it says so, and what to do next', async () => {
  const parts = at('alone-part')
  const run = ['inspect', 'tuned', '--shard=1/2', '-o', parts]
  const { code, stdout } = await runInProcess(run, { cwd: folder })
  expect(code).toBe(0)
  expect(stdout.replace(/\s+/g, ' ')).toMatch(
    /^lora-svd inspect --shard 1\/2: tuned .* a part: nothing is judged yet .* \d of 4 matrices, [\d.]+ % of the work .* Once all 2 parts are there: lora-svd inspect --join, with these files or their folder\. $/,
  )
  // the same again finds it there, whatever was asked of progress; another job is told apart
  const again = await runInProcess(run, { cwd: folder })
  expect(again.stderr).toBe(
    `lora-svd: ${parts}/shard-1-of-2.json: holds this part already; --force computes it anew\n`,
  )
  const other = await runInProcess([...run, '--full'], { cwd: folder })
  expect([other.code, other.stderr]).toEqual([
    2,
    `lora-svd: ${parts}/shard-1-of-2.json: holds this part of other options (extent); add --force to replace it, or give another --out\n`,
  ])
})

describe('is refused by name', () => {
  const RUN = ['inspect', 'tuned', '--base', 'base', '--include', '*norm*', '--include', 'equal*']
  const part = (name: string, ...args: string[]) =>
    runInProcess([...RUN, '-q', '-o', at(name), ...args], { cwd: folder }).then(({ code }) =>
      expect(code).toBe(0),
    )
  async function refused(args: readonly string[]) {
    const { code, stdout, stderr } = await runInProcess(args, { cwd: folder })
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(/^lora-svd: [^\n]*\n$/)
    return stderr.slice('lora-svd: '.length, -1)
  }
  const join_ = (...args: string[]) => refused(['inspect', '--join', ...args])

  test('what is missing, twice there, or of another job', async () => {
    await part('r', '--shard=1/3')
    await part('r', '--shard=3/3')
    expect(await join_('r')).toBe('r: 1 part of 3 is missing: run --shard 2/3, then --join')
    expect(await join_('r', 'r/shard-3-of-3.json')).toBe(
      'r/shard-3-of-3.json: is shard 3/3, and so is r/shard-3-of-3.json: name one of them',
    )
    await part('r/two.json', '--shard=2/3')
    expect(await join_('r')).toBe(
      "r: 1 part of 3 is missing: run --shard 2/3, then --join (not looked at, as their names are no shard's: r/two.json; name such a file itself if it is a part)",
    )
    expect((await runInProcess(['inspect', '--join', 'r', 'r/two.json', '-q'], { cwd: folder })).code).toBe(0)
    await part('s.json', '--shard=2/4')
    expect(await join_('r', 's.json')).toBe(
      's.json: is shard 2/4, and r/shard-1-of-3.json is 1/3: not of one job',
    )
    await part('t.json', '--shard=2/3', '--seed=1')
    expect(await join_('r', 't.json')).toBe(
      't.json: shard 2/3 is of other options (seed) than shard 1/3 in r/shard-1-of-3.json; run it again as that was',
    )
    // another fine-tune under the same names
    mkdirSync(at('elsewhere/tuned'), { recursive: true })
    mkdirSync(at('elsewhere/base'), { recursive: true })
    copyFileSync(at('base/model.safetensors'), at('elsewhere/base/model.safetensors'))
    writeFileSync(
      at('elsewhere/tuned/model.safetensors'),
      fileOf({ ...after, 'equal.weight': f32([4, 6], noise(24, 51)) }),
    )
    const run = [...RUN, '-q', '--shard=2/3', '-o', at('u.json')]
    expect(await runInProcess(run, { cwd: at('elsewhere') })).toMatchObject({ code: 0 })
    expect(await join_('r', 'u.json')).toMatch(
      /^u\.json: shard 2\/3 is of other inputs than shard 1\/3 in r\//,
    )
    // a copy of the inputs is the same
    copyFileSync(at('tuned/model.safetensors'), at('elsewhere/tuned/model.safetensors'))
    await runInProcess([...run, '--force'], { cwd: at('elsewhere') })
    expect(await runInProcess(['inspect', '--join', 'r', 'u.json', '-q'], { cwd: folder })).toMatchObject({
      code: 0,
    })
  })

  test('what is no part, was changed, or is of another version or command', async () => {
    await part('v.json', '--shard=1/1')
    const text = readFileSync(at('v.json'), 'utf8')
    const changed = (name: string, change: (text: string) => string) => {
      writeFileSync(at(name), change(text))
      return join_(name)
    }
    expect(await changed('w.json', (all) => all.replace('"work":1', '"work":0.5'))).toBe(
      'w.json: is not as --shard wrote it: some of it is missing or changed; run that shard again',
    )
    expect(await changed('w.json', (all) => all.slice(0, -20))).toMatch(
      /^w\.json: is no part of inspect: name files/,
    )
    expect(await changed('w.json', (all) => all.replace(/"version":"[^"]+"/, '"version":"0.0.1"'))).toMatch(
      /^w\.json: was written by lora-svd 0\.0\.1, and this is \d+\.\d+\.\d+: figures may differ; run all shards and --join with one version$/,
    )
    // white space is no change
    writeFileSync(at('x.json'), JSON.stringify(JSON.parse(text), null, 2))
    expect(await runInProcess(['inspect', '--join', 'x.json', '-q'], { cwd: folder })).toMatchObject({
      code: 0,
    })
    expect(await refused(['verify', '--join', 'v.json'])).toBe(
      'v.json: is "lora-svd/inspect-shard/1", and not a part of verify as --shard writes it',
    )
    const failed = await runInProcess(['inspect', 'nothing', '--shard=1/2', '--json'], { cwd: folder })
    writeFileSync(at('y.json'), failed.stdout)
    expect(await join_('y.json')).toMatch(/^y\.json: is the error of a shard that failed: nothing: /)
    expect(await join_('tuned')).toMatch(/^tuned: holds no part of inspect: name the folder/)
    expect(await join_('none')).toMatch(/^none: no such file or folder; name the parts/)
    expect(await join_('v.json', '--html', at('v.json'), '--force')).toMatch(
      /is what is read; name another file$/,
    )
  })

  test.for([
    [['inspect', 'tuned', '--shard=1/2'], /^--shard: what this part finds would be lost: give --out/],
    [['inspect', 'tuned', '--shard=1/2', '-o', 'z', '--html', 'r.html'], /^--html is of the report/],
    [['inspect', 'tuned', '--shard=1/2', '-o', 'z', '--sort=rank'], /^--sort is of the report/],
    [['inspect', 'tuned', '-o', 'z'], /^--out is where --shard leaves its part/],
    [['inspect', 'tuned', '--shard=1/2', '-o', 'no/such'], /^no\/such: the folder no does not exist/],
    [
      ['inspect', '--join', 'z', '--base', 'base'],
      /^--base is for the shards: --join takes what they have found/,
    ],
    [['inspect', '--join', 'z', '--shard=1/2'], /^--shard is for the shards/],
    [['inspect', 'tuned', 'base'], /^too many arguments for 'inspect': expected 1 argument but got 2;/],
    [['inspect', 'tuned', '--shards=2'], /^--shards says how many there are to --shard auto/],
    [['inspect', '--join=z'], /^--join=z: takes no value; folders are arguments;/],
    [
      ['verify', 'adapter', 'base', 'tuned', '--shard=1/2', '-o', 'z', '--max-error=1'],
      /^--max-error is judged over all/,
    ],
    [['verify', 'adapter', 'base'], /^missing required argument 'tuned';/],
    [['verify', '--join', 'z', '--alpha=1'], /^--alpha is for the shards/],
    [['verify', '--join', 'z', '--moments=c'], /^--moments is for the shards/],
    [['inspect', '--join', 'z', '--moments=c'], /^--moments is for the shards/],
    [
      ['resize', 'adapter', '-o', 'z', '--shard=1/2'],
      /^--shard=1\/2: only extract, inspect and verify work in shards/,
    ],
  ] as const)('%j', async ([args, message]) => {
    expect(await refused(args)).toMatch(message)
    expect(existsSync(at('z'))).toBe(false)
  })
})

test('--shard auto reads the variables of Slurm and of Kubernetes', async () => {
  const parts = join(temporaryFolder(), 'parts')
  const env = (index: string): Record<string, string> =>
    index === '1' ? { SLURM_ARRAY_TASK_ID: '1' } : { JOB_COMPLETION_INDEX: '1', JOB_COMPLETIONS: '2' }
  for (const index of ['1', '2']) {
    const more = index === '1' ? ['--shards=2'] : []
    const run = [...VERIFY, '--shard=auto', ...more, '-o', parts, '-q']
    expect(await runInProcess(run, { env: env(index) })).toMatchObject({ code: 0, stderr: '' })
  }
  expect(readdirSync(parts)).toEqual(['shard-1-of-2.json', 'shard-2-of-2.json'])
})
