import type { OpeningRun, OwnedRun, RunContents, RunIdentity } from '../../../io/run-folder.ts'
import { pathsIn, remove } from './disk.ts'

/** Stands for io/run-folder.ts: what a run keeps lasts as long as the page, and nobody else works in it. */

export const RUN_FILE = 'run.json'
export const runFolderOf = (output: string) => `${output}.partial`
export const namedOutput = (output: string) => output
export const placedByRun = async (_output: string): Promise<string | undefined> => undefined
export const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)
export const withRunFolder = (error: unknown, _path: string): unknown => error
export const inWords = (error: unknown, _doing: string, _folder: string): unknown => error
export const isOurEntry = (_contents: RunContents) => () => true

export async function openOwnedRun<T>(
  output: string,
  _identity: RunIdentity,
  contents: RunContents,
  _opening: OpeningRun,
  use: (run: OwnedRun) => Promise<T>,
): Promise<T> {
  const path = runFolderOf(output)
  return use({
    path,
    run: '',
    staging: `${path}/${contents.staging('0')}`,
    replaced: `${path}/replaced-0`,
    placed: undefined,
    markPlaced: async () => {},
    assertHeld: async () => {},
    isEmpty: async () => !pathsIn(path).some((name) => contents.isResult(name)),
    release: () => {},
    remove: async () => {
      for (const name of pathsIn(path)) remove(name)
      return undefined
    },
  })
}
