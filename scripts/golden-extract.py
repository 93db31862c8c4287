"""Writes test/fixtures/digits-llama/bf16-deltas.json: what NumPy says of the bfloat16 copy of the fine-tune against its base.

    python3 scripts/golden-extract.py

Of each tensor the float64 singular values of tuned - base, and the noise floor: five quarters of
max_i sqrt(sum_j v_ij) + max_j sqrt(sum_i v_ij), v_ij = (ulp(base_ij)^2 + ulp(tuned_ij)^2) / 12; or less, where the spectrum
leaves less: lambda(beta) / (1 + sqrt(beta)) of Gavish and Donoho times the norm of errors that hold what is left.
"""

import json

import numpy as np

FOLDER = "test/fixtures/digits-llama"
TARGET = f"{FOLDER}/bf16-deltas.json"
SHARDS = ["model-00001-of-00002", "model-00002-of-00002"]
MARGIN = 1.25
FRACTION_BITS = {"F32": 23, "BF16": 7}


def read(path):
    with open(f"{FOLDER}/{path}.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        if entry["dtype"] == "F32":
            values = np.frombuffer(data[begin:end], "<f4")
        else:
            halves = np.frombuffer(data[begin:end], "<u2")
            values = (halves.astype("<u4") << 16).view("<f4")
        yield name, entry["dtype"], values.astype(np.float64).reshape(entry["shape"])


def variances(matrix, dtype):
    _, exponents = np.frexp(matrix)
    # frexp gives mantissas in [1/2, 1); the least normal number's exponent holds for what is below it
    floors = np.where(matrix == 0, -126, np.maximum(exponents - 1, -126))
    return 4.0 ** (floors - FRACTION_BITS[dtype]) / 12


def threshold_over_edge(beta):
    root = np.sqrt(beta * beta + 14 * beta + 1)
    return np.sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + root)) / (1 + np.sqrt(beta))


def settled(floor, total, delta, values):
    m, n = delta.shape
    squares = delta**2
    energy = squares.sum()
    edge = np.sqrt(total.sum(axis=1).max()) + np.sqrt(total.sum(axis=0).max())
    rows, columns = squares.sum(axis=1), squares.sum(axis=0)
    of_delta = np.sqrt((rows**2).sum()) / energy + np.sqrt((columns**2).sum()) / energy
    factor = threshold_over_edge(min(m, n) / max(m, n)) * max(edge / np.sqrt(total.sum()), of_delta)
    left, taken = energy, 0
    while True:
        lower = min(floor, factor * np.sqrt(left))
        count = int((values > lower).sum())
        if count <= taken or count >= min(m, n):
            return lower
        taken = count
        rest = (values[taken:] ** 2).sum() / ((1 - taken / m) * (1 - taken / n))
        left = min(left, max(rest, 2.0**-48 * energy))


def main() -> None:
    base = {name: (dtype, values) for name, dtype, values in read("base/model")}
    lines = []
    for shard in SHARDS:
        for name, dtype, tuned in read(f"tuned-bf16-sharded/{shard}"):
            if tuned.ndim != 2:
                continue
            of_base, before = base[name]
            delta = tuned - before
            total = variances(before, of_base) + variances(tuned, dtype)
            changed = (delta != 0).any(axis=1)
            total[~changed] = 0
            floor = MARGIN * (np.sqrt(total.sum(axis=1).max()) + np.sqrt(total.sum(axis=0).max()))
            values = np.linalg.svd(delta, compute_uv=False)
            floor = settled(floor, total, delta, values)
            line = {
                "name": name,
                "shape": list(tuned.shape),
                "noise_floor": float(f"{floor:.12g}"),
                "singular_values": [float(f"{s:.12g}") for s in values],
            }
            lines.append((name, json.dumps(line, separators=(",", ":"))))
    with open(TARGET, "w", encoding="utf8") as file:
        file.write("[\n" + ",\n".join(line for _, line in sorted(lines)) + "\n]\n")


main()
