// The licences of the packages whose code is in dist/: what each asks to be handed on with it.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'

/** What a text of each licence that we hand on has in it; a licence that isn't here has to be looked at first. */
export const MARKS = {
  MIT: /Permission is hereby granted, free of charge/,
  ISC: /Permission to use, copy, modify, and\/or distribute/,
  'Apache-2.0': /Apache License\s+Version 2\.0/,
  'BSD-3-Clause': /Redistribution and use in source and binary forms/,
}

/** The folders of the packages from which esbuild took code: what was left out of all bundles doesn't count. */
export function bundledPackages(metafiles) {
  const outputs = metafiles.flatMap((metafile) => Object.values(metafile.outputs))
  const inputs = outputs.flatMap((output) => Object.entries(output.inputs))
  const files = inputs.filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([file]) => file)
  const folders = files.map((file) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0])
  return [...new Set(folders)].filter((folder) => folder !== undefined).sort()
}

/** The licences of these packages, after a line that says what they are in. Throws where a package has no text. */
export function licensesOf(folders, intro = 'The bundles in this folder contain code of these packages.') {
  return `${intro}\n\n${folders.map(sectionOf).join('\n')}`
}

function sectionOf(folder) {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const text = licenseText(folder)
  if (!MARKS[license]?.test(text)) throw new Error(`${name} ${version}: no text of its licence, ${license}`)
  const parts = [`${name} ${version} (${license})`, text, ...filesNamed(/^notice/i, folder)]
  return `${'='.repeat(80)}\n${parts.map((part) => part.trim()).join('\n\n')}\n`
}

function licenseText(folder) {
  const files = filesNamed(/^(licen[cs]e|copying)/i, folder)
  return files.length > 0 ? files.join('\n\n') : licenseComment(folder)
}

/** The comment that the package's program begins with. */
function licenseComment(folder) {
  const { main = 'index.js', name } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const programs = [main, `${basename(name)}.js`].map((file) => join(folder, file)).filter(existsSync)
  const comments = programs.map(
    (file) => /^\s*\/\*([\s\S]*?)\*\//.exec(readFileSync(file, 'utf8'))?.[1] ?? '',
  )
  return comments.find((comment) => comment.length > 0) ?? ''
}

function filesNamed(pattern, folder) {
  const names = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile())
  return names
    .filter(({ name }) => pattern.test(name))
    .map(({ name }) => readFileSync(join(folder, name), 'utf8'))
}
