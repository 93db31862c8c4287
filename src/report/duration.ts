const UNITS = [
  ['d', 86_400],
  ['h', 3600],
  ['min', 60],
  ['s', 1],
] as const

/** A time in whole seconds, in its two largest units: 45 s, 1 min 20 s, 2 h 5 min. */
export function duration(seconds: number): string {
  const rounded = Math.max(0, Math.round(seconds))
  const first = UNITS.findIndex(([, size]) => rounded >= size)
  if (first < 0) return '0 s'
  const [unit, size] = UNITS[first]
  const whole = `${Math.floor(rounded / size)} ${unit}`
  const second = UNITS[first + 1]
  const rest = second === undefined ? 0 : Math.floor((rounded % size) / second[1])
  return rest === 0 ? whole : `${whole} ${rest} ${second[0]}`
}
