import { withBuilt } from '../../io/built-file.ts'
import { jsonForScript } from '../../text/markup.ts'
import type { DemoSettings } from './options.ts'

/** In the page as it is built: where the options stand that it starts with. */
const START = '<script type="application/json" id="start">{}</script>'

/** The page that starts with these options. Throws LoraSvdError `system` where the build's page is missing. */
export function notebookPage({ seed, truncate, ...options }: DemoSettings): string {
  // what follows the rank goes on following it when that is moved
  const kept = truncate === options.rank ? {} : { truncate }
  const start = jsonForScript({ ...options, ...kept, seed: String(seed) })
  return withBuilt(
    'page.html',
    (bytes) => bytes.toString('utf8').replace(START, () => START.replace('{}', () => start)),
    (path) => `can't read ${path}, which every page is made from`,
  )
}
