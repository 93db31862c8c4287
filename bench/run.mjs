// npm run bench: every figure the README and the notes quote, measured in one run on the built package.
import { benchFactor } from './factor.mjs'
import { benchProducts } from './products.mjs'
import { benchStartup } from './startup.mjs'
import { benchSvd } from './svd.mjs'
import { benchTruncated } from './truncated.mjs'

benchStartup()
await benchProducts()
await benchSvd()
await benchTruncated()
await benchFactor()
