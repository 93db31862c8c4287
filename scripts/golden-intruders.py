"""What NumPy's full SVD says of intruder directions: test/fixtures/intruders.json.

Each case is a weight W and a change scale·B·A, made of whole numbers by a rule that the test has too, and the largest |cosine| of
each of the ten leading left singular vectors of W + scale·B·A with any left singular vector of W, as PEFT's
reduce_intruder_dimension forms them (src/peft/tuners/lora/intruders.py).
"""

import json
from pathlib import Path

import numpy as np


def ramp(rows, columns, seed):
    i = np.arange(rows * columns, dtype=np.uint64)
    hashed = (i * 2654435761 + seed * 40503) % 2**32
    hashed = (hashed ^ (hashed >> np.uint64(15))) * 2246822519 % 2**32
    return (((hashed >> np.uint64(11)) % 128).astype(float) - 63.5).reshape(rows, columns) / 64


def weight(rows, columns, leading):
    """Noise, and some directions that stand out of it, each by a fifth less than the one before."""
    left, right = ramp(rows, leading, 2), ramp(leading, columns, 3)
    sizes = 0.8 ** np.arange(leading)
    return ramp(rows, columns, 1) / 32 + left * sizes @ right / 16


CASES = [
    (rows, columns, leading, kind, scale)
    for rows, columns, leading in [(12, 12, 4), (40, 16, 4), (16, 40, 4), (300, 300, 30), (280, 420, 30), (420, 280, 30)]
    for kind, scale in [("new", 0.001), ("new", 1), ("new", 4), ("along", 1)]
]


def case(rows, columns, leading, kind, scale):
    W = weight(rows, columns, leading)
    if kind == "new":
        B, A = ramp(rows, 3, 5), ramp(3, columns, 6)
    else:  # three columns and rows of W's own leading part: what is there grows
        B, A = ramp(rows, leading, 2)[:, :3], ramp(leading, columns, 3)[:3]
    U, S, _ = np.linalg.svd(W, full_matrices=False)
    changed, values, _ = np.linalg.svd(W + scale * B @ A, full_matrices=False)
    cosines = np.abs(changed.T @ U).max(axis=1)[:10]
    return {
        "rows": rows,
        "columns": columns,
        "leading": leading,
        "kind": kind,
        "scale": scale,
        "spectral": float(S[0]),
        "dominance": float(np.linalg.norm(scale * B @ A, 2) / S[0]),
        "cosines": [round(float(c), 9) for c in cosines],
    }


cases = [case(*one) for one in CASES]
text = ",\n".join(json.dumps(one) for one in cases)
path = Path(__file__).parent.parent / "test/fixtures/intruders.json"
path.write_text(f'{{"numpy": "{np.__version__}", "cases": [\n{text}\n]}}\n')
for one in cases:
    print(one["rows"], one["columns"], one["kind"], one["scale"], sum(c < 0.5 for c in one["cosines"]), one["cosines"])
