import { stripVTControlCharacters } from 'node:util'
import { Chalk } from 'chalk'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  createCanvas,
  drawLine,
  glyphAt,
  logAxis,
  logTicks,
  setDot,
} from '../../../src/commands/inspect/canvas.ts'
import { plotText } from '../../../src/commands/inspect/plot.ts'
import type { MatrixReport } from '../../../src/commands/inspect/result.ts'
import { anyReport } from './any-result.ts'
import { bigResult, digitsResult, mixedResult, reportOf, wholeSpectrum } from './sample-results.ts'

const plot = (report: MatrixReport, columns = 80, level: 0 | 1 = 0) =>
  plotText(report, { paint: new Chalk({ level }), columns })
const lines = (text: string) => stripVTControlCharacters(text).trimEnd().split('\n')

test('fits the terminal, in width and in height', () => {
  fc.assert(
    fc.property(anyReport, fc.integer({ min: 40, max: 200 }), (report, columns) => {
      const text = plot({ ...report, name: 'model.layers.0.w' }, columns, 1)
      for (const line of lines(text)) expect(line.length).toBeLessThanOrEqual(columns)
      expect(lines(text).length).toBeLessThanOrEqual(28)
      if (columns >= 100) expect(lines(text).length).toBeLessThanOrEqual(24)
      expect(stripVTControlCharacters(text)).toBe(plot({ ...report, name: 'model.layers.0.w' }, columns))
    }),
  )
})

describe('what is drawn', () => {
  const halving = reportOf(
    'halving',
    wholeSpectrum(
      64,
      64,
      Float64Array.from({ length: 64 }, (_, i) => 10 ** (-i / 21)),
    ),
  )

  test('a geometric spectrum is a straight line from the top left to the bottom right', () => {
    const rows = lines(plot(halving)).slice(2, 18)
    // where the curve enters each row: a line has equal steps
    const starts = rows.map((row) => row.slice(row.search(/[│┤]/) + 1).search(/[\u2800-\u28ff](?! )/))
    const steps = starts.slice(2).map((start, i) => start - starts[i + 1])
    expect(Math.max(...steps) - Math.min(...steps)).toBeLessThanOrEqual(3)
    expect(Math.min(...steps)).toBeGreaterThan(2)
  })

  test('powers of ten stand at their height', () => {
    const labels = lines(plot(halving)).flatMap((line, row) => {
      const label = /^ *(\S+) ┤/.exec(line)?.[1]
      return label === undefined ? [] : [[Number(label), row] as const]
    })
    expect(labels.map(([value]) => value)).toEqual([1, 0.1, 0.01, 0.001])
    const gaps = labels.slice(1).map(([, row], i) => row - labels[i][1])
    expect(Math.max(...gaps) - Math.min(...gaps)).toBeLessThanOrEqual(1)
  })

  test('markers stand at the ranks that NumPy gives for 90 and 99 %', () => {
    const { matrices } = digitsResult()
    const text = lines(plot(matrices[2]))
    const marked = new Set(
      text.slice(2, 18).flatMap((line) => [...line.matchAll(/┊/g)].map(({ index }) => index)),
    )
    const start = text[2].indexOf('│') + 1
    const width = text[18].length - text[18].indexOf('└') - 1
    const ranks = [...marked].sort((a, b) => a - b).map((column) => 1 + ((column - start) / (width - 1)) * 95)
    expect(ranks).toHaveLength(2)
    expect(Math.abs(ranks[0] - 19)).toBeLessThan(1.5)
    expect(Math.abs(ranks[1] - 64)).toBeLessThan(1.5)
    expect(text.at(-1)).toContain('┊ 90 % at 19, 99 % at 64')
  })

  test('the noise floor where it is near, and what was not computed', () => {
    const [first] = mixedResult().matrices
    expect(plot(first)).toContain('╌╌ noise floor 0.500')
    expect(plot(first)).toMatch(/╌{20}/)
    expect(plot({ ...first, noise: { ...first.noise!, floor: 1e-9 } })).not.toContain('╌')
    const text = plot(bigResult(1).matrices[0])
    expect(lines(text).filter((line) => line.includes('░░░░░░░░'))).toHaveLength(16)
    expect(text).toContain('… 2,048')
    expect(text).toContain('░░ not computed: --full')
  })

  test('nothing of zeros', () => {
    expect(plot(mixedResult().matrices[3])).toBe(
      'model.layers.0.self_attn.o_proj.weight  64 × 64  f32\nall zero: base and tuned are equal\n',
    )
  })
})

test('dots are those of Unicode’s braille patterns', () => {
  const canvas = createCanvas(1, 2)
  expect(glyphAt(canvas, 0, 0)).toBe('')
  setDot(canvas, 0, 0)
  expect(glyphAt(canvas, 0, 0)).toBe('\u2801')
  setDot(canvas, 1, 3)
  expect(glyphAt(canvas, 0, 0)).toBe('\u2881')
  drawLine(canvas, 2, 0, 2, 3)
  expect(glyphAt(canvas, 0, 1)).toBe('\u2847')
  for (const [x, y] of [
    [-1, 0],
    [4, 0],
    [0, -1],
    [0, 4],
  ])
    setDot(canvas, x, y)
  expect(glyphAt(canvas, 0, 0) + glyphAt(canvas, 0, 1)).toBe('\u2881\u2847')
})

test('every axis has ticks inside it, in order', () => {
  const ends = fc.tuple(
    fc.double({ min: -300, max: 300, noNaN: true }),
    fc.double({ min: 0, max: 20, noNaN: true }),
  )
  fc.assert(
    fc.property(ends, ([low, span]) => {
      const axis = logAxis([10 ** low, 10 ** Math.min(low + span, 300)])
      const logs = logTicks(axis).map(({ value }) => Math.log10(value))
      expect(logs.length).toBeGreaterThanOrEqual(2)
      for (const log of logs) expect(log >= axis.low && log <= axis.high).toBe(true)
    }),
  )
})
