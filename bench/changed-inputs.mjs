// Changes each input of each command that reads while it is read: a preloaded library stops the process right before one of its reads, the file is made shorter,
// overwritten where it lies, replaced by another under its name, or deleted, and the process goes on. It must end with the result of the inputs as they
// were, or as they are now, to the byte, or with one line and nothing written: never with a mix.
// Usage: node bench/changed-inputs.mjs [--only extract,apply,…] [--moments 5] [--seed 0]; needs gcc. Exits with 1 on the first failure.
import { execFileSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BASE, TUNED } from './trial-commands.mjs'
import {
  assert,
  expectDone,
  filesOf,
  isOneLine,
  loraSvd,
  optionsOf,
  runCommand,
  stream,
} from './trial-runs.mjs'

const { only, moments, seed } = optionsOf({ only: '', moments: 5, seed: 0 })
const random = stream(seed)
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-changed-'))
const library = join(folder, 'stop.so')
const log = join(folder, 'reads')
const kept = join(folder, 'kept')
const room = join(folder, 'room')
const out = join(folder, 'out')
/** Of factor, and of convert. */
const [file, gguf] = [`${out}.safetensors`, `${out}.gguf`]
const OUTPUTS = [out, file, gguf]
/** Milliseconds between looks at whether a process has stopped. */
const POLL = 2

const FEW = ['q', 'k', 'v'].flatMap((letter) => ['--include', `*layers.*.self_attn.${letter}_proj*`])
const [base, tuned, a, b] = ['base', 'tuned', 'a', 'b'].map((name) => join(room, name))
const Q = 'model.layers.0.self_attn.q_proj.weight'

/** `reads`: the files of it that are changed, by their paths. */
const COMMANDS = [
  {
    args: ['extract', base, tuned, '-o', out, '--rank', '2', ...FEW],
    reads: ['base/model.safetensors', 'tuned/model.safetensors', 'base/config.json'],
  },
  { args: ['inspect', tuned, '--base', base], reads: ['base/model.safetensors', 'tuned/model.safetensors'] },
  { args: ['inspect', a, '--base', base], reads: ['a/adapter_model.safetensors', 'base/model.safetensors'] },
  {
    args: ['verify', a, base, tuned],
    reads: [
      'a/adapter_model.safetensors',
      'a/adapter_config.json',
      'base/model.safetensors',
      'tuned/model.safetensors',
    ],
  },
  {
    args: ['apply', base, a, '-o', out],
    reads: [
      'a/adapter_model.safetensors',
      'a/adapter_config.json',
      'base/model.safetensors',
      'base/config.json',
      'base/tokenizer.json',
    ],
  },
  {
    args: ['resize', a, '-o', out, '--rank', '2'],
    reads: ['a/adapter_model.safetensors', 'a/adapter_config.json'],
  },
  { args: ['merge', a, b, '-o', out], reads: ['a/adapter_model.safetensors', 'b/adapter_model.safetensors'] },
  {
    args: ['convert', a, '-o', gguf, '--format', 'gguf', '--base', base],
    reads: ['a/adapter_model.safetensors', 'base/config.json', 'base/model.safetensors'],
  },
  { args: ['compare', a, b], reads: ['a/adapter_model.safetensors', 'b/adapter_config.json'] },
  { args: ['check', a], reads: ['a/adapter_model.safetensors', 'a/adapter_config.json'] },
  {
    args: ['factor', join(base, 'model.safetensors'), '--tensor', Q, '-o', file, '--rank', '2'],
    reads: ['base/model.safetensors'],
  },
  { args: ['factor', base, '--tensor', Q, '-o', file, '--rank', '2'], reads: ['base/model.safetensors'] },
  { args: ['factor', join(room, 'W.csv'), '-o', file, '--rank', '2'], reads: ['W.csv'] },
]

/** Other contents of the same length: numbers with bits exchanged, JSON and text with another number. */
function otherThan(bytes, path) {
  const other = Buffer.from(bytes)
  if (path.endsWith('.safetensors')) {
    const begin = 8 + Number(bytes.readBigUInt64LE(0))
    // the lowest bits of the fractions alone: they stay finite
    for (let at = begin; at < other.length; at += 4) other[at + 1] ^= 0x55
    return other
  }
  const text = bytes.toString()
  const changed = text.replace(/"(lora_alpha|vocab_size|version)": \d/, (found) => `${found.slice(0, -1)}3`)
  return Buffer.from(
    changed === text ? text.replace(/\d(?=\D*$)/, (digit) => String((Number(digit) + 1) % 10)) : changed,
  )
}

const WAYS = {
  shortened: (path) => truncateSync(path, Math.floor(readFileSync(path).length / 2)),
  overwritten: (path) => writeFileSync(path, otherThan(readFileSync(path), path)),
  replaced: (path) => {
    writeFileSync(`${path}.new`, otherThan(readFileSync(path), path))
    renameSync(`${path}.new`, path)
  },
  deleted: (path) => unlinkSync(path),
}

function refresh() {
  for (const path of [room, ...OUTPUTS, `${out}.partial`]) rmSync(path, { recursive: true, force: true })
  cpSync(kept, room, { recursive: true, preserveTimestamps: true })
}

