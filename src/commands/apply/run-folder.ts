import { type Journal, openJournal } from '../../io/journal.ts'
import { type OwnedRun, openOwnedRun, type RunContents, type RunIdentity } from '../../io/run-folder.ts'
import type { RoundingAccount } from '../../update/account.ts'
import type { WrittenPiece } from '../../update/piece.ts'

/**
 * What a merge keeps in its run folder (io/run-folder.ts) while it is not done.
 *
 *     <output>.partial/whole/              the files as far as they are filled; the next process goes on with them
 *     <output>.partial/done.jsonl          which pieces of them are done, each with the checksum of its bytes
 */
export interface ApplyRun extends OwnedRun {
  /** The pieces that earlier processes have noted as done, by their index; what lies on the disk is still to be checked. */
  readonly noted: ReadonlyMap<number, WrittenPiece>
  note(index: number, written: WrittenPiece): Promise<void>
  close(): Promise<void>
}

const JOURNAL = 'done.jsonl'

const CONTENTS: RunContents = {
  staging: () => 'whole',
  isStaging: /^whole$/,
  keepsStaging: true,
  isResult: (name) => name === JOURNAL,
  isNote: () => false,
}

/** Opens the run folder of `output`, a new one or that of an earlier run of the same identity. Throws as `openOwnedRun` does. */
export const openApplyRun = (
  output: string,
  identity: RunIdentity,
  pieces: number,
  { restart }: { restart: boolean },
): Promise<ApplyRun> =>
  openOwnedRun(output, identity, CONTENTS, { restart }, async (run) => {
    const journal = await openJournal(`${run.path}/${JOURNAL}`, run.run)
    const noted = notedIn(journal, pieces)
    let count = noted.size
    return {
      ...run,
      noted,
      note: async (index, { checksum, account }) => {
        await journal.append([index, checksum, ...(account === undefined ? [] : [account])])
        count++
      },
      isEmpty: async () => count === 0,
      close: journal.close,
    }
  })

function notedIn({ found }: Journal, pieces: number): Map<number, WrittenPiece> {
  const noted = new Map<number, WrittenPiece>()
  for (const line of found) {
    if (!Array.isArray(line)) continue
    const [index, checksum, account] = line as [number, number, RoundingAccount | undefined]
    if (index >= pieces) continue
    noted.set(index, { checksum, ...(account !== undefined && { account }) })
  }
  return noted
}
