import { stripVTControlCharacters } from 'node:util'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { resizeDocument } from '../../../src/commands/resize/document.ts'
import { resizeTables } from '../../../src/commands/resize/text.ts'
import { documentOf } from '../../cli/schema.ts'
import { rendered, widest } from '../../report/rendered.ts'
import { anyResizeResult } from '../merge/any-result.ts'

const { painted, plain } = rendered(resizeTables)

test('no line is wider than the terminal, and colour changes nothing but colour', () => {
  fc.assert(
    fc.property(fc.noShrink(anyResizeResult), fc.integer({ min: 40, max: 220 }), (result, columns) => {
      const text = painted(result, columns)
      expect(widest(text)).toBeLessThanOrEqual(columns)
      expect(stripVTControlCharacters(text)).toBe(plain(result, columns))
      expect(text).not.toMatch(/NaN|undefined/)
    }),
  )
})

test('every document is one of its schema', () => {
  fc.assert(
    fc.property(anyResizeResult, (result) => {
      documentOf(JSON.stringify(resizeDocument(result)), 'resize-1')
    }),
    { numRuns: 30 },
  )
})
