// A model that `apply` wrote, in a real llama.cpp: it must say what the base with the adapter says there, over the 400 held-out
// images of test/fixtures/digits-llama, and be right as often as reference.json has it. Where bench/llama.mjs finds no llama.cpp, nothing
// is tried.
// Usage: node bench/llama-cpp.mjs [--ranks 8] [--folder FOR_NODE_LLAMA_CPP]. Exits with 1 where something does not hold.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { adapterGguf, modelGguf, readTensors, wholeTensors } from './gguf.mjs'
import { DEFAULT_FOLDER, logitsOf, softmax, startLlama } from './llama.mjs'

const { values: options } = parseArgs({
  options: {
    ranks: { type: 'string', default: '8' },
    folder: { type: 'string', default: DEFAULT_FOLDER },
  },
})

/** The most by which probabilities of one computation in two orders, in float32, may differ: Σ|p − q| of a prompt. */
const SAME = 1e-4
/** The least by which a wrong order of rows must show, on average: else SAME would say nothing. */
const WRONG = 0.01
/** Of all answers, how many bfloat16's rounding of the weights may turn. */
const TURNED_BY_BF16 = 0.02
/** A prompt is this token and an image's pixels, each a token of its own; digit d is token FIRST_DIGIT + d. */
const START = 27
const FIRST_DIGIT = 17
const DIGITS = 10

const ENTRY = fileURLToPath(new URL('../bin/lora-svd.js', import.meta.url))
const MODELS = fileURLToPath(new URL('../test/fixtures/digits-llama/', import.meta.url))
const [BASE, TUNED] = ['base', 'tuned'].map((name) => join(MODELS, name))
const readJson = (name) => JSON.parse(readFileSync(join(MODELS, name), 'utf8'))
const reference = readJson('reference.json')
const { answers, images } = readJson('held-out.json')
const prompts = images.map((image) => [START, ...[...image].map((pixel) => Number.parseInt(pixel, 17))])

const largest = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0)

/** What llama.cpp says after each prompt: of a model, with an adapter or without. */
async function run(llama, modelPath, adapterPath) {
  const probabilities = (await logitsOf(llama, prompts, modelPath, adapterPath)).map(softmax)
  const digits = probabilities.map((p) => largest(p.slice(FIRST_DIGIT, FIRST_DIGIT + DIGITS)))
  const right = digits.filter((digit, i) => digit === Number(answers[i])).length
  return { probabilities, right, said: probabilities.map(largest) }
}

/** How far two runs are from each other: Σ|p − q| of the prompts, and how many answers differ. */
function compare(one, other) {
  const distances = one.probabilities.map((p, i) =>
    p.reduce((sum, value, token) => sum + Math.abs(value - other.probabilities[i][token]), 0),
  )
  return {
    most: Math.max(...distances),
    mean: distances.reduce((a, b) => a + b) / distances.length,
    turned: one.said.filter((token, i) => token !== other.said[i]).length,
  }
}

let failures = 0
function check(holds, what) {
  console.log(`${holds ? 'holds         ' : 'DOES NOT HOLD '} ${what}`)
  if (!holds) failures++
}

const ofAll = (count) => `${count} of ${prompts.length}`

function checkAccuracy(name, { right }, accuracy) {
  const expected = Math.round(accuracy * prompts.length)
  check(right === expected, `${name}: ${ofAll(right)} right; reference.json has ${expected}`)
}

function checkSame(what, one, other) {
  const { most, turned } = compare(one, other)
  check(most <= SAME && turned === 0, `${what}: Σ|p − q| ≤ ${most.toExponential(1)}, ${turned} other answers`)
}

function command(...args) {
  const { status, stderr } = spawnSync(process.execPath, [ENTRY, ...args, '--quiet'], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`lora-svd ${args.join(' ')}: exit code ${status}: ${stderr.trim()}`)
}

