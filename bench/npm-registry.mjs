// A registry of npm's on 127.0.0.1 that has lora-svd from a tarball and what it depends on from a cache that npm has filled, and
// counts what it is asked for and what it sends. Bodies of JSON are compressed, as registry.npmjs.org does. It runs in a thread of
// its own, since whoever measures a process waits for it.
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { gzipSync } from 'node:zlib'
import { cacheFolder, leaveOut } from './npm-cache.mjs'

const NAME = 'lora-svd'
const IN_CACHE = 'make-fetch-happen:request-cache:'

/**
 * Starts a registry for one tarball of lora-svd; its dependencies are fetched by npm where its cache lacks them. `counts()` gives
 * [{ path, bytes }], one for each request since the last time.
 */
export async function startRegistry(tarball) {
  const manifest = manifestOf(tarball)
  const cache = fillCache(tarball, manifest)
  const files = await filesOf(cache)
  const worker = new Worker(new URL(import.meta.url), { workerData: { manifest, tarball, files } })
  const next = () => new Promise((done, fail) => worker.once('message', done).once('error', fail))
  const { port } = await next()
  return {
    address: `http://127.0.0.1:${port}/`,
    counts: () => {
      const counts = next()
      worker.postMessage('counts')
      return counts
    },
    stop: () => worker.terminate(),
  }
}

const manifestOf = (tarball) =>
  JSON.parse(execFileSync('tar', ['-xzOf', tarball, 'package/package.json'], { encoding: 'utf8' }))

/** Has npm install the tarball once, with a cache that is kept for these dependencies: all that was fetched is in it. */
function fillCache(tarball, { dependencies, optionalDependencies }) {
  const wanted = JSON.stringify([dependencies, optionalDependencies])
  const cache = cacheFolder('npx', createHash('sha256').update(wanted).digest('hex').slice(0, 12))
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-bench-'))
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n')
  const flags = ['--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock']
  try {
    const { status, stderr } = spawnSync('npm', ['install', '--cache', cache, ...flags, resolve(tarball)], {
      cwd: folder,
      encoding: 'utf8',
    })
    if (status !== 0) leaveOut(`npm could not install the dependencies: ${stderr.trim().split('\n')[0]}`)
  } finally {
    rmSync(folder, { recursive: true })
  }
  return cache
}

/** What npm's cache has of its registry: { path: bytes }. The cache is read by npm's own package for it. */
async function filesOf(cache) {
  const npm = createRequire(
    join(execFileSync('npm', ['root', '-g'], { encoding: 'utf8' }).trim(), 'npm', '_'),
  )
  const cacache = npm('cacache')
  const registry = execFileSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).trim()
  const folder = join(cache, '_cacache')
  const files = {}
  for (const { key, integrity } of Object.values(await cacache.ls(folder))) {
    if (!key.startsWith(IN_CACHE + registry)) continue
    files[key.slice(IN_CACHE.length + registry.length)] = await cacache.get.byDigest(folder, integrity)
  }
  return { registry, files }
}

/** What is known of lora-svd: the one version that the tarball is. */
function documentOf(manifest, tarball, address) {
  const digest = (algorithm, encoding) => createHash(algorithm).update(tarball).digest(encoding)
  const dist = {
    tarball: `${address}${NAME}/-/${NAME}-${manifest.version}.tgz`,
    integrity: `sha512-${digest('sha512', 'base64')}`,
    shasum: digest('sha1', 'hex'),
  }
  const { version } = manifest
  return { name: NAME, 'dist-tags': { latest: version }, versions: { [version]: { ...manifest, dist } } }
}

function serve({ manifest, tarball, files: { registry, files } }) {
  const bodies = new Map()
  let counts = []
  const server = createServer((request, response) => {
    const body = request.method === 'GET' ? bodies.get(request.url.slice(1)) : undefined
    const isJson = body !== undefined && !request.url.endsWith('.tgz')
    counts.push({ path: request.url.slice(1), status: body ? 200 : 404, bytes: body?.length ?? 0 })
    if (body === undefined) return response.writeHead(404).end()
    response.writeHead(200, {
      'content-length': body.length,
      'content-type': isJson ? 'application/json' : 'application/octet-stream',
      ...(isJson && { 'content-encoding': 'gzip' }),
    })
    response.end(body)
  })
  server.listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    const address = `http://127.0.0.1:${port}/`
    const bytes = readFileSync(tarball)
    for (const [path, body] of Object.entries(files)) {
      const here = () => gzipSync(Buffer.from(body).toString().replaceAll(registry, address))
      bodies.set(path, path.endsWith('.tgz') ? body : here())
    }
    bodies.set(NAME, gzipSync(JSON.stringify(documentOf(manifest, bytes, address))))
    bodies.set(`${NAME}/-/${NAME}-${manifest.version}.tgz`, bytes)
    parentPort.postMessage({ port })
  })
  parentPort.on('message', () => {
    parentPort.postMessage(counts)
    counts = []
  })
}

if (!isMainThread) serve(workerData)
