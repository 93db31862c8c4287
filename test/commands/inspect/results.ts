import { readFileSync } from 'node:fs'
import {
  type AdapterFindings,
  ENERGY_SHARES,
  type EnergyShare,
  type InspectResult,
  type MatrixReport,
  type NoiseFindings,
  TABULATED_RANKS,
  type VerdictKind,
} from '../../../src/commands/inspect/result.ts'
import { epsilonOf } from '../../../src/linalg/matrix/matrix.ts'
import { effectiveRank, energyRank, numericalRank, stableRank } from '../../../src/linalg/spectrum/ranks.ts'
import type { IntegerRange } from '../../../src/linalg/spectrum/spectrum.ts'

/** Results of `inspect` as it gives them, for tests of what is made from them. */

interface Golden {
  readonly name: string
  readonly shape: readonly [number, number]
  readonly tuned_frobenius: number
  readonly delta_frobenius: number
  readonly delta_singular_values: readonly number[]
}

interface MatrixOptions {
  readonly name: string
  readonly shape: readonly [number, number]
  readonly S: readonly number[]
  readonly dtype?: string
  readonly verdict?: { readonly kind: VerdictKind; readonly text: string }
  readonly noise?: NoiseFindings
  readonly adapter?: AdapterFindings
  readonly base?: MatrixReport['base']
  /** What the singular values that are not given add to ‖A‖_F²; none where undefined. */
  readonly rest?: number
}

const bytesOf = (dtype: string | undefined) => ({ f64: 8, f32: 4 })[dtype ?? ''] ?? 2

export const known = (n: number): IntegerRange => ({ atLeast: n, atMost: n })

export function matrixOf(options: MatrixOptions): MatrixReport {
  const { name, shape, dtype = 'bf16', rest, noise, adapter, base } = options
  const [rows, columns] = shape
  const S = Float64Array.from(options.S)
  const order = Math.min(rows, columns)
  const complete = rest === undefined
  const given = S.reduce((sum, s) => sum + s * s, 0)
  const frobenius = Math.sqrt(given + (rest ?? 0))
  const rankAt = (share: number): IntegerRange => {
    if (complete) return known(energyRank(S, share))
    let sum = 0
    const at = S.findIndex((s) => {
      sum += (s / frobenius) ** 2
      return sum >= share
    })
    return at < 0 ? { atLeast: S.length + 1, atMost: order } : known(at + 1)
  }
  const energyRanks = Object.fromEntries(
    ENERGY_SHARES.map((share) => [String(share), rankAt(share)]),
  ) as Record<EnergyShare, IntegerRange>
  const numerical = numericalRank(S, rows, columns, epsilonOf.f32)
  const kind: VerdictKind =
    frobenius === 0 ? 'zero' : energyRanks['0.9'].atMost <= order / 4 ? 'low-rank' : 'not-low-rank'
  const text =
    kind === 'zero'
      ? 'all zeros'
      : `${kind === 'low-rank' ? 'low-rank' : 'not low-rank'}: 90 % needs ${energyRanks['0.9'].atMost} of ${order}`
  return {
    name,
    shape,
    storedShape: shape,
    dtype,
    bytes: adapter ? 2 * adapter.nominalRank * (rows + columns) : rows * columns * bytesOf(dtype),
    spectrum: {
      rows,
      columns,
      frobenius,
      singularValues: S,
      complete,
      excess: complete ? 0 : 1e-5,
      next: complete ? known(0) : { atLeast: 0, atMost: S[S.length - 1] },
      epsilon: epsilonOf.f32,
      method: adapter ? 'factors' : complete ? 'full' : 'krylov',
      failureProbability: complete ? 0 : 1e-9,
    },
    rank: complete ? known(numerical) : { atLeast: numerical, atMost: order },
    spectral: known(S[0] ?? 0),
    stableRank: known(complete ? stableRank(S) : (frobenius / S[0]) ** 2),
    ...(complete && { effectiveRank: effectiveRank(S) }),
    energyRanks,
    ...(base && { base }),
    ...(noise && { noise }),
    ...(adapter && { adapter }),
    verdict: options.verdict ?? { kind, text },
  }
}

