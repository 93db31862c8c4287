#!/usr/bin/env python3
"""Writes test/fixtures/torch-randn.json: torch.manual_seed(seed), then torch.randn(size, dtype) for each call in order.

Made with torch 1.13 on an x86-64 CPU with AVX2 and without AVX-512. Run from the repository root:
ATEN_CPU_CAPABILITY=avx2 python3 scripts/golden-torch-randn.py
"""
import json

import torch

META = {
    "generator": "torch 1.13.0a0 (Debian 1.13.1) CPU, torch.manual_seed(seed) then torch.randn(size,dtype=dtype) "
    "for each call in order",
    "float32_fill_path": "ATEN_CPU_CAPABILITY=avx2 (what stock x86-64 wheels pick on AVX2-only machines); bit-exactly "
    "reproduced by Cephes log/sincos with FMA contraction",
    "tolerances": {
        "float32 size<16": "bit exact",
        "float32 size>=16": "bit exact with the avx2 variant; with libm variant max abs diff seen 2.1e-6 (1e6 draws)",
        "float64": "V8 Math.* vs glibc: <=2 ulp, <=4.5e-16 abs",
    },
    "seed_note": "-1 is accepted by torch (== 2^64-1); only the low 32 bits of the seed reach the engine, so 2^32+5 == 5",
    "kinds": "fresh = one call after manual_seed; mix-* = consecutive calls; reseed-mid-cache = calls, manual_seed again, "
    "calls_after",
    "cross_check": "torch 2.13.0+cpu (avx2): all float32 values identical; float64 size>=16 identical; float64 size<16 "
    "differ in 11 of 306 values by <=4.5e-16 (libm)",
}
SEEDS = [0, 1, 42, 123456789, 2**32 + 5, -1]
FRESH_SIZES = [5, 10, 15, 16, 17, 20, 32, 33, 100]
MIX_F32 = [5, 16, 3, 20, 1, 4, 33, 2]
MIX_BOTH = [(5, 32), (5, 64), (16, 64), (17, 32), (1, 64), (7, 32), (100, 32), (15, 64)]


def call(size, bits=32):
    values = torch.randn(size, dtype=getattr(torch, f"float{bits}")).tolist()
    return {"size": size, "dtype": f"float{bits}", "values": values}


def case(seed, kind, sizes):
    torch.manual_seed(seed)
    return {"seed": seed, "kind": kind, "calls": [call(size, bits) for size, bits in sizes]}


def cases():
    for seed in SEEDS:
        for bits in (32, 64):
            for size in FRESH_SIZES:
                yield case(seed, "fresh", [(size, bits)])
        yield case(seed, "mix-f32", [(size, 32) for size in MIX_F32])
        yield case(seed, "mix-both", MIX_BOTH)
        yield case(seed, "readme-25-10", [(25, 32), (10, 32)])
        reseeded = case(seed, "reseed-mid-cache", [(5, 32)])
        reseeded["then_manual_seed"] = seed
        reseeded["calls_after"] = case(seed, "", [(5, 32)])["calls"]
        yield reseeded
    yield notebook()


def notebook():
    made = case(0, "notebook-two-runs", [(20, 32)] * 4 + [(10, 32)] * 2)
    made["note"] = (
        "math-intuition-for-lora: W cell executed twice (calls 1-2, then 3-4), then bias, x; "
        "W = calls[2] as 10x2 @ calls[3] as 2x10"
    )
    left, right, bias, x = (torch.tensor(c["values"]) for c in made["calls"][2:])
    W = left.reshape(10, 2) @ right.reshape(2, 10)
    made["W"] = W.tolist()
    made["y_ref"] = (W @ x + bias).tolist()
    made["S_f64_of_f32_W"] = torch.linalg.svdvals(W.double()).tolist()[:2]
    return made


with open("test/fixtures/torch-randn.json", "w") as out:
    json.dump({"meta": META, "cases": list(cases())}, out)
