import { readFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { expect } from 'vitest'

const NAMES = [
  'demo-1',
  'factor-1',
  'doctor-1',
  'inspect-1',
  'inspect-shard-1',
  'extract-1',
  'extract-plan-1',
  'extract-shard-1',
  'verify-1',
  'verify-shard-1',
  'resize-plan-1',
  'merge-plan-1',
  'apply-1',
  'check-1',
  'compare-1',
  'convert-1',
  'convert-plan-1',
  'resize-1',
  'merge-1',
  'error-1',
] as const
const ajv = new Ajv2020({ allErrors: true })
const schemaFile = (name: string) => new URL(`../../schemas/${name}.json`, import.meta.url)
const validators = Object.fromEntries(
  NAMES.map((name) => [name, ajv.compile(JSON.parse(readFileSync(schemaFile(name), 'utf8')))]),
)

export type SchemaName = (typeof NAMES)[number]

/** The one JSON document that `stdout` is, valid by its published schema. */
// biome-ignore lint/suspicious/noExplicitAny: each test reads the fields of its own document
export function documentOf(stdout: string, name: SchemaName): any {
  const document = JSON.parse(stdout)
  const validate = validators[name]
  expect(validate(document) ? [] : validate.errors).toEqual([])
  return document
}
