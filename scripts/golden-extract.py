"""Writes test/fixtures/digits-llama/bf16-deltas.json: what NumPy says of the bfloat16 copy of the fine-tune against its base.

    python3 scripts/golden-extract.py

Of each tensor the float64 singular values of tuned - base, and the noise floor: five quarters of
max_i sqrt(sum_j v_ij) + max_j sqrt(sum_i v_ij), v_ij = (ulp(base_ij)^2 + ulp(tuned_ij)^2) / 12.
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
            line = {
                "name": name,
                "shape": list(tuned.shape),
                "noise_floor": float(f"{floor:.12g}"),
                "singular_values": [float(f"{s:.12g}") for s in np.linalg.svd(delta, compute_uv=False)],
            }
            lines.append((name, json.dumps(line, separators=(",", ":"))))
    with open(TARGET, "w", encoding="utf8") as file:
        file.write("[\n" + ",\n".join(line for _, line in sorted(lines)) + "\n]\n")


main()
