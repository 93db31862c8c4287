// Packages that a trial needs and the project doesn't: npm fetches them into a folder of the user's cache. Where there is no registry,
// the trial is left out, and that is said.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { join } from 'node:path'

const CACHE = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache')

/** Ends, as a success but where nothing may be left out. */
export function leaveOut(reason) {
  console.log(`left out: ${reason}`)
  process.exit(process.env.LORA_SVD_NO_SKIPS === '1' ? 1 : 0)
}

/** A folder of the cache for a package at a version. */
export const cacheFolder = (name, version) =>
  join(CACHE, 'lora-svd-bench', `${name.replace(/^@/, '').replaceAll('/', '-')}-${version}`)

/** Installs packages (`name@version`) in a folder, where they aren't there yet; without their scripts and optional packages. */
export function install(folder, wanted) {
  const names = wanted.map((one) => one.slice(0, one.lastIndexOf('@')))
  const isThere = () => names.every((name) => existsSync(join(folder, 'node_modules', name, 'package.json')))
  if (isThere()) return
  mkdirSync(folder, { recursive: true })
  // a package.json of its own, lest npm look for one in the folders above
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n')
  const flags = ['--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund', '--fetch-retries=1']
  const { status, error, stderr } = spawnSync('npm', ['install', ...flags, ...wanted], {
    cwd: folder,
    encoding: 'utf8',
    shell: process.platform === 'win32',
  })
  const said = error?.message ?? stderr.trim().split('\n')[0]
  if (status !== 0 || !isThere()) leaveOut(`npm could not install ${wanted.join(' ')}: ${said}`)
}

/** The path of a package's main file, fetched where it isn't there yet. */
export function kept(name, version) {
  const folder = cacheFolder(name, version)
  install(folder, [`${name}@${version}`])
  return createRequire(join(folder, 'package.json')).resolve(name)
}
