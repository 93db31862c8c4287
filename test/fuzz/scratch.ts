import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

/** Files of a target that reads folders: in memory where the system has such a place, as they are written for each input. */
const PLACE = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

const folders: string[] = []

/** A new folder with these files in it, until `removeScratch`. */
export function scratchFolder(files: Readonly<Record<string, Uint8Array | string>>): string {
  const folder = mkdtempSync(join(PLACE, 'lora-svd-fuzz-'))
  folders.push(folder)
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), content)
  }
  return folder
}

export function removeScratch(): void {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
}

/** A value that is made when it is first asked for. */
export function lazy<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}
