import { badInput } from '../../errors.ts'
import type { Entry } from './arrange.ts'

/** Files of a folder beyond this are no checkpoint: a home folder dropped by mistake isn't read through. */
const MOST_FILES = 20_000

/** The files of a file input; of a folder's with their paths in it. */
export const entriesOfInput = (input: HTMLInputElement): Entry[] =>
  [...(input.files ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file }))

/** All files of what is dropped, folders with all below them. Throws `bad-input` for a folder that the browser doesn't let the page read. */
export async function entriesOfDrop(transfer: DataTransfer): Promise<Entry[]> {
  // items are gone as soon as the event is over
  const items = [...transfer.items].map((item) => ({
    entry: item.webkitGetAsEntry(),
    file: item.getAsFile(),
    handle: (item as WithHandle).getAsFileSystemHandle?.(),
  }))
  const found: Entry[] = []
  for (const { entry, file, handle } of items) {
    if (entry?.isDirectory) await collectFolder(entry as FileSystemDirectoryEntry, await handle, found)
    else if (file !== null) found.push({ path: file.name, file })
  }
  return found
}

/** Of the File System Access API, which TypeScript's types don't have of a drop. */
interface WithHandle {
  getAsFileSystemHandle?(): Promise<FileSystemHandle | null>
}

async function collectFolder(
  entry: FileSystemDirectoryEntry,
  handle: FileSystemHandle | null | undefined,
  found: Entry[],
): Promise<void> {
  try {
    // Chromium refuses entries to a page that is opened from a file, and gives it handles
    if (handle?.kind === 'directory')
      await collectHandle(handle as FileSystemDirectoryHandle, entry.name, found)
    else await collectEntry(entry, found)
  } catch (cause) {
    const { name } = entry
    throw badInput(
      `${name}: this browser doesn't let the page read a folder that is dropped; choose it with the button, or drop its files`,
      { file: name, cause },
    )
  }
}

async function collectHandle(folder: FileSystemDirectoryHandle, path: string, found: Entry[]): Promise<void> {
  for await (const [name, handle] of folder.entries()) {
    if (found.length >= MOST_FILES) return
    const inner = `${path}/${name}`
    if (handle.kind === 'directory') await collectHandle(handle as FileSystemDirectoryHandle, inner, found)
    else found.push({ path: inner, file: await (handle as FileSystemFileHandle).getFile() })
  }
}

async function collectEntry(entry: FileSystemEntry, found: Entry[]): Promise<void> {
  if (found.length >= MOST_FILES) return
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) =>
      (entry as FileSystemFileEntry).file(resolve, reject),
    )
    found.push({ path: entry.fullPath.replace(/^\//, ''), file })
    return
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader()
  for (;;) {
    // a hundred at a time in Chromium
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    )
    if (some.length === 0) return
    for (const inner of some) await collectEntry(inner, found)
  }
}
