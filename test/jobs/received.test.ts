import { expect, test } from 'vitest'
import type { ProgressEvent } from '../../src/jobs/context.ts'
import { withBytes } from '../../src/jobs/received.ts'

const WORK = { phase: 'inspecting', noun: 'matrices', items: 2, total: 10, unit: 'flops' } as const

/** What is told, with a clock that is wound by hand. */
function recorded() {
  const events: ProgressEvent[] = []
  let time = 0
  const told = withBytes(
    (event) => events.push(event),
    () => time,
  )
  const progress = (event: Pick<ProgressEvent, 'kind' | 'done' | 'work'> & Partial<ProgressEvent>) =>
    told.progress({ ...WORK, ...event })
  const wait = (milliseconds: number) => {
    time += milliseconds
  }
  const shown = () => events.map(({ kind, phase, received }) => [kind, phase, received])
  return { ...told, progress, events, wait, shown }
}

test('bytes that come while nothing is in hand are a piece of work, which the next one ends', () => {
  const { received, progress, wait, shown, events } = recorded()
  received(100)
  received(20)
  wait(200)
  received(3)
  progress({ kind: 'start', done: 0, work: 0 })
  progress({ kind: 'end', done: 2, work: 10 })
  expect(shown()).toEqual([
    ['start', 'reading', undefined],
    ['received', 'reading', { bytes: 123 }],
    ['end', 'reading', { bytes: 123 }],
    ['start', 'inspecting', undefined],
    ['end', 'inspecting', undefined],
  ])
  expect(events.map(({ work }) => work)).toEqual([0, 123, 123, 0, 10])
})

test('what comes of a piece of work is counted from its start, and told no more often than people read', () => {
  const { received, progress, wait, shown } = recorded()
  const expectedBytes = { received: { bytes: 0, expected: 1000 } }
  progress({ kind: 'start', done: 0, work: 0, ...expectedBytes })
  for (let i = 0; i < 10; i++) {
    received(10)
    wait(30)
  }
  progress({ kind: 'done', done: 1, work: 5, name: 'a', ...expectedBytes })
  progress({ kind: 'end', done: 2, work: 10, ...expectedBytes })
  const bytes = (count: number) => ({ bytes: count, expected: 1000 })
  expect(shown().map(([kind, , received]) => [kind, received])).toEqual([
    ['start', bytes(0)],
    ['received', bytes(50)],
    ['received', bytes(90)],
    ['done', bytes(100)],
    ['end', bytes(100)],
  ])
})

test('a count that was passed is told no more', () => {
  const { received, progress, shown } = recorded()
  progress({ kind: 'start', done: 0, work: 0, received: { bytes: 0, expected: 5 } })
  received(6)
  progress({ kind: 'end', done: 2, work: 10, received: { bytes: 0, expected: 5 } })
  expect(shown().at(-1)).toEqual(['end', 'inspecting', { bytes: 6 }])
})

test('where all lies here nothing is told of bytes, and the end of nothing is nothing', () => {
  const { progress, end, events } = recorded()
  end()
  progress({ kind: 'start', done: 0, work: 0 })
  progress({ kind: 'end', done: 2, work: 10 })
  end()
  expect(events).toEqual([
    { ...WORK, kind: 'start', done: 0, work: 0 },
    { ...WORK, kind: 'end', done: 2, work: 10 },
  ])
})

test('an end takes away what is still being read', () => {
  const { received, end, shown } = recorded()
  received(1)
  end()
  received(1)
  expect(shown().map(([kind]) => kind)).toEqual(['start', 'end', 'start'])
})
