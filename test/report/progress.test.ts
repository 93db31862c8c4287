import { Chalk } from 'chalk'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ProgressEvent } from '../../src/jobs/context.ts'
import { createPace, cutMiddle, progressLine, progressOn } from '../../src/report/progress.ts'
import { duration } from '../../src/text/numbers.ts'
import { widthOf } from '../../src/text/width.ts'

const NAME = 'model.layers.11.self_attn.q_proj.weight'

test.each([
  [-1, '0 s'],
  [0.4, '0 s'],
  [45, '45 s'],
  [59.6, '1 min'],
  [80, '1 min 20 s'],
  [3599.4, '59 min 59 s'],
  [3600, '1 h'],
  [7530, '2 h 5 min'],
  [86_399.9, '1 d'],
  [100_000, '1 d 3 h'],
])('%d seconds are %s', (seconds, text) => {
  expect(duration(seconds)).toBe(text)
})

describe('the pace', () => {
  test('of even steps is what it is', () => {
    const pace = createPace(100)
    for (let i = 1; i <= 10; i++) pace.step(50, 100 + 2 * i)
    expect(pace.workRate(120)).toBeCloseTo(25, 10)
    expect(pace.itemRate(120)).toBeCloseTo(0.5, 10)
    expect(pace.secondsLeft(500, 120)).toBeCloseTo(20, 10)
    expect(pace.secondsLeft(500, 121)).toBeCloseTo(19, 10)
  })

  test('forgets how it was long ago', () => {
    const pace = createPace(0)
    for (let i = 1; i <= 10; i++) pace.step(1, i)
    for (let i = 1; i <= 1000; i++) pace.step(1, 10 + i / 10)
    expect(pace.workRate(110)).toBeGreaterThan(9.8)
  })

  test('falls when a step is late, and the time that is left grows', () => {
    const pace = createPace(0)
    for (let i = 1; i <= 5; i++) pace.step(1, i)
    expect(pace.workRate(5.9)).toBeCloseTo(1, 10)
    expect(pace.workRate(60)).toBeLessThan(0.1)
    expect(pace.secondsLeft(10, 60)).toBeGreaterThan(100)
  })

  test('is unknown at first', () => {
    const pace = createPace(0)
    expect(pace.secondsLeft(1, 50)).toBeUndefined()
    pace.step(1, 0.1)
    expect(pace.workRate(0.2)).toBeUndefined()
    expect(pace.workRate(1.1)).toBeGreaterThan(0)
  })
})

describe('the line', () => {
  const state = {
    label: 'inspecting',
    noun: 'matrices',
    done: 12,
    items: 154,
    share: 0.437,
    itemsPerSecond: 6.13,
    secondsLeft: 80,
    name: NAME,
  }

  test.each([
    [
      200,
      `inspecting 12 of 154 matrices  ━━━━━━━━╸···········  43 %  6.1 matrices/s  1 min 20 s left  ${NAME}`,
    ],
    [
      100,
      'inspecting 12/154  ━━━━······  43 %  6.1/s  1 min 20 s left  model.layers.11.self_attn.q_proj.weight',
    ],
    [80, 'inspecting 12/154  43 %  6.1/s  1 min 20 s left  model.layers.11…n.q_proj.weight'],
    [40, 'inspecting 12/154  43 %  1 min 20 s left'],
    [20, 'inspecting…20 s left'],
  ])('at %i columns', (columns, expected) => {
    expect(progressLine(state, columns)).toBe(expected)
  })

  test('gives a slow rate by the minute, and bytes by the second', () => {
    expect(progressLine({ ...state, itemsPerSecond: 0.25 }, 80)).toContain('  15/min  ')
    expect(progressLine({ ...state, bytesPerSecond: 123.4e6 }, 80)).toContain('  120 MB/s  ')
  })

  test('tells bytes that come over the network', () => {
    const received = { bytes: 1.5 * 2 ** 30, expected: 4 * 2 ** 30 }
    expect(progressLine({ ...state, bytesPerSecond: 45e6, received }, 120)).toContain(
      '43 %  1.5 GiB of 4 GiB  45 MB/s  1 min 20 s left',
    )
  })

  test('never is wider than it may be, nor more than one line', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 20, max: 240 }), (name, columns) => {
        const line = progressLine({ ...state, name }, columns)
        expect(widthOf(line)).toBeLessThanOrEqual(columns)
        expect(line).not.toMatch(/[\p{Cc}\p{Zl}]/u)
      }),
    )
  })

  test('is cut in the middle, by columns and not by characters', () => {
    expect(cutMiddle('abcdefgh', 8)).toBe('abcdefgh')
    expect(cutMiddle('abcdefgh', 7)).toBe('abc…fgh')
    expect(cutMiddle('abcdefgh', 6)).toBe('abc…gh')
    expect(cutMiddle('重み行列重み行列', 9)).toBe('重み…行列'.slice(0, 5))
  })
})

