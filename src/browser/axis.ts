/** A linear or logarithmic map from values to pixels, with round ticks. */
export interface Axis {
  readonly domain: readonly [number, number]
  at(value: number): number
  valueAt(pixel: number): number
  readonly ticks: readonly Tick[]
}

export interface Tick {
  readonly value: number
  readonly label: string
}

/** More ticks than fit any axis: where the step drowns in the digits of the ends, counting would not end. */
const MOST_TICKS = 100

/** The smallest normal number: 10 to lower powers has too few digits to count by. */
const LEAST_VALUE = 2 ** -1022

export function linearAxis(
  domain: readonly [number, number],
  range: readonly [number, number],
  count: number,
): Axis {
  const [low, high] = domain
  const [from, to] = range
  const slope = (to - from) / (high - low || 1)
  return {
    domain,
    at: (value) => from + (value - low) * slope,
    valueAt: (pixel) => low + (pixel - from) / slope,
    ticks: linearTicks(low, high, count),
  }
}

/** Domain above zero, kept to what float64 holds. `base` 2 marks powers of two, as ranks come; 10 marks decades, and 2 and 5 between few of them. */
export function logAxis(
  wanted: readonly [number, number],
  range: readonly [number, number],
  count: number,
  base: 2 | 10,
): Axis {
  const within = (x: number) => Math.min(Number.MAX_VALUE, Math.max(LEAST_VALUE, x))
  const domain: readonly [number, number] = [within(wanted[0]), within(wanted[1])]
  const [low, high] = domain.map(Math.log)
  const [from, to] = range
  const slope = (to - from) / (high - low || 1)
  return {
    domain,
    at: (value) => from + (Math.log(value) - low) * slope,
    valueAt: (pixel) => Math.exp(low + (pixel - from) / slope),
    ticks: base === 2 ? binaryTicks(domain, count) : decimalTicks(domain, count),
  }
}

function linearTicks(low: number, high: number, count: number): Tick[] {
  if (!(high > low && high - low < Number.POSITIVE_INFINITY)) return [{ value: low, label: tickLabel(low) }]
  const rough = (high - low) / Math.max(1, count)
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10)
  const ticks = []
  const first = Math.ceil(low / step - 1e-9)
  const last = Math.min(Number.MAX_VALUE, high * (1 + 1e-9))
  for (let i = 0; i < MOST_TICKS && (first + i) * step <= last; i++) {
    // through its digits, so that 3 · 0.1 is labelled 0.3
    const value = Number(((first + i) * step).toPrecision(12))
    ticks.push({ value, label: tickLabel(value) })
  }
  return ticks
}

function binaryTicks([low, high]: readonly [number, number], count: number): Tick[] {
  const every = Math.max(1, Math.ceil((Math.log2(high) - Math.log2(low)) / count))
  const ticks = []
  for (let power = Math.ceil(Math.log2(low)); 2 ** power <= high; power += every) {
    ticks.push({ value: 2 ** power, label: tickLabel(2 ** power) })
  }
  return ticks
}

function decimalTicks([low, high]: readonly [number, number], count: number): Tick[] {
  const decades = Math.log10(high) - Math.log10(low)
  if (decades < 0.7) return linearTicks(low, high, count)
  const factors = decades < 2 ? [1, 2, 5] : [1]
  const every = Math.max(1, Math.ceil(decades / count))
  const ticks = []
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    if (power % every !== 0) continue
    for (const factor of factors) {
      const value = Number(`${factor}e${power}`)
      if (value >= low && value <= high) ticks.push({ value, label: tickLabel(value) })
    }
  }
  return ticks
}

const SUPERSCRIPTS = '⁰¹²³⁴⁵⁶⁷⁸⁹'

/** 0.02, 4096, 2·10⁻⁵. */
function tickLabel(value: number): string {
  const size = Math.abs(value)
  if (value === 0 || (size >= 1e-3 && size < 1e6)) return String(value)
  const [digits, power] = value.toExponential().split('e')
  const raised = [...power.replace('+', '')].map((c) => (c === '-' ? '⁻' : SUPERSCRIPTS[Number(c)])).join('')
  return digits === '1' ? `10${raised}` : `${digits}·10${raised}`
}
