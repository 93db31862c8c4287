// npm run bench: every figure the README quotes, measured in one run.
import { benchLapack } from './lapack.mjs'
import { benchStartup } from './startup.mjs'

benchStartup()
await benchLapack()
