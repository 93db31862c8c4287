import type { Matrix } from '../linalg/matrix/matrix.ts'
import type { Interval } from '../linalg/truncation/truncated-svd.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { version } from '../version.ts'

/** A number for JSON: what can't be written as one is null. */
export const jsonNumber = (x: number): number | null => (Number.isFinite(x) ? x : null)

/** The two ends of an interval for JSON. */
export const intervalFields = ({ atLeast, atMost }: Interval) => ({
  atLeast: jsonNumber(atLeast),
  atMost: jsonNumber(atMost),
})

/** A change relative to its base; null, with the reason, where the base is all zero. */
export const relativeChangeFields = (relativeChange: number) =>
  Number.isFinite(relativeChange)
    ? { relativeChange }
    : { relativeChange: null, relativeChangeReason: 'the base is all zero' }

/** A document of a command: its schema and the package's version come first. */
export function jsonDocument<T extends object>(command: string, schemaNumber: number, fields: T) {
  return { schema: `lora-svd/${command}/${schemaNumber}`, version, ...fields }
}

/**
 * Writes a document: on one line into a pipe, indented on a terminal. Matrices among its top-level fields are
 * written row by row as arrays of rows, so that their size isn't bounded by the longest string.
 */
export async function writeJson(
  terminal: Pick<Terminal, 'out' | 'isOutTerminal'>,
  document: object,
): Promise<void> {
  const { plain, matrices } = splitMatrices(document)
  const [newline, indent] = terminal.isOutTerminal ? ['\n', '  '] : ['', '']
  const text = escaped(JSON.stringify(plain, null, indent))
  if (matrices.length === 0) return terminal.out(`${text}\n`)
  await terminal.out(text.replace(/\s*}$/, ''))
  for (const [name, A] of matrices) {
    await terminal.out(`,${newline}${indent}${JSON.stringify(name)}:${indent.slice(1)}[`)
    for (let i = 0; i < A.rows; i++) {
      await terminal.out(`${i === 0 ? '' : ','}${newline}${indent}${indent}${rowText(A, i)}`)
    }
    await terminal.out(`${newline}${indent}]`)
  }
  await terminal.out(`${newline}}\n`)
}

/**
 * What JSON.stringify leaves as it is and a terminal would obey or hide: DEL and the C1 controls, marks that turn the direction
 * of text, line separators. In a document they stand only within strings, where an escape means the same.
 */
const MARKS = /[\x7f-\x9f\p{Cf}\p{Zl}\p{Zp}]/gu

const escaped = (json: string) =>
  json.replace(MARKS, (mark) =>
    Array.from(
      { length: mark.length },
      (_, i) => `\\u${mark.charCodeAt(i).toString(16).padStart(4, '0')}`,
    ).join(''),
  )

function splitMatrices(document: object) {
  const entries = Object.entries(document)
  const matrices = entries.filter((entry): entry is [string, Matrix] => isMatrix(entry[1]))
  return { plain: Object.fromEntries(entries.filter(([, value]) => !isMatrix(value))), matrices }
}

const isMatrix = (value: unknown): value is Matrix =>
  ArrayBuffer.isView((value as Partial<Matrix> | null)?.data)

function rowText(A: Matrix, i: number): string {
  return JSON.stringify(Array.from(A.data.subarray(i * A.columns, (i + 1) * A.columns)))
}