describe('on a terminal', () => {
  /** A terminal 60 columns wide that keeps its line, and a clock that is wound by hand. */
  function fake({ isErrTerminal = true, quiet = false } = {}) {
    const lines: string[] = []
    const terminal = {
      isErrTerminal,
      errColumns: 60,
      paintErr: new Chalk({ level: 0 }),
      status: (line: string) => void lines.push(line),
    }
    let [time, running] = [0, 0]
    let tick = () => {}
    const listener = progressOn(terminal, quiet, {
      now: () => time,
      every: (_, action) => {
        running++
        tick = action
        return () => running--
      },
    })
    let event: ProgressEvent = { ...task, kind: 'start', done: 0, work: 0 }
    const tell = (next: Partial<ProgressEvent>) => {
      event = { ...event, ...next }
      listener(event)
    }
    const progress = {
      start: (task: Task) => tell({ ...task, kind: 'start', done: 0, work: 0 }),
      begin: (name: string) => tell({ kind: 'begin', name }),
      step: (work: number) => tell({ kind: 'done', done: event.done + 1, work: event.work + work }),
      end: () => tell({ kind: 'end' }),
    }
    const wait = (seconds: number) => {
      time += seconds
      tick()
      return lines.at(-1)
    }
    return { tell, progress, lines, wait, running: () => running }
  }

  type Task = Omit<ProgressEvent, 'kind' | 'done' | 'work'>
  const task: Task = { phase: 'inspecting', items: 4, noun: 'matrices', total: 400, unit: 'flops' }

  test('says what is in hand, how much is done, and when it will be', () => {
    const { progress, wait } = fake()
    progress.start(task)
    progress.begin('a.weight')
    expect(wait(2)).toBe('inspecting 0/4  0 %  a.weight')
    progress.step(100)
    progress.begin('b.weight')
    expect(wait(0)).toBe('inspecting 1/4  25 %  30/min  6 s left  b.weight')
    expect(wait(1)).toBe('inspecting 1/4  25 %  30/min  5 s left  b.weight')
    progress.step(200)
    expect(wait(0)).toMatch(/^inspecting 2\/4 {2}75 % {2}/)
  })

  test('waits for the first of each thread before it names a time', () => {
    const { progress, wait } = fake()
    progress.start(task)
    for (const name of ['a', 'b', 'c']) progress.begin(name)
    progress.step(100)
    expect(wait(2)).toBe('inspecting 1/4  25 %  c')
    progress.begin('d')
    progress.step(100)
    expect(wait(2)).toContain(' left  d')
  })

  test('gives the rate of bytes', () => {
    const { progress, wait } = fake()
    progress.start({ ...task, phase: 'measuring', total: 400e6, unit: 'bytes' })
    wait(2)
    progress.step(100e6)
    expect(wait(0)).toBe('measuring 1/4  25 %  50 MB/s  6 s left')
  })

  test('tells what comes over the network, how fast, and when all of it will be there', () => {
    const { tell, progress, wait } = fake()
    const received = { bytes: 0, expected: 400 * 2 ** 20 }
    tell({ ...task, kind: 'start', done: 0, work: 0, received })
    progress.begin('a')
    // what the rate is reckoned from: it took long to come
    wait(60)
    tell({ kind: 'received', received: { ...received, bytes: 2 ** 20 } })
    expect(wait(0)).toBe('inspecting 0/4  0 %  1 MiB/400 MiB  a')
    wait(2)
    tell({ kind: 'received', received: { ...received, bytes: 101 * 2 ** 20 } })
    expect(wait(0)).toBe('inspecting 0/4  0 %  101 MiB/400 MiB  52 MB/s  6 s left  a')
    tell({ kind: 'done', done: 1, work: 200, received: { ...received, bytes: 201 * 2 ** 20 } })
    expect(wait(0)).toMatch(/^inspecting 1\/4 {2}50 % {2}201 MiB.*100 MB\/s {2}1 min 2 s left$/)
  })

  test('of what comes before there is work it tells bytes and rate alone', () => {
    const { tell, wait, lines } = fake()
    const reading = { ...task, phase: 'reading', noun: 'files', items: 0, total: 0, unit: 'bytes' } as const
    tell({ ...reading, kind: 'start', done: 0, work: 0 })
    expect(lines.at(-1)).toBe('reading')
    tell({ kind: 'received', received: { bytes: 2 ** 20 } })
    wait(2)
    tell({ kind: 'received', received: { bytes: 4 * 2 ** 20 } })
    expect(wait(0)).toBe('reading  4 MiB  1.6 MB/s')
  })

  test('goes at the end, and the clock stands', () => {
    const { progress, lines, running } = fake()
    progress.start(task)
    expect(running()).toBe(1)
    progress.start({ ...task, phase: 'measuring' })
    expect(running()).toBe(1)
    progress.end()
    expect(running()).toBe(0)
    expect(lines.at(-1)).toBe('')
    progress.end()
  })

  test.each([{ isErrTerminal: false }, { quiet: true }])('there is none with %j', (how) => {
    const { progress, lines, running } = fake(how)
    progress.start(task)
    progress.begin('a')
    progress.step(1)
    progress.end()
    expect([lines, running()]).toEqual([[], 0])
  })
})
