import type { Reporter, TestModule } from 'vitest/node'

/** Set where everything that tests need is installed: a test that is left out is then a failure, with its name. */
const VARIABLE = 'LORA_SVD_NO_SKIPS'

/** Says which tests were left out for what this machine lacks, where that is a failure; else ''. */
export function complaint(modules: readonly TestModule[], env: NodeJS.ProcessEnv): string {
  const names = modules.flatMap((module) =>
    [...module.children.allTests('skipped')].map(
      ({ fullName }) => `${module.relativeModuleId} > ${fullName}`,
    ),
  )
  if (names.length === 0 || !env[VARIABLE]) return ''
  return [`${VARIABLE} is set, and tests were left out:`, ...names].join('\n')
}

export const noSkips: Reporter = {
  onTestRunEnd(modules) {
    const text = complaint(modules, process.env)
    if (text === '') return
    process.stderr.write(`\n${text}\n\n`)
    process.exitCode = 1
  },
}