const commandOf = ({ args }) =>
  loraSvd(...args, ...(args[0] === 'factor' ? ['--dtype', 'f32'] : []), '--json', '--threads', '1')

/** What a run says and leaves, but for the time that it took. */
function resultOf({ code, stdout }) {
  if (code !== 0 && code !== 1) return undefined
  const said = stdout.replace(/"seconds":\s*[\d.e-]+/g, '')
  const files = OUTPUTS.filter((path) => existsSync(path)).flatMap((path) => filesOf(path))
  return JSON.stringify([code, said, files.map(([name, bytes]) => [name, bytes.toString('base64')])])
}

/** Runs a command, stopped before its `at`-th read, when `change` is done. */
function stopped(command, at, change) {
  const env = { ...process.env, LD_PRELOAD: library, STOP_IN: room, STOP_AT: String(at) }
  let look
  const onStart = (child) => {
    look = setInterval(() => {
      if (!isStopped(child.pid)) return
      clearInterval(look)
      change()
      child.kill('SIGCONT')
    }, POLL)
    child.on('close', () => clearInterval(look))
  }
  return runCommand(command, { env, onStart })
}

function isStopped(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2)[0] === 'T'
  } catch {
    return false
  }
}

async function readsOf(command) {
  refresh()
  rmSync(log, { force: true })
  const result = await expectedOf(command, { LD_PRELOAD: library, STOP_IN: room, STOP_LOG: log })
  return { expected: result, reads: readFileSync(log, 'utf8').trim().split('\n').length }
}

async function expectedOf(command, env = {}) {
  const result = await runCommand(command, { env: { ...process.env, ...env } })
  return resultOf(result)
}

/** One change amid one run. Gives what came of it. */
async function trial(command, at, path, way, { expected, changed }) {
  refresh()
  let isDone = false
  const result = await stopped(command, at, () => {
    WAYS[way](join(room, path))
    isDone = true
  })
  if (!isDone) return 'early'
  const { code, signal, stderr } = result
  const said = `exit ${code ?? signal}: ${stderr}`
  const found = resultOf(result)
  if (found === undefined) {
    assert((code === 2 || code === 3) && isOneLine(stderr), `no clear line: ${said}`)
    assert(!OUTPUTS.some((path) => existsSync(path)), `something stands under the final name: ${said}`)
    const left = readdirSync(folder).filter((name) => /^\.lora-svd-/.test(name))
    assert(left.length === 0, `left behind: ${left.join(' ')}: ${said}`)
    return 'told'
  }
  if (found === expected) return 'before'
  assert(found === changed, `neither the result before nor that after the change: ${said}`)
  return 'after'
}

async function makeInputs() {
  mkdirSync(kept)
  cpSync(BASE, join(kept, 'base'), { recursive: true })
  cpSync(TUNED, join(kept, 'tuned'), { recursive: true })
  writeFileSync(
    join(kept, 'base', 'tokenizer.json'),
    JSON.stringify({ version: 1, vocabulary: 'abc'.repeat(9000) }, null, 1),
  )
  const extract = (name, ...more) => loraSvd('extract', BASE, TUNED, '-o', join(kept, name), '-q', ...more)
  await expectDone(extract('a', '--rank', '4'))
  await expectDone(extract('b', '--rank', '2', '--include', '*q_proj*'))
  const rows = Array.from({ length: 40 }, () =>
    Array.from({ length: 30 }, () => random().toFixed(6)).join(','),
  )
  writeFileSync(join(kept, 'W.csv'), `${rows.join('\n')}\n`)
}

try {
  execFileSync('gcc', [
    ...['-O1', '-shared', '-fPIC', '-o', library],
    ...[fileURLToPath(new URL('stop-at-read.c', import.meta.url)), '-ldl'],
  ])
  await makeInputs()
  const names = only.split(',').filter((name) => name !== '')
  const total = { told: 0, before: 0, after: 0, early: 0 }
  for (const one of COMMANDS.filter(({ args: [name] }) => names.length === 0 || names.includes(name))) {
    const command = commandOf(one)
    const { expected, reads } = await readsOf(command)
    assert(expected !== undefined, `${one.args[0]} fails undisturbed`)
    const tally = { told: 0, before: 0, after: 0, early: 0 }
    for (const path of one.reads) {
      for (const way of Object.keys(WAYS)) {
        refresh()
        WAYS[way](join(room, path))
        const changed = await expectedOf(command)
        for (let moment = 0; moment < moments; moment++) {
          // the first and last reads, and others between
          const at = moment === 0 ? 2 : moment === 1 ? reads : 1 + Math.floor(random() * reads)
          const outcome = await trial(command, at, path, way, { expected, changed }).catch((error) => {
            throw new Error(`${one.args[0]}: ${path} ${way} before read ${at} of ${reads}: ${error.message}`)
          })
          tally[outcome]++
          total[outcome]++
        }
      }
    }
    console.log(`${one.args[0]}: ${JSON.stringify(tally)}`)
  }
  console.log(
    `${total.told + total.before + total.after} changes amid runs: ${total.told} were told in one line, ${total.before} runs ended with the result of the ` +
      `inputs before, ${total.after} with that of the inputs after: none with a mix`,
  )
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
