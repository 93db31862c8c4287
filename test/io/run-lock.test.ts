import { readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { lockFolder, type Patience } from '../../src/io/run-lock.ts'
import { thisProcess } from '../../src/io/temporary.ts'
import { temporaryFolder } from '../temporary.ts'

const GONE_AFTER = 60_000

/** A folder that a process on another host owns, silent for so long. */
function ownedElsewhere(silence: number): string {
  const folder = temporaryFolder('lock')
  const owner = { ...thisProcess(), host: 'node7', token: 'abcdef0123456789', released: false }
  writeFileSync(join(folder, 'lock'), JSON.stringify(owner))
  const then = (Date.now() - silence) / 1000
  utimesSync(join(folder, 'lock'), then, then)
  return folder
}

/** Waits for owners, and keeps what is told. */
function patient(more: { readonly signal?: AbortSignal } = {}): { patience: Patience; told: string[] } {
  const told: string[] = []
  return { told, patience: { goneAfter: GONE_AFTER, wait: { notice: (line) => told.push(line), ...more } } }
}

describe.concurrent('an owner that can’t be seen from here', () => {
  test('counts as gone after its time', async () => {
    const { patience, told } = patient()
    const lock = await lockFolder(ownedElsewhere(GONE_AFTER + 1000), patience)
    await lock.assertHeld()
    expect(told).toEqual([])
    lock.release()
  })

  test('is waited for until then', async () => {
    const folder = ownedElsewhere(GONE_AFTER - 300)
    const { patience, told } = patient()
    const lock = await lockFolder(folder, patience)
    expect(told).toHaveLength(1)
    expect(told[0]).toMatch(
      /process \d+ on node7, which cannot be seen from here, may be at work here: it counts as gone 1 minutes after its last sign of life, which was 60 s ago; waiting for that$/,
    )
    await lock.assertHeld()
    lock.release()
  })

  test('is waited for no longer than that, though its last sign lies in the future of a clock that was set back', async () => {
    const { patience } = patient()
    const start = performance.now()
    const lock = await lockFolder(ownedElsewhere(-GONE_AFTER), { ...patience, goneAfter: 300 })
    expect(performance.now() - start).toBeGreaterThan(300)
    await lock.assertHeld()
    lock.release()
  })

  test('is alive where it gives a sign meanwhile', async () => {
    const folder = ownedElsewhere(GONE_AFTER / 2)
    const { patience } = patient()
    const taken = lockFolder(folder, patience)
    setTimeout(() => utimesSync(join(folder, 'lock'), new Date(), new Date()), 100)
    await expect(taken).rejects.toThrow(
      /on node7.* may be at work here: .*; wait for it, or write to another --out/,
    )
  })

  test('is followed at once where it lets go', async () => {
    const folder = ownedElsewhere(GONE_AFTER / 2)
    const path = join(folder, 'lock')
    const taken = lockFolder(folder, patient().patience)
    setTimeout(
      () =>
        writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), released: true })),
      100,
    )
    const lock = await taken
    await lock.assertHeld()
    lock.release()
  })

  test('is waited for no longer than until an abort', async () => {
    const controller = new AbortController()
    const { patience } = patient({ signal: controller.signal })
    const taken = lockFolder(ownedElsewhere(0), patience)
    setTimeout(() => controller.abort(new Error('enough')), 50)
    await expect(taken).rejects.toThrow('enough')
  })
})

test('two at once: one of them has it', async () => {
  const folder = temporaryFolder('lock')
  const results = await Promise.allSettled([lockFolder(folder), lockFolder(folder)])
  expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
})
