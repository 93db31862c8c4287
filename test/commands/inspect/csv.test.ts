import { expect, test } from 'vitest'
import { csvOf } from '../../../src/commands/inspect/csv.ts'
import { printable } from '../../../src/text/quote.ts'
import {
  adapterResult,
  digitsDelta,
  errorOf,
  HOSTILE_NAMES,
  hostileResult,
  largeDelta,
  matrixOf,
  resultOf,
} from './results.ts'

/** A reader of RFC 4180, written from its grammar. */
function parsed(csv: string): string[][] {
  const records: string[][] = [[]]
  let at = 0
  while (at < csv.length) {
    const quoted = /"((?:[^"]|"")*)"/y
    const plain = /[^",\r\n]*/y
    quoted.lastIndex = plain.lastIndex = at
    const field = quoted.exec(csv)
    const text = field ? field[1].replaceAll('""', '"') : plain.exec(csv)![0]
    records[records.length - 1].push(text)
    at = field ? quoted.lastIndex : plain.lastIndex
    if (csv[at] === ',') at++
    else if (csv.startsWith('\r\n', at)) {
      at += 2
      records.push([])
    } else throw new Error(`no comma or line end at ${at}`)
  }
  return records.slice(0, -1)
}

const table = (csv: string) => {
  const [head, ...rows] = parsed(csv)
  expect(new Set(head).size).toBe(head.length)
  return rows.map((row) => {
    expect(row.length).toBe(head.length)
    return Object.fromEntries(head.map((name, i) => [name, row[i]]))
  })
}

test('one row a matrix, with all digits', () => {
  const result = digitsDelta()
  const rows = table(csvOf(result))
  expect(rows.length).toBe(23)
  for (const [i, matrix] of result.matrices.entries()) {
    const row = rows[i]
    expect(row.name).toBe(matrix.name)
    expect([row.rows, row.columns].map(Number)).toEqual(matrix.shape)
    expect(Number(row.frobenius_norm)).toBe(matrix.spectrum.frobenius)
    expect(Number(row.spectral_norm)).toBe(matrix.spectrum.singularValues[0])
    expect(Number(row.effective_rank)).toBe(matrix.effectiveRank)
    expect(Number(row['energy_rank_0.95_at_least'])).toBe(matrix.energyRanks['0.95'].atLeast)
    expect(Number(row.relative_error_at_rank_4_at_most)).toBeCloseTo(errorOf([matrix], 4), 9)
    expect(Number(row.relative_change)).toBe(matrix.base!.relativeChange)
    expect(row.nominal_rank).toBe('')
    expect(row.complete).toBe('true')
  }
})

test('what is not certain has two columns', () => {
  const result = largeDelta(1)
  const [row] = table(csvOf(result))
  expect(Number(row['energy_rank_0.99_at_least'])).toBe(65)
  expect(Number(row['energy_rank_0.99_at_most'])).toBe(4096)
  expect(row.effective_rank).toBe('')
  expect(Number(row.relative_error_at_rank_128_at_least)).toBeLessThan(
    Number(row.relative_error_at_rank_128_at_most),
  )
})

test('the scales of each loader, or why it refuses', () => {
  const rows = table(csvOf(adapterResult()))
  expect(rows.map((row) => row['scale_llama.cpp'])).toEqual(['2', '2', '2', '2', '4', '4', '4', '4'])
  expect(rows[0]['scale_TensorRT-LLM']).toBe('not loaded: reads no rank_pattern')
})

test('any name comes back, marks as escapes, and none starts a formula', () => {
  const rows = table(csvOf(hostileResult()))
  const isFormula = (name: string) => /^[=+\-@\t\r]/.test(name)
  expect(rows.map(({ name }) => name)).toEqual(
    HOSTILE_NAMES.map((name) => printable(isFormula(name) ? `'${name}` : name)),
  )
  const starts = ['=1+1', '+1', '-1', '@SUM(A1)', '\tx', '\rx', '＝1']
  const named = resultOf(starts.map((name) => matrixOf({ name, shape: [2, 2], S: [2, 1] })))
  expect(table(csvOf(named)).map(({ name }) => name)).toEqual(starts.map((name) => printable(`'${name}`)))
})

test('the header stays where there are no rows, and what is not finite is empty', () => {
  const empty = csvOf(resultOf([]))
  expect(empty).toBe(`${csvOf(digitsDelta()).split('\r\n')[0]}\r\n`)
  const unknown = { atLeast: Number.NaN, atMost: Number.NaN }
  const matrix = { ...matrixOf({ name: 'A', shape: [2, 2], S: [2, 1] }), stableRank: unknown }
  expect(table(csvOf(resultOf([matrix])))[0].stable_rank).toBe('')
})

test('a name that would speak to the terminal is written as messages write it', () => {
  const name = 'a\u202eb\u009b31m\u001b[0m'
  const csv = csvOf(resultOf([matrixOf({ name, shape: [4, 4], S: [1] })]))
  expect(table(csv)[0].name).toBe(String.raw`a\u{202e}b\u{009b}31m\u{001b}[0m`)
})
