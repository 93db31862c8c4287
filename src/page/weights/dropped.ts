import type { Entry } from './arrange.ts'

/** Files of a folder beyond this are no checkpoint: a home folder dropped by mistake isn't read through. */
const MOST_FILES = 20_000

/** The files of a file input; of a folder's with their paths in it. */
export const entriesOfInput = (input: HTMLInputElement): Entry[] =>
  [...(input.files ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file }))

/** All files of what is dropped, folders with all below them. */
export async function entriesOfDrop(transfer: DataTransfer): Promise<Entry[]> {
  // items are gone as soon as the event is over
  const items = [...transfer.items].map((item) => ({
    entry: item.webkitGetAsEntry(),
    file: item.getAsFile(),
  }))
  const found: Entry[] = []
  for (const { entry, file } of items) {
    if (entry?.isDirectory) await collect(entry, found)
    else if (file !== null) found.push({ path: file.name, file })
  }
  return found
}

async function collect(entry: FileSystemEntry, found: Entry[]): Promise<void> {
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
    for (const inner of some) await collect(inner, found)
  }
}
