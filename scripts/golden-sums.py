"""Writes test/fixtures/sums.json: adapters of every kind, two of each, what they change as dense matrices, and the singular values of
the first and of the weighted sum. All in float64 by NumPy, from each format's own definition: LyCORIS's functional/general.py,
loha.py, lokr.py (rebuild_tucker, make_weight), PEFT's tuners/lora/layer.py. Factors are multiples of 1/64, exact in every type.
Run from the repository root: /usr/bin/python3 scripts/golden-sums.py (NumPy 1.24)."""
import json
from pathlib import Path

import numpy as np

TARGET = Path("test/fixtures/sums.json")
RNG = np.random.default_rng(12)
PEFT = "base_model.model."
cases = []


def draw(*shape):
    return RNG.integers(-64, 65, shape) / 64


def scalar(x):
    return np.array(float(x))


def view(W):
    return W.reshape(W.shape[0], -1)


def case(what, adapters, denses, weights, rank, base=None):
    """`denses` of each adapter: {layer: W}. The sum is over those that have the layer."""
    layers = []
    for name in dict.fromkeys(name for one in denses for name in one):
        parts = [view(one[name]) if name in one else None for one in denses]
        shape = next(part.shape for part in parts if part is not None)
        parts = [np.zeros(shape) if part is None else part for part in parts]
        total = sum(w * part for w, part in zip(weights, parts))
        layers.append(
            {
                "name": name,
                "shape": shape,
                "S": np.linalg.svd(parts[0], compute_uv=False).tolist(),
                "sum": total.ravel().tolist(),
                "sumS": np.linalg.svd(total, compute_uv=False).tolist(),
                "inner": [
                    [float(np.sum(v * p * w * q)) for w, q in zip(weights, parts)]
                    for v, p in zip(weights, parts)
                ],
                "first": name in denses[0],
            }
        )
    cases.append(
        {
            "what": what,
            "adapters": [
                {
                    **{k: v for k, v in one.items() if k != "tensors"},
                    "tensors": {
                        name: {"shape": np.shape(t), "data": np.ravel(t).tolist()}
                        for name, t in one["tensors"].items()
                    },
                }
                for one in adapters
            ],
            "base": base,
            "weights": weights,
            "rank": rank,
            "layers": layers,
        }
    )


def both(what, make, weights, rank, base=None):
    made = [make(i) for i in range(2)]
    case(what, [m[0] for m in made], [m[1] for m in made], weights, rank, base)


def linear(i, config, scale, r, names=("lora_A.weight", "lora_B.weight"), out=9, k=7):
    A, B = draw(r, k), draw(out, r)
    tensors = {f"{PEFT}h.fc.{names[0]}": A, f"{PEFT}h.fc.{names[1]}": B}
    full = {"r": r, "target_modules": ["fc"], **config}
    return {"tensors": tensors, "config": full}, {"h.fc": scale * B @ A}


both("LoRA", lambda i: linear(i, {"lora_alpha": 4 + i}, (4 + i) / (2 + i), 2 + i), [0.7, -0.4], 2)
both(
    "rank-stabilised",
    lambda i: linear(i, {"lora_alpha": 3, "use_rslora": i == 0}, 3 / np.sqrt(4) if i == 0 else 3 / 2, 4 - 2 * i),
    [1, 0.5],
    3,
)
both("rank above both sides", lambda i: linear(i, {"lora_alpha": 12}, 12 / 12, 12, out=5, k=6), [1, 2], 3)
both(
    "LoRA, one side of 1",
    lambda i: linear(i, {"lora_alpha": 2}, 1, 2, out=1, k=6),
    [1, -3],
    1,
)


def patterns(i):
    config = {
        "r": 3,
        "lora_alpha": 6,
        "rank_pattern": {"fc": 2, "^h.out": 4},
        "alpha_pattern": {"out": 1},
        "target_modules": ["fc", "out", "up"],
    }
    tensors, denses = {}, {}
    for name, r, alpha in [("h.fc", 2, 6), ("h.out", 4, 1), ("h.up", 3, 6)]:
        if i == 1 and name == "h.out":
            continue
        A, B = draw(r, 6), draw(8, r)
        tensors[f"{PEFT}{name}.lora_A.weight"], tensors[f"{PEFT}{name}.lora_B.weight"] = A, B
        denses[name] = alpha / r * B @ A
    return {"tensors": tensors, "config": config}, denses


both("rank and alpha by pattern", patterns, [1, -0.5], 2)


def conv1d(i):
    adapter, denses = linear(i, {"lora_alpha": 2, "fan_in_fan_out": True}, 2 / 3, 3)
    return adapter, {"h.fc.weight": denses["h.fc"].T}


both("Conv1D", conv1d, [2, 1], 2, {"tensors": {"h.fc.weight": [7, 9]}, "config": None})


