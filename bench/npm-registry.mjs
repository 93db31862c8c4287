// A registry of npm's on 127.0.0.1 that has lora-svd from a tarball and what it depends on from a cache that npm has filled, and
// counts what it sends. It runs in a thread of its own, since whoever measures a process waits for it.
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { gzipSync } from 'node:zlib'
import { cacheFolder, leaveOut } from './npm-cache.mjs'

const NAME = 'lora-svd'
const KEY = 'make-fetch-happen:request-cache:'

const npm = (args, options = {}) => spawnSync('npm', args, { encoding: 'utf8', ...options })

/**
 * Starts a registry for the tarball at a path; npm fetches dependencies that its cache lacks. `requestsSince()` gives { path, bytes }
 * of each request since it was last called.
 */
export async function startRegistry(tarball) {
  const text = execFileSync('tar', ['-xzOf', tarball, 'package/package.json'], { encoding: 'utf8' })
  const manifest = JSON.parse(text)
  const files = await filesIn(filledCache(manifest))
  const worker = new Worker(new URL(import.meta.url), { workerData: { ...files, manifest, tarball } })
  const next = async () => (await once(worker, 'message'))[0]
  return {
    address: await next(),
    requestsSince: () => {
      worker.postMessage('')
      return next()
    },
    stop: () => worker.terminate(),
  }
}

/** A cache that is kept for these dependencies: npm installs them with it once, so that all that it fetches is in it. */
function filledCache({ dependencies, optionalDependencies }) {
  const wanted = JSON.stringify({ private: true, dependencies, optionalDependencies })
  const cache = cacheFolder('npx', createHash('sha256').update(wanted).digest('hex').slice(0, 12))
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-bench-'))
  writeFileSync(join(folder, 'package.json'), wanted)
  const flags = ['--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund', '--fetch-retries=1']
  const { status, stderr } = npm(['install', '--cache', cache, ...flags], { cwd: folder })
  rmSync(folder, { recursive: true })
  if (status !== 0) leaveOut(`npm could not install the dependencies: ${stderr.trim().split('\n')[0]}`)
  return cache
}

/** What npm's cache has of its registry, { path: bytes }, read by npm's own package for it. */
async function filesIn(cache) {
  const modules = join(npm(['root', '-g']).stdout.trim(), 'npm', 'package.json')
  const cacache = createRequire(modules)('cacache')
  const registry = npm(['config', 'get', 'registry']).stdout.trim()
  const folder = join(cache, '_cacache')
  const files = {}
  for (const { key, integrity } of Object.values(await cacache.ls(folder)))
    if (key.startsWith(KEY + registry))
      files[key.slice(KEY.length + registry.length)] = await cacache.get.byDigest(folder, integrity)
  return { registry, files }
}

/** What a registry says of a package that has one version. */
function versionsOf(manifest, tarball, path) {
  const digest = (algorithm, encoding) => createHash(algorithm).update(tarball).digest(encoding)
  const { name, version } = manifest
  const dist = {
    tarball: path,
    integrity: `sha512-${digest('sha512', 'base64')}`,
    shasum: digest('sha1', 'hex'),
  }
  return JSON.stringify({
    name,
    'dist-tags': { latest: version },
    versions: { [version]: { ...manifest, dist } },
  })
}

/** The thread: paths and their bodies, of which npm's registry compresses those that aren't tarballs. */
function serve({ registry, files, manifest, tarball }) {
  const bodies = new Map()
  let requests = []
  const server = createServer(({ method, url }, response) => {
    const path = url.slice(1)
    const body = method === 'GET' ? bodies.get(path) : undefined
    requests.push({ path, bytes: body?.length ?? 0 })
    if (body === undefined) return response.writeHead(404).end()
    const encoding = path.endsWith('.tgz') ? {} : { 'content-encoding': 'gzip' }
    response.writeHead(200, { 'content-length': body.length, ...encoding }).end(body)
  })
  parentPort.on('message', () => {
    parentPort.postMessage(requests)
    requests = []
  })
  server.listen(0, '127.0.0.1', () => {
    const address = `http://127.0.0.1:${server.address().port}/`
    const here = (text) => gzipSync(text.replaceAll(registry, address))
    for (const [path, body] of Object.entries(files))
      bodies.set(path, path.endsWith('.tgz') ? body : here(Buffer.from(body).toString()))
    const packed = readFileSync(tarball)
    const path = `${NAME}/-/${NAME}-${manifest.version}.tgz`
    bodies.set(path, packed)
    bodies.set(NAME, here(versionsOf(manifest, packed, address + path)))
    parentPort.postMessage(address)
  })
}

if (!isMainThread) serve(workerData)
