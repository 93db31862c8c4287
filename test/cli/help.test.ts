import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { runInProcess } from './run.ts'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
const COMMANDS = [
  'demo',
  'inspect',
  'extract',
  'verify',
  'resize',
  'merge',
  'apply',
  'convert',
  'check',
  'compare',
  'factor',
  'doctor',
]

describe.concurrent('help', () => {
  test('of no command: how to call it, on stderr, exit code 2', async () => {
    const { code, stdout, stderr } = await runInProcess([])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^Usage: lora-svd <command> \[options\]\n/)
    for (const name of COMMANDS) expect(stderr).toMatch(new RegExp(`^  ${name} `, 'm'))
  })

  test.for([['help'], ['--help'], ['-h']])('%s', async (args) => {
    const result = await runInProcess(args)
    expect(result).toMatchObject({ code: 0, stderr: '' })
    expect(result.stdout).toMatch(/^Usage: lora-svd <command>/)
    expect(result.stdout).toContain('lora-svd demo --d 10 --k 10 --rank 2\n')
  })

  test.for(COMMANDS)(
    'of %s: by -h, by --help and by help, one text with examples, 80 columns wide',
    async (name) => {
      const calls = [
        [name, '-h'],
        [name, '--help'],
        ['help', name],
      ]
      const results = await Promise.all(calls.map((args) => runInProcess(args)))
      const [{ stdout }] = results
      for (const result of results) expect(result).toEqual({ code: 0, signal: null, stderr: '', stdout })
      expect(stdout).toMatch(new RegExp(`^Usage: lora-svd ${name} `))
      expect(stdout).toMatch(new RegExp(`\nExamples:\n  lora-svd ${name}`))
      expect(stdout).toMatch(/\nExit codes: 0 /)
      expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80)
    },
  )

  test('exit-codes', async () => {
    const { code, stdout } = await runInProcess(['help', 'exit-codes'])
    expect(code).toBe(0)
    expect(stdout.match(/^ +\d+(?= )/gm)?.map(Number)).toEqual([0, 1, 2, 3, 130])
  })

  test('environment', async () => {
    const { code, stdout } = await runInProcess(['help', 'environment'])
    expect(code).toBe(0)
    for (const name of ['LORA_SVD_ENGINE', 'LORA_SVD_THREADS', 'NO_COLOR', 'FORCE_COLOR', 'TERM=dumb'])
      expect(stdout).toContain(name)
  })

  test.for([['--version'], ['-V']])('%s is the version of the package', async (args) => {
    expect(await runInProcess(args)).toEqual({ code: 0, signal: null, stdout: `${version}\n`, stderr: '' })
  })
})

describe.concurrent('what there is no', () => {
  test.for([
    [['demmo'], "unknown command 'demmo' (Did you mean demo?)"],
    [['zzz'], "unknown command 'zzz'; see lora-svd --help"],
    [['--colour'], "unknown option '--colour' (Did you mean --color?)"],
    [['-x'], "unknown option '-x'; see lora-svd --help"],
    [['help', 'nothing'], /^no help on 'nothing': there is demo, inspect, .*exit-codes, environment$/],
    [
      ['help', 'demo', 'factor'],
      "too many arguments for 'help': expected 1 argument but got 2; see lora-svd help --help",
    ],
  ] as const)('%j', async ([args, says]) => {
    const { code, stdout, stderr } = await runInProcess(args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr.replace(/^lora-svd: |\n$/g, '')).toEqual(
      typeof says === 'string' ? says : expect.stringMatching(says),
    )
  })

  test('with --debug the line is followed by where it came from', async () => {
    const { code, stderr } = await runInProcess(['demo', '--rank', '11', '--debug'])
    expect(code).toBe(2)
    expect(stderr).toMatch(/^lora-svd: --rank 11: .*\nLoraSvdError: --rank 11: .*\n {4}at /)
  })
})
