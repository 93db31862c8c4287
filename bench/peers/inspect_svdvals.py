"""How low the rank of each change is, from all its singular values. With a third path the figures go there as JSON too.
Usage: inspect_svdvals.py BASE TUNED [FIGURES.json]"""
import json
import sys

import torch
from checkpoint import Checkpoint, changed_matrices

ENERGY_SHARES = (0.5, 0.9, 0.95, 0.99)
COLUMNS = ("matrix", "shape", "Frobenius", "spectral", "rank", "stable", "effective", "50 %", "90 %", "95 %", "99 %")
ROW = "{:<42} {:<12} {:>10} {:>10} {:>6} {:>8} {:>9} {:>6} {:>6} {:>6} {:>6}"

base, tuned = Checkpoint(sys.argv[1]), Checkpoint(sys.argv[2])
figures = {}
print(ROW.format(*COLUMNS))
for name, delta in changed_matrices(base, tuned):
    S = torch.linalg.svdvals(delta).double()
    energies = (S**2).cumsum(0)
    probabilities = S / S.sum()
    figures[name] = row = {
        "frobenius": energies[-1].sqrt().item(),
        "spectral": S[0].item(),
        "rank": int((S > S[0] * max(delta.shape) * torch.finfo(torch.float32).eps).sum()),
        "stableRank": (energies[-1] / S[0] ** 2).item(),
        "effectiveRank": torch.special.entr(probabilities).sum().exp().item(),
        "energyRanks": {
            str(share): int((energies < share * energies[-1]).sum()) + 1 for share in ENERGY_SHARES
        },
    }
    print(
        ROW.format(
            name,
            "{} × {}".format(*delta.shape),
            f"{row['frobenius']:.4f}",
            f"{row['spectral']:.4f}",
            row["rank"],
            f"{row['stableRank']:.3f}",
            f"{row['effectiveRank']:.1f}",
            *row["energyRanks"].values(),
        ),
        flush=True,
    )
if len(sys.argv) > 3:
    with open(sys.argv[3], "w") as file:
        json.dump(figures, file)
