"""Writes test/fixtures/gguf/: small GGUF files of every kind of metadata and of every type of tensor that is read, and in expected.json
what they hold. The layout is that of ggml/include/gguf.h, the numbers of blocks are those of gguf-py/gguf/quants.py (llama.cpp@150f157a),
here one number at a time in float32, by the places of its bits.
Run from the repository root: /usr/bin/python3 scripts/golden-gguf.py (NumPy)."""
import json
import struct
from pathlib import Path

import numpy as np

TARGET = Path("test/fixtures/gguf")
KINDS = {"u8": 0, "i8": 1, "u16": 2, "i16": 3, "u32": 4, "i32": 5, "f32": 6, "bool": 7, "string": 8, "array": 9, "u64": 10, "i64": 11, "f64": 12}
PACKED = {"u8": "<B", "i8": "<b", "u16": "<H", "i16": "<h", "u32": "<I", "i32": "<i", "f32": "<f", "bool": "<?", "u64": "<Q", "i64": "<q", "f64": "<d"}
TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 8, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14, "I32": 26, "F64": 28, "BF16": 30}


def string(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(kind, x):
    if kind == "string":
        return string(x)
    if isinstance(kind, tuple):
        return struct.pack("<IQ", KINDS[kind[1]], len(x)) + b"".join(value(kind[1], one) for one in x)
    return struct.pack(PACKED[kind], x)


def gguf(metadata, tensors, version=3, alignment=32):
    pad = lambda raw: raw + b"\0" * (-len(raw) % alignment)
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, (kind, x) in metadata.items():
        head += string(key) + struct.pack("<I", KINDS["array" if isinstance(kind, tuple) else kind]) + value(kind, x)
    data = b""
    for name, (kind, shape, raw) in tensors.items():
        head += string(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in reversed(shape))
        head += struct.pack("<IQ", TYPES[kind], len(data))
        data += pad(raw)
    return pad(head) + data


f32 = np.float32
half = lambda raw: f32(np.frombuffer(raw, "<f2")[0])
int8 = lambda byte: byte - 256 if byte > 127 else byte


def q8_0(b):
    return [f32(int8(b[2 + i])) * half(b[:2]) for i in range(32)]


def q4_0(b):
    nibbles = [b[2 + i % 16] >> (4 * (i // 16)) & 15 for i in range(32)]
    return [half(b[:2]) * f32(q - 8) for q in nibbles]


def q4_k(b):
    # rows of four bytes: EEAAAAAA …, eeaaaaaa …, eeeeEEEE … (quants.py, Q4_K.get_scale_min)
    first, second, third = b[4:8], b[8:12], b[12:16]
    sc = [x & 63 for x in first] + [(z & 15) | (x >> 6 << 4) for x, z in zip(first, third)]
    mn = [x & 63 for x in second] + [(z >> 4) | (x >> 6 << 4) for x, z in zip(second, third)]
    out = []
    for i in range(256):
        q = b[16 + 32 * (i // 64) + i % 32] >> (4 * (i // 32 % 2)) & 15
        out.append(half(b[:2]) * f32(sc[i // 32]) * f32(q) - half(b[2:4]) * f32(mn[i // 32]))
    return out


def q6_k(b):
    ql, qh, scales, d = b[:128], b[128:192], b[192:208], half(b[208:])
    out = []
    for i in range(256):
        low = ql[64 * (i // 128) + i % 64] >> (4 * (i // 64 % 2)) & 15
        high = qh[32 * (i // 128) + i % 32] >> (2 * (i // 32 % 4)) & 3
        out.append(d * f32(int8(scales[i // 16])) * f32((low | high << 4) - 32))
    return out


BLOCKS = {"Q8_0": (34, q8_0, [0]), "Q4_0": (18, q4_0, [0]), "Q4_K": (144, q4_k, [0, 2]), "Q6_K": (210, q6_k, [208])}
ELEMENTS = {"Q8_0": 32, "Q4_0": 32, "Q4_K": 256, "Q6_K": 256}
rng = np.random.default_rng(13)
# the least subnormal, the least normal, ordinary ones, the largest, both signs, both zeros
SCALES = np.array([2**-24, -(2**-14), 0.0123, -1.5, 65504, -0.0, 0.25, 7e-4], "<f2")


def blocks(kind, count):
    size, decode, places = BLOCKS[kind]
    raw, values = b"", []
    for i in range(count):
        block = bytearray(rng.integers(0, 256, size, dtype=np.uint8).tobytes())
        for k, place in enumerate(places):
            block[place : place + 2] = SCALES[(i + 3 * k) % len(SCALES)].tobytes()
        raw += bytes(block)
        values += decode(bytes(block))
    return raw, np.array(values, "<f4")


def stored(kind, shape):
    count = int(np.prod(shape))
    if kind in BLOCKS:
        return blocks(kind, count // ELEMENTS[kind])
    if kind == "BF16":
        bits = rng.standard_normal(count).astype("<f4").view("<u4") & 0xFFFF0000
        return (bits >> 16).astype("<u2").tobytes(), bits.view("<f4")
    if kind == "I32":
        values = rng.integers(-9, 9, count)
        return values.astype("<i4").tobytes(), values.astype("<f4")
    values = rng.standard_normal(count).astype({"F32": "<f4", "F16": "<f2", "F64": "<f8"}[kind])
    return values.tobytes(), values.astype("<f8" if kind == "F64" else "<f4")


METADATA = {
    "general.architecture": ("string", "llama"),
    "general.name": ("string", "ünï – 名"),
    "a.u8": ("u8", 200),
    "a.i8": ("i8", -100),
    "a.u16": ("u16", 60000),
    "a.i16": ("i16", -30000),
    "a.u32": ("u32", 4000000000),
    "a.i32": ("i32", -2000000000),
    "a.f32": ("f32", 3.5),
    "a.yes": ("bool", True),
    "a.no": ("bool", False),
    "a.u64": ("u64", 2**64 - 1),
    "a.i64": ("i64", -(2**63)),
    "a.f64": ("f64", 0.1),
    "list.u32": (("array", "u32"), [1, 2, 3]),
    "list.bool": (("array", "bool"), [True, False]),
    "list.f32": (("array", "f32"), []),
    "list.string": (("array", "string"), ["a", "", "ü"]),
    "tokenizer.ggml.tokens": (("array", "string"), [f"t{i}" for i in range(5000)]),
    "tokenizer.ggml.scores": (("array", "f32"), [0.0] * 5000),
}
SHAPES = {
    "blk.0.attn_q.weight": ("Q8_0", [3, 64]),
    "blk.0.attn_k.weight": ("Q4_0", [5, 64]),
    "blk.0.attn_v.weight": ("Q4_K", [4, 512]),
    "blk.0.attn_output.weight": ("Q6_K", [8, 256]),
    "blk.0.ffn_gate_exps.weight": ("Q8_0", [2, 3, 32]),
    "blk.0.ffn_up.weight": ("F16", [3, 5]),
    "blk.0.ffn_down.weight": ("BF16", [5, 3]),
    "token_embd.weight": ("F32", [7, 2]),
    "output.weight": ("F64", [2, 3]),
    "blk.0.attn_norm.weight": ("F32", [5]),
    "rope_factors": ("I32", [3]),
}
tensors, expected = {}, {}
for name, (kind, shape) in SHAPES.items():
    raw, values = stored(kind, shape)
    tensors[name] = (kind, shape, raw)
    expected[name] = {"dtype": kind, "shape": shape, "values": values.tobytes().hex()}

TARGET.mkdir(parents=True, exist_ok=True)
short = {key: METADATA[key] for key in ["general.architecture", "general.name"]}
few = {name: tensors[name] for name in ["blk.0.attn_k.weight", "blk.0.ffn_up.weight"]}
(TARGET / "every.gguf").write_bytes(gguf(METADATA, tensors))
(TARGET / "version-2.gguf").write_bytes(gguf({**short, "general.alignment": ("u32", 64)}, few, version=2, alignment=64))
unread = {"blk.0.ffn_up.weight": tensors["blk.0.ffn_up.weight"], "blk.0.ffn_down.weight": ("Q5_K", [1, 256], bytes(176))}
(TARGET / "unread.gguf").write_bytes(gguf(short, unread))

metadata = {key: [list(kind) if isinstance(kind, tuple) else kind, x if not key.startswith("tokenizer") else len(x)] for key, (kind, x) in METADATA.items()}
for key in ["a.u64", "a.i64"]:
    metadata[key][1] = str(metadata[key][1])
lines = [f"{json.dumps(name)}: {json.dumps(one)}" for name, one in expected.items()]
text = '{"metadata": ' + json.dumps(metadata, ensure_ascii=False) + ',\n"tensors": {\n' + ",\n".join(lines) + "\n}}\n"
(TARGET / "expected.json").write_text(text)
