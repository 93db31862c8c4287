import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { shellWord } from '../../src/text/quote.ts'

const TEXTS = [
  'plain-1.0/model',
  '*.q_proj',
  'my model',
  "it's",
  "''",
  '$(touch x) `ls` "$HOME"',
  'a;b|c&d>e<f',
  '~root',
  '!!',
  '#x',
  '{a,b}',
  '\\n',
  'a\nb',
  "tab\t'\\",
  '\u202eevil',
  'größe 中 𝔄',
  '',
  '--x',
]

test('bash reads each word as the text that it was', () => {
  const command = `printf '%s\\0' ${TEXTS.map(shellWord).join(' ')}`
  const out = execFileSync('bash', ['--norc', '-c', command], {
    encoding: 'utf8',
    env: { LC_ALL: 'C.UTF-8', ...process.env },
  })
  expect(out.split('\0').slice(0, -1)).toEqual(TEXTS)
})

test('names that need no quotes have none, and what a terminal hides is spelled', () => {
  expect(shellWord('org/model_1.5')).toBe('org/model_1.5')
  for (const text of TEXTS) expect(/[\p{Cc}\p{Cf}]/u.test(shellWord(text))).toBe(false)
})
