// Where the time of a method on an engine goes, call by call.

/** The engine with the time spent in each kind of call added up in `profile`. */
export function profiled(engine, profile) {
  const timed =
    (name, call) =>
    (...operands) => {
      const start = performance.now()
      const result = call(...operands)
      profile.set(name, (profile.get(name) ?? 0) + performance.now() - start)
      return result
    }
  const swept = (resident) =>
    Object.fromEntries(
      Object.entries(resident).map(([method, call]) => {
        if (typeof call !== 'function') return [method, call]
        return [
          method,
          (X, Y) => {
            const operand = X ? ` ${X.columns} ${X.data instanceof Float32Array ? 'f32' : 'f64'}` : ''
            return timed(method + operand, call)(X, Y)
          },
        ]
      }),
    )
  return {
    ...engine,
    multiply: timed('basis products', engine.multiply),
    gram: timed('basis grams', engine.gram),
    symmetricEigen: timed('eigen', engine.symmetricEigen),
    svd: timed('svd', engine.svd),
    leadingSvd: timed('svd', engine.leadingSvd),
    resident: (A) => swept(timed('resident', engine.resident)(A)),
  }
}

export function phases(profile, time) {
  const parts = [...profile].sort((a, b) => b[1] - a[1])
  const rest = parts.reduce((left, [, milliseconds]) => left - milliseconds, time)
  return [...parts, ['other', rest]]
    .filter(([, milliseconds]) => milliseconds >= 1)
    .map(([name, milliseconds]) => `${name} ${milliseconds.toFixed(0)}`)
    .join(', ')
}
