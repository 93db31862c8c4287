"""Writes test/fixtures/update-goldens.json: W + B·A in float64, rounded once to each type, and the sums of what rounding left.
NumPy rounds float64 to float16 and float32 in one step. PyTorch rounds float64 to bfloat16 by way of float32, twice, which the last
case shows; so bfloat16 is rounded here, by integers.
Run from the repository root: /usr/bin/python3 scripts/golden-update.py (NumPy 1.24, PyTorch 1.13)."""
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

TARGET = Path("test/fixtures/update-goldens.json")
DTYPES = ["f32", "f16", "bf16"]


def bf16_bits(x):
    """The nearest bfloat16, the even one on a tie, as its 16 bits: x is an integer times a power of two, and so is the answer."""
    sign = 0x8000 if np.signbit(x) else 0
    if np.isnan(x):
        return 0x7FC0
    if np.isinf(x):
        return sign | 0x7F80
    if x == 0:
        return sign
    magnitude = Fraction(abs(float(x)))
    exponent = max(-126, int(np.frexp(abs(x))[1]) - 1)
    units = magnitude / Fraction(2) ** (exponent - 7)
    whole, rest = divmod(units.numerator, units.denominator)
    if 2 * rest > units.denominator or (2 * rest == units.denominator and whole % 2 == 1):
        whole += 1
    # 128 units are the hidden bit of the exponent's field, which is 1 for −126; a carry moves on to the next
    return sign | min(whole + (exponent + 126) * 128, 0x7F80)


def encode(x, dtype):
    if dtype == "f32":
        return x.astype("<f4")
    if dtype == "f16":
        return x.astype("<f2")
    return np.array([bf16_bits(v) for v in x.ravel()], "<u2").reshape(x.shape)


def decode(stored, dtype):
    if dtype == "bf16":
        return (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return stored.astype(np.float64)


def case(name, values, dtype, out, B, A):
    W = encode(np.asarray(values, np.float64), dtype)
    delta = np.zeros(W.shape)
    for k in range(len(A)):
        delta = delta + B[:, k : k + 1] * A[k : k + 1]
    before = decode(W, dtype)
    total = before + delta
    stored = encode(total, out)
    after = decode(stored, out)
    finite = np.isfinite(total) & np.isfinite(after)
    moved, added = (after - before)[finite], delta[finite]
    return {
        "name": name,
        "dtype": dtype,
        "out": out,
        "rows": W.shape[0],
        "columns": W.shape[1],
        "W": W.tobytes().hex(),
        "B": B.tolist(),
        "A": A.tolist(),
        "stored": stored.tobytes().hex(),
        "account": {
            "deltaSquared": float(np.sum(added**2)),
            "kept": float(np.sum(moved * added)),
            "residualSquared": float(np.sum((moved - added) ** 2)),
            "entries": W.size,
            "changed": int(np.sum((after != before) & ~np.isnan(before))),
            "overflowed": int(np.sum(np.isfinite(total) & ~np.isfinite(after))),
            "nonFinite": int(np.sum(~np.isfinite(total))),
        },
    }


np.seterr(all="ignore")
random = np.random.default_rng(12)
cases = []
for dtype in DTYPES:
    for out in DTYPES:
        W = random.normal(0, 0.02, (5, 11))
        W[0, :4] = [0, -0.0, 3e-5, -2e-7]
        W[2, 3:6] = [np.inf, -np.inf, np.nan]
        W[4, 5] = 60000
        B = random.normal(0, 0.03, (5, 4)) * 0.5
        A = random.normal(0, 0.1, (4, 11))
        B[4, 3] = 2.0
        A[3, 5] = 4000.0
        cases.append(case("random", W, dtype, out, B, A))

# one row of weights and of what is added to each: ties up and down, what is just past a tie, subnormals, the largest numbers
for out, bits, least, largest in [("bf16", 8, -133, 2.0**128 - 2.0**120), ("f16", 11, -24, 65504.0), ("f32", 24, -149, 2.0**128 - 2.0**104)]:
    half = 2.0**-bits
    tiny = 2.0**least
    top = 2.0 ** (np.frexp(largest)[1] - bits)
    pairs = [
        (1, half),
        (1 + 2 * half, half),
        (1, half * (1 + 2.0**-20)),
        (1, half * (1 - 2.0**-20)),
        (-1, -half),
        (-1 - 2 * half, -half),
        (0, tiny / 2),
        (0, tiny * 1.5),
        (tiny, tiny / 2),
        (-tiny, tiny / 2),
        (0, -tiny / 4),
        (tiny, -tiny),
        (2.0 ** (least + bits - 1), -tiny / 2),
        (2.0 ** (least + bits - 1), -tiny),
        (largest, top / 2),
        (largest, top / 2 * (1 - 2.0**-20)),
        (-largest, -top / 2),
        (-largest, top),
        (0, 0),
        (-0.0, 0),
    ]
    W, added = (np.array([column], np.float64) for column in zip(*pairs))
    cases.append(case("edges", W, out, out, np.ones((1, 1)), added))

twice = cases[-3]
once = np.frombuffer(bytes.fromhex(twice["stored"]), "<u2")
total = decode(np.frombuffer(bytes.fromhex(twice["W"]), "<u2"), "bf16") + np.array(twice["A"][0])
by_torch = torch.from_numpy(total).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
differ = np.flatnonzero(once != by_torch).tolist()
assert differ, "PyTorch rounds to bfloat16 once"

TARGET.write_text(
    json.dumps({"numpy": np.__version__, "torch": torch.__version__, "roundedTwiceByTorch": differ, "cases": cases}) + "\n"
)
