import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { bundledPackages, licensesOf, MARKS } from '../scripts/licenses.mjs'

const folder = mkdtempSync(join(tmpdir(), 'lora-svd-licenses-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A package in a folder of this name, with these files. */
function packageOf(name: string, license: string | undefined, files: Record<string, string> = {}): string {
  const path = join(folder, name)
  mkdirSync(path)
  writeFileSync(join(path, 'package.json'), JSON.stringify({ name, version: '1.2.3', license }))
  for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text)
  return path
}

const MIT = 'Copyright Somebody\n\nPermission is hereby granted, free of charge, to any person\n'

describe('dist/THIRD-PARTY-LICENSES.txt', () => {
  const [, ...sections] = readFileSync('dist/THIRD-PARTY-LICENSES.txt', 'utf8').split(/^={80}\n/m)
  const byPackage = new Map(
    sections.map((section) => {
      const [, name, license] = /^(\S+) \S+ \((.+)\)\n/.exec(section) ?? []
      return [name, { license, section }]
    }),
  )

  it('has the text of each package whose code is in the bundles, copyright and all', () => {
    expect(byPackage.size).toBeGreaterThan(9)
    for (const [name, { license, section }] of byPackage) {
      expect(section, name).toMatch(MARKS[license as string])
      expect(section, name).toMatch(/copyright/i)
    }
  })

  it('has those that we know to be there', () => {
    const direct = ['chalk', 'cli-table3', 'commander', 'mathjs', 'seedrandom']
    for (const name of [...direct, 'assemblyscript', 'typed-function', 'string-width'])
      expect([...byPackage.keys()]).toContain(name)
  })

  it('has what comes with Apache-2.0: the notice (§4d)', () => {
    for (const name of ['mathjs', 'assemblyscript']) {
      const notice = readFileSync(`node_modules/${name}/NOTICE`, 'utf8').trim()
      expect(byPackage.get(name)?.section).toContain(notice)
    }
  })

  it('has the text that seedrandom keeps in its program', () => {
    expect(byPackage.get('seedrandom')?.section).toContain('Copyright 2019 David Bau.')
  })
})

describe('bundledPackages', () => {
  it('counts packages of which something is in a bundle, nested and scoped ones too', () => {
    const input = (bytesInOutput: number) => ({ bytesInOutput })
    const inputs = {
      'src/cli.ts': input(10),
      'node_modules/b/index.js': input(10),
      'node_modules/b/lib/x.js': input(10),
      'node_modules/@scope/a/index.js': input(1),
      'node_modules/b/node_modules/c/index.js': input(1),
      'node_modules/unused/index.js': input(0),
    }
    expect(bundledPackages([{ outputs: { 'dist/cli.js': { inputs } } }, { outputs: {} }])).toEqual([
      'node_modules/@scope/a',
      'node_modules/b',
      'node_modules/b/node_modules/c',
    ])
  })
})

describe('licensesOf', () => {
  it('takes the licence from a file of either spelling, or the comment at the head of the program', () => {
    const packages = [
      packageOf('american', 'MIT', { 'LICENSE.md': MIT, NOTICE: 'noted' }),
      packageOf('british', 'MIT', { licence: MIT }),
      packageOf('in-its-program', 'MIT', { 'index.js': `/*\n${MIT}*/\nmodule.exports = 1\n` }),
    ]
    const text = licensesOf(packages)
    expect(text.match(/Permission is hereby granted/g)).toHaveLength(3)
    expect(text).toMatch(/american 1\.2\.3 \(MIT\)\n\n[\s\S]*person\n\nnoted\n/)
  })

  it.each([
    ['has none', 'MIT', {}],
    ['has another', 'MIT', { LICENSE: 'All rights reserved.' }],
    ['says nothing', undefined, { LICENSE: MIT }],
    ['has a licence that nobody has looked at', 'GPL-3.0', { LICENSE: 'GNU General Public License' }],
  ])('fails where a package %s', (what, license, files) => {
    const path = packageOf(what.replaceAll(' ', '-'), license, files)
    expect(() => licensesOf([path])).toThrow(/no text of its licence/)
  })
})
