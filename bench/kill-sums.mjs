// Kills resize and merge over and over at pseudo-random times, every second time soon after something of theirs appears on the disk, and
// lets them run into file-size limits: under the final name must never stand anything but the whole result, or with --force the whole
// old one, and the next run of the same command must end with the bytes of an uninterrupted run and tidy up what was left.
// Usage: node bench/kill-sums.mjs [--kills 60] [--size 384] [--modules 6] [--rank 48] [--seed 0]; exits with 1 on the first difference.
import { spawn } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const ENTRY = fileURLToPath(new URL('../bin/lora-svd.js', import.meta.url))
const number = (initial) => ({ type: 'string', default: initial })
const { values } = parseArgs({
  options: {
    kills: number('60'),
    size: number('384'),
    modules: number('6'),
    rank: number('48'),
    seed: number('0'),
  },
})
const [kills, size, modules, rank, seed] = ['kills', 'size', 'modules', 'rank', 'seed'].map((key) =>
  Number(values[key]),
)
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-kills-'))
const inputs = join(folder, 'inputs')
const work = join(folder, 'work')

/** Milliseconds between looks at what is there. */
const POLL = 2

/** Numbers in [0, 1): mulberry32. */
function stream(start) {
  let state = start
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let z = Math.imul(state ^ (state >>> 15), state | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32
  }
}

function safetensors(file, tensors) {
  const header = {}
  const parts = []
  let end = 0
  for (const [name, shape, data] of tensors) {
    const bytes = Buffer.from(data.buffer)
    header[name] = { dtype: 'F32', shape, data_offsets: [end, end + bytes.length] }
    end += bytes.length
    parts.push(bytes)
  }
  const text = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  writeFileSync(file, Buffer.concat([length, text, ...parts]))
}

const drawn = (random, n) => Float32Array.from({ length: n }, () => random() - 0.5)

function peftAdapter(path, random) {
  mkdirSync(path)
  const tensors = Array.from({ length: modules }, (_, i) => `base_model.model.layers.${i}.q_proj`).flatMap(
    (stem) => [
      [`${stem}.lora_A.weight`, [rank, size], drawn(random, rank * size)],
      [`${stem}.lora_B.weight`, [size, rank], drawn(random, rank * size)],
    ],
  )
  safetensors(join(path, 'adapter_model.safetensors'), tensors)
  const config = { peft_type: 'LORA', r: rank, lora_alpha: rank, target_modules: ['q_proj'] }
  writeFileSync(join(path, 'adapter_config.json'), JSON.stringify(config))
}

function kohyaAdapter(file, random) {
  const stems = Array.from({ length: modules }, (_, i) => `lora_unet_blocks_${i}_attn`)
  safetensors(
    file,
    stems.flatMap((stem) => [
      [`${stem}.lora_down.weight`, [rank, size], drawn(random, rank * size)],
      [`${stem}.lora_up.weight`, [size, rank], drawn(random, rank * size)],
    ]),
  )
}

/** Each command with the name of its result; `old` is what stands there before, and --force replaces. */
const COMMANDS = [
  { args: ['merge', 'a', 'b', '--weights=1,-0.5'], out: 'out' },
  { args: ['resize', 'a', '--rank=8'], out: 'out', old: 'b' },
  { args: ['resize', 'k.safetensors', '--energy=0.5', '--layout=pattern'], out: 'out.safetensors' },
  {
    args: ['merge', 'k.safetensors', 'l.safetensors', '--rank=16'],
    out: 'out.safetensors',
    old: 'l.safetensors',
  },
]
/** In KiB: too little for anything, and for half of a result. */
const limitsOf = (files) => [0, Math.floor(Math.max(...files.map(([, { length }]) => length)) / 2048)]

const target = ({ out }) => join(work, out)
const other = ({ old }) => (old === undefined ? undefined : join(inputs, old))

function prepare(command) {
  rmSync(work, { recursive: true, force: true })
  mkdirSync(work)
  if (command.old !== undefined) cpSync(other(command), target(command), { recursive: true })
}

const entries = () => readdirSync(work).sort()

/** Runs a command; `killAfter` milliseconds, with `begun` counted from when something new lies beside the result. */
function run({ args: [name, ...args], out, old }, { killAfter, begun = false, limit } = {}) {
  const paths = args.map((arg) => (arg.startsWith('-') ? arg : join(inputs, arg)))
  const all = [ENTRY, name, ...paths, '-o', join(work, out), '--quiet', '--engine', 'wasm']
  if (old !== undefined) all.push('--force')
  const start = performance.now()
  const before = entries().length
  return new Promise((resolve, reject) => {
    const child =
      limit === undefined
        ? spawn(process.execPath, all)
        : spawn('bash', ['--norc', '-c', `ulimit -f ${limit}; exec "$@"`, 'bash', process.execPath, ...all])
    let timer
    const killSoon = () => {
      if (!begun || entries().length > before) timer = setTimeout(() => child.kill('SIGKILL'), killAfter)
      else timer = setTimeout(killSoon, POLL)
    }
    if (killAfter !== undefined) killSoon()
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (part) => {
      stderr += part
    })
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      resolve({ code, signal, stderr, milliseconds: performance.now() - start })
    })
  })
}

