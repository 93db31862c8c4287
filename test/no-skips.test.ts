import { expect, test } from 'vitest'
import type { TestModule } from 'vitest/node'
import { complaint } from './no-skips.ts'

/** A file of tests of which these were skipped. */
const moduleWith = (file: string, ...skipped: string[]) =>
  ({
    relativeModuleId: file,
    children: {
      allTests: (state: string) => (state === 'skipped' ? skipped.map((fullName) => ({ fullName })) : []),
    },
  }) as unknown as TestModule

test('a skipped test is named, where that is asked for', () => {
  const modules = [moduleWith('a.test.ts'), moduleWith('b.test.ts', 'in a browser > prints', 'x')]
  expect(complaint(modules, { LORA_SVD_NO_SKIPS: '1' })).toBe(
    'LORA_SVD_NO_SKIPS is set, and tests were left out:\nb.test.ts > in a browser > prints\nb.test.ts > x',
  )
  expect(complaint(modules, {})).toBe('')
  expect(complaint([moduleWith('a.test.ts')], { LORA_SVD_NO_SKIPS: '1' })).toBe('')
})
