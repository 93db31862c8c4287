import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { open as openHandle } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { bytesDone, countDone, openRunFolder } from '../../../src/commands/extract/run-folder.ts'
import type { LayerResult } from '../../../src/compress/layer-result.ts'
import { placedByRun } from '../../../src/io/run-folder.ts'
import { GONE_AFTER } from '../../../src/io/run-lock.ts'
import { thisProcess } from '../../../src/io/temporary.ts'
import { folderOf } from '../../checkpoint/support.ts'
import { errorOf } from '../../formats/fixtures.ts'
import '../../property-seed.ts'

const identity = { inputs: ['a', 1], options: { rank: 3, dtype: undefined } }
const LAYERS = ['first', 'second', 'third'].map((name) => ({ name, rows: 2, columns: 3 }))
const open = (output: string, { restart = false, of = identity, layers = LAYERS } = {}) =>
  openRunFolder(output, of, layers, { restart })
const ask = { rule: { kind: 'error', error: 0.1 }, limits: { maxRank: 9 } } as const

const resultOf = (
  name: string,
  S: number[],
  values: () => number,
  [rows, columns] = [2, 3],
): LayerResult => ({
  name,
  asked: ask,
  spectrum: {
    rows,
    columns,
    frobenius: 3,
    singularValues: Float64Array.from(S),
    complete: false,
    excess: 1e-20,
    next: { atLeast: 0, atMost: 0.5 },
    epsilon: 2 ** -23,
    method: 'krylov',
    failureProbability: 1e-9,
  },
  U: { rows, columns: S.length, data: Float64Array.from({ length: rows * S.length }, values) },
  V: { rows: columns, columns: S.length, data: Float64Array.from({ length: columns * S.length }, values) },
  baseFrobenius: Math.PI,
  engine: 'wasm',
  seconds: 0.25,
})

const newOutput = () => join(folderOf(), 'out')
const layerPath = (output: string, index: number, round = 1) =>
  `${output}.partial/layer-0000${index}-${round}.safetensors`

/** An unfinished run that has done these layers, and that nobody works at. */
async function unfinished(indices = [0, 1, 2]): Promise<string> {
  const output = newOutput()
  const folder = await open(output)
  for (const index of indices)
    await folder.write(
      1,
      index,
      resultOf(LAYERS[index].name, [index + 1], () => index),
    )
  folder.release()
  return output
}

