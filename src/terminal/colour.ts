/** Chalk's levels: 0 none, 1 basic, 2 of 256 colours, 3 true colour. */
export type ColourLevel = 0 | 1 | 2 | 3

export interface ColourRequest {
  /** `--color` (true), `--no-color` (false), or neither. */
  readonly flag: boolean | undefined
  readonly env: Readonly<Record<string, string | undefined>>
  readonly isTerminal: boolean
}

/**
 * How much colour one output stream gets. The first that speaks decides: the flag, NO_COLOR (no-color.org),
 * FORCE_COLOR, TERM=dumb, and whether the stream is a terminal. Chalk itself knows nothing of NO_COLOR.
 */
export function colourLevel({ flag, env, isTerminal }: ColourRequest): ColourLevel {
  const richest = levelOfTerminal(env)
  if (flag !== undefined) return flag ? richest : 0
  if (env.NO_COLOR) return 0
  if (env.FORCE_COLOR !== undefined) return forcedLevel(env.FORCE_COLOR, richest)
  if (env.TERM === 'dumb') return 0
  return isTerminal ? richest : 0
}

function levelOfTerminal({ COLORTERM, TERM = '' }: ColourRequest['env']): ColourLevel {
  if (COLORTERM === 'truecolor' || COLORTERM === '24bit') return 3
  return TERM.includes('256') ? 2 : 1
}

/** FORCE_COLOR=0 or false means none, 1 to 3 the level, anything else some colour: as Node and chalk read it. */
function forcedLevel(value: string, richest: ColourLevel): ColourLevel {
  if (value === '0' || value === 'false') return 0
  return value === '1' || value === '2' || value === '3' ? (Number(value) as ColourLevel) : richest
}
