import { expect, test } from 'vitest'
import { type ColourRequest, colourLevel } from '../../src/terminal/terminal.ts'

const level = (request: Partial<ColourRequest>) =>
  colourLevel({ flag: undefined, env: {}, isTerminal: false, ...request })

test.each<[string, Partial<ColourRequest>, number]>([
  ['a pipe has none', {}, 0],
  ['a terminal has some', { isTerminal: true }, 1],
  ['a terminal of 256', { isTerminal: true, env: { TERM: 'xterm-256color' } }, 2],
  ['a terminal of true colour', { isTerminal: true, env: { COLORTERM: 'truecolor' } }, 3],
  ['or as others call it', { isTerminal: true, env: { COLORTERM: '24bit', TERM: 'xterm-256color' } }, 3],
  ['a dumb terminal has none', { isTerminal: true, env: { TERM: 'dumb' } }, 0],
  ['NO_COLOR on a terminal', { isTerminal: true, env: { NO_COLOR: '1' } }, 0],
  ['NO_COLOR that is empty says nothing', { isTerminal: true, env: { NO_COLOR: '' } }, 1],
  ['FORCE_COLOR in a pipe', { env: { FORCE_COLOR: '1' } }, 1],
  ['FORCE_COLOR=2', { env: { FORCE_COLOR: '2' } }, 2],
  ['FORCE_COLOR=3', { env: { FORCE_COLOR: '3' } }, 3],
  ['FORCE_COLOR=true is what the terminal can', { env: { FORCE_COLOR: 'true', TERM: 'xterm-256color' } }, 2],
  ['FORCE_COLOR that is empty counts, as for Node', { env: { FORCE_COLOR: '' } }, 1],
  ['FORCE_COLOR=0 on a terminal', { isTerminal: true, env: { FORCE_COLOR: '0' } }, 0],
  ['FORCE_COLOR=false on a terminal', { isTerminal: true, env: { FORCE_COLOR: 'false' } }, 0],
  ['NO_COLOR before FORCE_COLOR', { env: { NO_COLOR: '1', FORCE_COLOR: '3' } }, 0],
  ['FORCE_COLOR before TERM=dumb', { env: { FORCE_COLOR: '1', TERM: 'dumb' } }, 1],
  ['--color before NO_COLOR', { flag: true, env: { NO_COLOR: '1' } }, 1],
  ['--color before FORCE_COLOR=0', { flag: true, env: { FORCE_COLOR: '0', COLORTERM: 'truecolor' } }, 3],
  ['--color before TERM=dumb', { flag: true, env: { TERM: 'dumb' } }, 1],
  ['--no-color before FORCE_COLOR', { flag: false, isTerminal: true, env: { FORCE_COLOR: '3' } }, 0],
])('%s', (_, request, expected) => {
  expect(level(request)).toBe(expected)
})
