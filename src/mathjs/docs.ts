/** Entries for mathjs's `help`, in the form of its embedded documentation. */
export const embeddedDocs = {
  svd: {
    name: 'svd',
    category: 'Matrix',
    syntax: ['svd(A)', 'svd(A, {vectors: "none"})', 'svd(A, {rank: r})'],
    description:
      'Singular value decomposition A = U * diag(S) * transpose(V) with orthonormal columns in U and V and ' +
      'non-negative singular values S in non-increasing order. With the option rank only the leading ones are kept, ' +
      'which gives the best approximation of A of that rank; with vectors: "none" only S is computed.',
    examples: ['svd([[1, 2], [3, 4]])', 'svd([[1, 2], [3, 4]]).S', 'svd([[1, 2], [3, 4]], {rank: 1})'],
    seealso: ['eigs', 'qr', 'pinv', 'floatMatrix'],
  },
  lowRank: {
    name: 'lowRank',
    category: 'Matrix',
    syntax: ['lowRank(A, {rank: r})', 'lowRank(A, {energy: share})', 'lowRank(A, {error: e})'],
    description:
      'The two factors B and A of the best low-rank approximation B * A of a matrix: of a rank, of the least rank that ' +
      'keeps a share of the squared Frobenius norm, or of the least rank within a relative error. The result also has ' +
      'the rank, and bounds of the error of the best approximation of that rank.',
    examples: ['lowRank([1, 2; 2, 4], {rank: 1})', 'lowRank([1, 2; 3, 4], {error: 0.1}).rank'],
    seealso: ['svd', 'rank'],
  },
  rank: {
    name: 'rank',
    category: 'Matrix',
    syntax: ['rank(A)', 'rank(A, tolerance)'],
    description:
      'The numerical rank: how many singular values exceed the tolerance, by default the largest one times the larger ' +
      'dimension times the rounding unit.',
    examples: ['rank([1, 2; 2, 4])', 'rank([1, 0; 0, 1e-9], 1e-6)'],
    seealso: ['svd', 'pinv'],
  },
  floatMatrix: {
    name: 'floatMatrix',
    category: 'Construction',
    syntax: ['floatMatrix(A)', 'floatMatrix(A, "f32")'],
    description:
      'A matrix of numbers kept in one typed array (Float64Array, or Float32Array for "f32"). It is a matrix like ' +
      'any other, and multiply, add, subtract, transpose and svd work on it without nested arrays.',
    examples: ['floatMatrix([[1, 2], [3, 4]])', 'floatMatrix([[1, 2], [3, 4]], "f32")'],
    seealso: ['matrix', 'svd'],
  },
}
