import { spawn } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { expectSameFiles, extracted, type NewTensor, tunedBy, weight, writeModel } from './extract-support.ts'
import { runCli, runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const entry = fileURLToPath(new URL('../../bin/lora-svd.js', import.meta.url))
const folder = temporaryFolder()
const at = (...names: string[]) => join(folder, ...names)

const layerName = (i: number) => `model.layers.${i}.mlp.down_proj.weight`
const before: Record<string, NewTensor> = {}
const after: Record<string, NewTensor> = {}
for (let i = 0; i < 4; i++) {
  before[layerName(i)] = weight([64, 80], i)
  after[layerName(i)] = tunedBy(before[layerName(i)], 12, 10 * i, 1e-3)
}
const base = writeModel(at('base'), before)
const tuned = writeModel(at('tuned'), after)
const RULE = ['--rank=4', '--engine=wasm']

const command = (out: string, ...args: string[]) => ['extract', base, tuned, '-o', out, ...RULE, ...args]
const reference = at('reference')
await extracted(base, tuned, reference, RULE)

/** Runs a shard, and gives its document. */
async function shard(out: string, which: string, args: readonly string[] = command(out)) {
  const { code, stdout, stderr } = await runInProcess([...args, '--shard', which, '--json'])
  expect([code, stderr]).toEqual([0, ''])
  return documentOf(stdout, 'extract-shard-1')
}
const shardFolder = (out: string, which: string) =>
  `${out}.partial/shard-${which.replace('/', '-of-')}.partial`
const layersOf = (path: string) => readdirSync(path).filter((name) => name.startsWith('layer-'))

/** What a run that fails says; it must have nothing on stdout and end with 2. */
async function refused(args: readonly string[], options: { readonly env?: Record<string, string> } = {}) {
  const { code, stdout, stderr } = await runInProcess(args, options)
  expect([code, stdout]).toEqual([2, ''])
  expect(stderr).toMatch(/^lora-svd: [^\n]*\n$/)
  return stderr.slice('lora-svd: '.length, -1)
}

describe.concurrent('the same bytes as one run', () => {
  // 7 is more than there are layers
  test.for([1, 2, 3, 7])('of %i shards', async (of) => {
    const out = at(`of-${of}`)
    const names: string[] = []
    let work = 0
    for (let index = 1; index <= of; index++) {
      const document = await shard(out, `${index}/${of}`)
      expect(document).toMatchObject({ shard: { index, of }, round: 1, isSettled: true, resumed: 0 })
      expect(document.kept.path).toBe(shardFolder(out, `${index}/${of}`))
      names.push(...document.layers.map(({ name }: { name: string }) => name))
      work += document.totals.work
      expect(existsSync(out)).toBe(false)
    }
    expect(names.sort()).toEqual(Object.keys(before))
    expect(work).toBeCloseTo(1, 12)
    const joined = await extracted(base, tuned, out, [...RULE, '--join'])
    expect(joined).toMatchObject({ resumed: 0, joined: { shards: of, layers: 4 }, holds: true })
    expectSameFiles(out, reference)
    expect(existsSync(`${out}.partial`)).toBe(false)
  })

  test('from the disks of machines that have copies of the inputs of their own', async () => {
    const machines = ['one', 'two', 'three'].map((name) => at('machines', name))
    for (const cwd of machines) {
      mkdirSync(cwd, { recursive: true })
      for (const model of ['base', 'tuned']) cpSync(at(model), join(cwd, model), { recursive: true })
    }
    const [one, two, three] = machines
    const args = ['extract', 'base', 'tuned', '-o', 'adapter', ...RULE]
    for (const [i, cwd] of [one, two].entries()) {
      const { code, stderr } = await runInProcess([...args, '-q', `--shard=${i + 1}/2`], { cwd })
      expect([code, stderr]).toEqual([0, ''])
    }
    // one as its partial folder, the other as the shard's own
    cpSync(join(one, 'adapter.partial'), join(three, 'from-one'), { recursive: true })
    cpSync(join(two, 'adapter.partial'), three, { recursive: true })
    const join_ = [...args, '-q', '--join', 'from-one/', 'shard-2-of-2.partial']
    expect(await runInProcess(join_, { cwd: three })).toMatchObject({ code: 0, stderr: '' })
    expect(await runInProcess([...args, '-q'], { cwd: one })).toMatchObject({ code: 2 })
    const whole = await runInProcess([...args.map((arg) => (arg === 'adapter' ? 'whole' : arg)), '-q'], {
      cwd: one,
    })
    expect(whole.code).toBe(0)
    expectSameFiles(join(three, 'adapter'), join(one, 'whole'))
    expect(readdirSync(three).sort()).toEqual([
      'adapter',
      'base',
      'from-one',
      'shard-2-of-2.partial',
      'tuned',
    ])
  })

  test('of two at once, on one folder', async () => {
    const out = at('at-once')
    const both = await Promise.all(
      ['1/2', '2/2'].map((which) => runCli(command(out, '-q', '--shard', which))),
    )
    for (const result of both) expect(result).toMatchObject({ code: 0, stderr: '' })
    await extracted(base, tuned, out, [...RULE, '--join'])
    expectSameFiles(out, reference)
  })

  test('of one that was killed, and run again', async () => {
    const out = at('killed')
    const path = shardFolder(out, '1/2')
    const child = spawn(process.execPath, [entry, ...command(out, '-q', '--shard=1/2')], { stdio: 'ignore' })
    const ended = new Promise((done) => child.once('exit', (_, signal) => done(signal)))
    // at the latest when one of its two layers is there
    while (!existsSync(path) || layersOf(path).length === 0) await new Promise((next) => setTimeout(next, 1))
    child.kill('SIGKILL')
    await ended
    await shard(out, '2/2')
    // what it had not done is gone for certain
    for (const name of layersOf(path).slice(1)) rmSync(join(path, name))
    const message = await refused(command(out, '--join', '-q'))
    expect(message).toMatch(
      /killed\.partial: 1 layer of 4 is missing: model\.layers\.\d\.mlp\.down_proj\.weight; run again --shard 1\/2, then --join$/,
    )
    expect(await shard(out, '1/2')).toMatchObject({ resumed: 1, totals: { layers: 2, ofLayers: 4 } })
    await extracted(base, tuned, out, [...RULE, '--join'])
    expectSameFiles(out, reference)
  })
})

test('the process of a shard on another machine counts as gone after three minutes, not only fifteen', async () => {
  const out = at('elsewhere')
  await shard(out, '1/2')
  const lock = join(shardFolder(out, '1/2'), 'lock')
  const owner = { ...JSON.parse(readFileSync(lock, 'utf8')), host: 'node7', released: false }
  writeFileSync(lock, JSON.stringify(owner))
  const then = Date.now() / 1000 - 190
  utimesSync(lock, then, then)
  expect(await shard(out, '1/2')).toMatchObject({ resumed: 2 })
})

describe.concurrent('ranks that depend on all layers', () => {
  const run = (out: string, rule: readonly string[]) => [
    'extract',
    base,
    tuned,
    '-o',
    out,
    '--engine=wasm',
    ...rule,
  ]
  const RULES = {
    budget: ['--budget=110KiB', '--layout=pattern'],
    uniform: ['--energy=0.9', '--uniform'],
  }

  test.for(Object.entries(RULES))(
    '%s: a second round by the join, or by the same shards',
    async ([name, rule]) => {
      const whole = at(name)
      await extracted(base, tuned, whole, ['--engine=wasm', ...rule])
      const [byJoin, byShards] = [at(`${name}-join`), at(`${name}-shards`)]
      const dry = await runInProcess([...run(byJoin, rule), '--shard=2/3', '--dry-run', '--json'])
      const planned = documentOf(dry.stdout, 'extract-plan-1').shard
      expect(planned).toMatchObject({ index: 2, of: 3, mayTakeRounds: true })
      for (const which of ['1/3', '2/3', '3/3']) {
        const document = await shard(byJoin, which, run(byJoin, rule))
        expect(document).toMatchObject({ round: 1, isSettled: false })
        if (which === '2/3') {
          expect(document.layers.map((layer: { name: string }) => layer.name).sort()).toEqual(
            [...planned.layers].sort(),
          )
        }
      }
      cpSync(`${byJoin}.partial`, `${byShards}.partial`, { recursive: true })
      const joined = await runInProcess([...run(byJoin, rule), '--join', '--json'])
      expect(joined.stderr).toMatch(
        /^lora-svd: round 2: \d+ layers? asked for at a higher rank, which no shard has computed: computed here\n/,
      )
      expect(documentOf(joined.stdout, 'extract-1').holds).toBe(true)
      expectSameFiles(byJoin, whole)

      let again = 0
      for (let round = 2, isSettled = false; !isSettled; round++) {
        isSettled = true
        for (const which of ['1/3', '2/3', '3/3']) {
          const document = await shard(byShards, which, run(byShards, rule))
          again += document.layers.filter((layer: { round: number }) => layer.round === round).length
          isSettled &&= document.isSettled
        }
      }
      expect(again).toBeGreaterThan(0)
      const { stderr } = await runInProcess([...run(byShards, rule), '--join', '-q'])
      expect(stderr).toBe('')
      expectSameFiles(byShards, whole)
    },
  )
})

describe.concurrent('a join', () => {
  /** As if a process had the folder of a shard that can't be seen from here; it gave its last sign of life so many seconds ago. */
  function heldElsewhere(path: string, seconds: number): void {
    const lock = join(path, 'lock')
    const owner = { ...JSON.parse(readFileSync(lock, 'utf8')), host: 'node7', released: false }
    writeFileSync(lock, JSON.stringify(owner))
    const then = Date.now() / 1000 - seconds
    utimesSync(lock, then, then)
  }

  const planned = async (out: string, ...args: string[]) => {
    const { code, stdout, stderr } = await runInProcess(
      command(out, '--join', '--dry-run', '--json', ...args),
    )
    expect(stderr).toBe('')
    return { code, join: documentOf(stdout, 'extract-plan-1').join }
  }

  test('says beforehand what is there, what is missing, and who is at work', async () => {
    const out = at('planned')
    await shard(out, '1/2')
    expect(await planned(out)).toEqual({
      code: 1,
      join: {
        shards: [
          { index: 1, of: 2, layers: 2, missing: [] },
          { index: 2, of: 2, layers: 2, missing: [layerName(1), layerName(3)] },
        ],
        damaged: [],
        mayTakeRounds: false,
        isReady: false,
      },
    })
    const text = await runInProcess(command(out, '--join', '--dry-run'))
    expect(text.stdout.replace(/\s+/g, ' ')).toMatch(/shard 2\/2 │ 0 of 2 layers; run --shard 2\/2 again/)
    const before_ = readdirSync(`${out}.partial`)
    await shard(out, '2/2')
    expect(await planned(out)).toMatchObject({ code: 0, join: { isReady: true } })
    expect(readdirSync(`${out}.partial`).sort()).toEqual([...before_, 'shard-2-of-2.partial'].sort())
    heldElsewhere(shardFolder(out, '2/2'), 10)
    expect(await planned(out)).toMatchObject({
      code: 1,
      join: {
        isReady: false,
        shards: [{}, { missing: [], worker: expect.stringMatching(/^process \d+ on node7, /) }],
      },
    })
    const [name] = layersOf(shardFolder(out, '1/2'))
    writeFileSync(join(shardFolder(out, '1/2'), name), 'damaged')
    const { join: last } = await planned(out)
    expect(last.damaged).toEqual([join(shardFolder(out, '1/2'), name)])
    expect(last.shards[0].missing).toHaveLength(1)
    expect(existsSync(out)).toBe(false)
  })

  test('says which shard is still at work, here or where it cannot be seen', async () => {
    const out = at('at-work')
    for (const which of ['1/2', '2/2']) await shard(out, which)
    const path = shardFolder(out, '2/2')
    const lock = join(path, 'lock')
    const left = readFileSync(lock, 'utf8')
    // a process that lives has the lock
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
    const started = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1].split(' ')[19]
    writeFileSync(lock, JSON.stringify({ ...JSON.parse(left), pid: child.pid, started, released: false }))
    expect(await refused(command(out, '--join'))).toBe(
      `${out}.partial: all layers are there, but not all shards have ended; shard 2/2 is still at work (process ${child.pid}): wait for it, then --join`,
    )
    const ended = new Promise((done) => child.once('exit', done))
    child.kill('SIGKILL')
    await ended
    writeFileSync(lock, left)
    heldElsewhere(path, 10)
    const [name] = layersOf(path)
    const file = readFileSync(join(path, name))
    rmSync(join(path, name))
    expect(await refused(command(out, '--join'))).toMatch(
      /: 1 layer of 4 is missing: model\.layers\.\d\.mlp\.down_proj\.weight; shard 2\/2 is still at work \(process \d+ on node7, which cannot be seen from here, and gave a sign of life \d+ s ago\): wait for it, then --join$/,
    )
    writeFileSync(join(path, name), file)
    heldElsewhere(path, 190)
    await extracted(base, tuned, out, [...RULE, '--join'])
    expectSameFiles(out, reference)
  })

  test('takes no lock of a copy for a process at work', async () => {
    const out = at('of-copies')
    for (const which of ['1/2', '2/2']) await shard(out, which)
    const copies = at('copies')
    cpSync(`${out}.partial`, copies, { recursive: true })
    heldElsewhere(join(copies, 'shard-2-of-2.partial'), 10)
    const joined = at('joined-copies')
    const args = ['extract', base, tuned, copies, '--join', '-o', joined, ...RULE, '-q']
    expect(await runInProcess(args)).toMatchObject({ code: 0, stderr: '' })
    expectSameFiles(joined, reference)
  })
})

