#!/usr/bin/env python3
"""Writes test/fixtures/peft/: adapters saved by PEFT itself, and the weights that PEFT merges of them, in float64.

The reader in test/lora/peft-rules.ts is held against these. Made with peft 0.21.0, torch 2.13.0, transformers 5.18.0.
Run from the repository root: python3 scripts/golden-peft.py
"""
import json
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

OUT = Path("test/fixtures/peft")


class Experts(nn.Module):
    def __init__(self, is_transposed):
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.randn(3, 4, 6))
        self.down_proj = nn.Parameter(torch.randn(3, 5, 4))
        self.is_transposed = is_transposed


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = nn.Linear(4, 4, bias=False)
        self.k_proj = nn.Linear(4, 2)
        self.o_proj = nn.Linear(4, 4, bias=False)
        self.c_attn = Conv1D(12, 4)
        self.norm = nn.LayerNorm(4)


class Model(nn.Module):
    def __init__(self, is_transposed=False):
        super().__init__()
        self.embed_tokens = nn.Embedding(9, 4)
        self.layers = nn.ModuleList(Layer() for _ in range(2))
        self.conv = nn.Conv2d(3, 6, (2, 3))
        self.point = nn.Conv2d(4, 5, 1)
        self.line = nn.Conv1d(3, 2, 3)
        self.experts = Experts(is_transposed)
        self.lm_head = nn.Linear(4, 9, bias=False)


CASES = {
    "plain": dict(r=3, lora_alpha=6, target_modules=["q_proj", "layers.1.o_proj", "lm_head"]),
    "patterns": dict(
        r=4,
        lora_alpha=6,
        target_modules=["q_proj", "o_proj", "k_proj"],
        rank_pattern={"^layers\\.0\\.q_proj": 2, "o_proj": 3},
        alpha_pattern={"layers.1.q_proj": 5, "_proj": 1},
    ),
    "rslora": dict(r=4, lora_alpha=6, target_modules=["k_proj"], use_rslora=True, rank_pattern={"0.k_proj": 2}),
    "regex": dict(r=2, lora_alpha=2, target_modules=r"layers\.\d\.(q|k)_proj|lm_head"),
    "conv1d": dict(r=2, lora_alpha=4, target_modules=["c_attn"], fan_in_fan_out=True),
    "embedding": dict(r=2, lora_alpha=3, target_modules=["embed_tokens", "q_proj"]),
    "convolutions": dict(r=2, lora_alpha=4, target_modules=["conv", "point", "line"]),
    "saved": dict(r=2, lora_alpha=2, target_modules=["o_proj"], modules_to_save=["layers.1.norm", "lm_head"]),
    "experts": dict(
        r=2,
        lora_alpha=4,
        target_modules=["q_proj"],
        target_parameters=["experts.gate_up_proj", "experts.down_proj"],
        rank_pattern={"^experts\\.down_proj": 3},
    ),
    "experts-transposed": dict(r=2, lora_alpha=4, target_modules=[], target_parameters=["experts.down_proj"]),
}


def plain(state):
    return {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}


def make(name, options):
    torch.manual_seed(0)
    model = Model(is_transposed=name.endswith("-transposed")).double()
    base = plain(model.state_dict())
    classes = {path: type(module).__name__ for path, module in model.named_modules() if hasattr(module, "weight")}
    peft_model = get_peft_model(model, LoraConfig(**options), autocast_adapter_dtype=False).double()
    with torch.no_grad():
        for key, parameter in peft_model.named_parameters():
            if "lora_" in key or "modules_to_save" in key:
                parameter.copy_(torch.randn_like(parameter))
    folder = OUT / name
    peft_model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    save_file(base, folder / "base.safetensors")
    merged = plain(peft_model.merge_and_unload().state_dict())
    save_file(merged, folder / "merged.safetensors")
    (folder / "classes.json").write_text(json.dumps(classes) + "\n")


shutil.rmtree(OUT, ignore_errors=True)
for name, options in CASES.items():
    make(name, options)
