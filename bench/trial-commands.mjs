// Every command that writes, over the tests' Llama, for the trials that let each of them go through the same: what it is called with, what it
// leaves when nothing disturbs it, and what stood there before where it is to be replaced.
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { differenceOf, expectDone, filesOf, loraSvd } from './trial-runs.mjs'

export const PAIR = fileURLToPath(new URL('../test/fixtures/digits-llama/', import.meta.url))
export const [BASE, TUNED] = ['base', 'tuned'].map((side) => join(PAIR, side))
const MATRIX = join(BASE, 'model.safetensors')
const TENSOR = 'model.layers.0.self_attn.q_proj.weight'
/** Three layers: enough for runs that keep what is done. */
const FEW = ['q', 'k', 'v'].flatMap((letter) => ['--include', `*layers.0.self_attn.${letter}_proj*`])

/** Reports end with the time that they took. */
const timeless = (bytes) =>
  Buffer.from(
    bytes
      .toString('latin1')
      .replace(/ in [^<]* s\.<\/p>/, '')
      .replace(/"seconds":[\d.e-]+/g, ''),
    'latin1',
  )

/**
 * `outputs`: the names of what a command leaves; `args`, given where they go; `kept`: whether it keeps what it has done beside its output; `old`: arguments that
 * make something else of the same kind; `code` where it isn't 0; `before` and `after`: what else belongs to it; `stdout`: its output is what it prints.
 */
function commandsOn(inputs) {
  const [a, b] = ['a', 'b'].map((name) => join(inputs, name))
  const extract = (out, ...more) => ['extract', BASE, TUNED, '-o', out, '--rank', '2', ...FEW, ...more]
  return [
    {
      name: 'factor',
      outputs: ['out.safetensors'],
      args: (out) => ['factor', MATRIX, '--tensor', TENSOR, '-o', out, '--rank', '8'],
      old: (out) => ['factor', MATRIX, '--tensor', TENSOR, '-o', out, '--rank', '1'],
    },
    {
      name: 'factor-npz',
      outputs: ['out.npz'],
      args: (out) => ['factor', MATRIX, '--tensor', TENSOR, '-o', out, '--rank', '8'],
      old: (out) => ['factor', MATRIX, '--tensor', TENSOR, '-o', out, '--rank', '1'],
    },
    {
      name: 'extract',
      outputs: ['out'],
      args: (out) => extract(out),
      kept: true,
      old: (out) => extract(out, '--no-distribute-scale'),
    },
    {
      name: 'extract-gguf',
      outputs: ['out.gguf'],
      args: (out) => extract(out, '--format', 'gguf'),
      kept: true,
      old: (out) => extract(out, '--format', 'gguf', '--dtype', 'f16'),
    },
    {
      name: 'shard',
      outputs: ['out'],
      args: (out) => extract(out, '--shard', '1/2'),
      kept: true,
      isPart: true,
      after: [(out) => extract(out, '--shard', '2/2'), (out) => extract(out, '--join')],
    },
    {
      name: 'join',
      outputs: ['out'],
      args: (out) => extract(out, '--join'),
      kept: true,
      before: [(out) => extract(out, '--shard', '1/2'), (out) => extract(out, '--shard', '2/2')],
    },
    {
      name: 'resize',
      outputs: ['out'],
      args: (out) => ['resize', a, '-o', out, '--rank', '2'],
      old: (out) => ['resize', a, '-o', out, '--rank', '1'],
    },
    {
      name: 'merge',
      outputs: ['out'],
      args: (out) => ['merge', a, b, '-o', out],
      old: (out) => ['merge', a, b, '-o', out, '--rank', '1'],
    },
    {
      name: 'merge-gguf',
      outputs: ['out.gguf'],
      args: (out) => ['merge', a, b, '-o', out, '--format', 'gguf', '--base', BASE],
      old: (out) => ['merge', a, b, '-o', out, '--format', 'gguf', '--base', BASE, '--rank', '1'],
    },
    {
      name: 'apply',
      outputs: ['out'],
      args: (out) => ['apply', BASE, a, '-o', out],
      kept: true,
      old: (out) => ['apply', BASE, a, '-o', out, '--weights', '0.5'],
    },
    {
      name: 'apply-file',
      outputs: ['out.safetensors'],
      args: (out) => ['apply', MATRIX, a, '-o', out],
      kept: true,
      old: (out) => ['apply', MATRIX, a, '-o', out, '--weights', '0.5'],
    },
    {
      name: 'convert',
      outputs: ['out'],
      args: (out) => ['convert', a, '-o', out, '--format', 'mlx'],
      old: (out) => ['convert', b, '-o', out, '--format', 'mlx'],
    },
    {
      name: 'convert-gguf',
      outputs: ['out.gguf'],
      args: (out) => ['convert', a, '-o', out, '--format', 'gguf', '--base', BASE],
      old: (out) => ['convert', b, '-o', out, '--format', 'gguf', '--base', BASE],
    },
    {
      name: 'inspect',
      outputs: ['out.html', 'out.svg', 'out.csv'],
      args: (html, svg, csv) => [
        'inspect',
        TUNED,
        '--base',
        BASE,
        '--html',
        html,
        '--svg',
        svg,
        '--csv',
        csv,
      ],
      old: (html, svg, csv) => ['inspect', BASE, '--html', html, '--svg', svg, '--csv', csv],
    },
    {
      name: 'emit',
      outputs: ['out.json'],
      args: () => ['inspect', TUNED, '--base', BASE, '--emit', 'peft', '--parameters', '2000'],
      stdout: true,
    },
    {
      name: 'json',
      outputs: ['out.json'],
      args: () => ['inspect', join(inputs, 'a'), '--no-intruders', '--base', BASE, '--json'],
      stdout: true,
    },
    {
      name: 'check',
      outputs: ['out.sarif'],
      args: (sarif) => ['check', a, '--for', 'peft', '--sarif', sarif],
      old: (sarif) => ['check', b, '--for', 'peft', '--sarif', sarif],
    },
  ]
}