describe('the folder of an unfinished run', () => {
  test('keeps layers to the bit', async () => {
    const shape = fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 }))
    const S = fc.array(fc.double({ noNaN: true, min: 0 }), { maxLength: 4 })
    const sample = fc.double({ noNaN: true, noDefaultInfinity: true })
    await fc.assert(
      fc.asyncProperty(shape, S, fc.infiniteStream(sample), async ([rows, columns], values, stream) => {
        const output = newOutput()
        const layers = [{ name: 'W', rows, columns }]
        const folder = await open(output, { layers })
        const result = resultOf('W', values, () => stream.next().value, [rows, columns])
        await folder.write(1, 0, result)
        expect(await folder.read(1, 0)).toEqual(result)
        folder.release()
        const again = await open(output, { layers })
        const found = again.find(1, 0, ask)
        expect(found?.spectrum).toEqual(result.spectrum)
        expect([found?.U.data.length, found?.V.data.length]).toEqual([0, 0])
        again.release()
      }),
      { numRuns: 10 },
    )
  })

  test('flushes layers to the disk one by one where they are all that a run makes', async () => {
    const file = await openHandle(new URL(import.meta.url))
    const flushed = vi.spyOn(Object.getPrototypeOf(file), 'sync')
    await file.close()
    try {
      for (const lasts of [true, false]) {
        const folder = await openRunFolder(newOutput(), identity, LAYERS, { restart: false, lasts })
        flushed.mockClear()
        await folder.write(
          1,
          0,
          resultOf('first', [1], () => 0),
        )
        expect(flushed.mock.calls.length > 0).toBe(lasts)
        folder.release()
      }
    } finally {
      flushed.mockRestore()
    }
  })

  test('finds what was asked, and nothing else', async () => {
    const folder = await open(await unfinished([1]))
    expect(folder.find(1, 1, ask)?.name).toBe('second')
    expect(folder.find(1, 1, { ...ask, limits: {} })).toBeUndefined()
    expect(folder.find(1, 0, ask)).toBeUndefined()
    expect(folder.find(2, 1, ask)).toBeUndefined()
    folder.release()
  })

  test('remembers what a round was decided to ask, unless that is damaged', async () => {
    const output = newOutput()
    const asks = [null, { rule: { kind: 'rank', rank: 4 }, limits: {} }, null] as const
    const first = await open(output)
    expect(await first.asksOf(2, () => asks)).toEqual(asks)
    first.release()
    const again = await open(output)
    const never = () => {
      throw new Error('decided once')
    }
    expect(await again.asksOf(2, never)).toEqual(asks)
    const path = `${output}.partial/asks-2.json`
    for (const text of ['', 'null', '[]', readFileSync(path, 'utf8').replace('"rank":4', '"rank":5')]) {
      writeFileSync(path, text)
      expect(await again.asksOf(2, () => [null, null, null])).toEqual([null, null, null])
    }
    again.release()
  })

  test('counts the layers of the first round, and is gone when it is removed', async () => {
    const output = await unfinished([0, 1])
    expect([await countDone(output), await bytesDone(output)]).toEqual([
      2,
      statSync(layerPath(output, 0)).size + statSync(layerPath(output, 1)).size,
    ])
    const again = await open(output)
    await again.write(
      2,
      0,
      resultOf('first', [1], () => 1),
    )
    expect([again.found, await again.isEmpty()]).toEqual([2, false])
    expect(await again.remove()).toBeUndefined()
    again.release()
    expect(existsSync(`${output}.partial`)).toBe(false)
    expect([await countDone(output), await bytesDone(output)]).toEqual([0, 0])
    const anew = await open(output, { restart: true })
    expect([anew.found, await anew.isEmpty()]).toEqual([0, true])
    anew.release()
  })

  test('of another identity is refused, and emptied with restart', async () => {
    const output = await unfinished()
    const inputs = await errorOf(() => open(output, { of: { ...identity, inputs: ['a', 2] } }))
    expect(inputs.message).toContain('its inputs have changed since')
    const options = await errorOf(() =>
      open(output, { of: { ...identity, options: { rank: 4, dtype: undefined } } }),
    )
    expect(options.message).toContain('with other options')
    expect(await countDone(output)).toBe(3)
    const anew = await open(output, { restart: true, of: { ...identity, inputs: [] } })
    expect(readdirSync(`${output}.partial`).filter((name) => !name.startsWith('lock'))).toEqual(['run.json'])
    anew.release()
  })

  test.each(['', 'null', '{', '7', undefined])(
    'whose run.json is %j is refused, and loses nothing',
    async (text) => {
      const output = await unfinished()
      const path = `${output}.partial/run.json`
      if (text === undefined) renameSync(path, `${output}-run.json`)
      else writeFileSync(path, text)
      const error = await errorOf(() => open(output))
      expect([error.code, error.message]).toEqual([
        'bad-input',
        expect.stringMatching(/its run\.json is (damaged|missing), so .*; give --restart/),
      ])
      expect(await countDone(output)).toBe(3)
      ;(await open(output, { restart: true })).release()
    },
  )
})

