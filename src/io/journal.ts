import { type FileHandle, open, readFile } from 'node:fs/promises'
import { errnoOf, osError } from '../errors.ts'
import { digestOfJson } from './own-folder.ts'
import { writeFileAtomic } from './write-atomic.ts'

/** A file of one line for each thing that is done, each with a checksum, for one run only. A cut or foreign line counts for nothing. */
export interface Journal {
  /** What earlier processes have noted, in order. */
  readonly found: readonly unknown[]
  append(content: unknown): Promise<void>
  close(): Promise<void>
}

/** Opens a journal, a new one or that of earlier processes of this run. Throws `system` where the machine fails. */
export async function openJournal(path: string, run: string): Promise<Journal> {
  const lines = await linesOf(path)
  const found = lines.flatMap((line) => contentOf(line, run))
  // what can't be believed goes, so that a cut line is none that the next one is appended to
  const text = found.map((content) => lineOf(content, run)).join('')
  await writeFileAtomic(path, [new TextEncoder().encode(text)], { force: true })
  const handle = await open(path, 'a').catch((error: unknown) => {
    throw osError(error, 'write it', path)
  })
  return {
    found,
    append: (content) => append(handle, lineOf(content, run), path),
    close: () => handle.close().catch(() => {}),
  }
}

async function append(handle: FileHandle, line: string, path: string): Promise<void> {
  await handle.appendFile(line).catch((error: unknown) => {
    throw osError(error, 'write it', path)
  })
}

async function linesOf(path: string): Promise<string[]> {
  try {
    return (await readFile(path, 'utf8')).split('\n')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw osError(error, 'read it', path)
  }
}

const lineOf = (content: unknown, run: string) =>
  `${JSON.stringify({ content, sha256: digestOfJson([run, content]) })}\n`

function contentOf(line: string, run: string): unknown[] {
  try {
    const { content, sha256 } = JSON.parse(line)
    return sha256 === digestOfJson([run, content]) ? [content] : []
  } catch {
    return []
  }
}
