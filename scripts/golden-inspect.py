"""Writes test/fixtures/inspect/digits-llama.json: the spectra of what fine-tuning changed in a small Llama.

Usage: /usr/bin/python3 scripts/golden-inspect.py DIGITS_LLAMA
where DIGITS_LLAMA holds base/, tuned/ and reference.json (singular values by LAPACK in float64). Singular values are kept to
7 digits, which is what float32 data tell.
"""

import json
import pathlib
import sys

import numpy as np

KEPT = ["shape", "delta_singular_values", "delta_frobenius", "delta_matrix_rank_f32", "stable_rank", "effective_rank",
        "rank_for_energy"]
OUT = pathlib.Path("test/fixtures/inspect/digits-llama.json")


def safetensors(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["dtype"] == "F32", entry
            begin, end = entry["data_offsets"]
            yield name, np.frombuffer(data[8 + size + begin : 8 + size + end], "<f4").astype(np.float64)


folder = pathlib.Path(sys.argv[1])
reference = json.loads((folder / "reference.json").read_text())
base = dict(safetensors(folder / "base" / "model.safetensors"))
tensors = {}
for name, entry in reference["tensors"].items():
    kept = {key: entry[key] for key in KEPT}
    kept["delta_singular_values"] = [float(f"{s:.7g}") for s in entry["delta_singular_values"]]
    kept["base_frobenius"] = float(np.linalg.norm(base[name]))
    tensors[name] = kept
OUT.parent.mkdir(exist_ok=True)
OUT.write_text(json.dumps({"tensors": tensors}, separators=(",", ":")) + "\n")
