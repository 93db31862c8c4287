"""Writes into test/fixtures/formats what the safetensors and pandas packages write, with peers.json: what they hold, and
which headers the reference reader takes. Run from the repository root, after golden-formats.py, in an environment with
`pip install numpy safetensors==0.8.0 pandas==3.0.6`.
"""

import csv
import json
import os
import struct

import numpy as np
import pandas as pd
from safetensors import SafetensorError, TensorSpec, deserialize, serialize

OUT = "test/fixtures/formats"
peers = {"pandas": [], "written": [], "headers": []}


def path(name):
    return os.path.join(OUT, name)


def plain(values):
    """JSON has no NaN or infinity: they go as text."""
    return [v if np.isfinite(v) else str(v) for v in np.asarray(values, np.float64).ravel().tolist()]


# pandas.DataFrame.to_csv
rng = np.random.default_rng(21)
values = np.array([[0.1, -1e-17, 3.0], [np.nan, 1e300, np.inf], [1 / 3, -0.0, 2.0]])
frame = pd.DataFrame(values)
named = pd.DataFrame(values, columns=["x, y", "w#1", 'say "hi"'])
labelled = pd.DataFrame(values, columns=list("abc"), index=["row one", 'row "2"', "3"])
for name, table, options in [
    ("pandas.csv", frame, {}),
    ("pandas-names.csv", named, {}),
    ("pandas-labels.csv", labelled, {}),
    ("pandas-no-index.csv", labelled, {"index": False}),
    ("pandas-bare.csv", frame, {"index": False, "header": False}),
    ("pandas-tabs.tsv", labelled, {"sep": "\t"}),
    ("pandas-semicolons.csv", labelled, {"sep": ";"}),
    ("pandas-quote-all.csv", frame, {"quoting": csv.QUOTE_ALL}),
    ("pandas-quote-names.csv", named, {"quoting": csv.QUOTE_NONNUMERIC}),
    ("pandas-windows.csv", labelled, {"lineterminator": "\r\n", "encoding": "utf-8-sig"}),
    ("pandas-na.csv", labelled, {"na_rep": "NA"}),
    ("pandas-integers.csv", pd.DataFrame(np.arange(6).reshape(2, 3)), {}),
]:
    table.to_csv(path(name), **options)
    data = table.to_numpy()
    peers["pandas"].append({"file": name, "shape": list(data.shape), "values": plain(data)})

# safetensors: the bytes of the reference writer; the names sort differently as bytes than as UTF-16
tensors = [
    ("lora_B", "F32", [2, 3]),
    ("lora_A", "F32", [3, 2]),
    ("half", "F16", [2, 2]),
    ("brain", "BF16", [3]),
    ("wide", "F64", [2, 2]),
    ("scalar", "F32", []),
    ("none", "F32", [2, 0]),
    ("long", "I64", [2]),
    ("flags", "BOOL", [3]),
    ("bytes", "U8", [5]),
    ("fp8", "F8_E4M3", [4]),
    ("\uff5e", "F32", [1]),
    ("\U0001f600", "F32", [1]),
    ('quote " back \\ tab \t bell \x07', "F32", [1]),
]
SIZE = {"F64": 8, "I64": 8, "F32": 4, "F16": 2, "BF16": 2, "BOOL": 1, "U8": 1, "F8_E4M3": 1}
TORCH = {
    "F64": "float64", "I64": "int64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "BOOL": "bool", "U8": "uint8", "F8_E4M3": "float8_e4m3fn",
}  # fmt: skip


def reference(name, entries, metadata):
    made = {}
    listed = []
    alive = []
    for key, dtype, shape in entries:
        data = bytes((7 * i + len(key)) % 2 for i in range(int(np.prod(shape)) * SIZE[dtype]))
        alive.append(np.frombuffer(data or b"-", np.uint8))
        made[key] = TensorSpec(
            dtype=TORCH[dtype], shape=shape, data_ptr=alive[-1].ctypes.data, data_len=len(data)
        )
        listed.append({"name": key, "dtype": dtype, "shape": shape, "data": data.hex()})
    with open(path(name), "wb") as f:
        f.write(serialize(made, metadata))
    peers["written"].append({"file": name, "metadata": metadata or {}, "tensors": listed})


reference("reference.safetensors", tensors, {"format": "pt"})
reference("reference-plain.safetensors", tensors[:2], None)
reference("reference-empty.safetensors", [], None)
reference("reference-attn.0.safetensors", [("attn.0", "F32", [1, 2, 3])], None)
reference("reference-attn0.safetensors", [("attn0", "F32", [1, 1, 2, 3])], None)


# headers that the reference reader takes or refuses; each with as many bytes of data as given
def entry(dtype="F32", shape="[2]", offsets="[0,8]", extra=""):
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}{extra}}}'


def deep(levels):
    return "[" * levels + "]" * levels


