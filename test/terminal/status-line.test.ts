import { expect, test } from 'vitest'
import { statusLine, terminalOf } from '../../src/terminal/terminal.ts'

/** What a terminal shows after it was sent these texts, by the rules of \r, \n and ESC [K. */
function screen(sent: string): string[] {
  const lines = ['']
  let column = 0
  for (const part of sent.replaceAll('\u001b[K', '\u007f')) {
    const line = lines[lines.length - 1]
    if (part === '\r') column = 0
    else if (part === '\n') {
      lines.push('')
      column = 0
    } else if (part === '\u007f') lines[lines.length - 1] = line.slice(0, column)
    else lines[lines.length - 1] = line.slice(0, column) + part + line.slice(++column)
  }
  return lines
}

test('the line stands below what is written, and goes without a trace', () => {
  const line = statusLine()
  let sent = line.show('a long first line')
  sent += line.show('second')
  expect(screen(sent)).toEqual(['second'])
  sent += line.above('a notice\nof two lines\n')
  expect(screen(sent)).toEqual(['a notice', 'of two lines', 'second'])
  sent += line.show('')
  expect(screen(sent)).toEqual(['a notice', 'of two lines', ''])
  sent += line.above('plain\n')
  expect(screen(sent)).toEqual(['a notice', 'of two lines', 'plain', ''])
})

test('text that does not end its line has it alone', () => {
  const line = statusLine()
  let sent = line.show('working')
  sent += line.above('a question? ')
  expect(screen(sent)).toEqual(['a question? '])
  sent += line.above('yes\n')
  expect(screen(sent)).toEqual(['a question? yes', ''])
})

test('the same line is not written twice', () => {
  const line = statusLine()
  expect(line.show('x')).toBe('x')
  expect(line.show('x')).toBe('')
})

/** A process whose streams are one terminal, or pipes. */
function fakeProcess(isTTY: boolean, env = {}) {
  const sent: string[] = []
  const stream = {
    isTTY,
    columns: 50,
    on: () => stream,
    write: (text: string, done?: () => void) => {
      sent.push(text)
      done?.()
    },
  }
  return { sent, terminal: terminalOf({ stdout: stream, stderr: stream, env } as never, undefined) }
}

test('a terminal keeps it below both streams', async () => {
  const { sent, terminal } = fakeProcess(true)
  terminal.status('working')
  terminal.err('a notice\n')
  expect(screen(sent.join(''))).toEqual(['a notice', 'working'])
  await terminal.out('a result\n')
  expect(screen(sent.join(''))).toEqual(['a notice', 'a result', ''])
  terminal.status('working')
  expect(screen(sent.join(''))).toEqual(['a notice', 'a result', 'working'])
  expect(terminal.errColumns).toBe(50)
})

test.each([
  ['a pipe', false, {}],
  ['a terminal that can not clear it', true, { TERM: 'dumb' }],
])('%s gets none', (_, isTTY, env) => {
  const { sent, terminal } = fakeProcess(isTTY, env)
  terminal.status('working')
  terminal.err('a notice\n')
  terminal.status('')
  expect(sent.join('')).toBe('a notice\n')
})
