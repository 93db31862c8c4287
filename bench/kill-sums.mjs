// Kills resize and merge over and over at pseudo-random times, every second time soon after something of theirs appears on the disk, and
// lets them run into file-size limits: under the final name must never stand anything but the whole result, or with --force the whole
// old one, and the next run of the same command must end with the bytes of an uninterrupted run and tidy up what was left.
// Usage: node bench/kill-sums.mjs [--kills 120] [--size 384] [--modules 6] [--rank 48] [--seed 0] [--commands 0,1,2,3]; exits with 1 on the first difference.
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { headerOf } from './tinyllama-pair.mjs'
import {
  assert,
  assertSame,
  expectDone,
  filesOf,
  isSame,
  killing,
  limited,
  loraSvd,
  optionsOf,
  runCommand,
  stream,
} from './trial-runs.mjs'

const { kills, size, modules, rank, seed, commands } = optionsOf({
  ...{ kills: 120, size: 384, modules: 6, rank: 48, seed: 0, commands: '0,1,2,3' },
})
/** Of so many kills some have to come amid the writing. */
const LEAST_TO_MEET = 20
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-kills-'))
const inputs = join(folder, 'inputs')
const work = join(folder, 'work')

function safetensors(file, tensors) {
  const header = headerOf(
    tensors.map(([name, shape]) => ({ name, shape })),
    'F32',
  )
  writeFileSync(file, Buffer.concat([header, ...tensors.map(([, , data]) => Buffer.from(data.buffer))]))
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

function argvOf({ args: [name, ...args], out, old }) {
  const paths = args.map((arg) => (arg.startsWith('-') ? arg : join(inputs, arg)))
  const force = old === undefined ? [] : ['--force']
  return loraSvd(name, ...paths, '-o', join(work, out), '--quiet', '--engine', 'wasm', ...force)
}

/** Under the final name is the whole new, or the whole old, or for an instant nothing, with the old one beside it. Gives which. */
function stateOf(command, files, when) {
  const path = target(command)
  const replaced = `${path}.replaced`
  const old = command.old === undefined ? undefined : filesOf(other(command))
  const strange = entries().filter(
    (name) => !/^out(?:\.safetensors)?(?:\.replaced)?$|^\.lora-svd-.*\.tmp$/.test(name),
  )
  assert(strange.length === 0, `${when}: left behind: ${strange.join(' ')}`)
  if (existsSync(path) && isSame(path, files)) return 'new'
  if (existsSync(path) && old !== undefined && isSame(path, old)) return 'old'
  assert(!existsSync(path), `${when}: neither the old nor the new result is there`)
  if (old === undefined) return 'none'
  if (existsSync(replaced) && isSame(replaced, old)) return 'between'
  throw new Error(`${when}: what was there before is lost`)
}

/** What the message of the next run says to do, if it says so. */
async function putBack(command, state, when) {
  const path = target(command)
  const replaced = `${path}.replaced`
  if (!existsSync(replaced)) return
  const { code, stderr } = await runCommand(argvOf(command))
  if (code !== 2 || !stderr.includes(`${replaced}: is what an earlier run was about to replace`)) {
    throw new Error(`${when}: with ${replaced} there: exit ${code}: ${stderr}`)
  }
  if (state === 'between') renameSync(replaced, path)
  else rmSync(replaced, { recursive: true })
}

async function finish(command, files, when) {
  await expectDone(argvOf(command))
  assertSame(target(command), files, when)
  const left = entries().filter((name) => name !== command.out)
  assert(left.length === 0, `${when}: left behind: ${left.join(' ')}`)
}

async function main() {
  const random = stream(seed)
  mkdirSync(inputs)
  for (const name of ['a', 'b']) peftAdapter(join(inputs, name), random)
  for (const name of ['k', 'l']) kohyaAdapter(join(inputs, `${name}.safetensors`), random)
  const references = []
  for (const command of commands.split(',').map((index) => COMMANDS[index])) {
    prepare(command)
    const { milliseconds } = await expectDone(argvOf(command))
    references.push({ command, files: filesOf(target(command)), milliseconds })
  }
  const tally = { new: 0, old: 0, none: 0, between: 0 }
  let [killed, midway] = [0, 0]
  for (let at = 0; killed < kills; at = (at + 1) % references.length) {
    const { command, files, milliseconds } = references[at]
    const when = `${command.args.join(' ')}, after ${killed} kills`
    prepare(command)
    const before = entries().length
    const onStart =
      killed % 2 === 0
        ? killing(random() * milliseconds)
        : killing((random() * milliseconds) / 8, () => entries().length > before)
    const { signal, code, stderr } = await runCommand(argvOf(command), { onStart })
    assert(signal === 'SIGKILL' || code === 0, `${when}: exit ${code}: ${stderr}`)
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
      const { code, stderr } = await runCommand(limited('-f', limit, argvOf(command)))
      refusals++
      assert(code === 3 && stderr.includes('EFBIG'), `limit ${limit} KiB: exit ${code}: ${stderr}`)
      const state = stateOf(command, files, `limit ${limit} KiB`)
      assert(state === (command.old === undefined ? 'none' : 'old'), `limit ${limit} KiB: ${state}`)
      await finish(command, files, 'after a file-size limit')
    }
  }
  // few may all come before the writing
  assert(midway > 0 || kills < LEAST_TO_MEET, 'nothing was interrupted amid its work')
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
