import fc from 'fast-check'

/** A test run is the same every time; FAST_CHECK_SEED=$RANDOM npx vitest run looks further. */
fc.configureGlobal({ seed: Number(process.env.FAST_CHECK_SEED ?? 1) })
