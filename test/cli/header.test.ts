import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder()
writeFileSync(join(folder, 'W.csv'), '0,1,2\n0.5,0.25,0\n1,-1,3\n4,5,-6\n')
const WARNING =
  'W.csv: line 1 (0, 1, 2 …) is read as numbers; if it holds column names, say --header yes, else --header no'

test.concurrent.for([
  [[], 4, `lora-svd: ${WARNING}\n`],
  [['--header', 'yes'], 3, ''],
  [['--header', 'no'], 4, ''],
] as const)('factor %j', async ([args, rows, says]) => {
  const out = `${args.join('')}.npz`
  const { code, stdout, stderr } = await runInProcess(
    ['factor', 'W.csv', '-o', `o${out}`, '--rank', '1', '--json', ...args],
    { cwd: folder },
  )
  expect({ code, stderr }).toEqual({ code: 0, stderr: says })
  expect(documentOf(stdout, 'factor-1').shape).toEqual([rows, 3])
})

test.concurrent.for([
  [[], 4, [WARNING]],
  [['--header', 'yes'], 3, []],
  [['--header', 'no'], 4, []],
] as const)('inspect %j, whose workers read the file again', async ([args, rows, warnings]) => {
  const { code, stdout } = await runInProcess(['inspect', 'W.csv', '--json', ...args], { cwd: folder })
  const document = documentOf(stdout, 'inspect-1')
  expect([code, document.matrices[0].shape, document.warnings]).toEqual([0, [rows, 3], warnings])
})
