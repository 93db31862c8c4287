// Two containers that share a folder: each with process ids of its own (unshare --pid), the second with another host name too. Neither
// sees the other's processes. On one output at once, one of them must refuse, or both must end with the same whole folder; at no moment
// may anything half written stand under the final name. Then the same with one of them killed: the other waits for its silence.
// Usage: node bench/two-namespaces.mjs [--trials 20]; Linux, as root or where user namespaces are allowed. Exits with 1 on a failure.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { extraction, layersDone } from './extract-trials.mjs'
import { filesOf, isSame, runCommand } from './trial-runs.mjs'

const { values } = parseArgs({ options: { trials: { type: 'string', default: '20' } } })
const trials = Number(values.trials)
/** Milliseconds between looks at the final name. */
const POLL = 1
/** Older than an owner that can't be seen may be, in seconds. */
const LONG_AGO = 3600

const isRoot = process.geteuid() === 0
const NAMESPACE = ['unshare', ...(isRoot ? [] : ['-r']), '--pid', '--fork', '--kill-child', '--mount-proc']
const contained = (host, command) => [
  ...NAMESPACE,
  ...(host === undefined ? [] : ['--uts', 'sh', '-c', `hostname ${host}; exec "$@"`, 'sh']),
  ...command,
]

const folder = mkdtempSync(join(tmpdir(), 'lora-svd-namespaces-'))
const out = join(folder, 'out')

function assert(isSo, what, results = []) {
  if (isSo) return
  const said = results.map(({ code, signal, stderr }) => `\n  ${code ?? signal}: ${stderr.trim()}`)
  throw new Error(`${what}${said.join('')}`)
}

const remove = () => {
  for (const path of [out, `${out}.partial`]) rmSync(path, { recursive: true, force: true })
}

/** The last owner of the unfinished run. */
const lastLock = () =>
  readdirSync(`${out}.partial`)
    .filter((name) => /^lock(-[0-9a-f]+)?$/.test(name))
    .map((name) => join(`${out}.partial`, name))

async function atOnce(expected, second) {
  remove()
  let isHalf = false
  const look = setInterval(() => {
    if (existsSync(out) && !isSame(out, expected)) isHalf = true
  }, POLL)
  const results = await Promise.all([
    runCommand(contained(undefined, extraction(out))),
    runCommand(contained(second, extraction(out))),
  ])
  clearInterval(look)
  assert(!isHalf, 'something else stood under the final name', results)
  assert(isSame(out, expected), 'other bytes', results)
  const refused = results.filter(({ code }) => code === 2)
  assert(
    results.filter(({ code }) => code === 0).length === 1 && refused.length === 1,
    'not one success',
    results,
  )
  assert(
    /cannot be seen from here, may be at work here|exists already/.test(refused[0].stderr),
    'no clear refusal',
    results,
  )
  assert(!existsSync(`${out}.partial`), 'something is left', results)
  return refused[0].stderr.includes('may be at work')
}

/** Killed with its whole namespace: from outside it can't be told whether it still works. */
async function afterAKill(expected) {
  let killed
  do {
    remove()
    killed = await runCommand(contained('gone', extraction(out)), {
      onStart: (child) => {
        const look = setInterval(() => {
          if (layersDone(out) === 0 && child.exitCode === null) return
          clearInterval(look)
          child.kill('SIGKILL')
        }, POLL)
      },
    })
  } while (existsSync(out) || !existsSync(`${out}.partial`))
  const [lock] = lastLock()
  const text = readFileSync(lock, 'utf8')
  const early = await runCommand(extraction(out))
  assert(early.code === 2 && early.stderr.includes('cannot be seen from here'), 'taken over too soon', [
    killed,
    early,
  ])
  assert(readFileSync(lock, 'utf8') === text, 'the lock of another was touched')
  const then = Date.now() / 1000 - LONG_AGO
  utimesSync(lock, then, then)
  const late = await runCommand(extraction(out))
  assert(late.code === 0 && isSame(out, expected), 'not taken over', [late])
}

try {
  const reference = join(folder, 'reference')
  const undisturbed = await runCommand(extraction(reference))
  if (undisturbed.code !== 0) throw new Error(undisturbed.stderr)
  const expected = filesOf(reference)
  let saw = 0
  for (let i = 0; i < trials; i++) if (await atOnce(expected, i % 2 === 0 ? undefined : 'elsewhere')) saw++
  await afterAKill(expected)
  console.log(
    `${trials} trials of two namespaces on one output: one succeeded, the other was told of the one it can't see (${saw}) or that the ` +
      `output exists (${trials - saw}); nothing half written under the final name; a killed one's work is taken over once it is long silent`,
  )
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
