"""What it takes to cut the rank of some modules of an adapter by their products, as is usual, as JSON: seconds and error of each.
`svd` is torch.linalg.svd; `lowrank` is torch.svd_lowrank with twice the rank and two iterations, which kohya's resize_lora.py takes
above 2048 in both dimensions. Usage: resize-peer.py svd|lowrank ADAPTER RANK MODULE …"""
import json
import sys
import time

import torch
from checkpoint import Checkpoint, balanced

method, adapter, rank = sys.argv[1], Checkpoint(sys.argv[2]), int(sys.argv[3])


def leading(delta):
    if method == "svd":
        U, S, Vh = torch.linalg.svd(delta, full_matrices=False)
        return U, S, Vh
    U, S, V = torch.svd_lowrank(delta, q=min(2 * rank, *delta.shape), niter=2)
    return U, S, V.T


seconds, errors = {}, {}
torch.ones(2, 2).svd()
for module in sys.argv[4:]:
    start = time.perf_counter()
    B, A = (adapter.read(f"base_model.model.{module}.{part}.weight").float() for part in ("lora_B", "lora_A"))
    delta = B @ A
    U, S, Vh = leading(delta)
    B, A = (factor.bfloat16() for factor in balanced(U[:, :rank], S[:rank], Vh[:rank]))
    seconds[module] = time.perf_counter() - start
    errors[module] = ((delta - B.float() @ A.float()).double().norm() / delta.double().norm()).item()
print(json.dumps({"seconds": seconds, "errors": errors}))
