import { spawn } from 'node:child_process'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { run as runCommandLine } from '../../src/commands/run.ts'

export { temporaryFolder } from '../temporary.ts'

const ENTRY = fileURLToPath(new URL('../../bin/lora-svd.js', import.meta.url))
/** More processes at once than cores only wait for each other. */
const MOST_AT_ONCE = 3

export interface RunOptions {
  readonly cwd?: string
  /** Environment variables besides PATH. */
  readonly env?: Readonly<Record<string, string>>
  /** What standard input delivers before it ends; null: nothing, and it stays open. */
  readonly input?: string | Uint8Array | null
  /** A command that runs the command line, which it gets as its arguments. */
  readonly through?: readonly string[]
  /** Sends this signal so many milliseconds after the start. */
  readonly kill?: { readonly signal: NodeJS.Signals; readonly after: number }
}

export interface Result {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs `lora-svd` with these arguments, its streams being pipes. */
export function runCli(args: readonly string[], options: RunOptions = {}): Promise<Result> {
  const [command, ...rest] = [...(options.through ?? []), process.execPath, ENTRY, ...args]
  return run(command, rest, options)
}

/** What a run in this process may have: streams of a terminal, its width, and an abort. */
export interface InProcessOptions extends Pick<RunOptions, 'cwd' | 'env' | 'input'> {
  /** Standard output and standard error are terminals of so many columns; pipes where left out. */
  readonly columns?: number
  /** An abort of it is an interruption. */
  readonly signal?: AbortSignal
}

/** One run after the other: they share this process's working folder. */
let before: Promise<unknown> = Promise.resolve()

/**
 * Runs the command line from its sources, in this process and with streams of its own: where the process itself (signals, pipes, the
 * bundle, memory) isn't the point. Its environment is `env` alone. Gives what `runCli` gives.
 */
export function runInProcess(args: readonly string[], options: InProcessOptions = {}): Promise<Result> {
  const result = before.then(() => runHere(args, options))
  before = result.catch(() => {})
  return result
}

async function runHere(
  args: readonly string[],
  { cwd, env = {}, input = '', columns, signal = new AbortController().signal }: InProcessOptions,
): Promise<Result> {
  const output = { stdout: '', stderr: '' }
  const stream = (name: keyof typeof output) => ({
    isTTY: columns !== undefined,
    columns,
    on: () => {},
    write: (text: string, done?: () => void) => {
      output[name] += text
      done?.()
    },
  })
  const there = process.cwd()
  if (cwd !== undefined) process.chdir(cwd)
  try {
    const code = await runCommandLine(args, {
      stdout: stream('stdout'),
      stderr: stream('stderr'),
      stdin: Readable.from(input === null ? [] : [Buffer.from(input)]),
      env: { ...env },
      interruptible: (work) => work(signal),
    })
    return { code, signal: null, ...output }
  } finally {
    process.chdir(there)
  }
}

/** Runs a bash script in which `lora-svd` is the command line. */
export const runShell = (script: string, options: RunOptions = {}): Promise<Result> =>
  // bash reads its start-up file when standard input is a socket, as Node's pipes are.
  run('bash', ['--norc', '-c', `lora-svd() { '${process.execPath}' '${ENTRY}' "$@"; }; ${script}`], options)

let running = 0
const waiting: (() => void)[] = []

async function run(command: string, args: readonly string[], options: RunOptions): Promise<Result> {
  if (running >= MOST_AT_ONCE) await new Promise<void>((start) => waiting.push(start))
  running++
  try {
    return await start(command, args, options)
  } finally {
    running--
    waiting.shift()?.()
  }
}

function start(command: string, args: readonly string[], options: RunOptions): Promise<Result> {
  const { cwd, env = {}, input = '', kill } = options
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env: { PATH: process.env.PATH, ...env } })
    const output = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        output[name] += text
      })
    }
    const timer = kill && setTimeout(() => child.kill(kill.signal), kill.after)
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      resolve({ code, signal, ...output })
    })
    // A process that fails early doesn't read what it is given.
    child.stdin.on('error', () => {})
    if (input !== null) child.stdin.end(input)
  })
}
