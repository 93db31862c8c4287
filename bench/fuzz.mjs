// Coverage-guided fuzzing of every parser: inputs are changed at random, by mutators that know the formats too (test/fuzz/), and one that
// reaches code which none before it reached is kept and changed further. Nothing may be thrown but an error of our own with one clear line,
// no input may take a second or 200 MB.
// The counters in the code and the texts it compares with come from Jazzer.js's instrumentor, which npm fetches into a folder of the
// user's cache. Its own fuzzer, libFuzzer as a binary, needs glibc 2.38 and so doesn't load on Debian 12 or Ubuntu 22.04; what it would do is
// done by bench/fuzz/parser.mjs, the same for a seed on every machine.
// Usage: node bench/fuzz.mjs [--inputs 140000] [--seed 1] [--parsers npy,npz] [--jobs 2] [--keep] [--findings FOLDER]
// --keep writes the smallest inputs that reach all that was reached into test/fixtures/fuzz-corpus. Exits with 1 on a finding.
import { fork } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { bundleTargets } from './fuzz/bundle.mjs'
import { kept } from './npm-cache.mjs'

const text = (value) => ({ type: 'string', default: value })
const { values: options } = parseArgs({
  options: {
    inputs: text('140000'),
    seed: text('1'),
    parsers: text(''),
    jobs: text('2'),
    keep: { type: 'boolean', default: false },
    findings: text(join(tmpdir(), 'lora-svd-fuzz-findings')),
  },
})

/** Milliseconds without a sign of life after which a parser counts as hanging: a busy machine may be slow by itself. */
const HANGS_AFTER = 20_000
/** Of what is kept of one parser: some hundred small files in all. */
const MOST_KEPT_BYTES = 24_000
const MOST_KEPT_FILES = 48
/** A parser that takes many times as long as others gets this part of their inputs. */
const SLOW = 16
/** Of its heap, in MB: what takes more dies, and is a finding. */
const HEAP = 400

const PARSER = fileURLToPath(new URL('./fuzz/parser.mjs', import.meta.url))
const CORPUS = fileURLToPath(new URL('../test/fixtures/fuzz-corpus/', import.meta.url))

function corpusOf(name) {
  const folder = join(CORPUS, name)
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .sort()
    .map((file) => readFileSync(join(folder, file)))
}

function save(folder, files) {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  for (const [name, bytes] of files) writeFileSync(join(folder, name), bytes)
}

/** One parser in a process of its own, which is ended where it hangs. */
function fuzz({ name, isSlow }, bundle, folder) {
  const current = join(folder, `${name}.current`)
  return new Promise((resolve) => {
    const child = fork(PARSER, [], {
      serialization: 'advanced',
      execArgv: [`--max-old-space-size=${HEAP}`, '--expose-gc'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    let result
    let timer
    let why = 'died'
    const alive = () => {
      clearTimeout(timer)
      timer = setTimeout(() => {
        why = 'hangs'
        child.kill('SIGKILL')
      }, HANGS_AFTER)
    }
    alive()
    child.on('message', (message) => {
      alive()
      if (message.done) result = message.done
    })
    child.on('exit', (code, signal) => {
      clearTimeout(timer)
      if (result !== undefined) resolve({ name, ...result })
      else {
        const input = existsSync(current) ? readFileSync(current) : Buffer.alloc(0)
        const length = input.length < 4 ? 0 : input.readUInt32LE(0)
        const problem = `${why} (${signal ?? `exit code ${code}`})`
        const findings = [{ problem, input: input.subarray(4, 4 + length) }]
        resolve({ name, inputs: 0, added: 0, edges: 0, of: 0, slowest: 0, peak: 0, findings, cover: [] })
      }
    })
    child.send({
      name,
      bundle,
      current,
      inputs: Number(options.inputs) / (isSlow ? SLOW : 1),
      seed: Number(options.seed),
      corpus: corpusOf(name),
      mostBytes: MOST_KEPT_BYTES,
      mostFiles: MOST_KEPT_FILES,
    })
  })
}

function tell(result) {
  const { name, inputs, added, edges, of, slowest, peak, findings, seconds = 0 } = result
  const cells = [
    name.padEnd(15),
    String(inputs).padStart(9),
    String(added).padStart(6),
    `${edges}/${of}`.padStart(12),
    slowest.toFixed(0).padStart(8),
    peak.toFixed(0).padStart(8),
    String(findings.length).padStart(9),
    seconds.toFixed(0).padStart(6),
  ]
  console.log(cells.join(' '))
  for (const [i, { problem, input }] of findings.entries()) {
    const folder = join(options.findings, name)
    mkdirSync(folder, { recursive: true })
    const file = join(folder, `${i + 1}`)
    writeFileSync(file, input)
    console.log(`  FOUND ${problem}\n        ${input.length} bytes in ${file}`)
  }
}

async function main(folder) {
  const instrumentor = await kept('@jazzer.js/instrumentor', '4.0.0')
  const { targets, bundle } = await bundleTargets(instrumentor, folder)
  const names = targets.map(({ name }) => name)
  const wanted = options.parsers === '' ? names : options.parsers.split(',')
  const unknown = wanted.find((name) => !names.includes(name))
  if (unknown !== undefined) {
    console.error(`no parser '${unknown}': there is ${names.join(', ')}`)
    return 2
  }
  console.log('parser             inputs    new       edges slowest  peak MB  findings seconds')
  console.log('                                              ms')
  // the slowest first, so that none is left when all others are done
  const waiting = targets
    .filter(({ name }) => wanted.includes(name))
    .sort((a, b) => Number(b.isSlow) - Number(a.isSlow))
  let failed = false
  let inputs = 0
  const work = async () => {
    for (let target = waiting.shift(); target !== undefined; target = waiting.shift()) {
      const { name } = target
      const result = await fuzz(target, bundle, folder)
      tell(result)
      inputs += result.inputs
      failed ||= result.findings.length > 0
      if (options.keep && result.cover.length > 0) {
        save(
          join(CORPUS, name),
          result.cover.map(({ name, bytes }) => [name, bytes]),
        )
      }
    }
  }
  await Promise.all(Array.from({ length: Number(options.jobs) }, work))
  console.log(`${inputs} inputs, seed ${options.seed}`)
  return failed ? 1 : 0
}

const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'lora-svd-fuzzing-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130))
process.exitCode = await main(folder)
