import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { LayerResult } from '../../src/extract/layer-result.ts'
import { isPlacedByRun, openRunFolder } from '../../src/extract/run-folder.ts'
import { errorOf } from '../formats/fixtures.ts'
import '../property-seed.ts'
import { folderOf } from '../checkpoint/support.ts'

const identity = { inputs: ['a', 1], options: { rank: 3, dtype: undefined } }
const open = (output: string, restart = false, of: typeof identity = identity) =>
  openRunFolder(output, of, { restart })

const resultOf = (rows: number, columns: number, S: number[], values: () => number): LayerResult => ({
  name: 'W',
  asked: { rule: { kind: 'error', error: 0.1 }, limits: { maxRank: 9 } },
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

describe('the folder of an unfinished run', () => {
  test('keeps layers to the bit, and tells which are done', async () => {
    const folder = await open(join(folderOf(), 'out'))
    const shape = fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 }))
    const S = fc.array(fc.double({ noNaN: true, min: 0 }), { maxLength: 4 })
    const sample = fc.double({ noNaN: true, noDefaultInfinity: true })
    await fc.assert(
      fc.asyncProperty(shape, S, fc.infiniteStream(sample), async ([rows, columns], values, stream) => {
        const result = resultOf(rows, columns, values, () => stream.next().value)
        await folder.write(1, 7, result)
        expect(await folder.read(1, 7)).toEqual(result)
        const figures = await folder.read(1, 7, false)
        expect(figures.spectrum).toEqual(result.spectrum)
        expect([figures.U.data.length, figures.V.data.length]).toEqual([0, 0])
      }),
      { numRuns: 20 },
    )
    expect([folder.has(1, 7), folder.has(1, 6), folder.has(2, 7)]).toEqual([true, false, false])
  })

  test('remembers what a round was decided to ask', async () => {
    const output = join(folderOf(), 'out')
    const asks = [null, { rule: { kind: 'rank', rank: 4 }, limits: {} }] as const
    const first = await open(output)
    expect(await first.asksOf(2, () => asks)).toEqual(asks)
    await first.release()
    const again = await open(output)
    expect(
      await again.asksOf(2, () => {
        throw new Error('decided once')
      }),
    ).toEqual(asks)
  })

  test('counts the layers of the first round, and is gone when it is removed', async () => {
    const output = join(folderOf(), 'out')
    const first = await open(output)
    expect(first.found).toBe(0)
    for (const [round, index] of [
      [1, 0],
      [1, 1],
      [2, 0],
    ])
      await first.write(
        round,
        index,
        resultOf(2, 2, [1], () => 1),
      )
    await first.release()
    const again = await open(output)
    expect(again.found).toBe(2)
    await again.remove()
    await again.release()
    expect(existsSync(`${output}.partial`)).toBe(false)
    expect((await open(output, true)).found).toBe(0)
  })

  test('of another identity is refused, and emptied with restart', async () => {
    const output = join(folderOf(), 'out')
    const first = await open(output)
    await first.write(
      1,
      0,
      resultOf(2, 2, [1], () => 1),
    )
    await first.release()
    const inputs = await errorOf(() => open(output, false, { ...identity, inputs: ['a', 2] }))
    expect(inputs.message).toContain('its inputs have changed since')
    const options = await errorOf(() =>
      open(output, false, { ...identity, options: { rank: 4, dtype: undefined } }),
    )
    expect(options.message).toContain('with other options')
    expect(readdirSync(`${output}.partial`)).toContain('layer-00000-1.safetensors')
    const anew = await open(output, true, { ...identity, inputs: [] })
    expect(readdirSync(`${output}.partial`).sort()).toEqual(['lock', 'run.json'])
    await anew.release()
  })

  test('with what no run left in it is refused, and left as it was', async () => {
    const output = join(folderOf(), 'out')
    mkdirSync(`${output}.partial`)
    writeFileSync(`${output}.partial/layer-1.safetensors`, 'mine')
    for (const restart of [false, true]) {
      expect((await errorOf(() => open(output, restart))).message).toContain(
        'it holds "layer-1.safetensors", which is none',
      )
    }
    expect(readdirSync(`${output}.partial`)).toEqual(['layer-1.safetensors'])
  })
})

describe('its lock', () => {
  const lockOf = (output: string) => `${output}.partial/lock`

  test.each(['', '0', '-1', 'x', `${process.pid}`, '4194304999'])('of %j is nobody’s', async (text) => {
    const output = join(folderOf(), 'out')
    mkdirSync(`${output}.partial`)
    writeFileSync(lockOf(output), text)
    const folder = await open(output)
    expect(readFileSync(lockOf(output), 'utf8')).toBe(`${process.pid}`)
    await folder.release()
    expect(existsSync(lockOf(output))).toBe(false)
  })

  test.runIf(process.platform === 'linux')('of a zombie is nobody’s', async () => {
    // the shell's child ends, and what the shell becomes never asks after it
    const shell = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 20'])
    try {
      const [said] = await once(shell.stdout, 'data')
      const pid = Number(String(said))
      while (!readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ')) await new Promise(setImmediate)
      const output = join(folderOf(), 'out')
      mkdirSync(`${output}.partial`)
      writeFileSync(lockOf(output), `${pid}`)
      await (await open(output)).release()
    } finally {
      shell.kill()
    }
  })

  test('of a living process is its own, and that of another is not given away', async () => {
    const output = join(folderOf(), 'out')
    mkdirSync(`${output}.partial`)
    writeFileSync(lockOf(output), `${process.ppid}`)
    expect((await errorOf(() => open(output))).message).toContain(`process ${process.ppid} is at work here`)
    writeFileSync(lockOf(output), '')
    const folder = await open(output)
    writeFileSync(lockOf(output), `${process.ppid}`)
    await folder.release()
    expect(readFileSync(lockOf(output), 'utf8')).toBe(`${process.ppid}`)
  })

  test('that is just being made is waited for', async () => {
    const output = join(folderOf(), 'out')
    mkdirSync(`${output}.partial`)
    writeFileSync(lockOf(output), '')
    const opened = errorOf(() => open(output))
    await new Promise((next) => setTimeout(next, 50))
    writeFileSync(lockOf(output), `${process.ppid}`)
    expect((await opened).message).toContain('is at work here')
  })
})

test('an output is a run’s where it was noted to be whole and is no longer in the folder', async () => {
  const output = join(folderOf(), 'out')
  expect(isPlacedByRun(output)).toBe(false)
  const folder = await open(output)
  mkdirSync(folder.staging)
  expect(isPlacedByRun(output)).toBe(false)
  await folder.markPlaced()
  expect(isPlacedByRun(output)).toBe(false)
  renameSync(folder.staging, output)
  expect(isPlacedByRun(output)).toBe(true)
})
