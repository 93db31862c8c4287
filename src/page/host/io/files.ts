import { badInput, type LoraSvdError } from '../../../errors.ts'
import type { FileStamp } from '../../../io/byte-source.ts'
import { blobAt, entriesIn, pathsIn } from './disk.ts'

/** Stands for io/files.ts: what is known of the files that were chosen or made. No name of theirs is a link, and no one else writes. */

export async function kindOf(path: string): Promise<'folder' | 'file' | 'missing'> {
  if (blobAt(path) !== undefined) return 'file'
  return entriesIn(path).length > 0 ? 'folder' : 'missing'
}

export const missingOf = async (paths: readonly string[]): Promise<string[]> =>
  paths.filter((path) => blobAt(path) === undefined && entriesIn(path).length === 0)

export const entriesOf = async (folder: string): Promise<string[]> => entriesIn(folder)
export const entriesIfAny = entriesOf

export async function pathsBelow(folder: string, levels: number): Promise<string[]> {
  const names = entriesIn(folder)
  if (levels === 1) return names
  const inner = await Promise.all(names.map((name) => pathsBelow(`${folder}/${name}`, levels - 1)))
  return [...names, ...inner.flatMap((paths, i) => paths.map((path) => `${names[i]}/${path}`))]
}

export const sizesIn = async (folder: string): Promise<{ name: string; bytes: number }[]> =>
  entriesIn(folder).map((name) => ({ name, bytes: blobAt(`${folder}/${name}`)?.size ?? 0 }))

export const withoutLinks = async (path: string): Promise<string> => path

export interface FileIdentity extends FileStamp {
  readonly path: string
}

export const identityOf = (path: string, stamp: FileStamp | undefined): FileIdentity[] =>
  stamp === undefined ? [] : [{ path, ...stamp }]

/** A file that was changed can't be read any more: the browser sees to that. */
export const assertUnchanged = async (_: { readonly files: readonly FileIdentity[] }): Promise<void> => {}

/** A folder is there as soon as something is in it. */
export const makeFolder = async (_: string): Promise<void> => {}

export const assertRoom = async (_output: string, _needed: number): Promise<void> => {}
export const assertNotRead = async (
  _outputs: Readonly<Record<string, string>>,
  _files: readonly { readonly path: string }[],
): Promise<void> => {}
export const nameOfStandardInput = (_: readonly (string | undefined)[]): { path: string }[] => []
export const existsNow = (path: string): boolean => blobAt(path) !== undefined || pathsIn(path).length > 0

export const noFolder = (output: string, folder: string): LoraSvdError =>
  badInput(`${output}: the folder ${folder} does not exist`, { file: output })

export const freeBytes = async (_output: string): Promise<number> => Number.POSITIVE_INFINITY
export const sizeIfAny = async (path: string): Promise<number> => blobAt(path)?.size ?? 0
