"""Writes test/fixtures/truncated-goldens.json: NumPy's (LAPACK's) singular values of matrices that a test can make again
exactly, the errors of their best approximations, and the ranks that rules choose by them.
Run from the repository root: /usr/bin/python3 scripts/golden-truncated.py (NumPy 1.24)."""
import json
from pathlib import Path

import numpy as np

TARGET = Path("test/fixtures/truncated-goldens.json")
RANKS = [1, 6, 20]
ENERGIES = [0.5, 0.9, 0.99]
ERRORS = [0.5, 0.2, 0.05]


def uniform(count, seed):
    """The generator of test/linalg/svd/support.ts: multiples of 2⁻³² in [−1/2, 1/2)."""
    state = seed
    out = np.empty(count)
    for i in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        out[i] = state / 2**32 - 0.5
    return out


def make(kind, rows, columns, seed):
    """As `made` in test/linalg/truncation/numpy.test.ts: every product and sum is exact, so that the bits are the same."""
    numbers = uniform(rows * columns, seed).reshape(rows, columns)
    i = np.arange(rows)[:, None]
    j = np.arange(columns)[None, :]
    if kind == "graded":
        return numbers * 2.0 ** -(i // 12 + j // 15)
    if kind == "noisy":
        # a sum of eight products of vectors of small integers, ever smaller, and noise
        for k in range(8):
            numbers = numbers + np.outer((i[:, 0] * (k + 3)) % 7 - 3, (j[0] * (2 * k + 5)) % 11 - 5) * 2.0**-k
        return numbers
    return numbers


cases = []
for kind in ["uniform", "graded", "noisy"]:
    for rows, columns in [(200, 150), (150, 260)]:
        for dtype in ["f64", "f32"]:
            seed = 1000 * rows + columns
            A = make(kind, rows, columns, seed)
            if dtype == "f32":
                A = A.astype(np.float32).astype(np.float64)
            S = np.linalg.svd(A, compute_uv=False)
            # from the smallest up, so that no tail is a difference
            tails = np.append(np.cumsum((S**2)[::-1])[::-1], 0)
            least = lambda share: int(np.argmax(tails <= share * tails[0]))
            cases.append(
                {
                    "kind": kind,
                    "rows": rows,
                    "columns": columns,
                    "dtype": dtype,
                    "seed": seed,
                    "frobenius": float(np.linalg.norm(A)),
                    "S": S[: max(RANKS) + 1].tolist(),
                    "errors": {str(r): float(np.sqrt(tails[r] / tails[0])) for r in RANKS},
                    "energyRanks": {str(e): least(1 - e) for e in ENERGIES},
                    "errorRanks": {str(e): least(e * e) for e in ERRORS},
                }
            )

TARGET.write_text(json.dumps({"numpy": np.__version__, "cases": cases}, indent=1) + "\n")