def embedding(i):
    A, B = draw(3, 11), draw(6, 3)
    tensors = {f"{PEFT}wte.lora_embedding_A": A, f"{PEFT}wte.lora_embedding_B": B}
    config = {"r": 3, "lora_alpha": 1, "target_modules": ["wte"]}
    return {"tensors": tensors, "config": config}, {"wte": (B @ A).T / 3}


both("embedding", embedding, [1, 1], 2)


def peft_conv(i):
    r = 2 + i
    A, B = draw(r, 3, 3, 3), draw(5, r, 1, 1)
    tensors = {f"{PEFT}conv.lora_A.weight": A, f"{PEFT}conv.lora_B.weight": B}
    config = {"r": r, "lora_alpha": 2, "target_modules": ["conv"]}
    return {"tensors": tensors, "config": config}, {"conv": 2 / r * np.einsum("or,rikl->oikl", B[:, :, 0, 0], A)}


both("convolution of PEFT", peft_conv, [1, -2], 2)


def experts(transposed):
    def make(i):
        E, r, d, h = 3, 2, 4, 5
        tensors, denses = {}, {}
        # gate_up_proj is registered first, and wrapped inside
        for wrapper, parameter, out, k in [
            ("mlp.experts.base_layer", "gate_up_proj", 2 * h, d),
            ("mlp.experts", "down_proj", d, h),
        ]:
            A, B = draw(E * r, k), draw(out, r * E)
            tensors[f"{PEFT}{wrapper}.lora_A.weight"], tensors[f"{PEFT}{wrapper}.lora_B.weight"] = A, B
            # layer.py, ParamWrapper.get_delta_weight: einsum over A [E, r, in] and B [out, r, E]
            delta = np.einsum("ore,erk->eok", B.reshape(out, r, E), A.reshape(E, r, k))
            for e in range(E):
                dense = (1 + i) / r * delta[e]
                denses[f"mlp.experts.{parameter}[{e}]"] = dense.T if transposed else dense
        config = {
            "r": r,
            "lora_alpha": 1 + i,
            "target_modules": None,
            "target_parameters": ["experts.gate_up_proj", "experts.down_proj"],
        }
        return {"tensors": tensors, "config": config}, denses

    return make


both(
    "stacked experts [E, out, in]",
    experts(False),
    [1, -0.5],
    1,
    {"tensors": {"mlp.experts.gate_up_proj": [3, 10, 4], "mlp.experts.down_proj": [3, 4, 5]}, "config": None},
)
both(
    "stacked experts [E, in, out]",
    experts(True),
    [1, -0.5],
    1,
    {"tensors": {"mlp.experts.gate_up_proj": [3, 4, 10], "mlp.experts.down_proj": [3, 5, 4]}, "config": None},
)


def tucker(t, a, b):
    return np.einsum("ijkl,ip,jr->prkl", t, a, b)


def file(parts, alpha, dense, stem="lora_unet_x"):
    tensors = {f"{stem}.{name}": value for name, value in parts.items()}
    if alpha is not None:
        tensors[f"{stem}.alpha"] = scalar(alpha)
    return {"tensors": tensors}, {"x": dense}


def locon(i):
    r = 2 + i
    down, up = draw(r, 3, 3, 3), draw(5, r, 1, 1)
    dense = 1.5 / r * np.einsum("or,rikl->oikl", up[:, :, 0, 0], down)
    return file({"lora_down.weight": down, "lora_up.weight": up}, 1.5, dense)


both("LoCon, 3 × 3", locon, [1, 0.25], 2)


def locon_mid(i):
    r = 3
    down, up, mid = draw(r, 4, 1, 1), draw(6, r, 1, 1), draw(r, r, 3, 3)
    dense = 2 / r * np.einsum("mnkl,om,ni->oikl", mid, up[:, :, 0, 0], down[:, :, 0, 0])
    return file({"lora_down.weight": down, "lora_up.weight": up, "lora_mid.weight": mid}, 2, dense)


both("LoCon with a Tucker core", locon_mid, [0.5, 1], 2)
both(
    "no alpha",
    lambda i: (lambda down, up: file({"lora_down.weight": down, "lora_up.weight": up}, None, up @ down))(
        draw(2, 6), draw(7, 2)
    ),
    [1, 1],
    2,
)


def loha(i):
    r = 2
    p = {"hada_w1_a": draw(8, r), "hada_w1_b": draw(r, 7), "hada_w2_a": draw(8, r), "hada_w2_b": draw(r, 7)}
    dense = (1 + i) / r * (p["hada_w1_a"] @ p["hada_w1_b"]) * (p["hada_w2_a"] @ p["hada_w2_b"])
    return file(p, 1 + i, dense)


both("LoHa", loha, [1, -1.5], 3)


def loha_full(i):
    r = 4
    p = {"hada_w1_a": draw(5, r), "hada_w1_b": draw(r, 6), "hada_w2_a": draw(5, r), "hada_w2_b": draw(r, 6)}
    dense = 2 / r * (p["hada_w1_a"] @ p["hada_w1_b"]) * (p["hada_w2_a"] @ p["hada_w2_b"])
    return file(p, 2, dense)


