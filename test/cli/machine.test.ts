import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type Result, runCli, runShell, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

/** 30 × 30 numbers, whose factors of rank 20 take more than a KiB. */
const MATRIX = Array.from({ length: 30 }, (_, i) =>
  Array.from({ length: 30 }, (_, j) => 1 / (i + j + 1)).join(' '),
).join('\n')

function folderWith(file: string): string {
  const folder = temporaryFolder()
  mkdirSync(join(folder, 'out'))
  writeFileSync(join(folder, file), MATRIX)
  return folder
}

const PASSED = { code: 0, signal: null, stdout: '', stderr: '' }
const expectSilence = (result: Result) => expect({ ...result, stdout: '' }).toEqual(PASSED)

describe.concurrent('the disk is full', () => {
  test.for(['safetensors', 'npz'])(
    'while %s is written: exit code 3, and nothing is left',
    async (format) => {
      const folder = folderWith('W.txt')
      const script = `ulimit -f 1; lora-svd factor W.txt -o out/x.${format} --rank 20 --json`
      const { code, stdout, stderr } = await runShell(script, { cwd: folder })
      const message = `out/x.${format}: can't write x.${format}: the file is larger than this file system or the process limit allows (EFBIG)`
      expect(stderr).toBe(`lora-svd: ${message}\n`)
      expect(code).toBe(3)
      const { error } = documentOf(stdout, 'error-1')
      expect(error).toEqual({ code: 'system', message, file: `out/x.${format}` })
      expect(readdirSync(join(folder, 'out'))).toEqual([])
    },
  )

  test('an output that is replaced stays as it was', async () => {
    const folder = folderWith('W.txt')
    writeFileSync(join(folder, 'out/x.npz'), 'old')
    const script = 'ulimit -f 1; lora-svd factor W.txt -o out/x.npz --rank 20 --force'
    const { code, stdout } = await runShell(script, { cwd: folder })
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' })
    expect(readdirSync(join(folder, 'out'))).toEqual(['x.npz'])
    expect(readFileSync(join(folder, 'out/x.npz'), 'utf8')).toBe('old')
  })

  test.for([
    'demo',
    'demo --json',
    'demo --json --matrices',
    '--help',
    'help',
    'help exit-codes',
    '--version',
  ])('where standard output goes: %s', async (command) => {
    const { code, stdout, stderr } = await runShell(`ulimit -f 0; lora-svd ${command} > out`, {
      cwd: temporaryFolder(),
    })
    expect(stdout).toBe('')
    expect(stderr).toBe(
      "lora-svd: standard output: can't write it: the file is larger than this file system or the process limit allows (EFBIG)\n",
    )
    expect(code).toBe(3)
  })
})

describe.concurrent('the reader goes', () => {
  test.for(['demo', 'demo --json --matrices --d 300 --k 300', 'help demo', '--help'])(
    'after a character of %s: exit code 0 and silence',
    async (command) => {
      const result = await runShell(`lora-svd ${command} | head -c 1; exit \${PIPESTATUS[0]}`)
      expect(result.stdout).toHaveLength(1)
      expectSilence(result)
    },
  )

  test('before a character is written', async () => {
    const { stderr } = await runShell('(lora-svd demo --json; echo "exit code $?" >&2) | true')
    expect(stderr).toBe('exit code 0\n')
  })

  test('of the errors', async () => {
    const { code, stdout } = await runShell('lora-svd demo --bogus 2>&-')
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  })
})

describe.concurrent('the output', () => {
  test('is no pipe, as it is read back', async () => {
    const folder = folderWith('W.txt')
    execFileSync('mkfifo', [join(folder, 'pipe.npz')])
    const { code, stdout, stderr } = await runCli(['factor', 'W.txt', '-o', 'pipe.npz', '--rank', '2'], {
      cwd: folder,
    })
    expect(stderr).toBe(
      'lora-svd: pipe.npz: is a pipe or a device; name a file, as what is written is read back\n',
    )
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  })

  test('may be a link, which stays', async () => {
    const folder = folderWith('W.txt')
    symlinkSync('out/real.npz', join(folder, 'link.npz'))
    const args = ['factor', 'W.txt', '-o', 'link.npz', '--rank', '2', '--quiet']
    expect(await runCli(args, { cwd: folder })).toEqual(PASSED)
    expect(readdirSync(join(folder, 'out'))).toEqual(['real.npz'])
    expect(readdirSync(folder).sort()).toEqual(['W.txt', 'link.npz', 'out'])
  })
})

describe.concurrent('standard input', () => {
  test('may come late', async () => {
    const folder = folderWith('W.txt')
    const script = '(sleep 0.3; cat W.txt) | lora-svd factor - -o out/x.npz --rank 2 --quiet'
    expect(await runShell(script, { cwd: folder })).toEqual(PASSED)
  })

  test('is closed', async () => {
    const { code, stdout, stderr } = await runShell('lora-svd factor - -o x.npz --rank 1 <&-', {
      cwd: temporaryFolder(),
    })
    expect(stderr).toBe(
      'lora-svd: standard input: holds a matrix of 0 × 0; give one with at least a row and a column\n',
    )
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  })

  test('is left alone by demo', async () => {
    expectSilence(await runShell('lora-svd demo --quiet <&-'))
  })
})

describe.concurrent('an interruption', () => {
  test.for([
    ['SIGINT', ['demo', '--d', '3000', '--k', '3000']],
    ['SIGTERM', ['demo', '--d', '3000', '--k', '3000']],
  ] as const)('%s ends a long computation at once', async ([signal, args]) => {
    const result = await runCli(args, { kill: { signal, after: 700 } })
    expect(result).toEqual({ code: null, signal, stdout: '', stderr: '' })
  })

  test('while the input is awaited leaves nothing behind', async () => {
    const folder = temporaryFolder()
    const kill = { signal: 'SIGINT', after: 500 } as const
    const result = await runCli(['factor', '-', '-o', 'x.npz', '--rank', '1'], {
      cwd: folder,
      input: null,
      kill,
    })
    expect(result).toEqual({ code: null, signal: 'SIGINT', stdout: '', stderr: '' })
    expect(readdirSync(folder)).toEqual([])
  })

  test('while inspect awaits its input ends it, though the pipe stays open', async () => {
    const kill = { signal: 'SIGINT', after: 1000 } as const
    const result = await runCli(['inspect', '-'], { cwd: temporaryFolder(), input: null, kill })
    // before it has begun to wait the signal itself ends it: shells call that 130 too
    const ended =
      result.signal === null ? { code: 130, stderr: 'lora-svd: interrupted\n' } : { code: null, stderr: '' }
    expect(result).toMatchObject({ ...ended, stdout: '' })
  }, 20_000)
})

test.runIf(process.platform !== 'win32')(
  'a file that takes a part of the output is told, and exit code 3 with it',
  async () => {
    const cwd = temporaryFolder()
    // of 1 KiB; the report has more
    const script = 'ulimit -f 1; lora-svd demo --d 40 --k 40 --json --matrices > out.json'
    const { code, stderr } = await runShell(script, { cwd })
    expect([code, stderr]).toEqual([
      3,
      expect.stringMatching(/^lora-svd: standard output: can't write it: .* \(EFBIG\)\n$/),
    ])
    const whole = await runShell(
      'lora-svd demo --d 40 --k 40 --json --matrices > out.json; wc -c < out.json',
      { cwd },
    )
    expect(Number(whole.stdout)).toBeGreaterThan(1024)
    expect(readFileSync(join(cwd, 'out.json'), 'utf8')).toMatch(/^\{.*\}\n$/s)
  },
)
