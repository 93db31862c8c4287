#!/usr/bin/python3
"""Writes test/fixtures/factor: matrices as NumPy saves them, with what NumPy's SVD says of them in expected.json, and
test/fixtures/digits-llama: a small Llama before and after fine-tuning, with what NumPy's SVD says of every weight and its change.
Run from the repository root: /usr/bin/python3 scripts/golden-factor.py FOLDER (NumPy 1.24), FOLDER holding that model.
"""

import json
import os
import shutil
import sys

import numpy as np

OUT = "test/fixtures/factor"
LLAMA = "test/fixtures/digits-llama"
LLAMA_FILES = [
    "base/config.json",
    "base/model.safetensors",
    "tuned/config.json",
    "tuned/model.safetensors",
    "tuned-bf16-sharded/config.json",
    "tuned-bf16-sharded/model-00001-of-00002.safetensors",
    "tuned-bf16-sharded/model-00002-of-00002.safetensors",
    "tuned-bf16-sharded/model.safetensors.index.json",
    "reference.json",
]

os.makedirs(OUT, exist_ok=True)
random = np.random.default_rng(0)


def decaying(rows, columns, ratio):
    """Random directions with singular values 1, ratio, ratio² …"""
    n = min(rows, columns)
    u, _ = np.linalg.qr(random.standard_normal((rows, n)))
    v, _ = np.linalg.qr(random.standard_normal((columns, n)))
    return (u * ratio ** np.arange(n)) @ v.T


def facts(file, dtype, a):
    wide = a.astype(np.float64)
    return {
        "file": file,
        "dtype": dtype,
        "shape": list(a.shape),
        # NumPy decomposes no float16
        "matrixRank": int(np.linalg.matrix_rank(a.astype(np.float32) if a.dtype == np.float16 else a)),
        "singularValues": np.linalg.svd(wide, compute_uv=False).tolist(),
        "entries": wide.ravel().tolist(),
    }


tall = decaying(12, 7, 0.5).astype(np.float32)
np.save(f"{OUT}/tall-f32.npy", tall)
half = (50 * decaying(6, 9, 0.7)).astype(np.float16)
np.save(f"{OUT}/fortran-f16.npy", np.asfortranarray(half))
low = random.standard_normal((8, 3)) @ random.standard_normal((3, 10))
np.savetxt(f"{OUT}/low-rank.csv", low, delimiter=",")
counts = random.integers(-9, 9, (5, 5)).astype(np.int16)
np.save(f"{OUT}/integers.npy", counts)
np.savez_compressed(f"{OUT}/named.npz", W=tall, bias=tall[0])

expected = [
    facts("tall-f32.npy", "f32", tall),
    facts("fortran-f16.npy", "f16", half),
    facts("low-rank.csv", "f64", np.loadtxt(f"{OUT}/low-rank.csv", delimiter=",")),
    facts("integers.npy", "int16", counts.astype(np.float64)),
    facts("named.npz", "f32", tall),
]
with open(f"{OUT}/expected.json", "w") as f:
    json.dump(expected, f)

source = sys.argv[1]
for name in LLAMA_FILES:
    os.makedirs(os.path.dirname(f"{LLAMA}/{name}"), exist_ok=True)
    shutil.copyfile(f"{source}/{name}", f"{LLAMA}/{name}")
