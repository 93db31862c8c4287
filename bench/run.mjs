// npm run bench: the figures that the README and the notes quote, measured in one run on the built package.
// Usage: node bench/run.mjs [section …]; without names all but `adapters` and `models`, whose peers take many minutes.
// node bench/run.mjs --profile [what bench/profile.mjs takes]: where the time of extract, inspect and verify goes, in place of the sections.
import { benchAdapters } from './adapters.mjs'
import { benchFactor } from './factor.mjs'
import { benchModels } from './models.mjs'
import { benchPage } from './page.mjs'
import { benchProducts } from './products.mjs'
import { benchStartup } from './startup.mjs'
import { benchSvd } from './svd.mjs'
import { benchTruncated } from './truncated.mjs'

const SECTIONS = {
  startup: benchStartup,
  products: benchProducts,
  svd: benchSvd,
  truncated: benchTruncated,
  factor: benchFactor,
  adapters: benchAdapters,
  models: benchModels,
  page: benchPage,
}
const SLOW = ['adapters', 'models']
const named = process.argv.slice(2)
if (named.includes('--profile')) {
  // with a compiler of kernels, which takes a while to load
  const { benchProfile } = await import('./profile.mjs')
  await benchProfile(named.filter((argument) => argument !== '--profile'))
  process.exit()
}
const unknown = named.find((name) => !(name in SECTIONS))
if (unknown !== undefined) {
  console.error(`no section '${unknown}': ${Object.keys(SECTIONS).join(', ')}`)
  process.exit(2)
}
const chosen = named.length > 0 ? named : Object.keys(SECTIONS).filter((name) => !SLOW.includes(name))
for (const name of chosen) await SECTIONS[name]()
