import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { withSeveral } from '../../src/io/several.ts'

/** Work that notes how many went on at once, and fails where it is told to. */
function counted() {
  const seen = { going: 0, most: 0, ended: 0 }
  const work = (failure?: Error) => async () => {
    seen.most = Math.max(seen.most, ++seen.going)
    await setTimeout(5)
    seen.going--
    seen.ended++
    if (failure !== undefined) throw failure
  }
  return { seen, work }
}

test('so many at once, and all have ended at the end', async () => {
  const { seen, work } = counted()
  const result = await withSeveral(3, async (start) => {
    for (let i = 0; i < 10; i++) await start(work())
    return 'done'
  })
  expect([result, seen]).toEqual(['done', { going: 0, most: 3, ended: 10 }])
})

test('the first failure ends it, once what was started has ended', async () => {
  const { seen, work } = counted()
  const failing = withSeveral(2, async (start) => {
    await start(work())
    await start(work(new Error('disk full')))
    for (let i = 0; i < 100; i++) await start(work())
  })
  await expect(failing).rejects.toThrow('disk full')
  expect(seen.going).toBe(0)
  expect(seen.ended).toBeLessThan(10)
})

test('a failure of the last one is thrown too', async () => {
  const { work } = counted()
  await expect(withSeveral(2, (start) => start(work(new Error('disk full'))))).rejects.toThrow('disk full')
})

test('what the user of it throws comes first, and waits for what was started', async () => {
  const { seen, work } = counted()
  const failing = withSeveral(2, async (start) => {
    await start(work(new Error('disk full')))
    throw new Error('interrupted')
  })
  await expect(failing).rejects.toThrow('interrupted')
  expect(seen).toEqual({ going: 0, most: 1, ended: 1 })
})
