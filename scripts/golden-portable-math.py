#!/usr/bin/env python3
"""Writes test/fixtures/portable-math.json: ln, exp, sin and cos by mpmath as a float64 and what its rounding left over.

Needs mpmath. Run from the repository root: python3 scripts/golden-portable-math.py
"""
import json
import math
import random

from mpmath import cos, exp, log, mp, mpf, sin

mp.prec = 1300  # sin near a multiple of pi and ln near 1 cancel; this leaves over 100 bits everywhere


def two_parts(value):
    high = float(value)
    return [high, float(value - mpf(high))]


random.seed(1)
logs = [5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 2.0**-53, 1.0, 0.5, 2.0, math.e, 10.0]
logs += [1 - 2.0**-k for k in range(2, 54)] + [1 + 2.0**-k for k in range(1, 53)]
logs += [math.sqrt(0.5) * (1 + k * 2.0**-52) for k in range(-3, 4)] + [random.random() for _ in range(300)]

angles = [0.0, 5e-324, 2.0**-53, 1e-8]
for eighth in range(1, 9):
    near = eighth * math.pi / 4
    angles += [near, math.nextafter(near, 0)] + ([math.nextafter(near, 7)] if eighth < 8 else [])
angles += [2 * math.pi * random.random() for _ in range(300)]

exponents = [0.0, 5e-324, 2.0**-53, 1e-8, math.log(2), math.log(2) / 2, 1.0, 9.704, 700.0, 709.0]
exponents += [k * math.log(2) / 2 for k in range(1, 30)] + [12 * random.random() for _ in range(300)]

with open("test/fixtures/portable-math.json", "w") as out:
    json.dump(
        {
            "ln": [[x, *two_parts(log(mpf(x)))] for x in logs],
            "exp": [[x, *two_parts(exp(mpf(x)))] for x in exponents],
            "sinCos": [[x, *two_parts(sin(mpf(x))), *two_parts(cos(mpf(x)))] for x in angles],
        },
        out,
        indent=None,
    )
    out.write("\n")
