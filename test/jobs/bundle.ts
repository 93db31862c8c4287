import { copyFileSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Bundles {
  readonly folder: string
  url(name: string): URL
  remove(): void
}

/** A new folder with each entry, named for its file, as a bundle beside the files of the engine. */
export async function bundle(entries: readonly string[]): Promise<Bundles> {
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-jobs-'))
  await build({
    absWorkingDir: root,
    entryPoints: [...entries],
    outdir: folder,
    bundle: true,
    platform: 'node',
    format: 'esm',
    splitting: false,
  })
  for (const name of ['engine.wasm', 'worker.cjs']) copyFileSync(join(root, 'dist', name), join(folder, name))
  // koffi is found from here
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  return {
    folder,
    url: (name) => pathToFileURL(join(folder, name)),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}
