"""The tests' own forward pass of the fixture's Llama, in NumPy.

    python3 digits_forward.py kl BASE TUNED HELD_OUT ADAPTER…   KL divergence to the tuned model and accuracy, as JSON, one pair an adapter
    python3 digits_forward.py moments TUNED HELD_OUT COUNT      second moments over the first images, as one .npz on stdout

Of an adapter (PEFT's folder, alpha = r) the weights that it has factors for are base + B·A; all others are the tuned model's, as in
moments-reference.json. Prompts are those of held-out.json: token 27 and an image's 64 pixels; digit d is token 17 + d.
"""

import io
import json
import struct
import sys

import numpy as np

HEADS, EPSILON, FIRST_DIGIT = 4, 1e-6, 17


def read(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    return {
        name: np.frombuffer(data[slice(*one["data_offsets"])], "<f4").reshape(one["shape"])
        for name, one in header.items()
        if name != "__metadata__"
    }


def norm(x, weight):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON) * weight


def forward(weights, prompts, see=lambda name, x: None):
    """The logits after each prompt. `see` is given the input of each linear layer."""

    def linear(name, x):
        see(name, x)
        return x @ weights[name].T

    x = weights["model.embed_tokens.weight"][prompts]
    batch, length, width = x.shape
    size = width // HEADS
    angles = np.arange(length)[:, None] / 10000 ** (np.arange(0, size, 2) / size)
    angles = np.concatenate([angles, angles], 1)
    cos, sin = np.cos(angles).astype("f4"), np.sin(angles).astype("f4")
    turn = lambda q: q * cos + np.concatenate([-q[..., size // 2 :], q[..., : size // 2]], -1) * sin
    split = lambda q: q.reshape(batch, length, HEADS, size).transpose(0, 2, 1, 3)
    mask = np.triu(np.full((length, length), -1e30, "f4"), 1)
    layers = 1 + max(int(name.split(".")[2]) for name in weights if ".layers." in name)
    for layer in range(layers):
        at = f"model.layers.{layer}."
        h = norm(x, weights[at + "input_layernorm.weight"])
        q, k, v = (split(linear(f"{at}self_attn.{n}_proj.weight", h)) for n in "qkv")
        scores = turn(q) @ turn(k).transpose(0, 1, 3, 2) / np.float32(np.sqrt(size)) + mask
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ v
        mixed = mixed.transpose(0, 2, 1, 3).reshape(batch, length, width)
        x = x + linear(at + "self_attn.o_proj.weight", mixed)
        h = norm(x, weights[at + "post_attention_layernorm.weight"])
        gate, up = (linear(f"{at}mlp.{n}_proj.weight", h) for n in ("gate", "up"))
        x = x + linear(at + "mlp.down_proj.weight", gate / (1 + np.exp(-gate)) * up)
    return norm(x[:, -1], weights["model.norm.weight"]) @ weights["lm_head.weight"].T


def log_probabilities(logits):
    logits = logits.astype("f8")
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def prompts_of(path):
    with open(path, encoding="utf-8") as file:
        held_out = json.load(file)
    images = [[27] + [int(pixel, 17) for pixel in image] for image in held_out["images"]]
    return np.array(images), np.array([int(answer) for answer in held_out["answers"]])


def with_adapter(base, tuned, folder):
    factors = read(f"{folder}/adapter_model.safetensors")
    weights = dict(tuned)
    for name, A in factors.items():
        if not name.endswith(".lora_A.weight"):
            continue
        weight = name[len("base_model.model.") : -len(".lora_A.weight")] + ".weight"
        B = factors[name.replace("lora_A", "lora_B")]
        weights[weight] = base[weight] + B @ A
    return weights


def kl(base, tuned, held_out, *adapters):
    base, tuned = (read(f"{folder}/model.safetensors") for folder in (base, tuned))
    prompts, answers = prompts_of(held_out)
    expected = log_probabilities(forward(tuned, prompts))
    results = []
    for folder in adapters:
        found = log_probabilities(forward(with_adapter(base, tuned, folder), prompts))
        digits = found[:, FIRST_DIGIT : FIRST_DIGIT + 10].argmax(1)
        divergence = (np.exp(expected) * (expected - found)).sum(1).mean()
        results.append({"kl": float(divergence), "accuracy": float((digits == answers).mean())})
    print(json.dumps(results))


def moments(tuned, held_out, count):
    sums = {}

    def see(name, x):
        rows = x.reshape(-1, x.shape[-1]).astype("f8")
        sums[f"{name}.second_moment"] = rows.T @ rows / len(rows)
        sums[f"{name}.count"] = np.array([len(rows)], "f8")

    forward(read(f"{tuned}/model.safetensors"), prompts_of(held_out)[0][: int(count)], see)
    buffer = io.BytesIO()
    np.savez(buffer, **sums)
    sys.stdout.buffer.write(buffer.getvalue())


if __name__ == "__main__":
    {"kl": kl, "moments": moments}[sys.argv[1]](*sys.argv[2:])
