"""Writes test/fixtures/adapter/python-patterns.json: which module paths keys of rank_pattern match.

PEFT asks `re.match(rf"(.*\\.)?({key})$", path)` (src/peft/utils/other.py, get_pattern_key). Run with Debian's python3.
"""

import json
import pathlib
import random
import re
import warnings

PATHS = [
    "q_proj",
    "proj_out",
    "blocks.0.proj_out",
    "blocks.0.xproj_out",
    "model.layers.1.self_attn.q_proj",
    "model.layers.11.self_attn.q_proj",
    "model.layers.1.self_attn.k_proj",
    "model.layers.2.mlp.gate_proj",
    "encoder.layers.1.fc",
    "layers.1.fc",
    "layersX1.fc",
    "unet.down_blocks.0.attn-1.to_q",
    "größe.schicht.Ünit",
    "a b.c",
    "x]y",
    "x{2}",
    "x{,y",
    "xxx",
    "xx",
    "q_proj\n",
    "q\rproj",
    "q\u2028proj",
    "q\x1cproj",
    "q\ufeffproj",
    "\u0663\u0664",
    "a\u0301b",
    "a(b",
    "",
    "\U0001d504x",
]

KEYS = [
    "q_proj", "proj_out", "^proj_out", "blocks.0.proj_out", r"blocks\.0\.proj_out", r"^blocks\.0\.proj_out",
    "layers.1.fc", r"layers\.1\.fc", r"^layers\.1\.fc", r"model\.layers\.1\.self_attn\.q_proj", "self_attn",
    r"layers\.1\..*", r".*\.1\..*", r"layers\.(1|2)\..*", r"layers\.[12]\..*", r"layers\.\d+\.self_attn\.[qk]_proj",
    r"layers\.(?:1|11)\.self_attn\.q_proj", "q_proj|k_proj", "(q|k)_proj", r"\w+_proj", r"\w+", r"\W", r"[\w.]+",
    r"[^\W]+", r"[\W_q]roj", r"\d+", r"\D+", r"\s", r"a\sb.c", r"q\sproj", r"q\Sproj", r"q.proj", r"q[^a]proj",
    r"\bto_q\b", r"\Bo_q", r"attn-1\.to_q", r"attn\-1\.to_q", r"[a-z]+-1.to_q", r"[]x]+y", r"[^]]+", "x{2}", "x{,2}",
    "x{2,}", "x{,}", "x{}", r"x\{2\}", "x{2,3}", "x{,y", "x{2", "x+?", "x*?", "x??x", "x{2}?", r"(?P<n>q)_proj",
    r"(?:q)_proj", r"(?#note)q_proj", r"\Aq_proj", r"q_proj\Z", "q_proj$", "$", "^", "", ".", ".*", r"\.", r"\_proj", r"\x71_proj", r"\u0071_proj",
    r"\U00000071_proj", r"\161_proj", r"[\161]_proj", r"[\x71]_proj", r"\t", r"a\(b", "a(b", "a)(b", "a)b", "(", ")",
    "[", "[a", "[z-a]", r"[\d-z]", r"[a-\d]", "[a-]b", "[-a]", "*", "+a", "a**", "a{2}{3}", "a{3,2}", "|", "q|",
    r"\q", r"\g", r"\xq", r"\u12", r"[\q]", "\\", "[[:alpha:]]", "[a&&b]", "[a--b]", "[a||b]+", "[(){}/|]+b", "größe.*",
    "Ünit", "(?P<n>a)(?P<n>b)", "(?P<1n>a)", "(?P<n", "(?Z)", "(?<n>a)", r"\0", r"[\b]", r"\N", "\U0001d504x", "..",
    "[\U0001d504]x", "/", "a/b", "v&&v", "q_proj\n", "(?:)", "()", "x]y", "x}y", "x{2}{", "^^q_proj", "q_proj$$",
    "(x+)+", "(x*)*", "(x|x)*y?", "(.*)*", r"(\w+\.)*\w+", r"(?:\w+\.){3,}q_proj", r"(?:\w+\.){0,1}fc", "(x{1,2}){2}",
    "(x?){3}", "x{0}", "(){9}x", "(^)q_proj", "(q_proj$)", "$^", r"q_proj(\n)?", r"[qk]_proj\b", r"\b\w", r"\w+?\.\d{1,2}\..+",
    "a)|(b", "q_proj)|(k_proj", "(a)|b)(c", "q_proj|layers.1.fc|^proj_out", "()*x", "(|x)+", "^*", r"\b+", "$?", "(?:^)*q_proj",
]

# what Python accepts and the translation refuses, so that no meaning is guessed
REFUSED = [
    r"(q)\3_proj", r"(?P<n>q)(?P=n)", "(?i)Q_PROJ", "(?i:Q)_proj", "(?>x)x", "x++", "x?+", "x{1}+", "(x)?(?(3)a|b)",
    r"\N{LATIN SMALL LETTER Q}_proj", r"(?=q)q_proj", r"(?!k)\w_proj", r"(?<=n\.)q_proj", r"(?<!n\.)q_proj",
]


def outcome(key):
    try:
        pattern = re.compile(rf"(.*\.)?({key})$")
    except (re.error, OverflowError, IndexError) as error:
        return {"key": key, "error": str(error)}
    return {"key": key, "matches": [i for i, path in enumerate(PATHS) if pattern.match(path)]}


def random_key(draw, depth=0):
    """A pattern of the parts that are read, put together at random; Python says which are wrong."""
    def item():
        kind = draw.random()
        if depth < 3 and kind < 0.25:
            return draw.choice(["(", "(?:"]) + random_key(draw, depth + 1) + ")"
        if kind < 0.35:
            return draw.choice(["[xq]", "[^x.]", "[a-q_]", r"[\w.]", r"[^\W\d]"])
        if kind < 0.45:
            return draw.choice(["^", "$", r"\b", r"\B", r"\A", r"\Z"])
        if kind < 0.6:
            return draw.choice([".", r"\.", r"\d", r"\w", r"\D", r"\W", r"\s"])
        return draw.choice(["x", "q", "q_proj", "layers", "fc", "1", "proj", "attn", "_"])
    parts = []
    for _ in range(draw.randint(1, 4)):
        parts.append(item())
        if draw.random() < 0.35:
            parts.append(draw.choice(["*", "+", "?", "*?", "{2}", "{1,2}", "{,2}", "{2,}"]))
    key = "".join(parts)
    return key + "|" + random_key(draw, depth + 1) if depth < 2 and draw.random() < 0.2 else key


draw = random.Random(11)
KEYS += sorted({random_key(draw) for _ in range(400)})

warnings.simplefilter("ignore")
for key in REFUSED:
    assert "(?i)" in key or "error" not in outcome(key), outcome(key)
goldens = {"paths": PATHS, "keys": [outcome(key) for key in KEYS], "refused": REFUSED}
target = pathlib.Path(__file__).parent.parent / "test/fixtures/adapter/python-patterns.json"
target.parent.mkdir(parents=True, exist_ok=True)
target.write_text(json.dumps(goldens) + "\n")
