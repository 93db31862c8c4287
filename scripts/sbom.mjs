// The software bill of materials of the package, as CycloneDX: of `npm sbom` on standard input what is installed with it, and what
// is bundled in dist/, which npm takes for a tool of the build. Usage: npm sbom --sbom-format cyclonedx | node scripts/sbom.mjs
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** `name version` of each package whose code is in dist/, from the file with their licences. */
export const bundledIn = (licenses) =>
  new Set([...licenses.matchAll(/^={80}\n(\S+ \S+) \(.+\)$/gm)].map(([, package_]) => package_))

/** The bill without tools of the build; what is bundled is marked so. Throws where something bundled is not in it. */
export function ofPackage(bill, bundled) {
  const key = ({ name, version }) => `${name} ${version}`
  const isTool = ({ properties = [] }) =>
    properties.some(({ name, value }) => name === 'cdx:npm:package:development' && value === 'true')
  const missing = [...bundled].filter((one) => !bill.components.some((component) => key(component) === one))
  if (missing.length > 0) throw new Error(`bundled, and not in the bill: ${missing.join(', ')}`)
  const components = bill.components
    .filter((one) => bundled.has(key(one)) || !isTool(one))
    .map((one) => (bundled.has(key(one)) ? { ...one, scope: 'required', properties: [BUNDLED] } : one))
  const refs = new Set([bill.metadata.component['bom-ref'], ...components.map((one) => one['bom-ref'])])
  const component = { ...bill.metadata.component, name: 'lora-svd' }
  const dependencies = bill.dependencies
    .filter(({ ref }) => refs.has(ref))
    .map(({ ref, dependsOn = [] }) => ({ ref, dependsOn: dependsOn.filter((one) => refs.has(one)) }))
  return { ...bill, metadata: { ...bill.metadata, component }, components, dependencies }
}

const BUNDLED = { name: 'cdx:npm:package:bundled', value: 'true' }

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const licenses = readFileSync(new URL('../dist/THIRD-PARTY-LICENSES.txt', import.meta.url), 'utf8')
  const bill = ofPackage(JSON.parse(readFileSync(0, 'utf8')), bundledIn(licenses))
  process.stdout.write(`${JSON.stringify(bill, null, 2)}\n`)
}