both("LoHa whose r² is above both sides", loha_full, [1, 1], 3)


def loha_tucker(i):
    r = 2
    p = {
        "hada_t1": draw(r, r, 3, 3),
        "hada_w1_a": draw(r, 6),
        "hada_w1_b": draw(r, 4),
        "hada_t2": draw(r, r, 3, 3),
        "hada_w2_a": draw(r, 6),
        "hada_w2_b": draw(r, 4),
    }
    dense = tucker(p["hada_t1"], p["hada_w1_a"], p["hada_w1_b"]) * tucker(p["hada_t2"], p["hada_w2_a"], p["hada_w2_b"])
    return file(p, 3, 3 / r * dense)


both("LoHa with Tucker cores", loha_tucker, [1, 2], 3)


def lokr(kind):
    def make(i):
        r, p = 2, {}
        if kind in ("w1 factored", "both factored"):
            p["lokr_w1_a"], p["lokr_w1_b"] = draw(3, r), draw(r, 2)
            w1 = p["lokr_w1_a"] @ p["lokr_w1_b"]
        else:
            w1 = p["lokr_w1"] = draw(3, 2)
        if kind == "convolution":
            w2 = p["lokr_w2"] = draw(2, 3, 3, 3)
        elif kind == "factored convolution":
            p["lokr_w2_a"], p["lokr_w2_b"] = draw(2, r), draw(r, 3 * 9)
            w2 = (p["lokr_w2_a"] @ p["lokr_w2_b"]).reshape(2, 3, 3, 3)
        elif kind == "Tucker core":
            p["lokr_t2"], p["lokr_w2_a"], p["lokr_w2_b"] = draw(r, r, 3, 3), draw(r, 2), draw(r, 3)
            w2 = tucker(p["lokr_t2"], p["lokr_w2_a"], p["lokr_w2_b"])
        elif kind in ("w2 factored", "both factored"):
            p["lokr_w2_a"], p["lokr_w2_b"] = draw(4, r), draw(r, 3)
            w2 = p["lokr_w2_a"] @ p["lokr_w2_b"]
        else:
            w2 = p["lokr_w2"] = draw(4, 3)
        # lokr.py: both whole, and alpha counts for nothing
        scale = 1 if "lokr_w1" in p and "lokr_w2" in p else (3 + i) / r
        dense = scale * np.kron(w1.reshape(w1.shape + (1,) * (w2.ndim - 2)), w2)
        if kind == "factored convolution":
            # the kernel is known from the base alone
            return file(p, 3 + i, dense)[0], {"x.weight": dense}
        return file(p, 3 + i, dense)

    return make


for kind in ["whole", "w1 factored", "w2 factored", "both factored", "convolution", "Tucker core"]:
    both(f"LoKr, {kind}", lokr(kind), [1, -0.5], 3)
both(
    "LoKr, factored convolution",
    lokr("factored convolution"),
    [1, -0.5],
    3,
    {"tensors": {"x.weight": [6, 6, 3, 3]}, "config": None},
)


def peft_loha(i):
    r = 2
    p = {"hada_w1_a": draw(6, r), "hada_w1_b": draw(r, 5), "hada_w2_a": draw(6, r), "hada_w2_b": draw(r, 5)}
    dense = 3 / r * (p["hada_w1_a"] @ p["hada_w1_b"]) * (p["hada_w2_a"] @ p["hada_w2_b"])
    tensors = {f"{PEFT}x.{name}": value for name, value in p.items()}
    return {"tensors": tensors, "config": {"peft_type": "LOHA", "r": r, "alpha": 3, "target_modules": ["x"]}}, {"x": dense}


both("LoHa of PEFT", peft_loha, [1, 1], 2)


def peft_lokr(i):
    p = {"lokr_w1": draw(2, 2), "lokr_w2": draw(3, 3)}
    tensors = {f"{PEFT}x.{name}": value for name, value in p.items()}
    config = {"peft_type": "LOKR", "r": 4, "alpha": 2, "target_modules": ["x"]}
    # tuners/lokr/layer.py: alpha / r counts here, whole or not
    return {"tensors": tensors, "config": config}, {"x": 0.5 * np.kron(p["lokr_w1"], p["lokr_w2"])}


both("LoKr of PEFT, whole", peft_lokr, [1, 1], 2)
both(
    "LoRA and LoHa",
    lambda i: loha(0) if i == 0 else file(
        *(lambda down, up: ({"lora_down.weight": down, "lora_up.weight": up}, 1, up @ down / 2))(draw(2, 7), draw(8, 2))
    ),
    [1, -1],
    3,
)

text = {"computedBy": f"NumPy {np.__version__}, scripts/golden-sums.py", "cases": cases}
TARGET.write_text(json.dumps(text, ensure_ascii=False, separators=(",", ":")).replace('{"what"', '\n{"what"') + "\n")
