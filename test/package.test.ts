import { execFileSync } from 'node:child_process'
import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'

const manifest = JSON.parse(readFileSync('package.json', 'utf8'))

test('five packages are needed to run, and one more may be there', () => {
  expect(Object.keys(manifest.dependencies).sort()).toEqual([
    'chalk',
    'cli-table3',
    'commander',
    'mathjs',
    'seedrandom',
  ])
  expect(Object.keys(manifest.optionalDependencies)).toEqual(['koffi'])
  expect(manifest).not.toHaveProperty('peerDependencies')
})

test('nothing runs when it is installed from the registry', () => {
  for (const hook of ['preinstall', 'install', 'postinstall'])
    expect(manifest.scripts).not.toHaveProperty(hook)
})

test('the oldest Node is the one that is built for, and commander still supports', () => {
  expect(manifest.engines).toEqual({ node: '>=20' })
  expect(readFileSync('scripts/build.mjs', 'utf8')).toContain("target: 'node20'")
  // commander 15 needs Node 22
  expect(manifest.dependencies.commander).toMatch(/^\^14\./)
})

test('the command can be executed', () => {
  expect(manifest.bin).toEqual({ 'lora-svd': 'bin/lora-svd.js' })
  expect(readFileSync('bin/lora-svd.js', 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/)
  expect(() => accessSync('bin/lora-svd.js', constants.X_OK)).not.toThrow()
})

test('every export has its types first, and all of it is there', () => {
  expect(Object.keys(manifest.exports)).toEqual(['.', './mathjs', './schemas/*', './package.json'])
  for (const entry of ['.', './mathjs']) {
    const conditions: Record<string, string> = manifest.exports[entry]
    expect(Object.keys(conditions)).toEqual(['types', 'default'])
    for (const path of Object.values(conditions)) expect(existsSync(path), path).toBe(true)
  }
})

const packed = JSON.parse(
  execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  }),
)[0]
const paths: string[] = packed.files.map(({ path }: { path: string }) => path)

test('what is published is what is needed, and no more', () => {
  for (const path of [
    'README.md',
    'LICENSE',
    'NOTICE',
    'CHANGELOG.md',
    'package.json',
    'bin/lora-svd.js',
    'bin/package.json',
    'dist/cli.cjs',
    'dist/job-worker.cjs',
    'dist/index.js',
    'dist/mathjs.js',
    'dist/types/index.d.ts',
    'dist/THIRD-PARTY-LICENSES.txt',
    'schemas/demo-1.json',
    'schemas/factor-1.json',
    'schemas/doctor-1.json',
    'schemas/error-1.json',
  ]) {
    expect(paths).toContain(path)
  }
  const isExpected = (path: string) =>
    /^(bin|dist|schemas)\//.test(path) ||
    /^(README\.md|LICENSE|NOTICE|CHANGELOG\.md|package\.json)$/.test(path)
  expect(paths.filter((path) => !isExpected(path))).toEqual([])
})

// Who runs it by npx waits for it. With all code again in every command's bundle, and the types of all modules, it was 3.2 MB in 578 files.
test('the package is small', () => {
  expect(packed.size).toBeLessThan(2.4e6)
  expect(packed.entryCount).toBeLessThan(260)
})

// The build escapes letters, but not those of a regular expression. With one beyond Latin-1 V8 holds all of a bundle in two bytes a letter:
// `extract` of a small pair then takes a twentieth longer.
test('what runs most is ASCII', () => {
  for (const name of ['cli', 'demo', 'inspect', 'extract', 'wasm-engine'])
    expect(readFileSync(`dist/${name}.cjs`, 'utf8'), name).toMatch(/^[\0-\x7f]*$/)
})

test('whatever a bundle imports is published with it', () => {
  const bundles = paths.filter((path) => /^dist\/.*\.c?js$/.test(path))
  const imported = bundles.flatMap((path) =>
    [
      ...readFileSync(path, 'utf8').matchAll(
        /(?:\bfrom|\bimport|\brequire)\s*\(?\s*["'](\.\.?\/[^"']+\.c?js)["']/g,
      ),
    ].map(([, other]) => join(dirname(path), other)),
  )
  expect(new Set(imported).size).toBeGreaterThan(20)
  expect(imported.filter((path) => !paths.includes(path))).toEqual([])
})

test('the types that are published are those that an entry point leads to', () => {
  const types = paths.filter((path) => path.endsWith('.d.ts'))
  const led = types.flatMap((path) =>
    [...readFileSync(path, 'utf8').matchAll(/["'](\.[^"']+)\.ts["']/g)].map(([, other]) =>
      join(dirname(path), `${other}.d.ts`),
    ),
  )
  const entries = ['dist/types/index.d.ts', 'dist/types/mathjs.d.ts']
  expect([...new Set([...entries, ...led])].sort()).toEqual(types.sort())
})
