import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { type Bill, bundledIn, ofPackage } from '../scripts/sbom.mjs'

describe('the bill of materials', () => {
  const bundled = bundledIn(readFileSync('dist/THIRD-PARTY-LICENSES.txt', 'utf8'))
  const all: Bill = JSON.parse(
    execFileSync('npm', ['sbom', '--sbom-format', 'cyclonedx'], { encoding: 'utf8', stdio: 'pipe' }),
  )
  const bill = ofPackage(all, bundled)
  const names = bill.components.map(({ name }) => name)

  test('has what is installed and what is bundled, and no tool of the build', () => {
    const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8'))
    expect(names).toEqual(
      expect.arrayContaining([...Object.keys(dependencies), 'assemblyscript', 'wrap-ansi']),
    )
    expect(names).not.toContain('vitest')
    expect(names).not.toContain('typescript')
    expect(bill.metadata.component.name).toBe('lora-svd')
    const isBundled = ({ properties = [] }: Bill['components'][number]) =>
      properties.some(({ name }) => name === 'cdx:npm:package:bundled')
    expect(
      new Set(bill.components.filter(isBundled).map(({ name, version }) => `${name} ${version}`)),
    ).toEqual(bundled)
  })

  test('refers to nothing that it hasn’t', () => {
    const refs = new Set(bill.components.map((one) => one['bom-ref']))
    for (const { ref, dependsOn = [] } of bill.dependencies) {
      expect(refs.has(ref) || ref === bill.metadata.component['bom-ref'], ref).toBe(true)
      for (const one of dependsOn) expect(refs.has(one), one).toBe(true)
    }
  })

  test('is refused where something bundled is missing', () => {
    expect(() => ofPackage(all, new Set(['left-pad 1.3.0']))).toThrow(
      'bundled, and not in the bill: left-pad 1.3.0',
    )
  })
})

test('a release is what CI passed, signed by the workflow, and by no secret of anybody', () => {
  const workflow = readFileSync('.github/workflows/release.yml', 'utf8')
  const order = ['.ci/run', 'npm audit signatures', 'scripts/sbom.mjs', 'npm publish --provenance']
  const places = order.map((command) => workflow.indexOf(command))
  expect(places.every((place) => place > 0)).toBe(true)
  expect(places).toEqual([...places].sort((a, b) => a - b))
  expect(workflow).toContain('id-token: write')
  expect(workflow).not.toMatch(/secrets\./)
})

test('the page that is published is the one that the build makes, put there by no secret of anybody', () => {
  const workflow = readFileSync('.github/workflows/pages.yml', 'utf8')
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'))
  expect(scripts.site).toBe('npm run build && node scripts/site.mjs')
  expect(workflow).toContain('npm run site')
  expect(workflow).toContain('path: dist/site')
  expect(workflow).not.toMatch(/secrets\./)
  execFileSync(process.execPath, ['scripts/site.mjs'], { stdio: 'pipe' })
  expect(readFileSync('dist/site/index.html', 'utf8')).toBe(readFileSync('dist/page.html', 'utf8'))
})
