import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Checkpoint, StoredTensor } from '../../src/checkpoint/types.ts'
import type { Tensors } from '../../src/lora/families/types.ts'
import { SMALL } from '../lora/families/whole.ts'
import { zeroTensors } from './files.ts'
import { readAdapter } from './models.ts'
import { lazy, scratchFolder } from './scratch.ts'
import type { Told } from './told.ts'

/** Numbers of a shape at most, so that a name's shape doesn't ask for a file of gigabytes. */
const MOST_NUMBERS = 4096

interface Listed {
  readonly tensors: Uint8Array
  /** Of adapter_config.json; '' where there is none. */
  readonly config: string
  /** The base that it is set beside: one of `SMALL`; a llama where it is none. */
  readonly base: string
}

/**
 * A file of tensors by lines: a name, a tab, a shape, a tab, a dtype. A line `@flux` tells the base, `#key=value` is metadata; what comes
 * after a line of `{` alone is adapter_config.json.
 */
function adapterOfLines(input: Uint8Array): Listed {
  const [listed, ...rest] = Buffer.from(input).toString('utf8').split('\n{\n')
  const lines = listed.split('\n')
  const metadata = lines.flatMap((line) => {
    const found = /^#([^=]*)=(.*)$/.exec(line)
    return found === null ? [] : [[found[1], found[2]] as const]
  })
  const tensors = lines.flatMap((line) => {
    const [name, sizes = '', dtype = 'F32'] = line.split('\t')
    if (name === '' || /^[#@]/.test(name)) return []
    const shape = (sizes.match(/\d+/g) ?? []).slice(0, 6).map(Number)
    const count = shape.reduce((product, n) => product * n, 1)
    return count <= MOST_NUMBERS ? [{ name, shape, dtype }] : []
  })
  return {
    tensors: zeroTensors(tensors, Object.fromEntries(metadata)),
    config: rest.length === 0 ? '' : `{${rest.join('\n{\n')}`,
    base: lines.find((line) => line.startsWith('@'))?.slice(1) ?? '',
  }
}

/** Models of diffusion families, by their names and shapes alone. */
const diffusionBases = lazy(
  () =>
    new Map(Object.entries(SMALL).map(([name, make]): [string, Checkpoint] => [name, hollow(name, make())])),
)

function hollow(path: string, shapes: Tensors): Checkpoint {
  const tensors = [...shapes].map(([name, { shape }]): [string, StoredTensor] => {
    const source = { kind: 'bytes', bytes: new Uint8Array(0) } as const
    return [name, { name, dtype: 'F32', shape, bytes: 0, source }]
  })
  return { path, tensors: new Map(tensors), metadata: new Map(), files: [], warnings: [] }
}

const namesFolder = lazy(() => scratchFolder({}))

/** Reads an adapter of whatever names, and sets it beside a base. */
export async function readNames(input: Uint8Array, told: Told): Promise<void> {
  const { tensors, config, base } = adapterOfLines(input)
  const folder = namesFolder()
  const place = join(folder, 'adapter_config.json')
  rmSync(place, { force: true })
  writeFileSync(join(folder, 'adapter_model.safetensors'), tensors)
  if (config !== '') writeFileSync(place, config)
  await readAdapter(
    config === '' ? join(folder, 'adapter_model.safetensors') : folder,
    told,
    diffusionBases().get(base),
  )
}
