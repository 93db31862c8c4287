import { rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { badInput } from '../errors.ts'
import { inodeOf, makeFolder } from './files.ts'
import { assertOutputFree, type FolderInput, type FolderKind, putFolderInPlace } from './place-folder.ts'
import { beforeEnd, removeLeftovers, temporaryName } from './temporary.ts'

/**
 * Fills a new folder under a temporary name, and gives it the name `output` once `fill` is done: it appears whole or not at all. With
 * `force` it takes the place of a folder of its kind, which is called `<output>.replaced` until the new one has its name. Throws as
 * `assertOutputFree` does, and whatever `fill` throws.
 */
export async function writeFolderAtomic<T>(
  output: string,
  kind: FolderKind,
  force: boolean,
  inputs: readonly FolderInput[],
  fill: (staging: string) => Promise<T>,
): Promise<T> {
  await assertOutputFree(output, kind, force, inputs)
  const parent = dirname(resolve(output))
  await removeLeftovers(parent)
  const replaced = join(parent, `${basename(resolve(output))}.replaced`)
  if ((await inodeOf(replaced)) !== undefined) {
    throw badInput(
      `${replaced}: is what an earlier run was about to replace; move it away, or back to ${output}`,
      {
        file: replaced,
      },
    )
  }
  const staging = join(parent, temporaryName())
  await makeFolder(staging)
  const done = beforeEnd(() => rmSync(staging, { recursive: true, force: true }))
  try {
    const result = await fill(staging)
    await putFolderInPlace({ staging, output, replaced, kind, force, placed: undefined })
    await rm(replaced, { recursive: true, force: true })
    return result
  } catch (error) {
    await rm(staging, { recursive: true, force: true })
    throw error
  } finally {
    done()
  }
}

/** Does work in a new folder beside `output`, which is gone afterwards, also where the process is killed by a signal that it hears. */
export async function inTemporaryFolder<T>(output: string, work: (folder: string) => Promise<T>): Promise<T> {
  const parent = dirname(resolve(output))
  await removeLeftovers(parent)
  const folder = join(parent, temporaryName())
  await makeFolder(folder)
  const done = beforeEnd(() => rmSync(folder, { recursive: true, force: true }))
  try {
    return await work(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
    done()
  }
}
