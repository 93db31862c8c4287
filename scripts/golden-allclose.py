#!/usr/bin/env python3
"""Writes test/fixtures/allclose.json: torch.allclose's and torch.isclose's answers, most of them at the border of the bound.

Made with torch 1.13. Run from the repository root: python3 scripts/golden-allclose.py
Numbers JSON has no word for are the strings "nan", "inf" and "-inf"; `close` has a 1 or 0 for each entry.
"""
import json
import math

import torch

TOLERANCES = [(1e-5, 1e-8), (1e-5, 0.0), (0.0, 1e-8), (0.0, 0.0), (1e-3, 1e-4), (0.1, 0.3), (2.0**-20, 2.0**-30)]
ENTRIES = 24
SPECIAL = [0.0, -0.0, 1.0, -1.0, 1e-8, 1e30, -3e38, 3e38, 1e-45, math.inf, -math.inf, math.nan]


def plain(tensor):
    return [x if math.isfinite(x) else str(x) for x in tensor.tolist()]


def case(name, actual, expected, rtol, atol, equal_nan=False):
    options = dict(rtol=rtol, atol=atol, equal_nan=equal_nan)
    close = torch.isclose(actual, expected, **options)
    return {
        "name": name,
        "dtype": str(actual.dtype).removeprefix("torch."),
        "rtol": rtol if math.isfinite(rtol) else str(rtol),
        "atol": atol if math.isfinite(atol) else str(atol),
        "equalNan": equal_nan,
        "actual": plain(actual),
        "expected": plain(expected),
        "close": "".join(str(int(c)) for c in close),
        "allclose": torch.allclose(actual, expected, **options),
    }


def step(x, count):
    """x moved by `count` floats up or down."""
    towards = torch.full_like(x, math.copysign(math.inf, count))
    for _ in range(abs(count)):
        x = torch.nextafter(x, towards)
    return x


def borderline(dtype, rtol, atol):
    """Entries as near the bound as floats go: expected ± bound, and up to two floats to either side."""
    expected = torch.randn(ENTRIES, dtype=dtype) * 10.0 ** torch.randint(-6, 4, (ENTRIES,)).to(dtype)
    bound = atol + (rtol * expected).abs()
    sign = torch.randint(0, 2, (ENTRIES,)).to(dtype) * 2 - 1
    for count in (-2, -1, 0, 1, 2):
        yield f"border {count:+d}", step(expected + sign * bound, count), expected


def cases():
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(3)
        for rtol, atol in TOLERANCES:
            for name, actual, expected in borderline(dtype, rtol, atol):
                yield case(name, actual, expected, rtol, atol)
        grid = torch.tensor(SPECIAL, dtype=dtype)
        pairs = torch.cartesian_prod(grid, grid)
        for rtol, atol in [(1e-5, 1e-8), (0.0, 0.0), (math.inf, 0.0), (0.0, math.inf)]:
            for equal_nan in (False, True):
                yield case("special", pairs[:, 0], pairs[:, 1], rtol, atol, equal_nan)
        one, near = torch.ones(1, dtype=dtype), torch.full((1,), 1.00001, dtype=dtype)
        yield case("asymmetric", near, one, 1e-5, 0.0)
        yield case("asymmetric, swapped", one, near, 1e-5, 0.0)
        yield case("empty", one[:0], one[:0], 1e-5, 1e-8)
        yield case("equal", grid[:9], grid[:9].clone(), 0.0, 0.0)


with open("test/fixtures/allclose.json", "w") as out:
    json.dump(list(cases()), out)
    out.write("\n")
