import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { matrix } from '../../src/linalg/matrix/matrix.ts'
import { tensorText } from '../../src/report/tensor-text.ts'

interface Golden {
  readonly name: string
  readonly dtype: 'f32' | 'f64'
  readonly shape: readonly number[]
  readonly values: readonly (number | 'nan' | 'inf' | '-inf')[]
  readonly text: string
}

const goldens: Golden[] = JSON.parse(
  readFileSync(new URL('../fixtures/torch-print.json', import.meta.url), 'utf8'),
)
const toNumber = (x: Golden['values'][number]) =>
  typeof x === 'number' ? x : Number(x.replace('nan', 'NaN').replace('inf', 'Infinity'))

test.each(goldens)('as torch prints it: $name', ({ dtype, shape, values, text }) => {
  const data = dtype === 'f32' ? Float32Array.from(values, toNumber) : Float64Array.from(values, toNumber)
  const [rows, columns] = shape.length === 1 ? [shape[0], 1] : shape
  expect(tensorText(matrix(rows, columns, data), shape.length as 1 | 2)).toBe(text)
})
