import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { LoraSvdError } from '../errors.ts'

/** A file that the build puts into dist/, for a program to load when it is needed. */
export type BuiltName =
  | 'engine.wasm'
  | 'worker.cjs'
  | 'job-worker.cjs'
  | 'report-client.js'
  | 'report.css'
  | 'page.html'

/** Where built files may be, seen from here: beside the bundle, beside its chunks, or in dist/ before bundling. */
const PLACES = ['./', '../', '../../dist/']

/**
 * The address of a built file. Where there is none, the place where a bundle has it, for the error to name. Throws LoraSvdError `system`
 * in a CommonJS bundle, which doesn't know where it is.
 */
export function builtFile(name: BuiltName): URL {
  const here: string | undefined = import.meta.url
  if (here === undefined) {
    throw new LoraSvdError(
      'system',
      `${name}: this program was bundled with lora-svd in it, but without that part of it; leave lora-svd out of the bundle (esbuild: --external:lora-svd)`,
    )
  }
  const urls = PLACES.map((place) => new URL(place + name, here))
  return urls.find((url) => existsSync(url)) ?? urls[0]
}

/** Throws LoraSvdError `system` where the file at `url` isn't there; `problem` says what it lacks, ending before the path. */
export function assertBuilt(url: URL, problem: string): void {
  if (!existsSync(url)) throw notBuilt(`${problem} ${fileURLToPath(url)}`)
}

/** What `use` makes of the bytes of a built file. Throws LoraSvdError `system` where that fails; `problem` says what, given the path. */
export function withBuilt<T>(
  name: BuiltName,
  use: (bytes: Buffer<ArrayBuffer>) => T,
  problem: (path: string) => string,
): T {
  const url = builtFile(name)
  try {
    return use(readFileSync(url))
  } catch (cause) {
    throw notBuilt(problem(fileURLToPath(url)), cause)
  }
}

const notBuilt = (problem: string, cause?: unknown) =>
  new LoraSvdError('system', `${problem}; reinstall, or run: npm run build`, { cause })
