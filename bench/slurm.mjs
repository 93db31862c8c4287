// The scripts of docs/cluster.md on a real slurmctld with two slurmd of this machine: an array of four and the join that depends on it, over the
// tests' Llama and over a pair of TinyLlama's shapes; arrays of inspect and verify over both, and their reports; a task killed by kill -9 and
// requeued; a node that dies for good amid its tasks; a budget with a second array; the join of 560 layers. Each must end with the bytes of
// one process. Needs root, and Debian's slurmctld, slurmd, slurm-client and munge.
// Usage: node bench/slurm.mjs [--hidden 512] [--keep]; exits with 1 where something doesn't hold.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { makePair, recipeOf } from './tinyllama-pair.mjs'

const { values } = parseArgs({ options: { hidden: { type: 'string' }, keep: { type: 'boolean' } } })
const ROOT = fileURLToPath(new URL('..', import.meta.url))
const ENTRY = join(ROOT, 'bin/lora-svd.js')
const NODES = ['n1', 'n2']
/** Anything that has not come about by then never will, in seconds. */
const LIMIT = 300
/** After so many seconds a node that doesn't answer is down. */
const NODE_TIMEOUT = 10

const folder = mkdtempSync(join(tmpdir(), 'lora-svd-slurm-'))
const at = (...names) => join(folder, ...names)
const conf = at('slurm.conf')
const env = { ...process.env, SLURM_CONF: conf, PATH: `${at('bin')}:${process.env.PATH}:/usr/sbin` }
const daemons = new Map()

/** Starts a program that stays in the foreground, and ends with this one. */
function daemon(name, command, args) {
  const child = spawn(command, args, { env, stdio: 'ignore' })
  daemons.set(name, child)
  child.on('error', (error) => console.error(`${name}: ${error.message}`))
}

const slurm = (command, ...args) => execFileSync(command, args, { env, encoding: 'utf8', cwd: folder }).trim()

async function until(what, isSo, seconds = LIMIT) {
  for (const start = Date.now(); !isSo(); await sleep(200)) {
    if (Date.now() - start > seconds * 1000) throw new Error(`not within ${seconds} s: ${what}`)
  }
}

async function startCluster() {
  for (const name of ['bin', 'state', 'munge', ...NODES.map((node) => `spool-${node}`)]) mkdirSync(at(name))
  chmodSync(folder, 0o755)
  chmodSync(at('munge'), 0o755)
  writeFileSync(at('bin', 'lora-svd'), `#!/bin/sh\nexec ${process.execPath} ${ENTRY} "$@"\n`, { mode: 0o755 })
  writeFileSync(at('munge', 'key'), randomBytes(1024), { mode: 0o400 })
  const inMunge = ['key-file=key', 'socket=socket', 'pid-file=pid', 'log-file=log', 'seed-file=seed']
  daemon('munged', 'munged', [
    ...['--foreground', '--force'],
    ...inMunge.map((option) => `--${option.replace('=', `=${at('munge')}/`)}`),
  ])
  await until('munged listens', () => existsSync(at('munge', 'socket')), 30)
  const port = 20_000 + (process.pid % 20_000)
  const host = hostname()
  writeFileSync(
    conf,
    `ClusterName=torture
SlurmctldHost=${host}(127.0.0.1)
SlurmctldPort=${port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=${at('munge', 'socket')}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=${at('state')}
SlurmdSpoolDir=${folder}/spool-%n
SlurmctldPidFile=${at('slurmctld.pid')}
SlurmdPidFile=${folder}/slurmd-%n.pid
SlurmctldLogFile=${at('slurmctld.log')}
SlurmdLogFile=${folder}/slurmd-%n.log
SlurmdParameters=config_overrides
SlurmdTimeout=${NODE_TIMEOUT}
MpiDefault=none
JobRequeue=1
ReturnToService=2
${NODES.map((node, i) => `NodeName=${node} NodeHostname=${host} NodeAddr=127.0.0.1 Port=${port + 1 + i} CPUs=2`).join('\n')}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
`,
  )
  daemon('slurmctld', 'slurmctld', ['-D', '-f', conf])
  for (const node of NODES) daemon(node, 'slurmd', ['-D', '-N', node, '-f', conf])
  await until('both nodes are idle', () => NODES.every((node) => nodeState(node).startsWith('idle')), 60)
}

function nodeState(node) {
  const { stdout } = spawnSync('sinfo', ['-h', '-n', node, '-o', '%T'], { env, encoding: 'utf8' })
  return stdout.trim()
}

/** The two scripts in a section of the page. */
function scriptsIn(section) {
  const page = readFileSync(join(ROOT, 'docs/cluster.md'), 'utf8')
    .split('\n## ')
    .find((part) => part.startsWith(`${section}\n`))
  const blocks = [...page.matchAll(/^```sh\n(#!\/bin\/bash\n[\s\S]*?)^```$/gm)].map(([, block]) => block)
  if (blocks.length !== 2) throw new Error(`docs/cluster.md has not two scripts in its section ${section}`)
  return blocks
}

