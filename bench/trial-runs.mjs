// What the trials of `npm run torture` have in common: numbers from a seed, runs of the built program that are killed or held to limits,
// and whether what is on the disk afterwards is what it should be.
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

export const ENTRY = fileURLToPath(new URL('../bin/lora-svd.js', import.meta.url))

/** The command line of lora-svd with these arguments. */
export const loraSvd = (...args) => [process.execPath, ENTRY, ...args]

/** Milliseconds between looks at what a run has done. */
const POLL = 2

/** Options that are numbers or texts, by their defaults: `--kills 50`. */
export function optionsOf(defaults) {
  const options = Object.fromEntries(
    Object.entries(defaults).map(([name, value]) => [name, { type: 'string', default: String(value) }]),
  )
  const { values } = parseArgs({ options })
  return Object.fromEntries(
    Object.entries(values).map(([name, text]) => [
      name,
      typeof defaults[name] === 'number' ? Number(text) : text,
    ]),
  )
}

/** Numbers in [0, 1): mulberry32. */
export function stream(seed) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let z = Math.imul(state ^ (state >>> 15), state | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Runs a command to its end; `onStart` gets its process. */
export function runCommand([command, ...args], { onStart, ...options } = {}) {
  const start = performance.now()
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
    const said = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr']) {
      child[name]?.setEncoding('utf8').on('data', (part) => {
        said[name] += part
      })
    }
    child.on('error', reject)
    child.on('close', (code, signal) =>
      resolve({ code, signal, ...said, milliseconds: performance.now() - start }),
    )
    onStart?.(child)
  })
}

/** Runs a command that has to succeed. */
export async function expectDone(command, options) {
  const result = await runCommand(command, options)
  if (result.code !== 0) {
    throw new Error(`${command.slice(2).join(' ')}: exit ${result.code ?? result.signal}: ${result.stderr}`)
  }
  return result
}

/** The command under a limit of bash's `ulimit`: `-f`, KiB a file; `-n`, open files. */
export const limited = (which, limit, command) => [
  ...['bash', '--norc', '-c', `ulimit ${which} ${limit} && exec "$@"`, 'bash'],
  ...command,
]

/** For `onStart`: kills the process so many milliseconds after `hasBegun` is true. */
export const killing =
  (after, hasBegun = () => true) =>
  (child) => {
    let timer
    const killSoon = () => {
      timer = hasBegun() ? setTimeout(() => child.kill('SIGKILL'), after) : setTimeout(killSoon, POLL)
    }
    killSoon()
    child.on('close', () => clearTimeout(timer))
  }

/** The files of a folder and of those in it, sorted, with their bytes; or a file itself, without a name. */
export function filesOf(path) {
  if (statSync(path).isFile()) return [['', readFileSync(path)]]
  return readdirSync(path, { recursive: true })
    .sort()
    .filter((name) => statSync(join(path, name)).isFile())
    .map((name) => [name, readFileSync(join(path, name))])
}

/** How what is at a path differs from these files; undefined where it doesn't. */
export function differenceOf(path, files) {
  if (!existsSync(path)) return 'nothing is there'
  const found = filesOf(path)
  const names = found.map(([name]) => name).join(' ')
  if (names !== files.map(([name]) => name).join(' ')) return `files ${names}`
  const other = found.find(([, bytes], i) => !bytes.equals(files[i][1]))
  return other && `${other[0] || path} differs from the undisturbed run's`
}

/** Whether this file or folder holds these files, to the byte. */
export const isSame = (path, files) => differenceOf(path, files) === undefined

export function assert(isSo, what) {
  if (!isSo) throw new Error(what)
}

export function assertSame(path, files, when) {
  const difference = differenceOf(path, files)
  assert(difference === undefined, `${when}: ${difference}`)
}

/** One line of lora-svd on standard error, and nothing else. */
export const isOneLine = (stderr) => /^lora-svd: [^\n]+\n$/.test(stderr) && !/internal error/.test(stderr)
