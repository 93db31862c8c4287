import { stat } from 'node:fs/promises'
import { badUsage } from '../errors.ts'

/**
 * Throws `bad-usage` where an output is one of the files that are read, which --force would replace: the same file by device
 * and inode, whatever links or spelling lead to it. `outputs` are paths by their flags.
 */
export async function assertNotRead(
  outputs: Readonly<Record<string, string>>,
  files: readonly { readonly path: string }[],
): Promise<void> {
  const read = new Set(await Promise.all(files.map(({ path }) => identityOf(path))))
  for (const [flag, output] of Object.entries(outputs)) {
    const identity = await identityOf(output)
    if (identity !== undefined && read.has(identity)) {
      throw badUsage(`${flag} ${output}: is what is read; name another file`)
    }
  }
}

/** The name under which a file that was given as standard input can be looked at, where one of the inputs is `-`. */
export const nameOfStandardInput = (inputs: readonly (string | undefined)[]) =>
  inputs.includes('-') ? [{ path: '/dev/stdin' }] : []

/** What two names of one file have in common; undefined where there is none. */
const identityOf = (path: string) =>
  stat(path, { bigint: true }).then(
    ({ dev, ino }) => `${dev}/${ino}`,
    () => undefined,
  )
