import { stripVTControlCharacters } from 'node:util'
import { Chalk } from 'chalk'
import type { Terminal } from '../../src/terminal/terminal.ts'

type Screen = Pick<Terminal, 'paint' | 'columns'>

/** What a report looks like with colour, without, and as one line without breaks. */
export function rendered<Result>(tables: (result: Result, screen: Screen) => string) {
  const painted = (result: Result, columns: number) =>
    tables(result, { paint: new Chalk({ level: 1 }), columns })
  const plain = (result: Result, columns = 80) => tables(result, { paint: new Chalk({ level: 0 }), columns })
  const flowing = (result: Result, columns = 80) => plain(result, columns).replace(/[\s│]+/g, ' ')
  return { painted, plain, flowing }
}

export const widest = (text: string) =>
  Math.max(...text.split('\n').map((line) => stripVTControlCharacters(line).length))
