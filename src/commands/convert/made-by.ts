import { publicName } from '../../lora/write/config.ts'
import { shellWord } from '../../text/quote.ts'
import type { ConvertSettings } from './options.ts'

const argument = (path: string) => shellWord(publicName(path).replace(/^-/, './-'))

/** The command that makes the result, without what changes none of its bytes and without the folders of this machine. */
export function convertCommand(settings: ConvertSettings): string {
  const { adapter, format, base, init, alpha, alphaZero, layout, experts, dtype, drop } = settings
  const flag = (name: string, value: string | number | undefined) =>
    value === undefined ? [] : [`--${name} ${shellWord(String(value))}`]
  const path = (name: string, value: string | undefined) =>
    value === undefined ? [] : [`--${name} ${argument(value)}`]
  return [
    `lora-svd convert ${argument(adapter)} -o ADAPTER --format ${format}`,
    ...path('base', base),
    ...path('init', init),
    ...flag('alpha', alpha),
    ...flag('alpha-zero', alphaZero),
    ...flag('layout', layout === 'portable' ? undefined : layout),
    ...flag('experts', experts),
    ...flag('dtype', dtype),
    ...(drop ? ['--drop'] : []),
  ].join(' ')
}
