import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { errnoOf, osError } from './os-error.ts'
import { writeFileAtomic } from './write-atomic.ts'

export const digestOfJson = (value: unknown): string =>
  createHash('sha256').update(JSON.stringify(value)).digest('hex')

/** A small file of JSON that appears whole or not at all. */
export async function writeJsonFile(path: string, value: unknown): Promise<void> {
  await writeFileAtomic(path, [new TextEncoder().encode(`${JSON.stringify(value)}\n`)], { force: true })
}

/** What it holds; undefined where it is missing, no file, or holds no JSON object. Throws `system` where the machine fails. */
export async function readJsonFile(path: string): Promise<Record<string, unknown> | undefined> {
  // a pipe would be waited for, and a device may never end; what can't be looked at is read to say why
  const isFile = await stat(path).then(
    (found) => found.isFile(),
    () => true,
  )
  if (!isFile) return undefined
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return ''
    throw osError(error, 'read it', path)
  })
  try {
    const value = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

/** The same with a checksum, for one run only. */
export async function writeSealed(path: string, run: string, content: unknown): Promise<void> {
  await writeJsonFile(path, { run, content, sha256: digestOfJson([run, content]) })
}

/** What `writeSealed` wrote for this run; undefined where that can't be had. */
export async function readSealed(path: string, run: string): Promise<unknown> {
  const found = await readJsonFile(path)
  if (found === undefined || found.sha256 !== digestOfJson([run, found.content])) return undefined
  return found.content
}
