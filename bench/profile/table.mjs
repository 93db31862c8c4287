// The phases of extract, inspect and verify, each by the functions whose work it is: of a file all ('*') or those named. `parts`: what runs
// below it counts as its own where another phase of these names would have it. `waits`: an idle thread in the middle of it waits for files,
// or does so if no other thread is busy ('alone').
const RAYLEIGH_RITZ = 'Rayleigh–Ritz'
const PRODUCTS = 'basis products'
const ORTHONORMALISATION = 'orthonormalisation'
const RANDOM = 'random numbers'

export const PHASES = [
  {
    name: 'start',
    functions: {
      'src/cli.ts': '*',
      'src/commands/run.ts': '*',
      'src/engine/open.ts': '*',
      'src/engine/wasm/module.ts': '*',
      'src/engine/wasm/thread.ts': '*',
      'src/engine/wasm/wasm-engine.ts': ['createWasmEngine', 'createWasmRuntime'],
      'src/engine/lapack/library.ts': '*',
      'src/engine/lapack/self-check.ts': '*',
      'src/jobs/thread.ts': ['startThread'],
      'src/jobs/early.ts': '*',
    },
  },
  {
    name: 'open',
    waits: true,
    functions: {
      'src/checkpoint/open.ts': '*',
      'src/checkpoint/folder.ts': '*',
      'src/formats/open.ts': '*',
      'src/lora/read/adapter.ts': '*',
      'src/commands/extract/options.ts': '*',
      'src/commands/inspect/options.ts': '*',
      'src/commands/verify/options.ts': '*',
      'src/commands/verify/open.ts': '*',
      'src/commands/inspect/subject.ts': '*',
    },
  },
  {
    name: 'plan',
    waits: true,
    functions: {
      'src/checkpoint/models.ts': '*',
      'src/checkpoint/near.ts': '*',
      'src/checkpoint/pair.ts': '*',
      'src/commands/extract/plan.ts': '*',
      'src/commands/extract/moments.ts': '*',
    },
  },
  {
    name: 'read + subtract',
    waits: true,
    functions: {
      'src/checkpoint/read.ts': '*',
      'src/delta/blocks.ts': '*',
      'src/delta/difference.ts': [
        'plainDifference',
        'nonFiniteOf',
        'noiseOf',
        'withDifference',
        'forEachPanel',
      ],
      'src/delta/sweep.ts': ['sweep', 'sweepOver', 'readRows'],
      'src/linalg/matrix/subtract.ts': '*',
      'src/io/source.ts': '*',
    },
  },
  {
    name: 'moments',
    parts: [ORTHONORMALISATION],
    waits: true,
    functions: {
      'src/moments/root.ts': '*',
      'src/moments/read.ts': '*',
      'src/linalg/weighting/weigh.ts': '*',
      'src/linalg/weighting/root.ts': '*',
      'src/compress/beside.ts': '*',
    },
  },
  {
    name: 'into the engine',
    functions: { 'src/linalg/truncation/krylov.ts': ['shortSideOperator'] },
  },
  {
    name: 'key of the entries',
    functions: {
      'src/linalg/truncation/streams.ts': ['sha256'],
      'src/linalg/truncation/entries.ts': '*',
      'src/linalg/truncation/halves.ts': '*',
      'src/delta/digest.ts': '*',
    },
  },
  {
    name: RANDOM,
    functions: {
      'src/linalg/truncation/streams.ts': [
        'keyedWords',
        'uniformColumns',
        'normalColumns',
        'fillUniform',
        'fillNormal',
      ],
    },
  },
  {
    name: PRODUCTS,
    functions: { 'src/linalg/truncation/krylov.ts': ['startBasis', 'extendBasis', 'nextBlock'] },
  },
  {
    name: ORTHONORMALISATION,
    functions: { 'src/linalg/truncation/orthonormalize.ts': '*' },
  },
  {
    name: RAYLEIGH_RITZ,
    functions: {
      'src/linalg/truncation/krylov.ts': ['ritzPairs'],
      'src/linalg/truncation/certificate.ts': '*',
      'src/linalg/truncation/certified-krylov.ts': '*',
      'src/linalg/truncation/leading-values.ts': '*',
    },
  },
  {
    name: 'A·V of the triplets',
    functions: {
      'src/linalg/truncation/certified-truncation.ts': ['certifiedTruncation', 'plainTruncation'],
      'src/linalg/truncation/achieved.ts': ['precisely'],
      'src/compress/rounded-factor.ts': ['timesShortSide'],
      'src/linalg/truncation/leading-values.ts': ['summedAgain'],
    },
  },
  {
    name: 'triplets',
    parts: [ORTHONORMALISATION],
    functions: {
      'src/linalg/truncation/krylov.ts': ['leadingRitzVectors', 'tripletsOn'],
      'src/linalg/truncation/certified-truncation.ts': ['truncation'],
      'src/linalg/truncation/achieved.ts': ['roughly', 'tailMeasure'],
      'src/compress/fitted-factors.ts': ['fittedFactors', 'valuesOn'],
    },
  },
  {
    name: 'probe',
    parts: [PRODUCTS, ORTHONORMALISATION, RANDOM],
    functions: { 'src/linalg/truncation/complement-bound.ts': '*' },
  },
  {
    name: 'full decompositions',
    functions: {
      'src/linalg/truncation/truncated-svd.ts': ['fullTruncation'],
      'src/linalg/spectrum/spectrum.ts': ['spectrumOf'],
    },
  },
  {
    name: 'measure',
    waits: true,
    functions: {
      'src/compress/subject.ts': ['residualOf'],
      'src/compress/felt-residuals.ts': '*',
      'src/compress/plain-residual.ts': '*',
      'src/compress/rounded-factor.ts': '*',
      'src/compress/decompose.ts': ['measure'],
      'src/compress/layer-result.ts': ['factorsAsStored', 'digestOf', 'areFactors'],
      'src/measure/measure.ts': '*',
      'src/measure/felt-norm.ts': '*',
      'src/measure/adapter.ts': '*',
      'src/commands/extract/build.ts': ['knownMeasures'],
    },
  },
  {
    name: 'messages between threads',
    functions: {
      'src/jobs/crew.ts': '*',
      'src/jobs/run-jobs.ts': '*',
      'src/jobs/worker.ts': '*',
      'src/jobs/schedule.ts': '*',
    },
  },
  {
    name: 'write',
    waits: 'alone',
    functions: {
      'src/commands/extract/write.ts': '*',
      'src/commands/extract/output.ts': '*',
      'src/commands/extract/layer-file.ts': '*',
      'src/commands/extract/run-folder.ts': '*',
      'src/commands/extract/build.ts': ['buildAdapter', 'factorsOf'],
      'src/io/write-atomic.ts': '*',
      'src/io/run-folder.ts': '*',
      'src/formats/safetensors-writer.ts': '*',
    },
  },
  {
    name: 'report',
    functions: {
      'src/commands/extract/document.ts': '*',
      'src/commands/extract/text.ts': '*',
      'src/commands/extract/summary.ts': '*',
      'src/commands/inspect/document.ts': '*',
      'src/commands/verify/document.ts': '*',
      'src/commands/verify/text.ts': '*',
    },
  },
]
