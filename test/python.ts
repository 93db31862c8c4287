import { spawnSync } from 'node:child_process'

/** The first Python that has a module: the one of PATH, or the system's beside it; undefined where there is none. */
export const pythonWith = (module: string): string | undefined =>
  ['python3', '/usr/bin/python3'].find((python) => spawnSync(python, ['-c', `import ${module}`]).status === 0)
