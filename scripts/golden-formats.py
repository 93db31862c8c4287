#!/usr/bin/python3
"""Writes test/fixtures/formats: small files as NumPy writes them, and expected.json with what NumPy reads back. Run from the repository root: /usr/bin/python3 scripts/golden-formats.py (NumPy 1.24, torch 1.13).
"""

import hashlib
import json
import os
import struct
import zipfile

import numpy as np
import torch

OUT = "test/fixtures/formats"
os.makedirs(OUT, exist_ok=True)
expected = {"matrices": [], "refused": [], "npySave": [], "npz": [], "halves": {}}

SHORT = {"f": "f", "i": "int", "u": "uint", "b": "bool"}


def path(name):
    return os.path.join(OUT, name)


def write(name, data):
    with open(path(name), "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode("utf-8"))


def plain(values):
    """JSON has no NaN or infinity: they go as text."""
    return [v if np.isfinite(v) else str(v) for v in np.asarray(values, np.float64).ravel().tolist()]


def dtype_name(dtype):
    return "bool" if dtype.kind == "b" else SHORT[dtype.kind] + str(8 * dtype.itemsize)


def expect(name, array, dtype=None):
    a = np.asarray(array)
    expected["matrices"].append(
        {"file": name, "dtype": dtype or dtype_name(a.dtype), "shape": list(a.shape), "values": plain(a)}
    )


def refuse(name, reason):
    expected["refused"].append({"file": name, "reason": reason})


# .npy: every dtype, both byte orders, both memory orders
rng = np.random.default_rng(20)
for kind in ["f2", "f4", "f8", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "b1"]:
    if kind[0] == "f":
        base = rng.standard_normal((3, 4))
        base[0, 0], base[1, 2], base[2, 3] = 0.1, -0.0, np.finfo(kind).tiny / 4
    elif kind == "b1":
        base = rng.integers(0, 2, (3, 4))
    else:
        info = np.iinfo(kind)
        low, high = max(info.min, -(2**53)), min(info.max, 2**53)
        base = rng.integers(low, high, (3, 4), dtype=np.int64 if info.min < 0 else np.uint64)
        base[0, 0], base[2, 3] = low, high
    for order in ["<", ">"] if kind[1] != "1" else ["|"]:
        a = base.astype(order + kind)
        name = f"{kind}-{'big' if order == '>' else 'little'}.npy"
        np.save(path(name), a)
        expect(name, a)

a = rng.standard_normal((3, 4))
np.save(path("fortran.npy"), np.asfortranarray(a))
expect("fortran.npy", a)
a32 = rng.standard_normal((5, 2)).astype("<f4")
for version in [(1, 0), (2, 0), (3, 0)]:
    name = f"version-{version[0]}.npy"
    with open(path(name), "wb") as f:
        np.lib.format.write_array(f, a32, version=version)
    expect(name, a32)
np.save(path("special.npy"), np.array([[np.nan, np.inf], [-np.inf, 1.0]]))
expect("special.npy", np.array([[np.nan, np.inf], [-np.inf, 1.0]]))
np.save(path("no-rows.npy"), np.zeros((0, 3)))
expect("no-rows.npy", np.zeros((0, 3)))


def npy_v1(header, data, align=16):
    text = header.encode("latin1")
    text += b" " * (-(10 + len(text) + 1) % align) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


# headers that others write: other key order, Python 2 longs, double quotes, "=" order, 16-byte alignment
two = np.arange(6, dtype="<f8").reshape(2, 3)
for name, header in [
    ("python2.npy", "{'descr': '<f8', 'fortran_order': False, 'shape': (2L, 3L)}"),
    ("key-order.npy", '{"shape": (2, 3,), "fortran_order": False, "descr": "=f8"}'),
    ("dense.npy", "{'descr':'<f8','fortran_order':False,'shape':(2,3),}"),
]:
    write(name, npy_v1(header, two.tobytes()))
    np.testing.assert_array_equal(np.load(path(name)), two)
    expect(name, two)

# .npy that hold no real matrix
np.save(path("scalar.npy"), np.float64(3))
refuse("scalar.npy", "single number")
np.save(path("vector.npy"), np.arange(5.0))
refuse("vector.npy", "a.reshape(1, -1)")
np.save(path("cube.npy"), np.zeros((2, 3, 4)))
refuse("cube.npy", "shape (2, 3, 4)")
np.save(path("object.npy"), np.array([[1, None]], dtype=object), allow_pickle=True)
refuse("object.npy", "pickled")
np.save(path("structured.npy"), np.zeros((2, 2), dtype=[("a", "<f4"), ("b", "<f4")]))
refuse("structured.npy", "structured")
np.save(path("complex.npy"), np.zeros((2, 2), dtype="<c8"))
refuse("complex.npy", "complex")
np.save(path("text.npy"), np.array([["a", "b"]]))
refuse("text.npy", '"<U1"')
np.save(path("long-double.npy"), np.zeros((2, 2), dtype=np.longdouble))
refuse("long-double.npy", "long doubles")
np.save(path("date.npy"), np.zeros((2, 2), dtype="<M8[D]"))
refuse("date.npy", '"<M8[D]"')
write("bfloat16.npy", npy_v1("{'descr': '<V2', 'fortran_order': False, 'shape': (2, 2), }", b"\0" * 8))
refuse("bfloat16.npy", "bfloat16")
np.save(path("too-large.npy"), np.array([[1, 2**53 + 1]], dtype="<i8"))
refuse("too-large.npy", "row 1, column 2 is 9007199254740993")

# what numpy.save writes, byte for byte
for name, array in [
    ("save-f8.npy", np.arange(12.0).reshape(3, 4) / 7),
    ("save-f4.npy", (np.arange(6.0) / 7).reshape(2, 3).astype("<f4")),
    ("save-wide.npy", np.arange(1234.0).reshape(1, 1234).astype("<f4")),
    ("save-empty.npy", np.zeros((0, 5))),
    ("save-vector.npy", np.arange(7.0)),
]:
    np.save(path(name), array)
    expected["npySave"].append(
        {"file": name, "dtype": dtype_name(array.dtype), "shape": list(array.shape), "values": plain(array)}
    )

# .npz
w, s = rng.standard_normal((4, 3)), rng.standard_normal(3)
np.savez(path("stored.npz"), W=w, S=s)
np.savez_compressed(path("deflated.npz"), W=np.round(w, 1).astype("<f4"), S=s)
np.savez(path("one.npz"), w)
np.savez(path("several.npz"), A=w, B=w.T)
np.savez(path("vectors.npz"), S=s, T=s)
expect("stored.npz", w)
expect("deflated.npz", np.round(w, 1).astype("<f4"))
expect("one.npz", w)
refuse("several.npz", '--tensor: "A" [4, 3], "B" [3, 4]')
refuse("vectors.npz", "1-D array")
expected["npz"] = [
    {"file": "several.npz", "tensor": "B", "shape": [3, 4], "values": plain(w.T)},
]
with zipfile.ZipFile(path("pytorch.pt"), "w") as z:
    for member in ["archive/data.pkl", "archive/data/0", "archive/version"]:
        z.writestr(zipfile.ZipInfo(member), b"\x80\x02}q\x00.")
refuse("pytorch.pt", "PyTorch")

# text, by numpy.savetxt
t = rng.standard_normal((3, 2))
np.savetxt(path("savetxt.txt"), t)
expect("savetxt.txt", np.loadtxt(path("savetxt.txt")))
np.savetxt(path("savetxt.csv"), t, delimiter=",", header="a,b", footer="the end")
expect("savetxt.csv", np.loadtxt(path("savetxt.csv"), delimiter=","))
np.savetxt(path("savetxt.tsv"), t, delimiter="\t", fmt="%.6g", header="a\tb", comments="")
expect("savetxt.tsv", np.loadtxt(path("savetxt.tsv"), delimiter="\t", skiprows=1))
np.savetxt(path("savetxt-special.txt"), np.array([[np.nan, np.inf, -np.inf]]))
expect("savetxt-special.txt", np.array([[np.nan, np.inf, -np.inf]]))
np.savetxt(path("savetxt-column.txt"), np.arange(3.0))
expect("savetxt-column.txt", np.arange(3.0).reshape(3, 1))
write("decimal-comma.csv", "1,5;2,5\n3,5;4,5\n")
expect("decimal-comma.csv", np.array([[1.5, 2.5], [3.5, 4.5]]))
write("rows.json", "[[1, 2], [3, 4]]")
expect("rows.json", np.array(json.loads("[[1, 2], [3, 4]]"), dtype="f8"))

for name, text, reason in [
    ("ragged.csv", "1,2,3\n\n# note\n4,5\n", "line 4 has 2 cells, line 1 has 3"),
    ("word.csv", "a,b\n1,2\n3,four\n", 'line 3, column 2: "four" is not a number'),
    ("hexadecimal.txt", "1 2\n0x10 3\n", '"0x10" is not a number'),
    ("open-quote.csv", 'a,b\n1,"2\n', "line 2 has a quote"),
    ("utf16.csv", "1,2\n".encode("utf-16"), "UTF-16"),
    ("page.html", "<!DOCTYPE html><html></html>", "HTML"),
    ("pointer.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
    ("model.gguf", b"GGUF\x03\x00\x00\x00", "GGUF"),
    ("legacy.bin", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "PyTorch"),
    ("weights.h5", b"\x89HDF\r\n\x1a\n\x00\x00", "HDF5"),
    ("model.onnx", b"\x08\x07\x12\x07pytorch", "ONNX"),
    ("noise.dat", bytes(range(256)), "binary"),
    ("matrix.csv.gz", b"\x1f\x8b\x08\x00", "gunzip"),
]:
    write(name, text)
    refuse(name, reason)

# 16-bit floats: every one widened (NaN made one), and roundings of hard float64 and float32 values
every = np.arange(65536, dtype="<u2")


def wide_hash(floats):
    bits = floats.astype("<f4").view("<u4").copy()
    bits[np.isnan(floats)] = 0x7FC00000
    return hashlib.sha256(bits.tobytes()).hexdigest()


bf16 = torch.from_numpy(every.view("<i2").copy()).view(torch.bfloat16).to(torch.float32).numpy()
with np.errstate(all="ignore"):
    expected["halves"]["f16"] = wide_hash(every.view("<f2").astype("<f4"))
    expected["halves"]["bf16"] = wide_hash(bf16)
    hard = np.concatenate(
        [
            every.view("<f2")[::97].astype("f8") * (1 + 2.0**-12 + 2.0**-40),
            every.view("<f2")[::89].astype("f8") * (1 + 2.0**-11),
            np.array([65519.999999999, 65520.0, 65504.0, 2.0**-25, 2.0**-25 * (1 + 2**-50), 2.0**-24 * 1.5, 1e-300]),
        ]
    )
    hard = hard[np.isfinite(hard)]
    expected["halves"]["f64ToF16"] = [[v, int(b)] for v, b in zip(hard.tolist(), hard.astype("<f2").view("<u2"))]
    single = np.concatenate([rng.standard_normal(200), rng.standard_normal(100) * 1e-39, [3.4e38, 3.3895e38]]).astype("<f4")
    to_bf16 = torch.from_numpy(single).to(torch.bfloat16).view(torch.int16).numpy().view("<u2")
    expected["halves"]["f32ToBf16"] = [[v, int(b)] for v, b in zip(single.astype("f8").tolist(), to_bf16)]

with open(path("expected.json"), "w") as f:
    json.dump(expected, f, separators=(",", ":"), sort_keys=True)
    f.write("\n")
