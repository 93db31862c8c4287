// `npx lora-svd demo` as one who has never run it: npm's cache and the home folder are empty, the registry is on 127.0.0.1.
// Usage: node bench/npx.mjs [tarball or package folder …] [--rounds 5] [--omit-optional] [--list]: each is measured in turns with the
// others; without names, this package as it is built. --omit-optional measures each with npx's --omit=optional too; --list says
// what was downloaded, package by package.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { startRegistry } from './npm-registry.mjs'
import { median } from './timing.mjs'
import { wholeProcess } from './whole-process.mjs'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    'omit-optional': { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
  },
})
const rounds = Number(values.rounds)
const flags = values['omit-optional'] ? [[], ['--omit=optional']] : [[]]
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-npx-'))
// at the end, which may come early, where there is no registry to fill this one from
process.once('exit', () => rmSync(folder, { recursive: true }))

/** The tarball of a package folder, as it is built. */
function pack(from, to) {
  mkdirSync(to)
  execFileSync('npm', ['pack', '--ignore-scripts', '--pack-destination', to], { cwd: from, stdio: 'ignore' })
  return join(to, readdirSync(to)[0])
}

/** One run of npx with nothing there: what it took, downloaded and left. */
async function run({ address, requestsSince }, flags) {
  const home = mkdtempSync(join(folder, 'home-'))
  // what npm tells its scripts would be settings of the npx that is measured
  const settings = Object.keys(process.env).filter((name) => /^npm_/i.test(name))
  const env = { ...Object.fromEntries(settings.map((name) => [name, undefined])), HOME: home }
  // not where it was started, since npx takes a package that it finds there
  process.chdir(home)
  const args = ['--yes', '--registry', address, ...flags, 'lora-svd', 'demo']
  const { status, seconds, processor, stdout, stderr } = wholeProcess('npx', args, env)
  process.chdir(folder)
  if (status !== 0 || !stdout.includes('B·A')) throw new Error(`npx ended with ${status}: ${stderr}`)
  const files = filesIn(home)
  rmSync(home, { recursive: true })
  const installed = files.filter(({ path }) => path.includes('_npx'))
  return { seconds, processor, requests: await requestsSince(), written: files.length, installed }
}

const filesIn = (root) =>
  readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => {
      const path = join(entry.parentPath, entry.name)
      return { path, bytes: statSync(path).size }
    })

const sum = (items) => items.reduce((total, { bytes }) => total + bytes, 0)
const megabytes = (items) => `${(sum(items) / 1e6).toFixed(2)} MB`

function print({ name, turns }, first) {
  const { requests, written, installed } = turns.at(-1)
  const time = (key) => {
    const ratio = median(turns.map((turn, i) => turn[key] / first.turns[i][key]))
    return `${median(turns.map((turn) => turn[key])).toFixed(2)}   ${ratio.toFixed(2)} of the first`
  }
  console.log(`
${name}
  seconds     ${time('seconds')}
  processor   ${time('processor')}
  downloaded  ${megabytes(requests)} in ${requests.length} requests
  installed   ${megabytes(installed)} in ${installed.length} files; ${written} files written in all`)
  if (values.list) for (const line of byPackage(requests)) console.log(`  ${line}`)
}

const nameIn = ({ path }) => decodeURIComponent(path.split('/-/')[0])

/** What each package took, the largest first: its tarball, and what the registry says of all its versions. */
function byPackage(requests) {
  const names = [...new Set(requests.map(nameIn))]
  return names
    .map((name) => ({ name, all: requests.filter((one) => nameIn(one) === name) }))
    .map(({ name, all }) => ({ name, all, tarballs: all.filter(({ path }) => path.endsWith('.tgz')) }))
    .sort((a, b) => sum(b.all) - sum(a.all))
    .map(({ name, all, tarballs }) => {
      const [packed, versions] = [sum(tarballs), sum(all) - sum(tarballs)].map((n) => String(n).padStart(8))
      return `${name.padEnd(32)} ${packed} + ${versions}${all.every(({ bytes }) => bytes === 0) ? '   not here' : ''}`
    })
}

const registries = []
for (const [i, path] of (positionals.length > 0 ? positionals : ['.']).map((one) => resolve(one)).entries()) {
  const tarball = statSync(path).isDirectory() ? pack(path, join(folder, `packed-${i}`)) : path
  registries.push({ name: basename(path), registry: await startRegistry(tarball) })
}
const candidates = registries.flatMap(({ name, registry }) =>
  flags.map((more) => ({ name: [name, ...more].join(' '), registry, more, turns: [] })),
)
console.log(`npx --yes lora-svd demo, from nothing: medians of ${rounds} turns, Node ${process.version}`)
for (let round = 0; round < rounds; round++)
  for (const { registry, more, turns } of candidates) turns.push(await run(registry, more))
for (const candidate of candidates) print(candidate, candidates[0])
console.log(`\nload average ${loadavg()[0].toFixed(1)} at the end`)
for (const { registry } of registries) await registry.stop()