/** Those of an extraction, with another rule where one is given. */
const scripts = (rule) => scriptsIn('Slurm').map((block) => block.replace('--rank 16', rule))

/** A place with both models, the scripts, and what one process makes of them. */
function placeOf(name, pair, rule) {
  const place = at(name)
  mkdirSync(place)
  for (const side of ['base', 'tuned']) symlinkSync(join(pair, side), join(place, side))
  const [extract, joined] = scripts(rule)
  writeFileSync(join(place, 'extract.sh'), extract)
  writeFileSync(join(place, 'join.sh'), joined)
  const args = [
    ENTRY,
    'extract',
    'base',
    'tuned',
    '-o',
    'whole',
    ...rule.split(' '),
    '--engine',
    'wasm',
    '-q',
  ]
  execFileSync(process.execPath, args, { cwd: place })
  return place
}

const submit = (place, script, ...args) =>
  slurm(
    'sbatch',
    '--parsable',
    `--chdir=${place}`,
    '--cpus-per-task=1',
    '--mem=0',
    ...args,
    join(place, script),
  )

/** What a job, or one task of an array, has become. */
function stateOf(job) {
  const { stdout } = spawnSync('scontrol', ['-o', 'show', 'job', job], { env, encoding: 'utf8' })
  return [...stdout.matchAll(/JobState=(\w+)/g)].map(([, state]) => state)
}

async function ended(job, seconds) {
  const isOver = (state) => !['PENDING', 'RUNNING', 'COMPLETING', 'CONFIGURING', 'SUSPENDED'].includes(state)
  await until(`job ${job} ends`, () => stateOf(job).every(isOver), seconds)
  return stateOf(job)
}

function assertSame(place, what) {
  const [whole, made] = ['whole', 'adapter'].map((name) => join(place, name))
  const names = readdirSync(whole)
  const isSame =
    existsSync(made) &&
    readdirSync(made).join() === names.join() &&
    names.every((name) => readFileSync(join(whole, name)).equals(readFileSync(join(made, name))))
  if (!isSame) throw new Error(`${what}: not the bytes of one process; see ${place}`)
  if (existsSync(`${made}.partial`)) throw new Error(`${what}: ${made}.partial is left`)
  console.log(`${what}: same bytes`)
}

async function joined(place, dependency, what) {
  const job = submit(place, 'join.sh', ...(dependency ? [`--dependency=afterok:${dependency}`] : []))
  const states = await ended(job)
  if (states.join() !== 'COMPLETED') throw new Error(`${what}: the join ended as ${states}`)
  assertSame(place, what)
}

const shardFolder = (place, index) => join(place, 'adapter.partial', `shard-${index}-of-4.partial`)
const layersDone = (path) =>
  (existsSync(path) ? readdirSync(path) : []).filter((name) => name.startsWith('layer-')).length
/** The process that has worked last in a shard's folder. */
function ownerOf(path) {
  const owners = readdirSync(path).filter((name) => /^lock(-[0-9a-f]+)?$/.test(name))
  const records = owners.map((name) => JSON.parse(readFileSync(join(path, name), 'utf8')))
  return records.find(({ token }) => !owners.includes(`lock-${token}`))
}

