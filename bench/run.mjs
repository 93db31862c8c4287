// npm run bench: every figure the README quotes, measured in one run.
import { benchStartup } from './startup.mjs'

benchStartup()
