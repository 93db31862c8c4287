// `npx lora-svd demo` as one who has never run it: npm's cache and the home folder are empty, the registry is on 127.0.0.1.
// Usage: node bench/npx.mjs [tarball or package folder …] [--rounds 5] [--omit optional] [--list]: each is measured in turns with the
// others; without names, this one as it is built. --list says what was fetched, package by package.
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
    omit: { type: 'string' },
    list: { type: 'boolean', default: false },
  },
})
const ROUNDS = Number(values.rounds)
const MB = 1e6
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-npx-'))

/** The tarball of a package folder, as it is built. */
function pack(from, to) {
  mkdirSync(to)
  execFileSync('npm', ['pack', '--ignore-scripts', '--pack-destination', to], { cwd: from, stdio: 'ignore' })
  return join(to, readdirSync(to)[0])
}

/** One run of npx with nothing there: what it took, fetched and left. */
async function run({ address, counts }) {
  const home = mkdtempSync(join(folder, 'home-'))
  const foreign = Object.keys(process.env).filter((name) => /^npm_/i.test(name))
  const env = { ...Object.fromEntries(foreign.map((name) => [name, undefined])), HOME: home }
  const flags = ['--yes', '--registry', address, ...(values.omit ? ['--omit', values.omit] : [])]
  // not where it was started, since npx takes a package that it finds there
  process.chdir(home)
  const { status, seconds, processor, stdout, stderr } = wholeProcess(
    'npx',
    [...flags, 'lora-svd', 'demo'],
    env,
  )
  const requests = await counts()
  if (status !== 0 || !stdout.includes('lora')) throw new Error(`npx ended with ${status}: ${stderr}`)
  const written = filesIn(home)
  rmSync(home, { recursive: true })
  const installed = written.filter(({ path }) => path.includes('_npx'))
  return { seconds, processor, requests, written: written.length, installed }
}

const filesIn = (root) =>
  readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => {
      const path = join(entry.parentPath, entry.name)
      return { path, bytes: statSync(path).size }
    })

const sum = (items) => items.reduce((total, { bytes }) => total + bytes, 0)

function print(name, turns) {
  const { requests, written, installed } = turns.at(-1)
  const of = (key) => median(turns.map((turn) => turn[key])).toFixed(2)
  console.log(`\n${basename(name)}
  seconds     ${of('seconds')}
  processor   ${of('processor')}
  downloaded  ${(sum(requests) / MB).toFixed(2)} MB in ${requests.length} requests
  installed   ${(sum(installed) / MB).toFixed(2)} MB in ${installed.length} files (${written} files written in all)`)
  if (values.list)
    for (const { what, text } of byPackage(requests)) console.log(`  ${what.padEnd(34)} ${text}`)
}

/** What each package took: its tarball, and what the registry says of all its versions. */
function byPackage(requests) {
  const packages = new Map()
  for (const { path, status, bytes } of requests) {
    const what = decodeURIComponent(path.split('/-/')[0])
    const one = packages.get(what) ?? { tarball: 0, versions: 0, status }
    one[path.endsWith('.tgz') ? 'tarball' : 'versions'] += bytes
    packages.set(what, one)
  }
  return [...packages]
    .sort(([, a], [, b]) => b.tarball + b.versions - a.tarball - a.versions)
    .map(([what, { tarball, versions, status }]) => ({
      what,
      text: `${String(tarball).padStart(8)} + ${String(versions).padStart(6)} ${status === 200 ? '' : status}`,
    }))
}

try {
  const candidates = []
  for (const [i, name] of (positionals.length > 0 ? positionals : ['.'])
    .map((path) => resolve(path))
    .entries()) {
    const tarball = statSync(name).isDirectory() ? pack(name, join(folder, `packed-${i}`)) : name
    candidates.push({ name, registry: await startRegistry(tarball), turns: [] })
  }
  console.log(`npx --yes lora-svd demo, from nothing; medians of ${ROUNDS} turns, node ${process.version}`)
  console.log(`load average ${loadavg()[0].toFixed(1)} at the start`)
  for (let round = 0; round < ROUNDS; round++)
    for (const { registry, turns } of candidates) turns.push(await run(registry))
  for (const { name, turns } of candidates) print(name, turns)
  for (const { registry } of candidates) await registry.stop()
} finally {
  rmSync(folder, { recursive: true })
}