/** A command in a folder of its own. */
function trialIn(command, room) {
  const { name, args, old, outputs, kept = false, isPart = false, stdout = false, ...rest } = command
  const { before = [], after = [] } = rest
  const paths = outputs.map((output) => join(room, output))
  const argv = (make, ...more) => {
    const made = make(...paths)
    const quiet = stdout || made.includes('--json') ? [] : ['-q']
    return loraSvd(...made, ...quiet, ...more)
  }
  const printing = (command) =>
    stdout ? ['bash', '--norc', '-c', `exec "$@" > ${paths[0]}`, 'bash', ...command] : command
  return {
    ...{ name, room, paths, kept, isPart, stdout },
    hasOld: old !== undefined,
    command: printing(argv(args)),
    forced: printing(argv(args, ...(old === undefined ? [] : ['--force']))),
    oldCommand: old && argv(old),
    before: before.map((make) => argv(make)),
    after: after.map((make) => argv(make)),
    /** An empty room. */
    clear() {
      rmSync(room, { recursive: true, force: true })
      mkdirSync(room, { recursive: true })
    },
    /** What the outputs are now, to be compared. */
    state: () => paths.map((path) => (existsSync(path) ? comparable(filesOf(path)) : undefined)),
    /** The outputs that are neither missing, nor one of these states. */
    strangeTo: (...states) =>
      paths.filter(
        (path, i) =>
          existsSync(path) && states.every((state) => differenceNow(path, state?.[i]) !== undefined),
      ),
    isIn: (state) => paths.every((path, i) => differenceNow(path, state[i]) === undefined),
  }
}

const comparable = (files) =>
  files.map(([name, bytes]) => [
    name,
    /^(?:<!doctype html>|\{)/.test(bytes.subarray(0, 15).toString()) ? timeless(bytes) : bytes,
  ])

function differenceNow(path, files) {
  if (files === undefined) return existsSync(path) ? 'something is there' : undefined
  if (!existsSync(path)) return 'nothing is there'
  if (!/\.(?:html|json)$/.test(path)) return differenceOf(path, files)
  return timeless(readFileSync(path)).equals(files[0][1]) ? undefined : `${path}: another report`
}

/**
 * The trials of these commands (all without `only`, names with commas), each in its own folder below `folder`, with `whole`, what it leaves when nothing
 * disturbs it, `old`, what the other one leaves, and `prepare`, which puts there what comes before it.
 */
export async function trialsIn(folder, only = '') {
  const inputs = join(folder, 'inputs')
  mkdirSync(inputs, { recursive: true })
  await expectDone(loraSvd('extract', BASE, TUNED, '-o', join(inputs, 'a'), '--rank', '4', '-q'))
  await expectDone(
    loraSvd('extract', BASE, TUNED, '-o', join(inputs, 'b'), '--rank', '2', '--include', '*q_proj*', '-q'),
  )
  const names = only.split(',').filter((name) => name !== '')
  const chosen = commandsOn(inputs).filter(({ name }) => names.length === 0 || names.includes(name))
  const trials = []
  for (const command of chosen)
    trials.push(await prepared(trialIn(command, join(folder, command.name)), folder))
  return trials
}

async function prepared(trial, folder) {
  trial.clear()
  const kept = join(folder, `${trial.name}-before`)
  for (const command of trial.before) await expectDone(command)
  cpSync(trial.room, kept, { recursive: true })
  await expectDone(trial.command)
  for (const command of trial.after) await expectDone(command)
  const whole = trial.state()
  let old
  if (trial.hasOld) {
    trial.clear()
    await expectDone(trial.oldCommand)
    old = trial.state()
    cpSync(trial.room, `${kept}-old`, { recursive: true })
  }
  const prepare = ({ withOld = false } = {}) => {
    rmSync(trial.room, { recursive: true, force: true })
    cpSync(withOld ? `${kept}-old` : kept, trial.room, { recursive: true })
  }
  return { ...trial, whole, old, prepare }
}
