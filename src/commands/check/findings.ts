import { addTo } from '../../text/compare.ts'
import { firstOf, shownName } from '../../text/names.ts'
import { counted } from '../../text/quote.ts'
import type { CheckedLoader, CheckResult, LoaderReason } from './result.ts'
import { isDefectName, type Severity } from './rules.ts'

/** A finding as programs that collect such take it: one line about one file. */
export interface Finding {
  readonly rule: string
  readonly severity: Severity
  /** In whole sentences. */
  readonly message: string
  readonly file: string
  /** Modules or tensors. */
  readonly names: readonly string[]
}

/** All findings: what is wrong with the file, then what each loader makes of it. */
export function findingsOf(result: CheckResult): Finding[] {
  const { defects, loaders } = result
  const { file } = result.source
  return [
    ...defects.map(({ rule, severity, message, advice, file, names }) => ({
      ...{ rule, severity, file, names },
      message: `${withNames(message, names)}${consequence(rule, loaders)} To do: ${advice}.`,
    })),
    ...loaders.flatMap((loader) =>
      loader.reasons
        .filter(({ rule }) => !isDefectName(rule))
        .map(
          (reason): Finding => ({
            rule: reason.rule,
            severity: severityOf(reason),
            message: loaderMessage(loader, reason, result),
            file,
            names: reason.modules ?? reason.tensors ?? [],
          }),
        ),
    ),
  ]
}

/** What a defect makes loaders do, where it makes them do anything: it is one finding, whoever it concerns. */
function consequence(rule: string, loaders: readonly CheckedLoader[]): string {
  const concerned = loaders.filter(({ reasons }) => reasons.some((reason) => reason.rule === rule))
  const byVerdict = new Map<string, CheckedLoader[]>()
  for (const one of concerned) addTo(byVerdict, one.verdict, one)
  return [...byVerdict]
    .map(([verdict, some]) => ` Verdict of ${some.map(({ loader }) => loader).join(', ')}: ${verdict}.`)
    .join('')
}

const severityOf = ({ effect }: LoaderReason): Severity => (effect === 'warns' ? 'note' : 'error')

/** `vLLM refuses the adapter: it refuses DoRA (source, date).` */
const loaderMessage = (loader: CheckedLoader, reason: LoaderReason, result: CheckResult) =>
  `${loader.loader} ${VERDICTS[loader.verdict]}: ${reasonText(reason, result)} (${reason.source}, ${reason.date}).`

const VERDICTS: Readonly<Record<CheckedLoader['verdict'], string>> = {
  loads: 'loads the adapter',
  'wrong scale': 'scales the adapter wrongly',
  'wrong numbers': 'loads other numbers than the adapter’s',
  'loads part': 'loads part of the adapter',
  'loads nothing': 'loads nothing of the adapter',
  refuses: 'refuses the adapter',
}

/** A reason with how many modules it is of, where that is not all of them. */
export function reasonText(
  { reason, modules, tensors }: LoaderReason,
  { modules: total }: CheckResult,
): string {
  if (modules !== undefined && modules.length < total) {
    return `${reason} (${modules.length} of ${counted(total, 'module')}: ${firstOf(modules.map(shownName))})`
  }
  return tensors === undefined
    ? reason
    : `${reason} (${counted(tensors.length, 'tensor')}: ${firstOf(tensors.map(shownName))})`
}

/** A sentence with what it is of. */
export const withNames = (message: string, names: readonly string[]): string =>
  names.length === 0 ? message : `${message} In ${firstOf(names.map(shownName))}.`
