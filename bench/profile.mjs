// Where the time of extract, inspect and verify goes, phase by phase, beside what each phase could at best take on this machine.
// Usage: npm run bench -- --profile [digits tinyllama] [--commands extract,inspect,verify] [--ranks 16,64] [--engines wasm,auto]
// [--hidden 512] [--layers 4] [--full] [--moments full|diagonal] [--functions PHASE] [--json FILE]; --full is --hidden 2048, TinyLlama's own width.
// Without any of them it takes some 175 seconds of the processors.
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { buildCounting, buildNamed } from './profile/build.mjs'
import { limitsOf, machineRates } from './profile/limits.mjs'
import { momentsOf } from './profile/moments.mjs'
import { profiledRun } from './profile/profiled-run.mjs'
import { functionLines, phaseLines } from './profile/report.mjs'
import { median } from './timing.mjs'
import { makePair, recipeOf } from './tinyllama-pair.mjs'
import { wholeProcess } from './whole-process.mjs'

const EXECUTABLE = fileURLToPath(new URL('../bin/lora-svd.js', import.meta.url))
const DIGITS = fileURLToPath(new URL('../test/fixtures/digits-llama/', import.meta.url))
const FULL_WIDTH = 2048
const EMPTY_ROUNDS = 5

export async function benchProfile(args) {
  const { pairs, commands, ranks, engines, recipe, moments, json, functions } = settingsOf(args)
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-bench-'))
  const found = []
  try {
    const programs = {
      named: await buildNamed(join(folder, 'named')),
      counting: await buildCounting(join(folder, 'counting')),
    }
    const start = emptyProcess()
    console.log(
      `Where the time goes: ${cpus()[0].model}, ${availableParallelism()} threads, Node ${process.version}, load ${loadavg()[0].toFixed(1)}`,
    )
    for (const name of pairs) {
      const pair = PAIRS[name](join(folder, name), recipe)
      const rates = machineRates(pair.largest, pair.files[0])
      const moment = moments && momentsOf(pair, moments, join(folder, 'moments.safetensors'))
      for (const engine of engines) {
        for (const work of worksOf(pair, { commands, ranks, engine, moment, folder })) {
          const report = await profiled(work, programs, pair, rates, start)
          for (const line of functionLines(report, functions)) console.log(`    ${line}`)
          found.push({ pair: pair.title, engine, title: work.title, ...report, phases: [...report.phases] })
        }
      }
    }
    if (json !== undefined) writeFileSync(json, JSON.stringify(found))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const PAIRS = {
  digits: () => pairIn(DIGITS, 'digits-llama'),
  tinyllama(folder, recipe) {
    makePair(folder, recipe)
    return pairIn(folder, `${recipe.layers} layers of TinyLlama's shapes, ${recipe.hidden} wide`)
  },
}

/** What lies in base/ and tuned/ of a folder. */
function pairIn(folder, title) {
  const [base, tuned] = ['base', 'tuned'].map((side) => join(folder, side))
  const files = [base, tuned].flatMap((side) =>
    readdirSync(side)
      .filter((name) => name.endsWith('.safetensors'))
      .map((name) => join(side, name)),
  )
  const matrices = headerOf(files.at(-1)).filter(({ shape }) => shape.length === 2)
  const isLayer = ({ name }) => name.includes('_proj')
  const shapes = matrices.filter(isLayer).map(({ shape }) => shape)
  const entries = shapes.reduce((sum, [rows, columns]) => sum + rows * columns, 0)
  const largest = shapes.reduce((most, one) => (one[0] * one[1] > most[0] * most[1] ? one : most))
  const stored = files.reduce((sum, file) => sum + statSync(file).size, 0)
  return {
    title,
    base,
    tuned,
    files,
    largest,
    matrices: matrices.filter(isLayer),
    stored,
    delta: 4 * entries,
  }
}

function headerOf(file) {
  const bytes = readFileSync(file)
  const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString())
  return Object.entries(header)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, { shape }]) => ({ name, shape }))
}

