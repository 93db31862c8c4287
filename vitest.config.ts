import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import { noSkips } from './test/no-skips.ts'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/build-once.ts',
    setupFiles: ['test/property-seed.ts', 'test/tidy-up.ts'],
    testTimeout: 60_000,
    // vitest leaves one core to whoever watches
    maxWorkers: availableParallelism(),
    // reading the sources anew for each file would take longer than most files' tests
    isolate: false,
    reporters: ['default', noSkips],
  },
})
