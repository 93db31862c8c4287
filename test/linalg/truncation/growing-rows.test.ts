import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { jsEngine } from '../../../src/engine/js/js-engine.ts'
import { type Matrix, toFloat32, toFloat64, transpose } from '../../../src/linalg/matrix/matrix.ts'
import { besideColumns } from '../../../src/linalg/truncation/columns.ts'
import { asRows, bordered, withColumns } from '../../../src/linalg/truncation/growing-rows.ts'
import { gaussian } from './support.ts'

const N = 13

/** Blocks of these widths, with the same rows. */
const blocksOf = (widths: readonly number[], type: 'f32' | 'f64'): Matrix[] =>
  widths.map((width, i) => (type === 'f32' ? toFloat32(gaussian(N, width, i)) : gaussian(N, width, i)))

describe('rows that grow', () => {
  const widths = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 8 })
  const types = fc.constantFrom('f32' as const, 'f64' as const)

  it('are the columns of the blocks, and those before stay as they are', () => {
    fc.assert(
      fc.property(widths, types, (widths, type) => {
        const [first, ...others] = blocksOf(widths, type)
        let grown = asRows(first)
        let columns = first
        for (const block of others) {
          const before = { rows: grown.rows, data: grown.rows.data.slice() }
          grown = withColumns(grown, block)
          columns = besideColumns(columns, block)
          expect(before.rows.data).toEqual(before.data)
          expect(grown.rows).toEqual(transpose(columns))
        }
      }),
    )
  })

  it('seldom move: their room is made anew for twice as many', () => {
    let grown = asRows(gaussian(N, 2, 0))
    const rooms = new Set([grown.room])
    for (let i = 1; i < 128; i++) {
      grown = withColumns(grown, gaussian(N, 2, i))
      rooms.add(grown.room)
    }
    expect(grown.rows.rows).toBe(256)
    expect(rooms.size).toBeLessThanOrEqual(8)
  })

  it('have the Gram matrix of those before, bordered', () => {
    fc.assert(
      fc.property(widths, (widths) => {
        const [first, ...others] = blocksOf(widths, 'f64')
        let columns = first
        let gram = jsEngine.gram(first)
        for (const block of others) {
          const beside = jsEngine.multiply(columns, block, { transposeA: true })
          gram = bordered(gram, beside, jsEngine.gram(block))
          columns = besideColumns(columns, block)
          const whole = jsEngine.gram(toFloat64(columns))
          expect([gram.rows, gram.columns]).toEqual([whole.rows, whole.columns])
          gram.data.forEach((x, at) => {
            expect(x).toBeCloseTo(whole.data[at], 12)
          })
        }
      }),
    )
  })
})
