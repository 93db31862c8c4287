import { expect, test } from 'vitest'
import { editedJson } from '../../src/text/edit-json.ts'
import { JsonError } from '../../src/text/strict-json.ts'

const CONFIG = `{
  "rope_theta": 10000.0,
  "eps": 1e-05,
  "big": 12345678901234567890,
  "labels": {"1": "b", "0": "a"},
  "text_config": {"vocab_size": 10, "scale": 1.0},
  "tie": true
}`

test('sets members where they are, adds others, and leaves all else to the letter', () => {
  const edits = { set: { tie: false, added: 'x' }, within: { text_config: { set: { vocab_size: 12 } } } }
  expect(editedJson(CONFIG, edits)).toBe(`{
  "rope_theta": 10000.0,
  "eps": 1e-05,
  "big": 12345678901234567890,
  "labels": {"1": "b", "0": "a"},
  "text_config": {
    "vocab_size": 12,
    "scale": 1.0
  },
  "tie": false,
  "added": "x"
}
`)
})

test.each([
  ['{}', { set: {} }, '{}\n'],
  ['{}', { set: { a: [1] } }, '{\n  "a": [1]\n}\n'],
  ['{"a": {"b": 1}}', { set: { a: null } }, '{\n  "a": null\n}\n'],
  ['{"a": [1]}', { set: {}, within: { a: { set: { b: 2 } } } }, '{\n  "a": [1]\n}\n'],
])('%s with %j', (text, edits, wanted) => {
  expect(editedJson(text, edits)).toBe(wanted)
})

test.each(['[]', '{"a": }', '{"a": 1} x'])('%s is refused', (text) => {
  expect(() => editedJson(text, { set: {} })).toThrow(JsonError)
})
