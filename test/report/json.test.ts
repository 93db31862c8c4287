import fc from 'fast-check'
import { expect, test } from 'vitest'
import { writeJson } from '../../src/report/json.ts'
import type { Terminal } from '../../src/terminal/terminal.ts'
import '../property-seed.ts'

async function written(document: object, isOutTerminal: boolean): Promise<string> {
  let text = ''
  const terminal = {
    isOutTerminal,
    out: async (part: string) => {
      text += part
    },
  }
  await writeJson(terminal as Terminal, document)
  return text
}

/** What a terminal obeys or hides, but for the line ends of the layout: controls, marks of direction, separators. */
const OBEYED = /[^\P{C}\n]|[\p{Zl}\p{Zp}]/u

test.each(['\u202eevil', 'a\u009b31m', '\u001b[31m', 'a\u007f', 'a\u2028b', '\u2066x\u2069', '\u{e0001}'])(
  'a name that would speak to the terminal stays data: %j',
  async (name) => {
    for (const isTerminal of [true, false]) {
      const text = await written({ layers: [{ name, [name]: 1 }] }, isTerminal)
      expect(text).not.toMatch(OBEYED)
      expect(JSON.parse(text)).toEqual({ layers: [{ name, [name]: 1 }] })
    }
  },
)

test('any text is read back as it was', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: 'binary' }), fc.boolean(), async (name, isTerminal) => {
      expect(JSON.parse(await written({ name }, isTerminal))).toEqual({ name })
    }),
  )
})
