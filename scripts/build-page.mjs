// Builds dist/page.html: the page of src/page/ as one file that needs nothing else. Its program lies in it deflated, and a few lines
// unpack it; the policy names both by their hashes.
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { deflateRawSync } from 'node:zlib'
import { build } from 'esbuild'
import { bundledPackages, licensesOf } from './licenses.mjs'
import { pageHost } from './page-host.mjs'

const hashOf = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

/** Stands in the program for the texts until it is known whose they are. */
const LICENCES = 'the licences of what is bundled'

/** Builds the page with esbuild's options for browsers; gives what went into it. */
export async function buildPage(options) {
  const { outputFiles, metafile } = await build({
    ...options,
    entryPoints: { page: 'src/page/main.ts', style: 'src/page/style.css', boot: 'src/page/boot.js' },
    plugins: [...options.plugins, pageHost()],
    define: {
      KERNELS_IN_HEX: JSON.stringify(readFileSync('dist/engine.wasm', 'hex')),
      EMBEDDED_WORKER: '""',
      EMBEDDED_LICENCES: JSON.stringify(LICENCES),
    },
    // of the code for Node, of which nothing is left
    logOverride: { 'empty-import-meta': 'silent' },
    write: false,
  })
  const textOf = (name) => outputFiles.find(({ path }) => path.endsWith(name)).text.trim()
  // the kernels have pieces of AssemblyScript's standard library in them
  const packages = [...bundledPackages([metafile]), 'node_modules/assemblyscript'].sort()
  const own = readFileSync('LICENSE', 'utf8').trim()
  const licences = licensesOf(packages, `lora-svd\n\n${own}\n\nThis page contains code of these packages.`)
  const [style, boot] = ['style.css', 'boot.js'].map(textOf)
  const program = textOf('page.js').replace(JSON.stringify(LICENCES), () => JSON.stringify(licences))
  const policy = [
    `default-src 'none'`,
    `script-src ${hashOf(boot)} ${hashOf(program)} 'wasm-unsafe-eval'`,
    `style-src ${hashOf(style)}`,
    'worker-src blob:',
    'img-src data:',
    `base-uri 'none'`,
    `form-action 'none'`,
  ].join('; ')
  const packed = deflateRawSync(program, { level: 9 }).toString('base64')
  const parts = { policy, style, boot, program: packed }
  const page = readFileSync('src/page/page.html', 'utf8').replace(/\{\{(\w+)\}\}/g, (_, name) => parts[name])
  writeFileSync('dist/page.html', page)
  const sizes = { page, style, boot, program, packed }
  return {
    metafile,
    sizes: Object.fromEntries(Object.entries(sizes).map(([name, text]) => [name, Buffer.byteLength(text)])),
  }
}
