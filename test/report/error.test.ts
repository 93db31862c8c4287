import { Chalk } from 'chalk'
import { CommanderError } from 'commander'
import { expect, test } from 'vitest'
import { LoraSvdError } from '../../src/errors.ts'
import { reportError } from '../../src/report/error.ts'
import type { Terminal } from '../../src/terminal/terminal.ts'

/** What an error puts on the two streams, and its exit code. */
async function report(error: unknown, json = false) {
  const streams = { out: '', err: '' }
  const paint = new Chalk({ level: 0 })
  const terminal = {
    out: async (text: string) => {
      streams.out += text
    },
    err: (text: string) => {
      streams.err += text
    },
    isOutTerminal: false,
    paint,
    paintErr: paint,
  } as unknown as Terminal
  const code = await reportError(error, terminal, { json, debug: false, help: 'lora-svd --help' })
  return { ...streams, code }
}

test.each([
  ['bad-usage', 2],
  ['bad-input', 2],
  ['not-finite', 2],
  ['output-exists', 2],
  ['no-convergence', 2],
  ['no-engine', 2],
  ['system', 3],
  ['interrupted', 130],
] as const)('%s has the exit code %i', async (kind, code) => {
  expect(await report(new LoraSvdError(kind, 'it went wrong'))).toEqual({
    code,
    out: '',
    err: 'lora-svd: it went wrong\n',
  })
})

test('an allocation that fails is the machine’s fault', async () => {
  const attempt = () => new ArrayBuffer(Number.MAX_SAFE_INTEGER)
  const error = (() => {
    try {
      return attempt()
    } catch (caught) {
      return caught
    }
  })()
  const { code, err } = await report(error)
  expect(code).toBe(3)
  expect(err).toMatch(/^lora-svd: out of memory \(.*\); use a smaller matrix or a machine with more\n$/)
})

test('anything else is a defect of ours, and says so', async () => {
  const { code, err, out } = await report(new TypeError('x is not\na function'), true)
  expect(code).toBe(3)
  const message = 'internal error: x is not\\u{000a}a function; run again with --debug and report it'
  expect(err).toBe(`lora-svd: ${message}\n`)
  expect(JSON.parse(out).error).toEqual({ code: 'internal', message })
  expect((await report('thrown text')).err).toContain('internal error: thrown text;')
})

test.each([
  [
    "error: option '--d <rows>' argument 'A. B' is invalid. Expected more.",
    "option '--d <rows>' argument 'A. B' is invalid: expected more; see lora-svd --help",
  ],
  ["error: unknown option '--x'\n(Did you mean --y?)", "unknown option '--x' (Did you mean --y?)"],
  ["error: unknown option '--x'", "unknown option '--x'; see lora-svd --help"],
])('what commander says is one sentence: %j', async (message, says) => {
  const { code, err } = await report(new CommanderError(1, 'commander.x', message))
  expect({ code, err }).toEqual({ code: 2, err: `lora-svd: ${says}\n` })
})
