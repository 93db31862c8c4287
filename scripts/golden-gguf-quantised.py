"""Writes test/fixtures/gguf/quantised.gguf: one matrix of normal numbers as llama.cpp's own quantiser stores it in each type that is read.
The numbers are PyTorch's randn for seed 13, times 0.02, which the tests draw again. The quantiser is ggml_quantize_chunk of libggml-base.so,
which comes with node-llama-cpp (bench/llama-cpp.mjs installs it).
Run from the repository root: /usr/bin/python3 scripts/golden-gguf-quantised.py PATH/TO/libggml-base.so (NumPy, PyTorch)."""
import ctypes
import struct
import sys
from pathlib import Path

import numpy as np
import torch

TARGET = Path("test/fixtures/gguf/quantised.gguf")
ROWS, COLUMNS = 64, 256
# ggml_type, numbers and bytes of a block
TYPES = {"q8_0": (8, 32, 34), "q4_0": (2, 32, 18), "q4_k": (12, 256, 144), "q6_k": (14, 256, 210)}

quantise = ctypes.CDLL(sys.argv[1]).ggml_quantize_chunk
quantise.restype = ctypes.c_size_t
quantise.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]

torch.manual_seed(13)
W = (torch.randn(ROWS, COLUMNS) * torch.tensor(0.02)).numpy()


def string(text):
    return struct.pack("<Q", len(text)) + text.encode()


infos, data = b"", b""
for name, (code, elements, size) in TYPES.items():
    out = np.zeros(W.size // elements * size, np.uint8)
    assert quantise(code, W.ctypes.data, out.ctypes.data, 0, ROWS, COLUMNS, None) == out.size
    infos += string(name) + struct.pack("<IQQIQ", 2, COLUMNS, ROWS, code, len(data))
    data += out.tobytes() + b"\0" * (-out.size % 32)
head = b"GGUF" + struct.pack("<IQQ", 3, len(TYPES), 0) + infos
TARGET.write_bytes(head + b"\0" * (-len(head) % 32) + data)
