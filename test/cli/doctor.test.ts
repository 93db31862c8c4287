import { execFileSync, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { runCli, runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

/** A library is looked for once in a process: what names another one is for a process of its own. */
const WITHOUT_LAPACK = { LORA_SVD_LAPACK: '/no/such/library.so' }

describe.concurrent('doctor', () => {
  test('finds the embedded engine right on every machine, and says why there is no other', async () => {
    const { code, stdout, stderr } = await runCli(['doctor', '--json', '--threads', '1'], {
      env: WITHOUT_LAPACK,
    })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const { engines } = documentOf(stdout, 'doctor-1')
    expect(engines).toMatchObject([
      { name: 'wasm', available: true, threads: 1, selfTest: { passed: true } },
      { name: 'lapack', available: false, reason: expect.stringContaining('/no/such/library.so') },
    ])
  })

  test('is readable, and within 80 columns', async () => {
    const { code, stdout, stderr } = await runInProcess(['doctor'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/│ wasm +│ passed /)
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80)
  })
})

/** A library that ends whoever loads it. */
function endingLibrary(how: string): string {
  const folder = temporaryFolder()
  const [source, library] = [join(folder, 'end.c'), join(folder, 'libend.so')]
  writeFileSync(
    source,
    `#include <stdlib.h>\n__attribute__((constructor)) static void end(void) { ${how}; }\n`,
  )
  execFileSync('cc', ['-shared', '-fPIC', source, '-o', library])
  return library
}

describe.runIf(spawnSync('cc', ['--version']).status === 0)('a library that ends its process', () => {
  test.each([
    ['abort()', 'crashes (SIGABRT)'],
    ['*(volatile int *)0 = 1', 'crashes (SIGSEGV)'],
    ['_Exit(0)', 'ends the process, with exit code 0'],
  ])('by %s is tried in a process of its own, and named', async (how, ending) => {
    const LORA_SVD_LAPACK = endingLibrary(how)
    const reason = `the library that LORA_SVD_LAPACK names can't be used: ${LORA_SVD_LAPACK} ${ending}: name another`
    const found = await runCli(['doctor', '--json', '--threads=1'], { env: { LORA_SVD_LAPACK } })
    expect([found.code, found.stderr]).toEqual([0, ''])
    expect(documentOf(found.stdout, 'doctor-1').engines[1]).toMatchObject({ available: false, reason })
    const asked = await runCli(['demo', '--engine=lapack', '-q'], { env: { LORA_SVD_LAPACK } })
    expect([asked.code, asked.stderr]).toEqual([2, `lora-svd: --engine lapack: ${reason}\n`])
  })
})

describe.concurrent('--engine', () => {
  test('a variable that is set to nothing is not set', async () => {
    const { code, stderr } = await runInProcess(['demo', '-q'], {
      env: { LORA_SVD_ENGINE: '', LORA_SVD_THREADS: '' },
    })
    expect([code, stderr]).toEqual([0, ''])
  })

  test('lapack, where there is none, is an error that says so', async () => {
    const args = ['demo', '--engine', 'lapack', '--json']
    const { code, stdout, stderr } = await runCli(args, { env: WITHOUT_LAPACK })
    expect(code).toBe(2)
    expect(stderr).toMatch(/^lora-svd: --engine lapack: .*\/no\/such\/library\.so.*\n$/)
    expect(documentOf(stdout, 'error-1').error.code).toBe('no-engine')
  })

  test('auto does without one that was named in vain, and says why', async () => {
    const args = ['demo', '--d', '800', '--k', '800', '--rank', '3', '--json']
    const { code, stdout, stderr } = await runCli(args, { env: WITHOUT_LAPACK })
    expect(code).toBe(0)
    expect(stderr).toMatch(/^lora-svd: the embedded engine computes, because .*\/no\/such\/library\.so.*\n$/)
    expect(documentOf(stdout, 'demo-1').rank).toBe(3)
    const quiet = await runCli([...args.slice(0, -1), '--quiet'], { env: WITHOUT_LAPACK })
    expect(quiet).toMatchObject({ code: 0, stdout: '', stderr: '' })
  })

  test.for([
    [
      { LORA_SVD_ENGINE: 'mkl' },
      "option '--engine <name>' value 'mkl' from env 'LORA_SVD_ENGINE' is invalid: allowed choices are auto, wasm, lapack; see lora-svd demo --help",
    ],
    [
      { LORA_SVD_THREADS: '0' },
      "option '--threads <n>' value '0' from env 'LORA_SVD_THREADS' is invalid: expected an integer from 1 to 256; see lora-svd demo --help",
    ],
  ] as const)('is checked where it comes from the environment: %j', async ([env, says]) => {
    const { code, stderr } = await runInProcess(['demo'], { env })
    expect({ code, stderr }).toEqual({ code: 2, stderr: `lora-svd: ${says}\n` })
  })

  test('on the command line comes before the environment', async () => {
    const args = ['demo', '--engine', 'wasm', '--quiet']
    expect((await runInProcess(args, { env: { ...WITHOUT_LAPACK, LORA_SVD_ENGINE: 'lapack' } })).code).toBe(0)
  })
})
