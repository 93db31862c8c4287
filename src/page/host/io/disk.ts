/**
 * What stands for the file system: files that a person chose, which are only read, and what is made of them. All are blobs, of which
 * the browser keeps the bytes where it likes, and which all workers can have without a copy.
 */
const files = new Map<string, Blob>()

export interface Change {
  readonly path: string
  /** Undefined where the file is gone. */
  readonly blob: Blob | undefined
}

/** All that has happened, for workers to be told what they don't know yet. */
const changes: Change[] = []

export const blobAt = (path: string): Blob | undefined => files.get(path)

export function apply(told: readonly Change[]): void {
  for (const change of told) {
    const { path, blob } = change
    if (blob === undefined) files.delete(path)
    else files.set(path, blob)
    changes.push(change)
  }
}

export const put = (path: string, blob: Blob): void => apply([{ path, blob }])
export const remove = (path: string): void => apply([{ path, blob: undefined }])

/** What has happened since the change of this number, and the number of the next one. */
export const changesSince = (next: number): { readonly told: Change[]; readonly next: number } => ({
  told: changes.slice(next),
  next: changes.length,
})

/** Forgets all files. Whoever was told of them has to be told so, or be gone. */
export function clear(): void {
  files.clear()
  changes.length = 0
}

const within = (folder: string) => (folder === '.' ? '' : `${folder.replace(/\/+$/, '')}/`)

/** The paths of all files below a folder. */
export const pathsIn = (folder: string): string[] =>
  [...files.keys()].filter((path) => path.startsWith(within(folder)))

/** The names of what lies in a folder, sorted. */
export const entriesIn = (folder: string): string[] =>
  [...new Set(pathsIn(folder).map((path) => path.slice(within(folder).length).split('/')[0]))].sort()
