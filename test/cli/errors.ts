import { describe, expect, test } from 'vitest'
import { type InProcessOptions, runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

/** A command line that must fail, and how. */
export interface ErrorRow extends Pick<InProcessOptions, 'input'> {
  readonly args: readonly string[]
  /** The line on stderr after `lora-svd: `. */
  readonly says: string
  /** The error's code in the JSON document. */
  readonly kind?: 'bad-usage' | 'bad-input' | 'not-finite' | 'output-exists' | 'system'
  readonly code?: 2 | 3
  /** The file and tensor that the JSON document names. */
  readonly file?: string
  readonly tensor?: string
}

/** How much of a long command line the name of its test shows. */
const SHOWN_CHARACTERS = 90

/** A test for each row, run in `cwd`: the line on stderr, the exit code, and the document on stdout. */
export function testErrors(name: string, cwd: string, table: readonly ErrorRow[]): void {
  describe.concurrent(name, () => {
    test.for(table.map((row) => [row.args.join(' ').slice(0, SHOWN_CHARACTERS), row] as const))(
      '%s',
      async ([, { args, says, kind = 'bad-usage', code = 2, file, tensor, input = '' }]) => {
        const result = await runInProcess([...args, '--json'], { cwd, input })
        expect(result.stderr).toBe(`lora-svd: ${says}\n`)
        expect(result.code).toBe(code)
        expect(documentOf(result.stdout, 'error-1').error).toEqual({
          code: kind,
          message: says,
          file,
          tensor,
        })
      },
    )
  })
}

/** `factor` of a matrix, all else being right. */
export function factor(matrix: string, ...more: string[]): string[] {
  const rule = more.some((arg) => /^--(rank|energy|error)$/.test(arg)) ? [] : ['--rank', '1']
  return ['factor', matrix, '-o', 'out/new.safetensors', ...rule, ...more]
}
