"""Runs the script of docs/moments.md on the fixture's model, in PyTorch.

    python3 hooked_digits.py SCRIPT TUNED HELD_OUT COUNT OUT.safetensors

Prints how far its moments are from those of the NumPy forward pass beside this file, at most, relative to the largest entry of each.
"""

import importlib.util
import json
import os
import sys

import numpy as np
import torch
from torch import nn

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import digits_forward as digits


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + digits.EPSILON) * self.weight


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(width, width, bias=False))

    def forward(self, x):
        batch, length, width = x.shape
        size = width // digits.HEADS
        angles = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, size, 2) / size)
        angles = torch.cat([angles, angles], 1)
        turn = lambda q: q * angles.cos() + torch.cat([-q[..., size // 2 :], q[..., : size // 2]], -1) * angles.sin()
        split = lambda q: q.view(batch, length, digits.HEADS, size).transpose(1, 2)
        q, k, v = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))
        scores = turn(q) @ turn(k).transpose(2, 3) / size**0.5
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        mixed = scores.masked_fill(later, float("-inf")).softmax(-1) @ v
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, width))


class Mlp(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x):
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.self_attn, self.mlp = Attention(width), Mlp(width, inner)
        self.input_layernorm, self.post_attention_layernorm = Norm(width), Norm(width)

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Model(nn.Module):
    """As transformers names its parts."""

    def __init__(self, weights):
        super().__init__()
        words, width = weights["lm_head.weight"].shape
        inner = len(weights["model.layers.0.mlp.up_proj.weight"])
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(words, width)
        self.model.layers = nn.ModuleList(Layer(width, inner) for _ in range(3))
        self.model.norm = Norm(width)
        self.lm_head = nn.Linear(width, words, bias=False)
        self.load_state_dict({name: torch.tensor(np.array(value)) for name, value in weights.items()})

    def forward(self, tokens):
        x = self.model.embed_tokens(tokens)
        for layer in self.model.layers:
            x = layer(x)
        return self.lm_head(self.model.norm(x))


def main(script, tuned, held_out, count, out):
    spec = importlib.util.spec_from_file_location("script", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    weights = digits.read(f"{tuned}/model.safetensors")
    prompts = digits.prompts_of(held_out)[0][: int(count)]
    batches = torch.tensor(prompts).split(4)
    found = module.moments(Model(weights).eval(), batches)
    module.save(out, *found)
    sums = {}

    def see(name, x):
        rows = x.reshape(-1, x.shape[-1]).astype("f8")
        sums[name] = rows.T @ rows / len(rows)

    digits.forward(weights, prompts, see)
    stored, same = digits.read(out), found[2]
    worst, counted = 0.0, 0
    for name, expected in sums.items():
        if name == "lm_head.weight":
            continue
        owner = same.get(name[: -len(".weight")], name[: -len(".weight")]) + ".weight"
        C = stored[f"{owner}.second_moment"]
        worst = max(worst, float(np.abs(C - expected).max() / np.abs(expected).max()))
        counted += int(stored[f"{owner}.count"][0]) == prompts.size
    print(json.dumps({"worst": worst, "layers": len(sums), "counted": counted, "owners": len(stored) // 2}))


if __name__ == "__main__":
    main(*sys.argv[1:])
