import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { LoraSvdError } from '../../errors.ts'

/** Where built files may be, seen from here: in the bundle, in a chunk of it, or in src/ before bundling. */
const PLACES = ['./', '../', '../../../dist/']

/** The script and the style of a report, as the build made them. Throws LoraSvdError 'system' where one is missing. */
export const reportAssets = () => ({ script: builtText('report-client.js'), style: builtText('report.css') })

function builtText(name: string): string {
  const urls = PLACES.map((place) => new URL(place + name, import.meta.url))
  const url = urls.find((candidate) => existsSync(candidate)) ?? urls[0]
  try {
    return readFileSync(url, 'utf8').trim()
  } catch (cause) {
    const message = `can't read ${fileURLToPath(url)}, a part of every report; reinstall, or run: npm run build`
    throw new LoraSvdError('system', message, { cause })
  }
}