describe('a layer', () => {
  const damages: [string, (output: string) => void, string[]][] = [
    ['cut', (output) => truncateSync(layerPath(output, 1), 300), ['layer-00001-1.safetensors']],
    ['emptied', (output) => truncateSync(layerPath(output, 1), 0), ['layer-00001-1.safetensors']],
    [
      'with another number in its figures',
      (output) => replaceIn(layerPath(output, 1), '3.14159', '3.14158'),
      ['layer-00001-1.safetensors'],
    ],
    [
      'with another bit in its vectors',
      (output) => {
        const bytes = readFileSync(layerPath(output, 1))
        bytes[bytes.length - 1] ^= 1
        writeFileSync(layerPath(output, 1), bytes)
      },
      ['layer-00001-1.safetensors'],
    ],
    [
      'swapped with another of its shape',
      (output) => {
        renameSync(layerPath(output, 0), `${output}-0`)
        renameSync(layerPath(output, 1), layerPath(output, 0))
        renameSync(`${output}-0`, layerPath(output, 1))
      },
      ['layer-00000-1.safetensors', 'layer-00001-1.safetensors'],
    ],
    [
      'of another round',
      (output) => renameSync(layerPath(output, 1), layerPath(output, 1, 2)),
      ['layer-00001-2.safetensors'],
    ],
    [
      'beyond the layers there are',
      (output) => renameSync(layerPath(output, 1), layerPath(output, 7)),
      ['layer-00007-1.safetensors'],
    ],
  ]
  const replaceIn = (path: string, from: string, to: string) => {
    const text = readFileSync(path, 'latin1')
    expect(text).toContain(from)
    writeFileSync(path, text.replace(from, to), 'latin1')
  }

  test.each(damages)('%s counts as not done', async (_, damage, names) => {
    const output = await unfinished()
    damage(output)
    const folder = await open(output)
    expect(folder.damaged).toEqual(names)
    expect(folder.found).toBe(names.length === 2 ? 1 : 2)
    expect(folder.find(1, 1, ask)).toBeUndefined()
    expect(folder.find(1, 2, ask)?.name).toBe('third')
    folder.release()
  })

  test('of a run with other options, whose run.json was taken over, counts as not done', async () => {
    const [output, other] = [await unfinished(), newOutput()]
    const folder = await open(other, { of: { ...identity, inputs: ['b'] } })
    folder.release()
    for (const index of [0, 1]) renameSync(layerPath(output, index), layerPath(other, index))
    const again = await open(other, { of: { ...identity, inputs: ['b'] } })
    expect([again.found, again.damaged.length]).toEqual([0, 2])
    again.release()
  })

  test('of another shape than the model’s counts as not done', async () => {
    const output = newOutput()
    const folder = await open(output)
    await folder.write(
      1,
      0,
      resultOf('first', [1], () => 1, [3, 3]),
    )
    folder.release()
    const again = await open(output)
    expect([again.found, again.damaged.length]).toEqual([0, 1])
    again.release()
  })

  test('that changes during the run ends it', async () => {
    const output = await unfinished()
    const folder = await open(output)
    truncateSync(layerPath(output, 0), 100)
    expect(await errorOf(() => folder.read(1, 0))).toMatchObject({ code: 'system' })
    folder.release()
  })
})

describe('a folder that others may have written in is refused, and left as it was:', () => {
  const onUnix = process.platform !== 'win32'
  const isRoot = process.geteuid?.() === 0

  test('with what no run left in it', async () => {
    const output = newOutput()
    mkdirSync(`${output}.partial`)
    writeFileSync(`${output}.partial/layer-1.safetensors`, 'mine')
    for (const restart of [false, true]) {
      expect((await errorOf(() => open(output, { restart }))).message).toContain(
        'it holds "layer-1.safetensors", which is none',
      )
    }
    expect(readdirSync(`${output}.partial`)).toEqual(['layer-1.safetensors'])
  })

  test.runIf(onUnix)('by its permissions', async () => {
    const output = await unfinished()
    for (const mode of [0o775, 0o757]) {
      chmodSync(`${output}.partial`, mode)
      expect((await errorOf(() => open(output))).message).toContain('can be written in by others')
    }
    chmodSync(`${output}.partial`, 0o755)
    const folder = await open(output)
    expect(folder.found).toBe(3)
    folder.release()
  })

  // only root can give a file to another user; CI runs all tests once as root
  if (isRoot) {
    test('by its owner', async () => {
      const output = await unfinished()
      chownSync(layerPath(output, 1), 12345, 0)
      expect((await errorOf(() => open(output))).message).toContain(
        'it holds "layer-00001-1.safetensors", which is none',
      )
      chownSync(layerPath(output, 1), 0, 0)
      chownSync(`${output}.partial`, 12345, 0)
      expect((await errorOf(() => open(output, { restart: true }))).message).toContain(
        'belongs to another user',
      )
      expect(await countDone(output)).toBe(3)
    })
  }

  test.runIf(onUnix)('a link, or one that holds a link or a pipe', async () => {
    const output = await unfinished()
    const linked = newOutput()
    symlinkSync(`${output}.partial`, `${linked}.partial`)
    expect((await errorOf(() => open(linked))).message).toContain('is a link')
    renameSync(layerPath(output, 0), `${output}-0`)
    symlinkSync(`${output}-0`, layerPath(output, 0))
    expect((await errorOf(() => open(output))).message).toContain('it holds "layer-00000-1.safetensors"')
    renameSync(`${output}-0`, layerPath(output, 0))
    renameSync(`${output}.partial/run.json`, `${output}.json`)
    expect(spawnSync('mkfifo', [`${output}.partial/run.json`]).status).toBe(0)
    expect((await errorOf(() => open(output))).message).toContain('it holds "run.json"')
  })

  test('a file', async () => {
    const output = newOutput()
    writeFileSync(`${output}.partial`, 'mine')
    expect((await errorOf(() => open(output, { restart: true }))).message).toContain('is a file')
    expect(readFileSync(`${output}.partial`, 'utf8')).toBe('mine')
  })

  test('a folder that can’t be made is called so', async () => {
    const output = join(folderOf({ file: '' }), 'file', 'out')
    expect((await errorOf(() => open(output))).message).toContain('ENOTDIR')
  })
})