describe.concurrent('is refused', () => {
  test('a shard of other inputs, options or numbers of shards, by name', async () => {
    const out = at('foreign')
    await shard(out, '1/3')
    const first = shardFolder(out, '1/3')
    const cure = (same: string) =>
      `give ${same} to go on with it, or where these are meant delete it, or write to another --out`
    expect(await refused(command(out, '--shard=2/3', '--multiple-of=2'))).toBe(
      `${first}: shard 1/3 is of other options (limits) than this; ${cure('the same ones')}`,
    )
    expect(await refused(command(out, '--shard=2/4'))).toBe(
      `${first}: is shard 1/3, and this job has 4 shards; ${cure('the same number')}`,
    )
    // of the same names, shapes and sizes
    const copy = at('foreign-tuned')
    writeModel(copy, { ...after, [layerName(2)]: tunedBy(before[layerName(2)], 12, 999, 1e-3) })
    const cwd = temporaryFolder()
    for (const [name, path] of [
      ['base', base],
      ['tuned', tuned],
    ])
      cpSync(path, join(cwd, name), { recursive: true })
    const args = ['extract', 'base', 'tuned', '-o', 'adapter', ...RULE]
    expect(await runInProcess([...args, '-q', '--shard=1/2'], { cwd })).toMatchObject({ code: 0 })
    rmSync(join(cwd, 'tuned'), { recursive: true })
    cpSync(copy, join(cwd, 'tuned'), { recursive: true })
    for (const flag of ['--shard=2/2', '--join']) {
      const { code, stderr } = await runInProcess([...args, flag], { cwd })
      expect([code, stderr]).toEqual([
        2,
        `lora-svd: adapter.partial/shard-1-of-2.partial: shard 1/2 is of other inputs than this; ${cure('the same ones')}\n`,
      ])
    }
    // its own folder says what --restart is for
    const own = await runInProcess([...args, '--shard=1/2'], { cwd })
    expect(own.stderr).toMatch(/its inputs have changed since; give --restart to start anew\n$/)
    expect(await runInProcess([...args, '-q', '--shard=1/2', '--restart'], { cwd })).toMatchObject({
      code: 0,
    })
  })

  test('a join of what is missing or damaged, with what to run again; nothing is computed', async () => {
    const out = at('missing')
    expect(await refused(command(out, '--join'))).toMatch(
      /missing\.partial: holds no shard; run the same command with --shard 1\/4 to 4\/4 first/,
    )
    expect(existsSync(`${out}.partial`)).toBe(false)
    await shard(out, '2/3')
    const message = await refused(command(out, '--join'))
    expect(message).toMatch(
      /missing\.partial: [23] layers of 4 are missing: model\.layers.*; run again --shard 1\/3, --shard 3\/3, then --join$/,
    )
    await shard(out, '1/3')
    await shard(out, '3/3')
    const [name] = layersOf(shardFolder(out, '3/3'))
    writeFileSync(join(shardFolder(out, '3/3'), name), 'damaged')
    expect(await refused(command(out, '--join'))).toContain(
      `1 layer of 4 is missing (${shardFolder(out, '3/3')}/${name} is damaged, and counts as not done): `,
    )
    expect(existsSync(out)).toBe(false)
    // shards are not removed with what a join has left
    expect(readdirSync(`${out}.partial`).filter((entry) => entry.startsWith('shard-'))).toHaveLength(3)
    const again = await runInProcess(command(out, '--shard=3/3', '--json'))
    expect(again.stderr).toBe(
      `lora-svd: ${shardFolder(out, '3/3')}: ${name}: not what a run of this wrote, computed again\n`,
    )
    await extracted(base, tuned, out, [...RULE, '--join'])
    expectSameFiles(out, reference)
  })

  test('a folder that holds no shard, though it is named', async () => {
    expect(await refused(command(at('none'), '--join', base))).toBe(
      `${base}: holds no shard; name the .partial folder in which --shard has left shard-1-of-4.partial, or such a folder itself`,
    )
  })

  test('folders of shards where the models are expected, and more arguments than two without --join', async () => {
    const out = at('swapped')
    await shard(out, '1/1')
    const parts = `${out}.partial`
    const args = ['extract', '-o', at('swapped-out'), ...RULE]
    expect(await refused([...args, '--join', parts, base, tuned])).toBe(
      `${parts}: holds shards, and stands where <base> is expected: name <base> and <tuned> first, then the folders of shards`,
    )
    expect(await refused([...args, base, tuned, parts])).toMatch(
      /^too many arguments for 'extract': expected 2 arguments but got 3;/,
    )
    // wherever the flag stands, the models are the first two
    const [one, two] = [at('flag-first'), at('flag-last')]
    for (const [output, given] of [
      [one, ['--join', base, tuned, parts]],
      [two, [base, tuned, parts, '--join']],
    ] as const) {
      const same = ['extract', ...given, '-o', output, ...RULE, '-q']
      expect(await runInProcess(same)).toMatchObject({ code: 0, stdout: '', stderr: '' })
      expectSameFiles(output, reference)
    }
  })

  test('a run of all layers beside shards, and shards beside such a run', async () => {
    const out = at('beside')
    await shard(out, '1/2')
    expect(await refused(command(out))).toBe(
      `${out}.partial: holds shards of a job (1/2); --join assembles them, or delete it to do all anew`,
    )
    const whole = at('whole')
    mkdirSync(`${whole}.partial`)
    writeFileSync(`${whole}.partial/run.json`, JSON.stringify({ inputs: [], options: {} }))
    expect(await refused(command(whole, '--shard=1/2'))).toBe(
      `${whole}.partial: holds an unfinished run that is not in shards; let that end, or write to another --out`,
    )
  })

  test('what is in the folder and of no run', async () => {
    const out = at('notes')
    mkdirSync(`${out}.partial`)
    writeFileSync(`${out}.partial/notes.txt`, 'mine')
    expect(await refused(command(out, '--shard=1/2'))).toContain(`it holds "notes.txt", which is none`)
  })

  test.for([
    [['--shard=1/2', '--join'], /--shard computes a part and --join assembles the parts/],
    [['--restart', '--join'], /--restart would discard it/],
    [['--shard=3/2'], /expected which part of how many, counted from 1, such as 2\/4, or auto, got '3\/2'/],
    [['--shards=2'], /--shards says how many there are to --shard auto/],
    [['--shard=auto'], /neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set/],
  ] as const)('%j', async ([args, message]) => {
    expect(await refused(command(at('usage'), ...args))).toMatch(message)
    expect(existsSync(at('usage.partial'))).toBe(false)
  })
})

