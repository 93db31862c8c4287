// Lets the disk be full at every write of every command that writes: at each call that would put bytes or a name there, by a preloaded library; at file-size
// limits (ulimit -f); and on a small file system of its own (tmpfs), where mounting is allowed. Each must end with exit code 3 and one line, or well; nothing
// half may stand under a final name, and what --force was to replace must be as it was; then the same command must end with the bytes of an undisturbed run.
// Usage: node bench/disk-full.mjs [--only factor,extract,…] [--every 1] [--ways calls,limits,tmpfs]; needs gcc. Exits with 1 on the first failure.
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { trialsIn } from './trial-commands.mjs'
import { assert, expectDone, isOneLine, limited, optionsOf, runCommand } from './trial-runs.mjs'

const { only, every, ways } = optionsOf({ only: '', every: 1, ways: 'calls,limits,tmpfs' })
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-full-'))
const library = join(folder, 'full.so')
const log = join(folder, 'calls')

const isRoot = process.geteuid() === 0
const UNSHARE = ['unshare', '--mount', ...(isRoot ? [] : ['--map-root-user'])]
const canMount = () =>
  spawnSync(UNSHARE[0], [...UNSHARE.slice(1), 'mount', '-t', 'tmpfs', 'none', folder]).status === 0

/** The command on a file system of so many KiB in place of its room, whose contents come back. */
const onSmall = (trial, kib, command) => {
  const script = `mount -t tmpfs -o size=${kib}k none "$1" && cp -a "$2/." "$1" || exit 99
    room="$1" copy="$3"; shift 3; "$@"; code=$?; mkdir "$copy" && cp -a "$room/." "$copy"; exit $code`
  const before = join(folder, 'before')
  rmSync(before, { recursive: true, force: true })
  cpSync(trial.room, before, { recursive: true })
  return [...UNSHARE, 'sh', '-c', script, 'sh', trial.room, before, join(folder, 'after'), ...command]
}

function takeBack(trial) {
  rmSync(trial.room, { recursive: true, force: true })
  cpSync(join(folder, 'after'), trial.room, { recursive: true })
  rmSync(join(folder, 'after'), { recursive: true })
}

/** Sizes in KiB from nothing to what a run needs, some at each scale. */
function sizesUpTo(bytes) {
  const sizes = new Set([0, 1, 2, 4])
  for (let size = 8; size * 1024 < bytes; size *= 1.5) sizes.add(Math.floor(size))
  return [...sizes]
}

const largestOf = (trial) => Math.max(...trial.whole.flat().map(([, { length }]) => length))
const totalOf = (trial) => trial.whole.flat().reduce((sum, [, { length }]) => sum + length, 0)

/** Runs what `disturbed` makes of the command, and judges what it leaves. Gives whether it ended well all the same. */
async function go(trial, withOld, disturbed, { env, after = () => {} } = {}) {
  trial.prepare({ withOld })
  const command = withOld ? trial.forced : trial.command
  const { code, signal, stderr } = await runCommand(disturbed(command), { env: { ...process.env, ...env } })
  after()
  const said = `exit ${code ?? signal}: ${stderr}`
  // the shell itself couldn't make the file that it was to write into
  if (trial.stdout && stderr.startsWith('bash: ')) return false
  assert(code === 3 || code === 0, said)
  assert(code === 0 || isOneLine(stderr), `no clear line: ${said}`)
  // where not even the old name can be given back, the line says where what was there is, whole
  const [, aside] = /kept in (\S+): move it where it belongs/.exec(stderr) ?? []
  if (aside !== undefined && !existsSync(trial.paths[0])) renameSync(aside, trial.paths[0])
  if (!trial.stdout) {
    const strange = trial.strangeTo(trial.whole, withOld ? trial.old : undefined)
    assert(strange.length === 0, `half a result: ${strange.map((path) => basename(path)).join(' ')}: ${said}`)
    assert(code === 3 || trial.isPart || trial.isIn(trial.whole), `exit 0 without the result: ${said}`)
    const before = withOld ? trial.old : trial.paths.map(() => undefined)
    // several files are each whole or as they were
    const isEach = trial.paths.length > 1
    assert(
      code === 0 || isEach || trial.isIn(before),
      `exit 3, and something else than before is there: ${said}`,
    )
    const temporary = readdirSync(trial.room).filter((name) => /^\.lora-svd-|\.replaced$/.test(name))
    assert(temporary.length === 0, `left behind: ${temporary.join(' ')}: ${said}`)
  }
  // what couldn't be removed on a full disk was told, and goes with the next run of the same command
  const isKept = trial.kept && readdirSync(trial.room).includes(`${basename(trial.paths[0])}.partial`)
  if (code !== 0 || trial.isPart || isKept) {
    await expectDone(trial.paths.length > 1 ? trial.forced : command)
    for (const more of trial.after) await expectDone(more)
  }
  assert(trial.isIn(trial.whole), `the same command again gives something else; before: ${said}`)
  const left = readdirSync(trial.room).filter((name) => !trial.paths.includes(join(trial.room, name)))
  assert(left.length === 0, `left behind: ${left.join(' ')}: ${said}`)
  return code === 0
}

