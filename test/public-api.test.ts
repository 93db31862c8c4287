import { expect, test } from 'vitest'
import * as library from '../src/index.ts'
import * as mathjs from '../src/mathjs.ts'

test('lora-svd exports', () => {
  expect(Object.keys(library).sort()).toMatchInlineSnapshot(`
    [
      "LoraSvdError",
      "addMultiple",
      "allclose",
      "apply",
      "check",
      "chooseRank",
      "compare",
      "convert",
      "demo",
      "effectiveRank",
      "energyRank",
      "epsilonOf",
      "errorRank",
      "extract",
      "factor",
      "factorsOf",
      "frobeniusNorm",
      "fromRows",
      "inspect",
      "matrix",
      "matrixRank",
      "merge",
      "multiply",
      "numericalRank",
      "openFile",
      "optimalError",
      "rankTolerance",
      "readMatrix",
      "readSafetensorsHeader",
      "readStoredTensor",
      "readTensor",
      "relativeResidual",
      "resize",
      "seedrandomNormals",
      "stableRank",
      "svd",
      "toRows",
      "torchNormals",
      "transpose",
      "truncatedSvd",
      "verify",
      "zeros",
    ]
  `)
})

test('lora-svd/mathjs exports', () => {
  expect(Object.keys(mathjs).sort()).toMatchInlineSnapshot(`
    [
      "createFloatMatrix",
      "createLowRank",
      "createRank",
      "createSvd",
      "loraSvd",
    ]
  `)
})
