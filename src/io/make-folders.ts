import { mkdir, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { badInput, errnoOf, osError } from '../errors.ts'

/**
 * Makes a folder and those that it lies in, as far as they aren't there. Node's own `recursive` asks without end where a file system has a folder
 * but says ENOENT to what is to be made in it, as /proc and folders that are mounted when they are asked for do. Throws `bad-input` or `system`,
 * naming the part of the path that can't be made.
 */
export async function makeFolders(folder: string): Promise<void> {
  const missing: string[] = []
  for (let at = resolve(folder); !(await isFolder(at)); at = dirname(at)) missing.push(at)
  for (const one of missing.reverse()) {
    try {
      await mkdir(one)
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw osError(error, 'make this folder', one)
      // perhaps another process has made it at this moment
      if (await isFolder(one)) continue
      throw badInput(
        `${one}: is no folder, or a link to one that isn't there; move it away or mount its disk`,
        {
          file: one,
        },
      )
    }
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory()
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' && dirname(path) !== path) return false
    throw osError(error, 'make this folder', path)
  }
}
