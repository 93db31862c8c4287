import { isAbsolute } from 'node:path'
import { pathToFileURL } from 'node:url'
import { allFacts } from '../../lora/loaders/table.ts'
import type { Fact } from '../../lora/loaders/types.ts'
import { version } from '../../version.ts'
import { type Finding, findingsOf } from './findings.ts'
import type { CheckResult } from './result.ts'
import { DEFECTS, type Severity } from './rules.ts'

const HOME = 'https://github.com/lora-svd/lora-svd'
/** SARIF's levels (OASIS SARIF 2.1.0, 3.27.10). */
const LEVELS: Readonly<Record<Severity, string>> = { error: 'error', warning: 'warning', note: 'note' }
/** Modules named of one result at most: a per-expert adapter has thousands. */
const MOST_LOCATIONS = 100

/**
 * The findings as a SARIF 2.1.0 log: one run, with every fact and defect that is known as a rule, so that rules keep their places
 * whatever is found.
 */
export function sarifOf(result: CheckResult): object {
  const rules = [...Object.entries(DEFECTS).map(defectRule), ...allFacts().map(factRule)]
  const places = new Map(rules.map(({ id }, index) => [id, index]))
  return {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            ...{ name: 'lora-svd', version, semanticVersion: version },
            ...{ informationUri: HOME, rules },
          },
        },
        columnKind: 'utf16CodeUnits',
        results: findingsOf(result).map((finding) => resultOf(finding, places)),
      },
    ],
  }
}

const defectRule = ([id, { text, advice, source, severity }]: [
  string,
  (typeof DEFECTS)[keyof typeof DEFECTS],
]) => ({
  id,
  shortDescription: { text },
  help: { text: `To do: ${advice}. Source: ${source}.` },
  ...helpUriOf(source),
  defaultConfiguration: { level: LEVELS[severity] },
})

const factRule = ({ rule, text, source, date, effect, loader }: Fact) => ({
  id: rule,
  shortDescription: { text: `${text}.` },
  help: { text: `Source: ${source} (${date}).` },
  ...helpUriOf(source),
  defaultConfiguration: { level: effect === 'warns' ? 'note' : 'error' },
  properties: { loader, effect, source, date },
})

/** The page of the repository that a source begins with: `huggingface/peft: src/…`; files move, and their names are in the text. */
function helpUriOf(source: string): { helpUri: string } {
  const [, repository] = /^([\w.-]+\/[\w.-]+):/.exec(source) ?? []
  return { helpUri: repository === undefined ? HOME : `https://github.com/${repository}` }
}

const resultOf = (
  { rule, severity, message, file, names }: Finding,
  places: ReadonlyMap<string, number>,
) => ({
  ruleId: rule,
  ruleIndex: places.get(rule)!,
  level: LEVELS[severity],
  message: { text: message },
  locations: [
    {
      // collectors ask for a line, of which a file of tensors has one
      physicalLocation: { artifactLocation: { uri: uriOf(file) }, region: { startLine: 1 } },
      ...(names.length > 0 && {
        logicalLocations: names
          .slice(0, MOST_LOCATIONS)
          .map((name) => ({ fullyQualifiedName: name, kind: 'module' })),
      }),
    },
  ],
})

/** A path as SARIF has it: relative ones with slashes, each part percent-encoded. */
function uriOf(path: string): string {
  if (isAbsolute(path)) return pathToFileURL(path).href
  return path.split(/[\\/]/).map(encodeURIComponent).join('/')
}
