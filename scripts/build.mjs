// Builds dist/: the command line and the library as bundles, so that starting doesn't read a thousand small files
// of mathjs, and the types by tsc.
import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { build } from 'esbuild'

rmSync('dist', { recursive: true, force: true })

// Modules that dependencies load at their start for features this tool never reaches; each costs milliseconds.
const UNUSED = [
  { module: /^(node:)?child_process$/, of: 'commander', because: 'only subcommands that are programs of their own' },
  { module: /^crypto$/, of: 'seedrandom', because: 'only unseeded generators' },
  { module: /^@colors\/colors\/safe$/, of: 'cli-table3', because: 'only its own styles, which report/table.ts turns off' },
]
const leaveOutUnused = {
  name: 'leave-out-unused',
  setup({ onResolve, onLoad }) {
    for (const { module, of } of UNUSED) {
      onResolve({ filter: module }, ({ path, importer }) =>
        importer.includes(`node_modules/${of}/`) ? { path, namespace: 'unused' } : undefined,
      )
    }
    onLoad({ filter: /.*/, namespace: 'unused' }, () => ({ contents: 'module.exports = {}' }))
  },
}

const common = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  minify: true,
  outdir: 'dist',
  splitting: true,
  chunkNames: 'chunks/[name]-[hash]',
  legalComments: 'none',
  plugins: [leaveOutUnused],
  logLevel: 'warning',
}

// Some dependencies are CommonJS and call require for node's own modules.
const requireForCommonJs = `import{createRequire}from'node:module';const require=createRequire(import.meta.url);`

await build({ ...common, entryPoints: ['src/cli.ts'], banner: { js: requireForCommonJs } })
await build({ ...common, entryPoints: ['src/index.ts', 'src/mathjs.ts'], external: ['mathjs'] })
execFileSync('npx', ['tsc', '--project', 'tsconfig.build.json'], { stdio: 'inherit' })
