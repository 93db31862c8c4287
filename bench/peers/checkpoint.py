"""What the scripts beside this one need of safetensors, for machines without that package: reading one tensor at a time
from a Hugging Face folder, and writing a PEFT adapter."""
import json
import struct
from pathlib import Path

import torch

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}


class Checkpoint:
    """The tensors of every .safetensors file in a folder, by name. Only what is asked for is read."""

    def __init__(self, folder):
        self.entries = {}
        for path in sorted(Path(folder).glob("*.safetensors")):
            with open(path, "rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            for name, entry in header.items():
                self.entries[name] = (path, 8 + length, entry)

    def names(self):
        return list(self.entries)

    def shape(self, name):
        return self.entries[name][2]["shape"]

    def read(self, name):
        path, data_start, entry = self.entries[name]
        start, end = entry["data_offsets"]
        data = bytearray(end - start)
        with open(path, "rb") as file:
            file.seek(data_start + start)
            file.readinto(data)
        return torch.frombuffer(data, dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"])


def changed_matrices(base, tuned):
    """(name, tuned − base in float32) of each matrix that differs."""
    for name in tuned.names():
        if len(tuned.shape(name)) != 2:
            continue
        before, after = base.read(name), tuned.read(name)
        if torch.equal(before, after):
            continue
        delta = after.float().sub_(before.float())
        del before, after
        yield name, delta


def write_adapter(folder, factors, rank):
    """`factors`: module → (B [rows, rank], A [rank, columns]) in float32, with B·A the change itself."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    header, blobs, end = {"__metadata__": {"format": "pt"}}, [], 0
    for module, (B, A) in factors.items():
        for part, tensor in (("lora_A", A), ("lora_B", B)):
            blob = tensor.contiguous().numpy().tobytes()
            header[f"base_model.model.{module}.{part}.weight"] = {
                "dtype": "F32",
                "shape": list(tensor.shape),
                "data_offsets": [end, end + len(blob)],
            }
            blobs.append(blob)
            end += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "adapter_model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(blobs)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": sorted({module.rsplit(".", 1)[-1] for module in factors}),
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True))


def balanced(U, S, Vh):
    """B = U·√S and A = √S·Vᵀ."""
    root = S.sqrt()
    return U * root, root[:, None] * Vh
