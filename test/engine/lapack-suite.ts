import { describe, expect, it } from 'vitest'
import { createLapackEngine, type LapackLibrary } from '../../src/engine/lapack/lapack-engine.ts'
import type { Engine } from '../../src/linalg/engine.ts'

type Tests = (engine: Engine, library: LapackLibrary) => void

const result = createLapackEngine()

/** Registers the tests over the library of this machine or, when there is none, one that says what is left out. */
export function describeLapack(groups: Readonly<Record<string, Tests>>): void {
  if ('reason' in result) {
    it(`LAPACK engine: left out: ${result.reason}`, ({ skip }) => {
      process.stdout.write(`left out: the tests of the LAPACK engine, because ${result.reason}\n`)
      expect(result.reason).toMatch(/^.+$/)
      // Wrong answers of a library that was found would be ours: no reason to leave the tests out.
      expect(result.reason).not.toContain('small known matrix')
      skip(result.reason)
    })
    return
  }
  const { engine, library } = result
  describe(`LAPACK engine over ${library.path}`, () => {
    for (const [name, tests] of Object.entries(groups)) describe(name, () => tests(engine, library))
  })
}
