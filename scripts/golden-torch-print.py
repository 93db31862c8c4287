#!/usr/bin/python3
"""Writes test/fixtures/torch-print.json: tensors and the text that PyTorch prints for them.
Run from the repository root: /usr/bin/python3 scripts/golden-torch-print.py (torch 1.13).
"""

import json

import torch as t

t.manual_seed(0)
nan, inf = float("nan"), float("inf")
tensors = {
    "a notebook's W": t.randn(10, 2) @ t.randn(2, 10),
    "a vector": t.randn(10),
    "a long vector": t.randn(25),
    "one number in a matrix": t.tensor([[3.5]]),
    "one number in a vector": t.tensor([-0.25]),
    "whole numbers": t.tensor([[1.0, -2.0], [30.0, 0.0]]),
    "a whole vector": t.tensor([1.0, 2.0, 3.0, 10.0]),
    "whole numbers, large": t.tensor([[1e6, 2.0], [3.0, 4.0]]),
    "whole numbers past 1e8": t.tensor([[2e8, 2.0]]),
    "zeros": t.zeros(2, 3),
    "negative zero": t.tensor([[-0.0, 1.5]]),
    "scientific by ratio": t.tensor([[1e-3, 2.5], [1234.5, -3e-3]]),
    "scientific by size": t.tensor([[1.5e9, 2.5e9]]),
    "scientific by smallness": t.tensor([[1.5e-5, 2.5e-5]]),
    "scientific vector": t.tensor([1e-10, 1e10, -3.3333e5, 0.0]),
    "wide scientific": t.randn(3, 20) * t.logspace(-6, 6, 20),
    "exponents of three digits": t.tensor([[1e-200, 1e200]], dtype=t.float64),
    "just below the ratio": t.tensor([[1.0001, 1000.05]]),
    "just above the ratio": t.tensor([[1.0001, 1000.2]]),
    "rounds up a digit": t.tensor([[9.99999, 99.99996]]),
    "1000 entries": t.randn(25, 40),
    "1001 entries": t.randn(7, 143),
    "a summarised column": t.randn(1200, 1),
    "a summarised row": t.randn(1, 1200),
    "a summarised vector": t.randn(1500),
    "six summarised columns": t.randn(300, 6),
    "seven summarised columns": t.randn(300, 7),
    "summarised, scientific at the edge": t.randn(40, 40) * t.logspace(-4, 4, 40),
    "NaN and infinity": t.tensor([[nan, 1.5], [inf, -inf]]),
    "whole but for infinity": t.tensor([[inf, 2.0]]),
    "one column": t.randn(5, 1),
    "float64": t.randn(4, 4, dtype=t.float64),
}

def plain(x):
    return x if x == x and abs(x) != inf else str(x)

cases = [
    {
        "name": name,
        "dtype": "f64" if a.dtype == t.float64 else "f32",
        "shape": list(a.shape),
        "values": [plain(x) for x in a.double().flatten().tolist()],
        # float64 tensors say so at the end; the notebook's text has no place for it
        "text": str(a).replace(", dtype=torch.float64)", ")").replace(",\n       dtype=torch.float64)", ")"),
    }
    for name, a in tensors.items()
]
with open("test/fixtures/torch-print.json", "w") as f:
    json.dump(cases, f)
