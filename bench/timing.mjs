// How the benchmarks time: candidates take turns, and medians are compared, so that a machine that gets slower or
// faster meanwhile does so for all of them.

export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b)
  return (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.ceil((sorted.length - 1) / 2)]) / 2
}

/** Seconds that `run` takes. */
export function seconds(run) {
  const start = performance.now()
  run()
  return (performance.now() - start) / 1000
}

/** The median seconds of each candidate, a function that gives its seconds (or a promise of them), over `rounds` turns. */
export async function takeTurns(candidates, rounds) {
  const times = Object.fromEntries(Object.keys(candidates).map((name) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const [name, measure] of Object.entries(candidates)) times[name].push(await measure())
  }
  return Object.fromEntries(Object.entries(times).map(([name, list]) => [name, median(list)]))
}