const filesOf = (path) =>
  statSync(path).isDirectory()
    ? readdirSync(path)
        .sort()
        .map((name) => [name, readFileSync(join(path, name))])
    : [['', readFileSync(path)]]

const isSame = (path, expected) => {
  const found = filesOf(path)
  return (
    found.length === expected.length &&
    found.every(([name, bytes], i) => name === expected[i][0] && bytes.equals(expected[i][1]))
  )
}

/** Under the final name is the whole new, or the whole old, or for an instant nothing, with the old one beside it. Gives which. */
function stateOf(command, files, when) {
  const path = target(command)
  const replaced = `${path}.replaced`
  const old = command.old === undefined ? undefined : filesOf(other(command))
  const strange = entries().filter(
    (name) => !/^out(?:\.safetensors)?(?:\.replaced)?$|^\.lora-svd-.*\.tmp$/.test(name),
  )
  if (strange.length > 0) throw new Error(`${when}: left behind: ${strange.join(' ')}`)
  if (existsSync(path) && isSame(path, files)) return 'new'
  if (existsSync(path) && old !== undefined && isSame(path, old)) return 'old'
  if (existsSync(path)) throw new Error(`${when}: neither the old nor the new result is there`)
  if (old === undefined) return 'none'
  if (existsSync(replaced) && isSame(replaced, old)) return 'between'
  throw new Error(`${when}: what was there before is lost`)
}

/** What the message of the next run says to do, if it says so. */
async function putBack(command, state, when) {
  const path = target(command)
  const replaced = `${path}.replaced`
  if (!existsSync(replaced)) return
  const { code, stderr } = await run(command)
  if (code !== 2 || !stderr.includes(`${replaced}: is what an earlier run was about to replace`)) {
    throw new Error(`${when}: with ${replaced} there: exit ${code}: ${stderr}`)
  }
  if (state === 'between') renameSync(replaced, path)
  else rmSync(replaced, { recursive: true })
}

async function finish(command, files, when) {
  const { code, stderr } = await run(command)
  if (code !== 0) throw new Error(`${when}: exit ${code}: ${stderr}`)
  if (!isSame(target(command), files)) throw new Error(`${when}: not the uninterrupted run's bytes`)
  const left = entries().filter((name) => name !== command.out)
  if (left.length > 0) throw new Error(`${when}: left behind: ${left.join(' ')}`)
}

async function main() {
  const random = stream(seed)
  mkdirSync(inputs)
  for (const name of ['a', 'b']) peftAdapter(join(inputs, name), random)
  for (const name of ['k', 'l']) kohyaAdapter(join(inputs, `${name}.safetensors`), random)
  const references = []
  for (const command of COMMANDS) {
    prepare(command)
    const { code, stderr, milliseconds } = await run(command)
    if (code !== 0) throw new Error(`uninterrupted: exit ${code}: ${stderr}`)
    references.push({ command, files: filesOf(target(command)), milliseconds })
  }
  const tally = { new: 0, old: 0, none: 0, between: 0 }
  let [killed, midway] = [0, 0]
  for (let at = 0; killed < kills; at = (at + 1) % references.length) {
    const { command, files, milliseconds } = references[at]
    const when = `${command.args.join(' ')}, after ${killed} kills`
    prepare(command)
    const kill =
      killed % 2 === 0
        ? { killAfter: random() * milliseconds }
        : { killAfter: (random() * milliseconds) / 8, begun: true }
    const { signal, code, stderr } = await run(command, kill)
    if (signal !== 'SIGKILL' && code !== 0) throw new Error(`${when}: exit ${code}: ${stderr}`)
    const state = stateOf(command, files, when)
    if (signal !== 'SIGKILL') continue
    killed++
    tally[state]++
    if (entries().some((name) => name.endsWith('.tmp'))) midway++
    await putBack(command, state, when)
    // without --force what is done already would rightly be refused
    if (state === 'new' && command.old === undefined) rmSync(target(command), { recursive: true })
    await finish(command, files, when)
  }
  let refusals = 0
  for (const { command, files } of references) {
    for (const limit of limitsOf(files)) {
      prepare(command)
      const { code, stderr } = await run(command, { limit })
      refusals++
      if (code !== 3 || !stderr.includes('EFBIG'))
        throw new Error(`limit ${limit} KiB: exit ${code}: ${stderr}`)
      const state = stateOf(command, files, `limit ${limit} KiB`)
      if (state !== (command.old === undefined ? 'none' : 'old'))
        throw new Error(`limit ${limit} KiB: ${state}`)
      await finish(command, files, 'after a file-size limit')
    }
  }
  if (midway === 0) throw new Error('nothing was interrupted amid its work')
  const states = Object.entries(tally).map(([state, count]) => `${count} ${state}`)
  console.log(
    `${killed} kills (${midway} amid the writing; under the final name: ${states.join(', ')}) and ${refusals} file-size limits: ` +
      "never half a result, and the next run always ended with the uninterrupted run's bytes",
  )
}

try {
  await main()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
