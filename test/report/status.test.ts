import { Chalk } from 'chalk'
import { expect, test } from 'vitest'
import { doOne, type RunContext } from '../../src/jobs/context.ts'
import { statusOn } from '../../src/report/progress.ts'

function fakeTerminal(isErrTerminal: boolean) {
  const written: string[] = []
  return {
    written,
    terminal: {
      isErrTerminal,
      paintErr: new Chalk({ level: 0 }),
      errColumns: 80,
      status: (text: string) => void written.push(text),
      err: (text: string) => void written.push(text),
    },
  }
}

/** Does the work while the line of a terminal stands. */
function withStatus<T>(terminal: ReturnType<typeof fakeTerminal>['terminal'], quiet: boolean, work: () => T) {
  const context: RunContext = {
    request: { engine: 'auto' },
    progress: statusOn(terminal, quiet),
    notice: () => {},
    opening: {},
  }
  return doOne('factoring', '3 × 4', 1, context, work)
}

test('on a terminal the line stands while the work is done, and is gone after it', async () => {
  const { terminal, written } = fakeTerminal(true)
  const result = await withStatus(terminal, false, () => {
    expect(written).toEqual(['factoring 3 × 4 …'])
    return 12
  })
  expect(result).toBe(12)
  expect(written).toEqual(['factoring 3 × 4 …', '\r\u001b[K'])
})

test('it is gone also where the work fails', async () => {
  const { terminal, written } = fakeTerminal(true)
  const work = () => {
    throw new Error('no convergence')
  }
  await expect(withStatus(terminal, false, work)).rejects.toThrow('no convergence')
  expect(written.at(-1)).toBe('\r\u001b[K')
})

test.each([
  ['in a pipe', false, false],
  ['when quiet', true, true],
])('%s nothing is written', async (_, isErrTerminal, quiet) => {
  const { terminal, written } = fakeTerminal(isErrTerminal)
  expect(await withStatus(terminal, quiet, () => 1)).toBe(1)
  expect(written).toEqual([])
})