test('an output that is there is refused before anything is computed', async () => {
  const { code, stderr } = await runInProcess(command(reference, '--shard=1/2'))
  expect([code, stderr]).toEqual([2, `lora-svd: ${reference}: exists already; add --force to replace it\n`])
  expect(existsSync(`${reference}.partial`)).toBe(false)
})

test('a model with NaN leaves nothing of the shard that found it', async () => {
  const bad = { ...after, [layerName(0)]: { ...after[layerName(0)], data: after[layerName(0)].data } }
  const data = Float64Array.from(bad[layerName(0)].data)
  data[7] = Number.NaN
  bad[layerName(0)] = { ...bad[layerName(0)], data }
  const out = at('nan-out')
  const { code, stderr } = await runInProcess([
    'extract',
    base,
    writeModel(at('nan'), bad),
    '-o',
    out,
    ...RULE,
    '--shard=1/1',
  ])
  expect([code, stderr]).toEqual([2, expect.stringMatching(/NaN/)])
  expect(existsSync(`${out}.partial`)).toBe(false)
})

test('many small layers are joined in no time', async () => {
  const names = Array.from(
    { length: 60 },
    (_, i) => `model.layers.${i >> 1}.self_attn.${i % 2 ? 'q' : 'v'}_proj.weight`,
  )
  const small = Object.fromEntries(names.map((name, i) => [name, weight([12, 12], i)]))
  const changed = Object.fromEntries(names.map((name, i) => [name, tunedBy(small[name], 2, i)]))
  const args = [
    'extract',
    writeModel(at('many-base'), small),
    writeModel(at('many-tuned'), changed),
    '-o',
    at('many'),
    '--rank=2',
  ]
  for (const which of ['1/2', '2/2']) expect((await shard(at('many'), which, args)).totals.layers).toBe(30)
  const { code, stdout } = await runInProcess([...args, '--join', '--json'])
  expect(code).toBe(0)
  // at the pace of 560 in a minute
  expect(documentOf(stdout, 'extract-1').seconds).toBeLessThan(6)
})