describe('its lock', () => {
  const lockOf = (output: string) => `${output}.partial/lock`
  const ownerAt = (more: object) =>
    JSON.stringify({ token: 'abcdef0123456789', released: false, ...thisProcess(), ...more })
  /** A folder in which such a process has worked, and shown so `age` milliseconds ago. */
  function lockedBy(text: string, age = 0): string {
    const output = newOutput()
    mkdirSync(`${output}.partial`, 0o755)
    writeFileSync(lockOf(output), text)
    const then = (Date.now() - age) / 1000
    utimesSync(lockOf(output), then, then)
    return output
  }
  const locksIn = (output: string) =>
    readdirSync(`${output}.partial`).filter((name) => name.startsWith('lock'))

  test.each([
    ['a process that is gone', { pid: 4195303 }],
    ['one of the same id, which began at another time', { started: '1' }],
    ['a process that released it', { pid: process.ppid, released: true }],
    ['this process, which holds no such', {}],
  ])('of %s is taken over, and stays as it is', async (_, more) => {
    const text = ownerAt(more)
    const output = lockedBy(text)
    const folder = await open(output)
    expect(locksIn(output)).toEqual(['lock', 'lock-abcdef0123456789'])
    expect(readFileSync(lockOf(output), 'utf8')).toBe(text)
    await folder.assertHeld()
    folder.release()
  })

  test.runIf(process.platform === 'linux')('of a zombie is nobody’s', async () => {
    // the shell's child ends only once the shell has become what never asks after it: a shell itself might
    const shell = spawn('sh', ['-c', 'cat <&3 & echo $!; exec sleep 20'], {
      stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
    })
    const ofProcess = (pid: number | undefined, file: string) => readFileSync(`/proc/${pid}/${file}`, 'utf8')
    try {
      const [said] = await once(shell.stdout!, 'data')
      const pid = Number(String(said))
      while (ofProcess(shell.pid, 'comm') !== 'sleep\n') await new Promise(setImmediate)
      shell.stdio[3]!.destroy()
      while (!ofProcess(pid, 'stat').includes(') Z ')) await new Promise(setImmediate)
      ;(await open(lockedBy(ownerAt({ pid })))).release()
    } finally {
      shell.kill()
    }
  })

  const elsewhere = [
    ['another host', { host: 'elsewhere' }],
    ['another start of the machine', { boot: '0' }],
    ['another namespace of process ids', { pidNamespace: 'pid:[1]' }],
  ] as const
  test.each(elsewhere)('of a process of %s is its own until it has long been silent', async (_, more) => {
    // an id that is nobody's here
    const text = ownerAt({ pid: 4195303, ...more })
    for (const age of [0, GONE_AFTER - 60_000]) {
      const output = lockedBy(text, age)
      const error = await errorOf(() => open(output))
      expect(error.code).toBe('bad-input')
      expect(error.message).toMatch(
        /process 4195303 on \S+, which cannot be seen from here, may be at work here: it counts as gone 15 minutes after its last sign of life/,
      )
      expect(locksIn(output)).toEqual(['lock'])
    }
    const folder = await open(lockedBy(text, GONE_AFTER + 60_000))
    await folder.assertHeld()
    folder.release()
  })

  test.each(['', '0', 'null', `${process.pid}`, '{"token":"../x"}', 'x'.repeat(5000)])(
    'that says %j is somebody’s until it is old',
    async (text) => {
      expect((await errorOf(() => open(lockedBy(text)))).message).toContain('no readable lock')
      ;(await open(lockedBy(text, GONE_AFTER + 60_000))).release()
    },
  )

  test.runIf(process.platform !== 'win32')(
    'that is a pipe, a folder or a link is refused at once',
    async () => {
      for (const make of [
        (path: string) => spawnSync('mkfifo', [path]),
        (path: string) => mkdirSync(path),
        (path: string) => symlinkSync('/dev/zero', path),
      ]) {
        const output = newOutput()
        mkdirSync(`${output}.partial`, 0o755)
        make(lockOf(output))
        for (const restart of [false, true]) {
          expect((await errorOf(() => open(output, { restart }))).message).toContain('lock: is not a file')
        }
        expect(lstatSync(lockOf(output)).isFile()).toBe(false)
      }
    },
  )

  test('of this process is its own as long as it holds it', async () => {
    const output = newOutput()
    const folder = await open(output)
    expect((await errorOf(() => open(output))).message).toContain(`process ${process.pid} is at work here`)
    folder.release()
    folder.release()
    const again = await open(output)
    expect(locksIn(output)).toHaveLength(2)
    again.release()
  })

  test('one of many that come at once gets it', async () => {
    const output = lockedBy(ownerAt({ pid: 4195303 }))
    const tries = await Promise.allSettled(Array.from({ length: 20 }, () => open(output)))
    const got = tries.filter(({ status }) => status === 'fulfilled')
    expect(got).toHaveLength(1)
    for (const one of tries) {
      if (one.status === 'rejected') expect(String(one.reason)).toContain('is at work here')
      else one.value.release()
    }
  })

  test('that another took is not this process’s any more, nor is its folder', async () => {
    const output = newOutput()
    const folder = await open(output)
    const { token } = JSON.parse(readFileSync(lockOf(output), 'utf8'))
    writeFileSync(`${output}.partial/lock-${token}`, ownerAt({ pid: process.ppid }))
    expect(await errorOf(() => folder.assertHeld())).toMatchObject({ code: 'system' })
    expect(await folder.remove()).toContain('is no longer this process’s'.replace('’', "'"))
    expect(existsSync(`${output}.partial/run.json`)).toBe(true)
    folder.release()
  })

  test('of a folder that was removed is not written into one made anew', async () => {
    const output = newOutput()
    const folder = await open(output)
    renameSync(`${output}.partial`, `${output}.gone`)
    const other = await open(output)
    const text = readFileSync(lockOf(output), 'utf8')
    folder.release()
    expect(readFileSync(lockOf(output), 'utf8')).toBe(text)
    await other.assertHeld()
    other.release()
  })
})

test('an output is a run’s where it was noted to be about to be placed', async () => {
  const output = newOutput()
  expect(await placedByRun(output)).toBeUndefined()
  const folder = await open(output)
  mkdirSync(folder.staging)
  await folder.markPlaced()
  expect(await placedByRun(output)).toBeUndefined()
  renameSync(folder.staging, output)
  expect(await placedByRun(output)).toBe(String(statSync(output, { bigint: true }).ino))
  folder.release()
  const again = await open(output)
  expect(again.placed).toBe(String(statSync(output, { bigint: true }).ino))
  again.release()
  renameSync(output, `${output}-moved`)
  mkdirSync(output)
  expect(await placedByRun(output)).toBeUndefined()
})

test('what a killed run had moved away to replace it has its name again', async () => {
  const output = await unfinished()
  mkdirSync(`${output}.partial/replaced-0123`)
  writeFileSync(`${output}.partial/replaced-0123/adapter_config.json`, 'old')
  const folder = await open(output)
  expect(readFileSync(`${output}/adapter_config.json`, 'utf8')).toBe('old')
  folder.release()
})