async function atEachCall(trial, withOld) {
  const env = { LD_PRELOAD: library }
  rmSync(log, { force: true })
  await go(trial, withOld, (command) => command, { env: { ...env, FULL_LOG: log } })
  const calls = readFileSync(log, 'utf8').trim().split('\n')
  const results = []
  for (let at = 1; at <= calls.length; at += every) {
    const isWell = await go(trial, withOld, (command) => command, {
      env: { ...env, FULL_AT: String(at) },
    }).catch((error) => {
      throw new Error(`call ${at} of ${calls.length}, ${calls[at - 1]}: ${error.message}`)
    })
    results.push(isWell)
  }
  return results
}

async function atEachLimit(trial, withOld) {
  const results = []
  for (const limit of sizesUpTo(largestOf(trial)).filter((_, i) => i % every === 0)) {
    results.push(
      await go(trial, withOld, (command) => limited('-f', limit, command)).catch((error) => {
        throw new Error(`ulimit -f ${limit}: ${error.message}`)
      }),
    )
  }
  return results
}

async function onEachSize(trial, withOld) {
  const room = (withOld ? 2 : 1) * totalOf(trial) + (trial.kept ? 2 * totalOf(trial) : 0)
  const results = []
  // what lies there before has to fit
  const least = trial.before.length > 0 ? 200 : withOld ? Math.ceil((3 * totalOf(trial)) / 2048) : 0
  for (const size of sizesUpTo(room + 2 ** 16).filter(
    (kib, i) => kib >= Math.max(4, least) && i % every === 0,
  )) {
    results.push(
      await go(trial, withOld, (command) => onSmall(trial, size, command), {
        after: () => takeBack(trial),
      }).catch((error) => {
        throw new Error(`tmpfs of ${size} KiB: ${error.message}`)
      }),
    )
  }
  return results
}

const WAYS = { calls: atEachCall, limits: atEachLimit, tmpfs: onEachSize }

try {
  execFileSync('gcc', [
    ...['-O1', '-shared', '-fPIC', '-o', library],
    ...[fileURLToPath(new URL('full-disk.c', import.meta.url)), '-ldl'],
  ])
  const asked = ways.split(',')
  const isLeftOut = asked.includes('tmpfs') && !canMount()
  if (isLeftOut) console.log('tmpfs: left out: mounting is not allowed here')
  let [runs, well] = [0, 0]
  for (const trial of await trialsIn(folder, only)) {
    for (const withOld of trial.hasOld ? [false, true] : [false]) {
      const name = `${trial.name}${withOld ? ' --force' : ''}`
      const counts = []
      for (const way of asked.filter((way) => way !== 'tmpfs' || !(isLeftOut || trial.stdout))) {
        const results = await WAYS[way](trial, withOld).catch((error) => {
          throw new Error(`${name}: ${error.message}`)
        })
        runs += results.length
        well += results.filter((isWell) => isWell).length
        counts.push(`${results.length} ${way}`)
      }
      console.log(`${name}: ${counts.join(', ')}`)
    }
  }
  console.log(
    `${runs} runs on a full disk, of which ${well} ended well all the same: nothing half, nothing lost, nothing left, and the next run ` +
      "ended with the undisturbed run's bytes",
  )
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
