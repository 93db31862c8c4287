import type { Finding } from './findings.ts'
import type { Severity } from './rules.ts'

const COMMANDS: Readonly<Record<Severity, string>> = { error: 'error', warning: 'warning', note: 'notice' }

/**
 * Findings as the lines that GitHub Actions turns into annotations, each with its file and its rule as title
 * (github.com/actions/toolkit: packages/core/src/command.ts, 2026: escapeData, escapeProperty).
 */
export const annotationsOf = (findings: readonly Finding[]): string =>
  findings
    .map(
      ({ rule, severity, message, file }) =>
        `::${COMMANDS[severity]} file=${property(file)},title=${property(rule)}::${data(message)}\n`,
    )
    .join('')

const data = (text: string) => text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A')
const property = (text: string) => data(text).replaceAll(':', '%3A').replaceAll(',', '%2C')
