"""Writes test/fixtures/inspect/digits-llama-spectra.json: the deltas' singular values of a reference.json.

    python3 scripts/golden-digits-spectra.py reference.json

reference.json holds NumPy's float64 singular values of digits-llama (a Llama of 3 layers, fine-tuned on digits) by tensor.
"""

import json
import math
import sys

TARGET = "test/fixtures/inspect/digits-llama-spectra.json"


def main() -> None:
    with open(sys.argv[1], encoding="utf8") as file:
        tensors = json.load(file)["tensors"]
    lines = []
    for name, figures in sorted(tensors.items()):
        spectrum = {
            "name": name,
            "shape": figures["shape"],
            "tuned_frobenius": math.sqrt(sum(s * s for s in figures["tuned_singular_values"])),
            "delta_frobenius": figures["delta_frobenius"],
            "effective_rank": figures["effective_rank"],
            "rank_for_energy": figures["rank_for_energy"],
            "delta_singular_values": [float(f"{s:.12g}") for s in figures["delta_singular_values"]],
        }
        lines.append(json.dumps(spectrum, separators=(",", ":")))
    with open(TARGET, "w", encoding="utf8") as file:
        file.write("[\n" + ",\n".join(lines) + "\n]\n")


main()