/** The relative error of rank r over all matrices, from their singular values and norms alone. */
export function errorOf(matrices: readonly MatrixReport[], r: number): number {
  let [left, all] = [0, 0]
  for (const { spectrum } of matrices) {
    const total = spectrum.frobenius ** 2
    const kept = spectrum.singularValues.slice(0, r).reduce((sum, s) => sum + s * s, 0)
    left += r >= Math.min(spectrum.rows, spectrum.columns) ? 0 : Math.max(0, total - kept)
    all += total
  }
  return Math.sqrt(left / all)
}

export function parametersOf(matrices: readonly MatrixReport[], r: number): number {
  return matrices.reduce(
    (sum, { shape: [rows, columns] }) => sum + Math.min(r, rows, columns) * (rows + columns),
    0,
  )
}

export function resultOf(
  matrices: readonly MatrixReport[],
  fields: Partial<InspectResult> = {},
): InspectResult {
  const sum = (of: (matrix: MatrixReport) => number) => matrices.reduce((total, m) => total + of(m), 0)
  const changed = matrices.filter(({ base }) => base)
  return {
    source: { path: 'model.safetensors' },
    subject: 'weights',
    matrices,
    unchanged: [],
    nonFinite: [],
    skipped: [],
    outputs: {},
    totals: {
      matrices: matrices.length,
      elements: sum(({ shape }) => shape[0] * shape[1]),
      bytes: sum(({ bytes }) => bytes),
      frobenius: Math.sqrt(sum(({ spectrum }) => spectrum.frobenius ** 2)),
      ...(changed.length > 0 && {
        relativeChange: Math.sqrt(
          sum(({ spectrum }) => spectrum.frobenius ** 2) / sum(({ base }) => (base?.frobenius ?? 0) ** 2),
        ),
      }),
    },
    costs: TABULATED_RANKS.map((rank) => ({
      rank,
      parameters: parametersOf(matrices, rank),
      bytes: parametersOf(matrices, rank) * bytesOf(matrices[0]?.dtype),
      relativeError: known(errorOf(matrices, rank)),
    })),
    warnings: [],
    engine: 'wasm, 2 threads',
    seconds: 1.25,
    ...fields,
  }
}

/** The deltas of digits-llama, whole spectra. */
export function digitsDelta(): InspectResult {
  const url = new URL('../../fixtures/inspect/digits-llama-spectra.json', import.meta.url)
  const golden = JSON.parse(readFileSync(url, 'utf8')) as Golden[]
  const matrices = golden.map(({ name, shape, tuned_frobenius, delta_frobenius, delta_singular_values }) =>
    matrixOf({
      name,
      shape,
      S: delta_singular_values,
      dtype: 'f32',
      base: {
        dtype: 'f32',
        frobenius: tuned_frobenius,
        relativeChange: delta_frobenius / tuned_frobenius,
      },
      noise: { floor: 3e-6, rankAbove: known(Math.min(...shape)), changedShare: 0.98, isSubUlp: false },
    }),
  )
  return resultOf(matrices, {
    source: { path: 'digits-llama/tuned', base: 'digits-llama/base' },
    subject: 'delta',
    unchanged: ['model.norm.weight'],
    skipped: [{ name: 'model.layers.0.input_layernorm.weight', reason: 'a vector [96]' }],
    recommended: { rank: 16, reason: 'keeps 95 % of the change in all but 4 of 23 matrices' },
  })
}

const PROJECTIONS: readonly [string, number, number][] = [
  ['self_attn.q_proj', 4096, 4096],
  ['self_attn.k_proj', 4096, 4096],
  ['self_attn.v_proj', 4096, 4096],
  ['self_attn.o_proj', 4096, 4096],
  ['mlp.gate_proj', 11008, 4096],
  ['mlp.up_proj', 11008, 4096],
  ['mlp.down_proj', 4096, 11008],
]

