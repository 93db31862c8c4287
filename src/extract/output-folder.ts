import { access, constants, lstat, readdir, realpath, rename, rm, stat, statfs } from 'node:fs/promises'
import { basename, dirname, join, resolve, sep } from 'node:path'
import { ADAPTER_CONFIG_FILE } from '../checkpoint/folder.ts'
import type { Checkpoint } from '../checkpoint/types.ts'
import { badInput, LoraSvdError } from '../errors.ts'
import { errnoOf, osError } from '../formats/os-error.ts'
import { bytes as byteText } from '../report/numbers.ts'

/** What else lies in a folder that is an adapter's: what PEFT, the Hub and desktops put there. */
const BESIDE_AN_ADAPTER =
  /^(adapter_|README\.md$|\.|tokenizer|special_tokens|added_tokens|vocab|merges|chat_template)/

/**
 * Checks that an adapter can be put at `output`, before work is spent on it. Throws `output-exists` without `force`,
 * `bad-input` for a file, for a folder that is no adapter (even with `force`), inside one of the inputs, or where there is no
 * folder to put it in, `system` where the permission is missing.
 */
export async function assertOutputFree(
  output: string,
  force: boolean,
  inputs: readonly Checkpoint[],
): Promise<void> {
  const file = output
  const parent = dirname(resolve(output))
  const folder = await realpath(parent).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw osError(error, 'write it', output)
    throw badInput(`${output}: the folder ${parent} does not exist; create it first (mkdir -p)`, { file })
  })
  for (const input of inputs) {
    const inside = input.folder
    const target = join(folder, basename(resolve(output)))
    if (inside !== undefined && (target === inside || target.startsWith(inside + sep))) {
      throw badInput(`${output}: lies in ${input.path}, an input; write the adapter somewhere else`, { file })
    }
  }
  const found = await lstat(output).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw osError(error, 'write it', output)
  })
  if (found !== undefined) await assertReplaceable(output, force)
  await access(folder, constants.W_OK | constants.X_OK).catch((error: unknown) => {
    throw osError(error, `write in the folder ${folder}`, output)
  })
}

async function assertReplaceable(output: string, force: boolean): Promise<void> {
  const file = output
  const found = await stat(output).catch((error: unknown) => {
    throw osError(error, 'replace the link', output)
  })
  if (!found.isDirectory()) throw badInput(`${output}: is a file; name a folder for the adapter`, { file })
  const entries = await readdir(output)
  if (!force) {
    throw new LoraSvdError('output-exists', `${output}: exists already; add --force to replace it`, { file })
  }
  const other = entries.find((entry) => !BESIDE_AN_ADAPTER.test(entry))
  if (entries.length > 0 && (other !== undefined || !entries.includes(ADAPTER_CONFIG_FILE))) {
    throw badInput(
      `${output}: is no adapter's folder${other === undefined ? '' : ` (it holds ${other})`}, and --force replaces only those; write to another --out`,
      { file },
    )
  }
}

/** Bytes free for this user on the file system where `output` will be. */
export async function freeBytes(output: string): Promise<number> {
  const { bavail, bsize } = await statfs(dirname(resolve(output)))
  return bavail * bsize
}

/** Throws `system` where fewer than `needed` bytes are free: at least that much will be written. */
export async function assertRoom(output: string, needed: number): Promise<void> {
  const free = await freeBytes(output)
  if (free >= needed) return
  throw new LoraSvdError(
    'system',
    `${output}: the disk has ${byteText(free)} free, and at least ${byteText(needed)} are needed; free some, or write elsewhere`,
    { file: output },
  )
}

/**
 * Gives the whole folder `staging` the name `output`; what was there with `force` has the name `replaced` after it, and keeps
 * its own where that fails.
 */
export async function putFolderInPlace(staging: string, output: string, replaced: string): Promise<void> {
  await rm(replaced, { recursive: true, force: true })
  const wasThere = await rename(output, replaced).then(
    () => true,
    (error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return false
      throw osError(error, 'replace it', output)
    },
  )
  await rename(staging, output).catch(async (error: unknown) => {
    if (wasThere) await rename(replaced, output)
    throw osError(error, 'give it its name', output)
  })
}
