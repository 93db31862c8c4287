import { elementCount } from '../../../checkpoint/read.ts'
import type { Checkpoint, StoredTensor } from '../../../checkpoint/types.ts'
import { LoraSvdError } from '../../../errors.ts'
import { readScalars } from '../../../lora/factors.ts'
import type { Adapter } from '../../../lora/model.ts'
import { parseName } from '../../../lora/names.ts'
import { adapterOf } from '../../../lora/read/adapter.ts'
import { isMlxConfig } from '../../../lora/read/mlx-config.ts'
import { addTo } from '../../../text/compare.ts'
import { shapeText } from '../../../text/quote.ts'
import { DEFECTS, type Found, isDefectName } from '../rules.ts'

/** What could be read of an adapter, and what was wrong with the rest. */
export interface ReadAdapter {
  /** Undefined where the names are no adapter's. */
  readonly adapter: Adapter | undefined
  readonly found: readonly Found[]
  /** Modules and tensors that could not be read. */
  readonly leftOut: number
}

/** The methods of PEFT whose configs are read (huggingface/peft: src/peft/mapping.py). */
const METHODS: ReadonlySet<unknown> = new Set(['LORA', 'LOHA', 'LOKR'])

/** Reads an adapter past its defects: each is told, and the part that it is of left out. `model` is the base's config.json. */
export async function readPastDefects(
  checkpoint: Checkpoint,
  model: Checkpoint['config'],
): Promise<ReadAdapter> {
  const alphas = await wrongAlphas(checkpoint)
  const left = new Set(alphas.flatMap(({ names = [] }) => names))
  const tensors = new Map([...checkpoint.tensors].filter(([name]) => !left.has(name)))
  const errors: LoraSvdError[] = []
  const onDefect = (error: LoraSvdError) => errors.push(error)
  const adapter = await adapterOf({ ...checkpoint, tensors }, { onDefect, model }).catch((error: unknown) => {
    if (!(error instanceof LoraSvdError) || error.code !== 'bad-input') throw error
    errors.push(error)
    return undefined
  })
  const leftOut = errors.filter(({ tensor }) => tensor !== undefined).length
  return { adapter, found: [...alphas, ...grouped(errors, checkpoint)], leftOut }
}

/** `.alpha` tensors that are no number by which a scale could be told. */
async function wrongAlphas({ tensors, isGguf, adapterConfig }: Checkpoint): Promise<Found[]> {
  if (isGguf) return []
  const alphas = [...tensors.values()].filter(({ name }) => parseName(name)?.role === 'alpha')
  const isScalar = (tensor: StoredTensor) => elementCount(tensor) === 1
  const wrong = alphas.filter((tensor) => !isScalar(tensor))
  const [first] = wrong
  const values = await readScalars(alphas.filter(isScalar))
  const withValue = (test: (value: number) => boolean) =>
    [...values].filter(([, value]) => test(value)).map(([name]) => name)
  const zero = adapterConfig === undefined ? withValue((value) => value === 0) : []
  const notFinite = withValue((value) => !Number.isFinite(value))
  return [
    ...(first === undefined
      ? []
      : [
          {
            rule: 'alpha-shape' as const,
            names: wrong.map(({ name }) => name),
            message: `An .alpha tensor has the shape ${shapeText(first.shape)}, and not one number.`,
          },
        ]),
    ...(zero.length > 0 ? [{ rule: 'alpha-zero' as const, names: zero }] : []),
    ...(notFinite.length > 0 ? [{ rule: 'alpha-not-finite' as const, names: notFinite }] : []),
  ]
}

/** What was thrown, one of each rule: of many alike the first is told, and how many there are. */
function grouped(errors: readonly LoraSvdError[], { adapterConfig }: Checkpoint): Found[] {
  const groups = new Map<string, LoraSvdError[]>()
  for (const error of errors) {
    addTo(groups, ruleOf(error, adapterConfig), error)
  }
  return [...groups].map(([rule, [first, ...others]]) => ({
    rule: isDefectName(rule) ? rule : 'unreadable',
    message: sentence(first, isDefectName(rule) ? DEFECTS[rule].advice : undefined),
    names: [first, ...others].flatMap(({ tensor }) => tensor ?? []),
    ...(rule.startsWith('config-') && { inConfig: true as const }),
  }))
}

function ruleOf(error: LoraSvdError, config: Checkpoint['adapterConfig']): string {
  if (error.rule !== undefined) return error.rule
  if (config === undefined || error.tensor !== undefined) return 'unreadable'
  return METHODS.has(config.peft_type) || isMlxConfig(config) ? 'config-field' : 'config-peft-type'
}

/** The error's line without the file and the advice, which are told beside it. */
function sentence({ message, file }: LoraSvdError, advice?: string): string {
  const whole =
    file !== undefined && message.startsWith(`${file}: `) ? message.slice(file.length + 2) : message
  const end = `; ${advice}`
  const text = whole.endsWith(end) ? whole.slice(0, -end.length) : whole
  return `${text[0].toUpperCase()}${text.slice(1)}.`
}
