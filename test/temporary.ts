import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const folders: string[] = []

/** A new folder, with this word in its name, that is gone after the tests of this file. */
export function temporaryFolder(word = 'test'): string {
  const folder = mkdtempSync(join(tmpdir(), `lora-svd-${word}-`))
  folders.push(folder)
  return folder
}

/** For the end of each test file: this module goes on to the next one. */
export function removeTemporaryFolders(): void {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
}
