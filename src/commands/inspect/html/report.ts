import { createHash } from 'node:crypto'
import { withBuilt } from '../../../io/built-file.ts'
import { jsonForScript } from '../../../text/markup.ts'
import type { InspectResult } from '../result.ts'
import { reportData } from './data.ts'
import { pageBody, pageTitle } from './page.ts'

/** The script and the style of a report, as the build made them. Throws LoraSvdError 'system' where one is missing. */
const reportAssets = () => ({ script: builtText('report-client.js'), style: builtText('report.css') })

const builtText = (name: 'report-client.js' | 'report.css') =>
  withBuilt(
    name,
    (bytes) => bytes.toString('utf8').trim(),
    (path) => `can't read ${path}, a part of every report`,
  )

/**
 * A report as one HTML file that needs nothing else and asks for nothing: the page's policy forbids every request, and
 * every script but its own by the hash. Spectra are thinned as `reportData` says. Throws LoraSvdError 'system' where the
 * built script is missing.
 */
export function htmlReport(result: InspectResult): string {
  const { script, style } = reportAssets()
  const policy = [
    `default-src 'none'`,
    `script-src 'sha256-${createHash('sha256').update(script).digest('base64')}'`,
    `style-src 'unsafe-inline'`,
    'img-src data:',
    `base-uri 'none'`,
    `form-action 'none'`,
  ].join('; ')
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${pageTitle(result)}</title>
<link rel="icon" href="data:,">
<style>${style}</style>
</head>
<body>
${pageBody(result)}
<script type="application/json" id="data">${jsonForScript(reportData(result))}</script>
<script>${script}</script>
</body>
</html>
`
}
