"""A LoRA adapter of each changed matrix by its full SVD. Usage: extract_svd.py BASE TUNED OUT RANK"""
import sys

import torch
from checkpoint import Checkpoint, balanced, changed_matrices, write_adapter

base, tuned, out, rank = Checkpoint(sys.argv[1]), Checkpoint(sys.argv[2]), sys.argv[3], int(sys.argv[4])
factors = {}
for name, delta in changed_matrices(base, tuned):
    U, S, Vh = torch.linalg.svd(delta, full_matrices=False)
    factors[name.removesuffix(".weight")] = balanced(U[:, :rank], S[:rank], Vh[:rank])
write_adapter(out, factors, rank)