async function main(folder) {
  const llama = await startLlama(options.folder)
  const write = (name, bytes) => {
    const path = join(folder, name)
    writeFileSync(path, bytes)
    return path
  }
  const runModel = (path, replaced) => run(llama, write('model.gguf', modelGguf(path, replaced)))
  const runAdapter = (adapter, replaced, how) =>
    run(
      llama,
      write('model.gguf', modelGguf(BASE, replaced)),
      write('adapter.gguf', adapterGguf(adapter, BASE, how)),
    )
  const extract = (name, ...more) => {
    command('extract', BASE, TUNED, '-o', join(folder, name), ...more)
    return join(folder, name)
  }
  const apply = (adapter, dtype) => {
    const merged = `${adapter}-${dtype}`
    command('apply', BASE, adapter, '-o', merged, '--dtype', dtype)
    return merged
  }

  checkAccuracy('the base', await runModel(BASE), reference.accuracy.base)
  checkAccuracy('the fine-tune', await runModel(TUNED), reference.accuracy.tuned)

  for (const rank of options.ranks.split(',')) {
    const factors = extract(`factors-${rank}`, '--rank', rank)
    const beside = await runAdapter(factors)
    const merged = await runModel(apply(factors, 'f32'))
    checkSame(`rank ${rank}, applied in f32 and beside the base`, merged, beside)

    const { mean, turned } = compare(await runModel(apply(factors, 'bf16')), beside)
    check(
      turned <= TURNED_BY_BF16 * prompts.length,
      `rank ${rank}, applied in bf16 and beside the base: Σ|p − q| ${mean.toExponential(1)} on average, ${turned} other answers`,
    )

    const wrong = compare(merged, await runAdapter(factors, undefined, { turnsRows: false }))
    check(
      wrong.mean > WRONG,
      `rank ${rank}, rows of q and k as transformers has them: Σ|p − q| ${wrong.mean.toExponential(1)} on average, as it must show`,
    )

    // what reference.json counted: the layers' matrices by factors, all else as the fine-tune has it
    const whole = ['--carry-rest', '--save-full', 'lm_head', '--save-full', 'model.embed_tokens']
    const carrying = extract(`carrying-${rank}`, '--rank', rank, ...whole)
    const carried = await runModel(apply(carrying, 'f32'))
    checkAccuracy(`rank ${rank}, all else whole, applied in f32`, carried, reference.adapter_accuracy[rank])
    checkSame(
      `rank ${rank}, all else whole, applied in f32 and beside the base with what is whole`,
      carried,
      await runAdapter(carrying, wholeTensors(carrying)),
    )
  }
  await repair(llama, folder, write)
  await llama.dispose()
}

/** What of a fine-tune is carried and stored in 4 bits here: the matrices of the layers, and the head. */
const isCarried = (name) => /_proj\.weight$|^lm_head/.test(name)
/** A rank at which the rounding of these small layers is mostly taken back, and how much nearer that must come to the fine-tune. */
const REPAIRING_RANK = 64
const NEARER = 10

/** An adapter that begins with a base in 4 bits takes its rounding back too; one that begins with the base before can't. */
async function repair(llama, folder, write) {
  const tuned = new Map(
    [...readTensors(join(TUNED, 'model.safetensors'))].filter(([name]) => isCarried(name)),
  )
  const goal = await run(llama, write('goal.gguf', modelGguf(BASE, tuned)))
  const quantised = write('base-Q4_0.gguf', modelGguf(BASE, undefined, isCarried))
  const divergence = async (from, rank) => {
    const adapter = join(folder, `repair-${rank}-${from === BASE}`)
    const only = ['--include', '*_proj.weight', '--include', 'lm_head.weight']
    command('extract', from, TUNED, '-o', adapter, '--rank', String(rank), ...only)
    const found = await run(llama, quantised, write('adapter.gguf', adapterGguf(adapter, BASE)))
    return divergenceOf(goal, found)
  }
  const before = await divergence(BASE, REPAIRING_RANK)
  for (const rank of [16, 32, REPAIRING_RANK]) {
    const after = await divergence(quantised, rank)
    const figures = `KL ${after.toExponential(1)} to the fine-tune; from the base before it was quantised, rank ${REPAIRING_RANK}: ${before.toExponential(1)}`
    check(
      rank < REPAIRING_RANK ? after < before : after * NEARER < before,
      `base in Q4_0 with an adapter extracted from it, rank ${rank}: ${figures}`,
    )
  }
}

/** The mean Kullback–Leibler divergence of one run's probabilities from another's, in nats. */
function divergenceOf(goal, found) {
  const ofPrompt = (p, q) => p.reduce((sum, x, token) => sum + (x > 0 ? x * Math.log(x / q[token]) : 0), 0)
  const all = goal.probabilities.map((p, i) => ofPrompt(p, found.probabilities[i]))
  return all.reduce((a, b) => a + b) / all.length
}

const folder = mkdtempSync(join(tmpdir(), 'lora-svd-llama-cpp-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
await main(folder)
process.exitCode = failures === 0 ? 0 : 1
