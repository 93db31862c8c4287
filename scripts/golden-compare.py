"""Writes test/fixtures/compare-goldens.json: three adapters of every kind of module, and how their changes lie to each other, from the
whole matrices: ranks by NumPy's count, subspaces from full SVDs, angles from sines and cosines of the projected bases.
Run from the repository root: /usr/bin/python3 scripts/golden-compare.py (NumPy 1.24)."""
import json
from itertools import combinations
from pathlib import Path

import numpy as np

TARGET = Path("test/fixtures/compare-goldens.json")
random = np.random.default_rng(13)


def draw(*shape):
    """Numbers that are short in JSON."""
    return np.round(random.standard_normal(shape), 3)


def lora(up, down, alpha):
    rank = down.shape[0]
    delta = alpha / rank * up.reshape(len(up), -1) @ down.reshape(rank, -1)
    return {"lora_up.weight": up, "lora_down.weight": down, "alpha": np.array(float(alpha))}, delta


def loha(a1, b1, a2, b2, alpha):
    delta = alpha / b1.shape[0] * (a1 @ b1) * (a2 @ b2)
    return {"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2, "alpha": np.array(float(alpha))}, delta


def lokr(w1, a, b, alpha):
    delta = alpha / b.shape[0] * np.kron(w1, a @ b)
    return {"lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": np.array(float(alpha))}, delta


up, down = draw(12, 3), draw(3, 10)
# of rank 4 as stored: one direction is the other adapter's, one is padding, one is twice another
padded_up = np.concatenate([up[:, :1], draw(12, 2), np.zeros((12, 1))], axis=1)
padded_down = np.concatenate([draw(1, 10), down[:2], draw(1, 10)])
padded_up[:, 2] = 2 * padded_up[:, 1]

ADAPTERS = [
    {
        "a": lora(up, down, 6),
        "b": loha(draw(12, 2), draw(2, 10), draw(12, 2), draw(2, 10), 2),
        "c": lora(draw(8, 2, 1, 1), draw(2, 4, 3, 3), 2),
        "d": lora(draw(6, 2), draw(2, 5), 1),
    },
    {
        "a": lora(padded_up, padded_down, 2),
        "b": lokr(draw(3, 2), draw(4, 2), draw(2, 5), 4),
        "c": lora(draw(8, 3, 1, 1), draw(3, 4, 3, 3), 3),
    },
    {
        "a": lora(np.zeros((12, 2)), draw(2, 10), 2),
        "b": lora(draw(12, 5), draw(5, 10), 1),
        "c": lora(draw(8, 1, 1, 1), draw(1, 4, 3, 3), 8),
    },
]


def spaces(delta):
    U, S, Vt = np.linalg.svd(delta, full_matrices=False)
    rank = int(np.sum(S > S[0] * max(delta.shape) * np.finfo(float).eps))
    return U[:, :rank], Vt[:rank].T


def angles(P, Q):
    if P.shape[1] < Q.shape[1]:
        P, Q = Q, P
    cosines = np.linalg.svd(P.T @ Q, compute_uv=False)
    sines = np.linalg.svd(Q - P @ (P.T @ Q), compute_uv=False)[::-1]
    return np.sort(np.degrees(np.arctan2(sines, cosines)))


def kept(delta, U, V):
    inside = U @ (U.T @ delta @ V) @ V.T
    return float(np.sum(inside**2))


def overlap(first, second):
    (U1, V1), (U2, V2) = spaces(first), spaces(second)
    if U1.shape[1] == 0 or U2.shape[1] == 0:
        return None
    norms = np.linalg.norm(first), np.linalg.norm(second)
    columns, rows = angles(U1, U2), angles(V1, V2)
    return {
        "cosine": float(np.sum(first * second) / (norms[0] * norms[1])),
        "columns": float(np.mean(np.cos(np.radians(columns)) ** 2)),
        "rows": float(np.mean(np.cos(np.radians(rows)) ** 2)),
        "kept": [kept(first, U2, V2) / norms[0] ** 2, kept(second, U1, V1) / norms[1] ** 2],
        "angles": {"columns": columns.tolist(), "rows": rows.tolist()},
    }


def over_all(first, second):
    """Of all that either adapter changes; `first` and `second` are of the modules by name."""
    shared = [name for name in first if name in second]
    norms = [np.sqrt(sum(np.sum(delta**2) for delta in one.values())) for one in (first, second)]
    inner = sum(np.sum(first[name] * second[name]) for name in shared)
    found = [overlap(first[name], second[name]) for name in shared]
    kept_of = [0.0, 0.0]
    for name in shared:
        (U1, V1), (U2, V2) = spaces(first[name]), spaces(second[name])
        kept_of[0] += kept(first[name], U2, V2)
        kept_of[1] += kept(second[name], U1, V1)
    squares = {side: np.concatenate([np.cos(np.radians(one["angles"][side])) ** 2 for one in found if one]) for side in ("columns", "rows")}
    return {
        "cosine": float(inner / (norms[0] * norms[1])),
        "columns": float(np.mean(squares["columns"])),
        "rows": float(np.mean(squares["rows"])),
        "kept": [float(kept_of[0] / norms[0] ** 2), float(kept_of[1] / norms[1] ** 2)],
    }


def tensors(adapter):
    return {
        f"lora_unet_{module}.{name}": {"shape": list(value.shape), "data": value.ravel().tolist()}
        for module, (parts, _) in adapter.items()
        for name, value in parts.items()
    }


deltas = [{name: delta for name, (_, delta) in adapter.items()} for adapter in ADAPTERS]
golden = {
    "adapters": [tensors(adapter) for adapter in ADAPTERS],
    "ranks": [{name: spaces(delta)[0].shape[1] if delta.any() else 0 for name, delta in one.items()} for one in deltas],
    "norms": [{name: float(np.linalg.norm(delta)) for name, delta in one.items()} for one in deltas],
    "pairs": [
        {
            "adapters": [i, j],
            **over_all(deltas[i], deltas[j]),
            "layers": {name: overlap(deltas[i][name], deltas[j][name]) for name in deltas[i] if name in deltas[j]},
        }
        for i, j in combinations(range(len(ADAPTERS)), 2)
    ],
}
TARGET.write_text(json.dumps(golden) + "\n")