/** Deltas shaped as those of a Llama of 7 billion entries, so many singular values of each; all 4096: whole spectra. */
export function largeDelta(layers = 32, values = 64): InspectResult {
  const matrices = Array.from({ length: layers }, (_, layer) =>
    PROJECTIONS.map(([projection, rows, columns], p) => {
      const decay = 0.55 + 0.05 * p + 0.25 * Math.abs(Math.sin(layer / 5 + p))
      const size = 0.4 + 0.02 * layer + 0.1 * p
      const S = Array.from({ length: values }, (_, i) => size / (i + 1) ** decay)
      const last = S[values - 1]
      return matrixOf({
        name: `model.layers.${layer}.${projection}.weight`,
        shape: [rows, columns],
        S,
        ...(values < 4096 && { rest: last ** 2 * values * 0.8 }),
        base: { dtype: 'bf16', frobenius: 60, relativeChange: 0.02 + layer / 1000 },
        noise: {
          floor: last * 0.6,
          rankAbove: values < 4096 ? { atLeast: values, atMost: 4096 } : known(values),
          changedShare: 0.61,
          isSubUlp: false,
        },
      })
    }),
  ).flat()
  return resultOf(matrices, {
    source: { path: 'Llama-2-7b-chat-hf', base: 'Llama-2-7b-hf' },
    subject: 'delta',
    unchanged: ['model.embed_tokens.weight'],
    skipped: Array.from({ length: layers }, (_, i) => ({
      name: `model.layers.${i}.input_layernorm.weight`,
      reason: 'a vector [4096]',
    })),
    recommended: { rank: 64, reason: '90 % of the change in 7 of 8 matrices' },
  })
}

/** An adapter whose second module wastes half of its rank, and which loaders scale differently. */
export function adapterResult(): InspectResult {
  const modules = ['q_proj', 'v_proj'].flatMap((projection, p) =>
    Array.from({ length: 4 }, (_, layer) => {
      const rank = p === 0 ? 16 : 8
      const S = Array.from({ length: 2048 }, (_, i) => (i < rank ? 1.5 * 0.8 ** i : 0))
      return matrixOf({
        name: `base_model.model.model.layers.${layer}.self_attn.${projection}`,
        shape: [2048, 2048],
        S,
        adapter: {
          nominalRank: 16,
          alpha: 32,
          scale: 2,
          wasted: 16 - rank,
          scales: [
            { loader: 'PEFT', scale: 2 },
            { loader: 'vLLM', scale: 2 },
            { loader: 'llama.cpp', scale: p === 0 ? 2 : 4 },
            { loader: 'TensorRT-LLM', refusal: 'reads no rank_pattern' },
            { loader: 'ComfyUI', scale: 2 },
          ],
        },
      })
    }),
  )
  return resultOf(modules, {
    source: { path: 'adapters/chat' },
    subject: 'adapter',
    warnings: ['llama.cpp multiplies 4 of 8 modules by 4 where PEFT multiplies by 2'],
  })
}

export const singleResult = (): InspectResult =>
  resultOf([matrixOf({ name: 'W', shape: [10, 10], S: [8.5, 4.25, 0, 0, 0, 0, 0, 0, 0, 0], dtype: 'f64' })], {
    source: { path: 'w.npy' },
  })

export const HOSTILE_NAMES = [
  '<script>alert(1)</script>',
  '</script><img src=x onerror=alert(2)>',
  '<!--<script>',
  'quote " and \' and ` and & and ]]>',
  '=HYPERLINK("http://example.invalid","x")',
  'name, with comma\nand line\r\nbreak',
  'ünïcødé 重み 🙂 \u202Egnp.exe',
  '\uFFFE\u0000\u0007\uD800 controls',
  '__proto__',
  'x'.repeat(300),
  `model.layers.${'9'.repeat(30)}.<b>q</b>.weight`,
]

export const hostileResult = (): InspectResult =>
  resultOf(
    HOSTILE_NAMES.map((name, i) => matrixOf({ name, shape: [6, 4], S: [4 - i / 10, 2, 1, 0.5] })),
    {
      source: { path: 'a/<script>alert(3)</script>.safetensors' },
      unchanged: ['</script><script>alert(4)</script>'],
      skipped: [{ name: '<svg onload=alert(5)>', reason: 'a "vector" & <more>' }],
      nonFinite: [{ name: '<i>n</i>', file: '<u>', count: 3, first: { row: 0, column: 1, value: 'NaN' } }],
      warnings: ['<script>alert(6)</script>'],
      recommended: { rank: 2, reason: '<script>alert(7)</script>' },
    },
  )
