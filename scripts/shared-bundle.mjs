// Several entry points as a bundle each, and one more beside them with what many of them have in common. esbuild offers everything
// again in each, or a chunk for each set of entry points that share something: dozens of small files to open. So its chunks are
// made first, and are the modules of which these bundles are made.
import { basename } from 'node:path'
import { build } from 'esbuild'
import { asCommonJs } from './common-js.mjs'

/**
 * Builds `entries` ({ name: path }) into `options.outdir`, with `${shared}.cjs` for whatever `least` of them or more need. Gives the
 * metafile of the chunks, which tells all that has gone into the bundles.
 */
export async function buildSharing({ entries, shared, least, options }) {
  const { outputFiles, metafile } = await build({
    ...options,
    entryPoints: entries,
    splitting: true,
    write: false,
  })
  const texts = Object.fromEntries(outputFiles.map(({ path, text }) => [basename(path), text]))
  const outputs = Object.fromEntries(
    Object.entries(metafile.outputs).map(([path, output]) => [basename(path), output]),
  )
  const common = neededBy(outputs, least)
  // each export has a name of its own in the shared bundle, since many chunks export an `a`
  const names = common.flatMap((chunk) => outputs[chunk].exports.map((name) => [chunk, name]))
  const named = (chunk, as) =>
    names
      .map((pair, i) => ({ pair, unique: `s${i}` }))
      .filter(({ pair }) => pair[0] === chunk)
      .map(({ pair: [, name], unique }) => as(name, unique))
      .join()
  const inShared = common
    .map((chunk) => `export{${named(chunk, (name, unique) => `${name} as ${unique}`)}}from'./${chunk}'`)
    .join('\n')
  // taken once: what is imported would be looked up at each call
  const outOfShared = Object.fromEntries(
    common.map((chunk) => [
      chunk,
      `const{${named(chunk, (_, unique) => unique)}}=require('./${shared}.cjs')
export{${named(chunk, (name, unique) => `${unique} as ${name}`)}}`,
    ]),
  )
  const bundle = (files, modules) =>
    build({
      ...options,
      ...asCommonJs,
      entryPoints: files,
      plugins: [inMemory(modules)],
    })
  await bundle([`${shared}.js`], { ...texts, [`${shared}.js`]: inShared })
  const files = Object.keys(entries).map((name) => `${name}.js`)
  await bundle(files, { ...texts, ...outOfShared })
  return metafile
}

/** The chunks that `least` entry points or more need; whatever these need in their turn is needed by as many. */
function neededBy(outputs, least) {
  const counts = Object.fromEntries(Object.keys(outputs).map((name) => [name, 0]))
  const entries = Object.keys(outputs).filter((name) => outputs[name].entryPoint !== undefined)
  for (const entry of entries) {
    const needed = new Set([entry])
    for (const name of needed)
      for (const { path, kind } of outputs[name].imports)
        if (kind === 'import-statement' && basename(path) in outputs) needed.add(basename(path))
    for (const name of needed) counts[name]++
  }
  return Object.keys(outputs).filter((name) => counts[name] >= least && !entries.includes(name))
}

/** Modules by their file's name. What is in dist/ as a bundle stays a file of its own, as do Node's modules. */
const inMemory = (modules) => ({
  name: 'in-memory',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /\.cjs$/ }, ({ path }) => ({ path, external: true }))
    onResolve({ filter: /\.js$/ }, ({ path }) => ({ path: basename(path), namespace: 'chunk' }))
    onLoad({ filter: /.*/, namespace: 'chunk' }, ({ path }) => ({ contents: modules[path] }))
  },
})
