"""Writes test/fixtures/svd-goldens.json: NumPy's singular values and first vectors of matrices that a test can
make again exactly, from a linear congruential generator and exact operations. Run: python3 scripts/golden-svd.py"""
import json
import os

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
TARGET = os.path.join(HERE, "..", "test", "fixtures", "svd-goldens.json")


def uniform(count, seed):
    """The generator of test/linalg/svd/support.ts."""
    state = seed
    out = np.empty(count)
    for i in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        out[i] = state / 2**32 - 0.5
    return out


def make(kind, m, n, seed):
    A = uniform(m * n, seed).reshape(m, n)
    if kind == "float32":
        return A.astype(np.float32).astype(np.float64)
    if kind == "graded columns":
        return A * 2.0 ** -(np.arange(n) % 24)
    if kind == "small integers":
        return np.floor(A * 7)
    return A


def left_sign(u):
    largest = np.abs(u).max()
    return np.sign(u[np.argmax(np.abs(u) >= (1 - 1e-10) * largest)])


SHAPES = [(1, 1), (2, 3), (5, 5), (17, 9), (30, 64), (65, 65), (64, 80), (66, 100), (120, 70), (100, 100), (90, 140)]
cases = []
for kind in ["uniform", "float32", "graded columns", "small integers"]:
    for m, n in SHAPES:
        seed = 1000 * m + n
        A = make(kind, m, n, seed)
        U, S, Vt = np.linalg.svd(A, full_matrices=False)
        s = left_sign(U[:, 0])
        cases.append(
            {
                "kind": kind,
                "rows": m,
                "columns": n,
                "seed": seed,
                "S": S.tolist(),
                "u0": (s * U[:, 0]).tolist(),
                "v0": (s * Vt[0]).tolist(),
            }
        )

eigen = []
for n in [1, 2, 7, 33, 70, 110]:
    A = uniform(n * n, n).reshape(n, n)
    G = np.triu(A) + np.triu(A, 1).T
    eigen.append({"order": n, "seed": n, "values": np.linalg.eigvalsh(G).tolist()})

with open(TARGET, "w") as file:
    json.dump({"numpy": np.__version__, "svd": cases, "eigen": eigen}, file)
    file.write("\n")