const parentOf = (pid) => Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')[1])
const nameOf = (pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim()

/** Kills a task's process with all above it up to Slurm's own, as when the machine stops. */
function killTask(pid) {
  for (let one = pid, last = false; !last && one > 1; ) {
    const parent = parentOf(one)
    last = nameOf(one) === 'slurmstepd'
    process.kill(one, 'SIGKILL')
    one = parent
  }
}

async function killedAndRequeued(pair) {
  const place = placeOf('killed', pair, '--rank 16')
  const job = submit(place, 'extract.sh')
  const path = shardFolder(place, 2)
  await until('the second task has done a layer', () => layersDone(path) > 0)
  const owner = ownerOf(path)
  process.kill(owner.pid, 'SIGKILL')
  const done = layersDone(path)
  const states = await ended(job)
  if (!states.includes('FAILED')) throw new Error(`the task was not killed amid its work: ${states}`)
  slurm('scontrol', 'requeue', `${job}_2`)
  // a requeued job is held for two minutes
  slurm('scontrol', 'update', `jobid=${job}_2`, 'StartTime=now')
  await ended(job)
  await joined(place, undefined, `a task killed after ${done} of its layers, requeued`)
}

async function nodeDies(pair) {
  const place = placeOf('node', pair, '--rank 16')
  const job = submit(place, 'extract.sh')
  const all = [1, 2, 3, 4].map((index) => shardFolder(place, index))
  await until('each task has done a layer', () => all.every((path) => layersDone(path) > 0))
  const onIt = slurm('squeue', '-h', '-r', '-w', 'n2', '-t', 'R', '-o', '%K')
    .split('\n')
    .filter((id) => id !== '')
  const pids = onIt.map((id) => ownerOf(shardFolder(place, id)).pid)
  daemons.get('n2').kill('SIGKILL')
  for (const pid of pids) killTask(pid)
  await until('n2 is down', () => nodeState('n2').startsWith('down'))
  for (const id of onIt) {
    await until(`task ${id} waits`, () => stateOf(`${job}_${id}`).includes('PENDING'))
    slurm('scontrol', 'update', `jobid=${job}_${id}`, 'StartTime=now')
  }
  await ended(job)
  await joined(place, undefined, `a node that died with tasks ${onIt.join(' and ')}`)
}

async function twoRounds(pair) {
  const place = placeOf('budget', pair, '--budget 1MiB --layout pattern')
  const first = submit(place, 'extract.sh')
  await ended(submit(place, 'extract.sh', `--dependency=afterok:${first}`))
  const again = [1, 2, 3, 4]
    .flatMap((index) => readdirSync(shardFolder(place, index)))
    .filter((name) => /^layer-\d+-2\./.test(name))
  if (again.length === 0) throw new Error('the second array had no second round')
  await joined(place, undefined, `a budget, ${again.length} layers of it by a second array`)
}

const lora = (place, ...args) =>
  spawnSync(process.execPath, [ENTRY, ...args], { cwd: place, encoding: 'utf8', maxBuffer: 2 ** 30 })

/** Arrays of inspect and verify, and their reports beside those of one process. */
async function reports(name, pair) {
  const place = placeOf(`${name}-reports`, pair, '--rank 16')
  symlinkSync('whole', join(place, 'adapter'))
  const [inspect, verify] = scriptsIn('inspect and verify')
  const commands = {
    inspect: { script: inspect, args: ['inspect', 'tuned', '--base', 'base'], parts: 'parts' },
    verify: { script: verify, args: ['verify', 'adapter', 'base', 'tuned'], parts: 'measured' },
  }
  for (const [command, { script, args, parts }] of Object.entries(commands)) {
    writeFileSync(join(place, `${command}.sh`), script)
    const states = await ended(submit(place, `${command}.sh`))
    if (states.some((state) => state !== 'COMPLETED')) throw new Error(`${name}, ${command}: ${states}`)
    const start = performance.now()
    const joined = lora(place, command, '--join', parts, '--json')
    const seconds = ((performance.now() - start) / 1000).toFixed(2)
    const whole = lora(place, ...args, '--engine', 'wasm', '--json')
    const timeless = ({ status, stdout, stderr }) =>
      JSON.stringify([status, stdout.replace(/"seconds":[\d.e-]+/g, ''), stderr])
    if (joined.status > 1 || timeless(joined) !== timeless(whole)) {
      throw new Error(`${name}, ${command}: not what one process says: ${joined.stderr}; see ${place}`)
    }
    const sizes = readdirSync(join(place, parts)).map((file) => statSync(join(place, parts, file)).size)
    const kib = Math.round(sizes.reduce((sum, size) => sum + size) / 1024)
    console.log(`${name}, an array of 4 of ${command}: same JSON, joined in ${seconds} s from ${kib} KiB`)
  }
}

/** How long the join of 80 layers of seven small matrices takes; it has to be below a minute. */
async function manyLayers() {
  const pair = at('many-pair')
  makePair(pair, recipeOf({ layers: 80, hidden: 64 }))
  const place = placeOf('many', pair, '--rank 16')
  await ended(submit(place, 'extract.sh'))
  const start = performance.now()
  await joined(place, undefined, '560 small layers, an array of 4')
  const all = (performance.now() - start) / 1000
  const { seconds } = JSON.parse(
    lora(place, 'extract', 'base', 'tuned', '-o', 'x', '--rank', '16', '--engine', 'wasm', '--json').stdout,
  )
  console.log(
    `560 small layers: joined in ${all.toFixed(1)} s with its wait for a node; one process takes ${seconds.toFixed(1)} s`,
  )
  if (all > 60) throw new Error('the join of 560 layers took more than a minute')
}

async function main() {
  await startCluster()
  const digits = join(ROOT, 'test/fixtures/digits-llama')
  const pair = at('pair')
  makePair(pair, recipeOf({ hidden: Number(values.hidden ?? 512) }))
  for (const [name, models] of Object.entries({ digits, tinyllama: pair })) {
    const place = placeOf(name, models, '--rank 16')
    await joined(place, submit(place, 'extract.sh'), `${name}, an array of 4 and the join that depends on it`)
    await reports(name, models)
  }
  await twoRounds(digits)
  await killedAndRequeued(pair)
  await nodeDies(pair)
  await manyLayers()
}

try {
  await main()
  console.log('slurm: all holds')
} catch (error) {
  console.error(error.message)
  for (const log of readdirSync(folder).filter((name) => name.endsWith('.log'))) {
    console.error(`--- ${log}\n${readFileSync(at(log), 'utf8').split('\n').slice(-8).join('\n')}`)
  }
  process.exitCode = 1
} finally {
  for (const child of daemons.values()) child.kill('SIGTERM')
  await sleep(2000)
  for (const child of daemons.values()) child.kill('SIGKILL')
  if (process.exitCode === undefined && !values.keep) rmSync(folder, { recursive: true, force: true })
  else console.error(`kept: ${folder}`)
}