a = entry()
HEADERS = [
    (f'{{"a":{a}}}', 8),
    (f'  \n\t\r{{"a":{a}}}  \n\t\r', 8),
    (f'\ufeff{{"a":{a}}}', 8),
    ("{}", 0),
    ("{}", 1),
    ("", 0),
    ("[]", 0),
    ("{", 0),
    (f'{{"a":{a},}}', 8),
    (f'{{"a":{a}}}x', 8),
    (f'{{"a":{a} "b":{entry(offsets="[8,16]")}}}', 16),
    (f'{{"a":{a}}}', 7),
    (f'{{"a":{a}}}', 9),
    (f'{{"__metadata__":{{"k":"v"}},"a":{a}}}', 8),
    (f'{{"__metadata__":null,"a":{a}}}', 8),
    (f'{{"__metadata__":{{}},"a":{a}}}', 8),
    (f'{{"__metadata__":{{"k":1}},"a":{a}}}', 8),
    (f'{{"__metadata__":[],"a":{a}}}', 8),
    (f'{{"__proto__":{a}}}', 8),
    (f'{{"constructor":{a},"toString":{entry(offsets="[8,16]")}}}', 16),
    (f'{{"":{a}}}', 8),
    (f'{{"\\u0061\\n":{a}}}', 8),
    (f'{{"\\ud83d\\ude00":{a}}}', 8),
    (f'{{"\\ud83d":{a}}}', 8),
    (f'{{"\\x":{a}}}', 8),
    (f'{{"a\tb":{a}}}', 8),
    ('{"a":{"shape":[2],"data_offsets":[0,8]}}', 8),
    ('{"a":{"dtype":"F32","data_offsets":[0,8]}}', 8),
    ('{"a":{"dtype":"F32","shape":[2]}}', 8),
    ('{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8),
    ('{"a":null}', 0),
    (f'{{"a":{entry(dtype="F33")}}}', 8),
    (f'{{"a":{entry(dtype="f32")}}}', 8),
    (f'{{"a":{entry(shape="2")}}}', 8),
    (f'{{"a":{entry(shape="[2.0]")}}}', 8),
    (f'{{"a":{entry(shape="[2e0]")}}}', 8),
    (f'{{"a":{entry(shape="[-2]")}}}', 8),
    (f'{{"a":{entry(shape="[02]")}}}', 8),
    (f'{{"a":{entry(shape="[]", offsets="[0,4]")}}}', 4),
    (f'{{"a":{entry(shape="[2,0]", offsets="[0,0]")}}}', 0),
    (f'{{"a":{entry(shape="[2,0]", offsets="[0,0]")},"b":{entry(shape="[0]", offsets="[0,0]")}}}', 0),
    (f'{{"a":{entry(offsets="[0]")}}}', 8),
    (f'{{"a":{entry(offsets="[0,8,8]")}}}', 8),
    (f'{{"a":{entry(offsets="[8,0]")}}}', 8),
    (f'{{"a":{entry(offsets="[4,12]")}}}', 12),
    (f'{{"a":{entry(offsets="[0,16]")}}}', 16),
    (f'{{"b":{entry(offsets="[8,16]")},"a":{a}}}', 16),
    (f'{{"a":{a},"b":{a}}}', 8),
    (f'{{"a":{a},"b":{entry(offsets="[4,12]")}}}', 12),
    (f'{{"a":{a},"b":{entry(offsets="[12,20]")}}}', 20),
    (f'{{"a":{entry(dtype="I32", shape="[2,2]", offsets="[0,4]")}}}', 4),
    (f'{{"a":{entry(dtype="I32", shape="[2,2]", offsets="[0,16]")}}}', 16),
    (f'{{"a":{entry(dtype="F4", shape="[1,3]", offsets="[0,1]")}}}', 1),
    (f'{{"a":{entry(dtype="F4", shape="[1,4]", offsets="[0,2]")}}}', 2),
    (f'{{"a":{entry(dtype="F6_E2M3", shape="[4]", offsets="[0,3]")}}}', 3),
    (f'{{"a":{entry(dtype="C64", shape="[1]", offsets="[0,8]")}}}', 8),
    (f'{{"a":{entry(shape="[2,18446744073709551614]")}}}', 8),
    (f'{{"a":{entry(shape="[2,9223372036854775807]")}}}', 8),
    (f'{{"a":{entry(shape="[99999999999999999999999]")}}}', 8),
    (f'{{"a":{entry(extra=""","more":{"x":[1,-2.5e+3,true,null,"s"]}""")}}}', 8),
    (f'{{"a":{entry(extra=""","more":[1,]""")}}}', 8),
    (f'{{"a":{entry(extra=f""","more":{deep(100)}""")}}}', 8),
    (f'{{"a":{entry(extra=f""","more":{deep(200)}""")}}}', 8),
]
for text, length in HEADERS:
    encoded = text.encode("utf-8")
    try:
        deserialize(struct.pack("<Q", len(encoded)) + encoded + b"\0" * length)
        verdict = "taken"
    except SafetensorError as error:
        verdict = str(error)
    peers["headers"].append({"header": text, "dataLength": length, "reference": verdict})

with open(path("peers.json"), "w") as f:
    json.dump(peers, f, separators=(",", ":"), sort_keys=True)
    f.write("\n")