/** The command lines to look at, each with what must be done before it. */
function* worksOf({ base, tuned }, { commands, ranks, engine, moment, folder }) {
  const common = ['--engine', engine, '--quiet', ...(moment === undefined ? [] : ['--moments', moment])]
  const out = join(folder, 'adapter')
  const remove = () => rmSync(out, { recursive: true, force: true })
  const extraction = (rank) => ['extract', base, tuned, '-o', out, '--rank', String(rank), ...common]
  if (commands.includes('inspect')) {
    yield { title: 'inspect', args: ['inspect', tuned, '--base', base, ...common], prepare: () => {} }
  }
  if (commands.includes('extract')) {
    for (const rank of ranks)
      yield { title: `extract --rank ${rank}`, args: extraction(rank), prepare: remove }
  }
  if (commands.includes('verify')) {
    remove()
    run(EXECUTABLE, extraction(ranks[0]))
    const args = ['verify', out, base, tuned, ...common]
    yield { title: `verify (rank ${ranks[0]})`, args, prepare: () => {} }
  }
  remove()
}

/** Runs the command as it is, under the profilers, and counting; prints its table. */
async function profiled({ title, args, prepare }, { named, counting }, pair, rates, start) {
  prepare()
  const plain = run(EXECUTABLE, args)
  prepare()
  const report = await profiledRun(named, args)
  prepare()
  const file = `${counting}.json`
  run(counting, [...args, '--threads', '1'], { PROFILE_COUNTS: file })
  const limits = limitsOf(JSON.parse(readFileSync(file, 'utf8')), pair, rates)
  limits.set('start', { seconds: start, says: 'an empty node process' })
  const engine = args[args.indexOf('--engine') + 1]
  console.log(
    `\n${title}, ${pair.title}, ${engine}: ${plain.seconds.toFixed(2)} s, ${plain.processor.toFixed(2)} s of the processors without profilers`,
  )
  for (const line of phaseLines(report, limits, plain.processor)) console.log(`  ${line}`)
  return { ...report, plain: plain.processor, limits: [...limits] }
}

function run(program, args, env = {}) {
  const result = wholeProcess(process.execPath, [program, ...args], env)
  if (result.status === 0 || result.status === 1) return result
  throw new Error(`${args[0]}: exit ${result.status}: ${result.stderr.trim()}`)
}

/** Seconds of the processors that Node takes for nothing. */
function emptyProcess() {
  const rounds = Array.from({ length: EMPTY_ROUNDS }, () => wholeProcess(process.execPath, ['-e', '0']))
  return median(rounds.map(({ processor, seconds }) => (Number.isNaN(processor) ? seconds : processor)))
}

function settingsOf(args) {
  const text = { type: 'string' }
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      ...{
        commands: text,
        ranks: text,
        engines: text,
        hidden: text,
        layers: text,
        moments: text,
        json: text,
        functions: text,
      },
      full: { type: 'boolean' },
    },
  })
  const unknown = positionals.find((name) => !Object.hasOwn(PAIRS, name))
  if (unknown !== undefined) throw new Error(`no pair '${unknown}': ${Object.keys(PAIRS).join(', ')}`)
  const list = (name, otherwise) => (values[name] ?? otherwise).split(',')
  const hidden = Number(values.hidden ?? (values.full ? FULL_WIDTH : FULL_WIDTH / 4))
  return {
    pairs: positionals.length > 0 ? positionals : Object.keys(PAIRS),
    commands: list('commands', 'inspect,extract,verify'),
    ranks: list('ranks', '16,64').map(Number),
    engines: list('engines', 'wasm,auto'),
    recipe: recipeOf({ layers: Number(values.layers ?? 4), hidden }),
    moments: values.moments,
    json: values.json,
    functions: values.functions,
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await benchProfile(process.argv.slice(2))
