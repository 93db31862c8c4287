"""A LoRA adapter of each changed matrix by randomized SVD. Usage: extract_svd_lowrank.py BASE TUNED OUT RANK"""
import sys

import torch
from checkpoint import Checkpoint, balanced, changed_matrices, write_adapter

OVERSAMPLING = 8

base, tuned, out, rank = Checkpoint(sys.argv[1]), Checkpoint(sys.argv[2]), sys.argv[3], int(sys.argv[4])
torch.manual_seed(0)
factors = {}
for name, delta in changed_matrices(base, tuned):
    U, S, V = torch.svd_lowrank(delta, q=rank + OVERSAMPLING, niter=2)
    factors[name.removesuffix(".weight")] = balanced(U[:, :rank], S[:rank], V[:, :rank].T)
write_adapter(out, factors, rank)
