// What the rooms of src/ have in a browser in place of Node's modules and of those rooms that are about files and threads.
import { dirname, join, relative, resolve } from 'node:path'

const HOST = 'src/page/host'

/** Node's own modules, by what stands for each. */
const NODE = {
  buffer: 'node/buffer.ts',
  crypto: 'node/crypto.ts',
  os: 'node/os.ts',
  path: 'node/path.ts',
  'timers/promises': 'node/timers.ts',
  util: 'node/util.ts',
  worker_threads: 'node/threads.ts',
  zlib: 'node/zlib.ts',
}

/** Modules of src/, by what stands for each. */
const OWN = {
  'engine/lapack/lapack-engine.ts': 'engine/lapack-engine.ts',
  'engine/wasm/wasm-engine.ts': 'engine/wasm-engine.ts',
  'engine/wasm/thread.ts': '../thread.ts',
  'io/built-file.ts': 'io/built-file.ts',
  'commands/extract/shard-run.ts': 'commands/shard-run.ts',
  'io/copy-files.ts': 'io/folders.ts',
  'io/files.ts': 'io/files.ts',
  'io/own-folder.ts': 'io/folders.ts',
  'io/place-folder.ts': 'io/folders.ts',
  'io/run-folder.ts': 'io/run-folder.ts',
  'io/sized-file.ts': 'io/folders.ts',
  'io/source.ts': 'io/source.ts',
  'io/write-atomic.ts': 'io/write-atomic.ts',
  'io/remote/ahead.ts': 'io/network.ts',
  'io/remote/cache.ts': 'io/network.ts',
  'io/remote/hub.ts': 'io/network.ts',
  'io/remote/kept.ts': 'io/network.ts',
  'io/remote/network.ts': 'io/network.ts',
  'io/remote/settings.ts': 'io/network.ts',
  'jobs/thread.ts': 'jobs/thread.ts',
}

/** Modules that are imported for what a page never does: whoever calls them meets a defect. */
const ABSENT =
  /^(io\/new-folder|commands\/extract\/(join|shared-job)|commands\/(inspect|verify)\/shard|commands\/inspect\/(html\/report|svg|canvas|next\/.*)|shards\/part|report\/table|terminal\/.*)\.ts$/

/** The plugin of esbuild that puts them there, and what it names of Node's globals. */
export const pageHost = () => ({
  name: 'page-host',
  setup(build) {
    const host = (file) => ({ path: resolve(HOST, file), sideEffects: false })
    build.initialOptions.inject = [...(build.initialOptions.inject ?? []), resolve(HOST, 'node/globals.ts')]
    build.onResolve({ filter: /^node:/ }, ({ path, importer }) => {
      const file = NODE[path.slice('node:'.length)]
      if (file === undefined)
        return { errors: [{ text: `${relative('.', importer)}: a page has no ${path}` }] }
      return host(file)
    })
    build.onResolve({ filter: /^\..*\.ts$/ }, ({ path, importer }) => {
      const own = relative('src', join(dirname(importer), path))
      // a stand-in may be made of what it stands for
      if (own in OWN && !importer.startsWith(resolve(HOST))) return host(OWN[own])
      return ABSENT.test(own) ? { path: own, namespace: 'absent' } : undefined
    })
    build.onLoad({ filter: /.*/, namespace: 'absent' }, ({ path }) => ({
      contents: `const absent = () => { throw new Error('${path} is no part of a page') }
module.exports = new Proxy({}, { get: () => absent })`,
    }))
  },
})
