import { stat } from 'node:fs/promises'
import { badInput } from '../errors.ts'
import { osError } from '../formats/os-error.ts'
import { stampOf } from '../formats/source.ts'
import type { Checkpoint } from './types.ts'

/**
 * Throws `bad-input` naming the first file of the checkpoint that is no longer the one that was opened: another length, time
 * of change or inode.
 */
export async function assertUnchanged({ files }: Pick<Checkpoint, 'files'>): Promise<void> {
  for (const { path, bytes, modified, inode } of files) {
    const now = await stat(path, { bigint: true }).catch((error: unknown) => {
      throw osError(error, 'look at it again', path, 'it was there when the checkpoint was opened')
    })
    const stamp = stampOf(now)
    if (stamp.bytes !== bytes || stamp.modified !== modified || stamp.inode !== inode) {
      throw badInput(`${path}: was changed since it was opened; run the same command again`, { file: path })
    }
  }
}
